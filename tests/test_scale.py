"""Many inputs answered into a folder: each once, whoever dies; what cannot be answered costs itself alone."""

import gzip
import json
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import features, pixels, write_csv
from PIL import Image
from scaling import Deadly

import manyhot
from manyhot import files
from manyhot.cli import main
from manyhot.data.sources import remote
from manyhot.data.sources.remote import here, listing
from manyhot.errors import RunError, UserError
from manyhot.scale import engines, folder, job, units
from manyhot.scale.units import RUN, Unit

ROWS = 12


@pytest.fixture
def inline(monkeypatch):
    """Units are answered in this process, which takes no time to start."""
    answered = []

    def engine(job, left, workers):
        for unit in left:
            answered.append(unit.name)
            yield unit, job(unit)

    monkeypatch.setitem(engines.ENGINES, "local", engine)
    return answered


@pytest.fixture
def shards(tmp_path):
    """A folder of shards of several types, with what Spark leaves beside them."""
    place = tmp_path / "shards"
    for number, name in enumerate(("a.parquet", "b.parquet", "sub/a.parquet")):
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        pq.write_table(pa.table(features(ROWS, number)), place / name)
    write_csv(place / "a.csv", features(ROWS, 3))
    for name in ("_SUCCESS", ".a.parquet.crc", "_metadata"):
        (place / name).touch()
    shutil.copytree(place / "sub", place / "_temporary")
    return place


@pytest.fixture
def ask(fitted_tables, tmp_path):
    def answer(*inputs, out="out", model=None, **how):
        model = model or fitted_tables / "model"
        place = out if ":" in out else tmp_path / out
        return manyhot.answer_folder(model, inputs, place, verbose=False, **how)

    return answer


def below(place):
    return sorted(
        p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file() and RUN not in p.parts
    )


def test_every_table_has_a_file_of_its_name_with_the_answers_of_predict(
    inline, shards, ask, tmp_path, fitted_tables
):
    found = ask(shards)
    assert (found.rows, found.tables, found.pictures, found.unreadable) == (4 * ROWS, 4, 0, 0)
    assert found.done
    assert below(tmp_path / "out") == ["_DONE", "a.csv", "a.parquet", "b.parquet", "sub/a.parquet"]
    done = json.loads((tmp_path / "out" / "_DONE").read_text())
    assert (done["rows"], done["unreadable"]) == (4 * ROWS, 0)
    classifier = manyhot.load(fitted_tables / "model")
    for name in ("a.csv", "sub/a.parquet"):
        whole, read = classifier.answers(shards / name), manyhot.read(tmp_path / "out" / name)
        assert read.names == whole.names
        answers = [str(row) for row in read.column("fruit").to_pylist()]
        assert answers == [str(row) for row in whole.column("fruit").to_pylist()]
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (files.PART, ".parts")]


def test_the_same_again_answers_what_is_not_there(inline, shards, ask, tmp_path):
    ask(shards)
    inline.clear()
    assert ask(shards).new == 0
    assert inline == []
    (tmp_path / "out" / "b.parquet").unlink()
    pq.write_table(pa.table(features(ROWS)), shards / "new.parquet")
    assert ask(shards).rows == 5 * ROWS
    assert inline == ["b.parquet", "new.parquet"]
    assert json.loads((tmp_path / "out" / "_DONE").read_text())["rows"] == 5 * ROWS
    ask(shards, overwrite=True)
    assert len(inline) == 7


OTHERS = {
    "an input that changed": (
        lambda s: pq.write_table(pa.table(features(5)), s / "a.parquet"),
        {},
        "holds answers of 'a.parquet' as it was",
    ),
    "an input that is gone": (lambda s: (s / "a.csv").unlink(), {}, "of other inputs too, such as 'a.csv'"),
    "other options": (lambda s: None, {"header": "first"}, "read with other options"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_answers_of_others_are_kept(inline, shards, ask, tmp_path, case):
    change, how, words = OTHERS[case]
    ask(shards)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in below(tmp_path / "out")}
    change(shards)
    with pytest.raises(UserError, match=rf"{words}.*overwrite=True"):
        ask(shards, **how)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in below(tmp_path / "out")} == before
    assert ask(shards, overwrite=True, **how).done
    if case == "an input that is gone":
        assert "a.csv" not in below(tmp_path / "out")


def test_answers_of_another_model_are_kept(inline, shards, ask, model):
    ask(shards, model=model)
    schema = json.loads((model / "schema.json").read_text())
    schema["missing"] = ["?"]
    (model / "schema.json").write_text(json.dumps(schema))
    manifest = json.loads((model / "manyhot.json").read_text())
    manifest["checksums"]["schema.json"] = files.checksum(model / "schema.json")
    (model / "manyhot.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="answers of another model"):
        ask(shards, model=model)
    assert ask(shards, model=model, overwrite=True).new == 4


BROKEN = {
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:200]), "cannot be read as Parquet"),
    "of other columns": (lambda p: pq.write_table(pa.table({"x": [1]}), p), "lacks 'width'"),
    "no file": (lambda p: (p.unlink(), p.symlink_to("nowhere")), None),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_shard_costs_itself_alone(inline, shards, ask, tmp_path, log_lines, case):
    breaks, words = BROKEN[case]
    data = (shards / "b.parquet").read_bytes()
    breaks(shards / "b.parquet")
    found = ask(shards)
    assert found.rows == 3 * ROWS
    if words is None:  # there is no such table then
        assert found.done
        return
    assert [*found.failed] == ["b.parquet"]
    assert words in found.failed["b.parquet"]
    assert not found.done
    assert any(line.startswith("b.parquet has no answers: ") and words in line for line in log_lines)
    assert below(tmp_path / "out") == ["a.csv", "a.parquet", "sub/a.parquet"]
    (shards / "b.parquet").write_bytes(data)
    inline.clear()
    assert ask(shards).done
    assert inline == ["b.parquet"]


def test_a_shard_without_a_column_that_others_have_is_named(inline, shards, ask, log_lines):
    pq.write_table(pa.table(features(ROWS)).drop_columns(["width"]), shards / "b.parquet")
    assert ask(shards).done
    assert [line for line in log_lines if line.startswith("'b.parquet': column 'width' is absent")]


EMPTY = {
    "none.parquet": lambda p: pq.write_table(pa.table(features(ROWS)).slice(0, 0), p),
    "none.csv": lambda p: p.write_text("width,weight,origin\n"),
    "none.tsv": lambda p: p.write_text("width\tweight\torigin"),
    "none.jsonl": lambda p: p.touch(),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_shard_without_rows_has_answers_without_rows(inline, shards, ask, tmp_path, name):
    EMPTY[name](shards / name)
    assert ask(shards).rows == 4 * ROWS
    if name.endswith(".parquet"):
        assert pq.read_schema(tmp_path / "out" / name).equals(pq.read_schema(tmp_path / "out" / "a.parquet"))
    elif name != "none.jsonl":
        assert "fruit" in (tmp_path / "out" / name).read_text()


def test_inputs_are_told_apart_by_where_they_lie(inline, shards, ask, tmp_path):
    other = shutil.copytree(shards / "sub", tmp_path / "other")
    (other / "again").symlink_to("..")  # which leads round in a circle
    found = ask(shards / "a.parquet", other, shards / "a.csv", shards / ".." / "shards" / "a.csv")
    assert found.tables == 3
    names = below(tmp_path / "out")
    assert names == ["_DONE", "other/a.parquet", "shards/a.csv", "shards/a.parquet"]


def test_kinds_that_are_not_written_are_answered_as_parquet(inline, shards, ask, tmp_path):
    (shards / "a.txt").write_bytes((shards / "a.csv").read_bytes())
    (shards / "rows.json").write_text(json.dumps([{"width": 1.0, "weight": 2, "origin": "north"}]))
    ask(shards / "a.txt", shards / "rows.json", shards / "a.csv")
    assert below(tmp_path / "out") == ["_DONE", "a.csv", "a.txt.parquet", "rows.json.parquet"]
    shutil.copy(shards / "a.parquet", shards / "a.txt.parquet")
    with pytest.raises(UserError, match=r"answered into 'a.txt.parquet'"):
        ask(shards / "a.txt", shards / "a.txt.parquet", out="two")


def test_answers_inside_the_folder_of_inputs_are_no_inputs(inline, shards, ask):
    assert ask(shards, out="shards/answers").tables == 4
    assert ask(shards, out="shards/answers").new == 0
    with pytest.raises(UserError, match="lies in 'out'"):
        ask(shards / "answers" / "a.csv", out="shards/answers")


def test_parts_take_every_nth_input_and_the_last_one_says_that_all_is_done(inline, shards, ask, tmp_path):
    for part, took in (("2/3", ["a.parquet"]), ("1/3", ["a.csv", "sub/a.parquet"]), ("3/3", ["b.parquet"])):
        assert not (tmp_path / "out" / "_DONE").exists()
        inline.clear()
        found = ask(shards, part=part)
        assert inline == took
    assert found.done
    assert json.loads((tmp_path / "out" / "_DONE").read_text())["rows"] == 4 * ROWS
    assert ask(shards, part="5/9").rows == 0


def test_parts_that_overwrite_leave_each_others_answers(inline, shards, ask, tmp_path):
    ask(shards)
    pq.write_table(pa.table(features(5)), shards / "a.parquet")
    ask(shards, part="1/2", overwrite=True)
    kept = (tmp_path / "out" / "a.csv").stat().st_mtime_ns
    assert ask(shards, part="2/2", overwrite=True).done
    assert (tmp_path / "out" / "a.csv").stat().st_mtime_ns == kept


def test_two_runs_at_once_answer_each_input_once(shards, ask, monkeypatch):
    answered = []

    def engine(job, left, workers):
        for unit in left:
            found = job(unit)
            answered.extend([unit.name] * (found.noticed is not None))
            yield unit, found

    monkeypatch.setitem(engines.ENGINES, "local", engine)
    runs = [threading.Thread(target=ask, args=[shards]) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(answered) == ["a.csv", "a.parquet", "b.parquet", "sub/a.parquet"]


@pytest.fixture
def photos(tmp_path):
    for number, picture in enumerate(pixels(7)):
        path = tmp_path / "photos" / "xy"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(picture[..., 0]).save(path)
    (tmp_path / "photos" / "x" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_pictures_are_answered_in_parts_by_sorted_path(
    inline, photos, ask, fitted_pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(units, "PART", 3)
    model = fitted_pictures / "model"
    found = ask(photos, f"{photos.parent}/./photos/", photos / "x" / "0.png", photos / "y", model=model)
    assert (found.pictures, found.tables, found.unreadable) == (8, 0, 1)
    names = [f"pictures-0000{i}.parquet" for i in range(3)]
    assert below(tmp_path / "out") == ["_DONE", *names]
    parts = [pq.read_table(tmp_path / "out" / name) for name in names]
    paths = [path for part in parts for path in part["image"].to_pylist()]
    assert paths == sorted(paths)
    whole = manyhot.load(model).answers(photos)
    assert paths == whole.column("image").to_pylist()
    one, other = (
        np.array(each, float)
        for each in (
            [v for part in parts for v in part["fruit.pear"].to_pylist()],
            whole.column("fruit.pear").to_pylist(),
        )
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    inline.clear()
    (photos / "y" / "1.png").unlink()
    with pytest.raises(UserError, match=r"other inputs too|as it was"):
        ask(photos, model=model)


def test_a_model_of_pictures_answers_files_and_tables_beside_folders(
    inline, photos, ask, fitted_pictures, tmp_path
):
    shutil.copy(fitted_pictures / "table.csv", tmp_path)
    shutil.copytree(fitted_pictures / "pictures", tmp_path / "pictures")
    one = photos / "x" / "0.png"
    found = ask(one, tmp_path / "table.csv", photos / "y", model=fitted_pictures / "model")
    assert (found.pictures, found.tables, found.unreadable) == (4, 1, 0)
    names = ["_DONE", "photos/x/pictures-00000.parquet", "photos/y/pictures-00000.parquet", "table.csv"]
    assert below(tmp_path / "out") == names


def test_names_may_be_as_long_as_a_disk_takes(inline, shards, ask, tmp_path):
    """What is kept of a run has names of its own, and one that no disk takes costs itself alone."""
    names = [f"{'n' * 251}.csv", f"{'n' * 247}.parquet", "a.csv.json/a.csv"]  # as a record might be called
    for name in names:
        (shards / name).parent.mkdir(exist_ok=True)
        shutil.copy(shards / f"a.{name.rsplit('.')[-1]}", shards / name)
    (shards / f"{'n' * 248}.tsv.gz").write_bytes(gzip.compress((shards / "a.csv").read_bytes()))
    found = ask(shards)
    assert {*names} < {*below(tmp_path / "out")}
    assert [why.rpartition(": ")[2] for why in found.failed.values()] == ["File name too long"]
    assert (found.tables, ask(shards).new) == (7, 0)


def test_what_a_folder_leaves_out_is_told(inline, shards, ask, tmp_path, log_lines):
    (shards / "lost.csv").symlink_to("nowhere.csv")
    ask(shards / "a.csv", out="shards/earlier")
    found = ask(shards)
    assert {"left out: broken links (1)", "left out: the answers in 'earlier'"} <= {*log_lines}
    assert (found.tables, found.done) == (4, True)


CUT = [b"", b'{"model": "', b"[]", b'{"inputs": 3}', b"\xff", None]


@pytest.mark.parametrize("cut", CUT, ids=map(repr, CUT))
def test_answers_whose_plan_is_lost_are_kept(inline, shards, ask, tmp_path, cut):
    ask(shards)
    plan = tmp_path / "out" / RUN / "run.json"
    plan.write_bytes(cut) if cut is not None else plan.unlink()
    (shards / "a.csv").unlink()
    with pytest.raises(UserError, match=r"whose plan .* cannot be read.*overwrite=True"):
        ask(shards)
    assert ask(shards, overwrite=True).new == 3
    assert "a.csv" not in below(tmp_path / "out")


def test_a_record_that_was_cut_is_made_again(inline, shards, ask, tmp_path):
    ask(shards)
    for record in (tmp_path / "out" / RUN / "inputs").glob("*.json"):
        record.write_bytes(record.read_bytes()[:20])
    found = ask(shards)
    assert (found.new, found.done) == (4, True)


def test_done_goes_where_inputs_come(inline, shards, ask, tmp_path):
    done = tmp_path / "out" / folder.DONE
    ask(shards)
    shutil.copy(shards / "a.csv", shards / "z.csv")
    assert ask(shards, part="1/5").waiting == 1  # which has nothing to do itself
    assert not done.exists()
    assert ask(shards, part="5/5").done
    assert json.loads(done.read_bytes())["tables"] == 5


def test_an_input_that_changes_while_it_is_read_is_told(inline, shards, ask, tmp_path, monkeypatch):
    read = job.read

    def changing(path, **how):
        table = read(path, **how)
        Path(path).write_bytes(Path(path).read_bytes() * 2)
        return table

    monkeypatch.setattr(job, "read", changing)
    found = ask(shards)
    assert {*found.failed} == {"a.csv"}
    assert "has changed since the run began" in found.failed["a.csv"]
    assert not {"a.csv", folder.DONE} & {*below(tmp_path / "out")}


def test_a_full_disk_ends_the_run_and_the_same_goes_on(inline, shards, ask, monkeypatch, tmp_path):
    written, place = [], files.place

    def second_is_full(made, path):
        written.append(path)
        if len(written) == 2:
            raise files.WriteError(f"{path} cannot be written: No space left.", 28, "No space left")
        place(made, path)

    monkeypatch.setattr(files, "place", second_is_full)
    with pytest.raises(RunError, match=r"cannot be written.*go on by the same command"):
        ask(shards)
    assert below(tmp_path / "out") == ["a.csv"]
    assert ask(shards).done


FAULTS = {
    "no input": ([], {}, "no INPUT"),
    "no such input": (["nowhere"], {}, "no such file or folder"),
    "an empty folder": (["empty"], {}, "holds no table"),
    "pictures": (["photos/x"], {}, "holds no table"),
    "a picture": (["photos/x/0.png"], {}, "INPUT must be a table"),
    "no table by its ending": (["thesis.md"], {}, "no known ending"),
    "no workers": (["shards"], {"workers": 0}, "from 1 on"),
    "a thousand workers": (["shards"], {"workers": 1000}, "cores"),
    "part 0/8": (["shards"], {"part": "0/8"}, "must be I/N"),
    "part 9/8": (["shards"], {"part": "9/8"}, "must be I/N"),
    "part x/y": (["shards"], {"part": "x/y"}, "must be I/N"),
    "part 3": (["shards"], {"part": "3"}, "must be I/N"),
    "an engine that is none": (["shards"], {"engine": "rays"}, "did you mean 'ray'"),
    "a file in the way": (["shards"], {"out": "thesis.md"}, "not written by manyhot"),
    "a folder of others": (["shards"], {"out": "photos"}, "not written by manyhot"),
    "a file above": (["shards"], {"out": "thesis.md/out"}, "is a file"),
    "an address of the web": (["https://x.org/a.csv"], {}, "fetch it by hand"),
    "another machine": (["file://server/a.csv"], {}, "another machine"),
    "a model elsewhere": (["shards"], {"model": "s3://bucket/model"}, "on a disk of this machine"),
    "answers elsewhere": (["shards"], {"out": "s3:/bucket/out"}, "no path of this machine"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_one_line(inline, shards, photos, ask, tmp_path, case):
    (tmp_path / "empty").mkdir()
    (tmp_path / "thesis.md").write_text("…")
    inputs, how, words = FAULTS[case]
    before = below(tmp_path)
    with pytest.raises(UserError, match=words):
        ask(*(name if "://" in name else tmp_path / name for name in inputs), **how)
    assert below(tmp_path) == before


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_an_engine_that_is_missing_is_told_with_what_installs_it(shards, ask, tmp_path, monkeypatch, engine):
    monkeypatch.setitem(__import__("sys").modules, engines.NEEDS[engine], None)
    with pytest.raises(UserError, match=rf"pip install 'manyhot\[{engine}\]'"):
        ask(shards, engine=engine)
    assert not (tmp_path / "out").exists()


def run_engine(tmp_path, *names, workers=2):
    given = [Unit(name, "") for name in names]
    results = engines.local(Deadly(tmp_path), given, workers)
    return {unit.name: result for unit, result in results}


def tries(tmp_path, name):
    return len((tmp_path / f"{name}.tries").read_text())


def test_a_process_that_dies_is_followed_by_another(tmp_path):
    found = run_engine(tmp_path, "a", "once", "deadly", "broken", "b")
    assert {name for name, result in found.items() if result.record} == {"a", "once", "b"}
    assert found["broken"].failed == "is broken"
    assert "3 times, at last by signal 9 (SIGKILL)" in found["deadly"].failed
    assert [tries(tmp_path, name) for name in ("a", "once", "deadly", "broken")] == [1, 2, 3, 1]


def test_a_run_that_is_stopped_leaves_no_process(tmp_path):
    results = engines.local(Deadly(tmp_path), [Unit("a", ""), Unit("long", ""), Unit("b", "")], 1)
    assert next(results)[0].name == "a"
    results.close()  # does not wait for the long one
    assert not (tmp_path / "b.tries").exists()


def test_the_commands_say_what_is_written_and_end_with_1_where_an_input_failed(
    shards, fitted_tables, tmp_path, capsys
):
    (shards / "b.parquet").write_bytes(b"PAR1")
    words = ["predict", str(fitted_tables / "model"), str(shards), "--out", f"{tmp_path / 'out'}/"]
    assert main([*words, "--workers", "1"]) == 1
    said = capsys.readouterr().err
    assert f"wrote {3 * ROWS} rows of 3 tables to " in said
    assert "manyhot: 'b.parquet' could not be answered" in said
    (shards / "b.parquet").unlink()
    assert main([*words, "--json", "--resume"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["done"], found["failed"]) == (3 * ROWS, True, {})


def test_options_of_a_folder_want_a_folder(fitted_tables, shards, capsys):
    words = ["predict", str(fitted_tables / "model"), str(shards / "a.csv")]
    for more, said in (
        (["--part", "1/2"], "--out FOLDER"),
        (["--workers", "2", "--out", "a.csv"], "--out FOLDER"),
        (["--out", "a.v2"], "or in / for a folder"),
        (["--out", "a", "--labels", "b.csv"], "--labels belongs to one table"),
        (["--out", "a", "--workers", "two"], "--workers must be a whole number"),
    ):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    assert not os.path.exists("a")  # noqa: PTH110


def test_file_uris_are_paths(shards, inline, ask):
    assert len(manyhot.read(f"file://{shards}/a.csv")) == ROWS
    assert ask(f"file://{shards}/a.csv").rows == ROWS


def test_workers_follow_from_the_work():
    small, large = [Unit("a", "", bytes=1 << 20)], [Unit(str(i), "", bytes=1 << 30) for i in range(9)]
    assert folder._workers(small) == 1
    assert folder._workers(large) == min(folder.given_cores(), int(folder.half_of_memory()))


def test_tables_elsewhere_are_read_by_pyarrow(inline, shards, ask, monkeypatch):
    """A file system of pyarrow's own stands for one elsewhere; benchmarks/scale.py asks a server."""
    from pyarrow import fs

    local = fs.SubTreeFileSystem(str(shards), fs.LocalFileSystem())

    class Elsewhere:
        @staticmethod
        def from_uri(uri):
            return local, uri.partition("://")[2].partition("?")[0].removeprefix("bucket/")

    monkeypatch.setattr(fs, "FileSystem", Elsewhere)
    with here("s3://bucket/a.csv") as copy:
        assert copy.read_bytes() == (shards / "a.csv").read_bytes()
    assert not copy.exists()
    assert [item.uri for item in listing("s3://bucket/sub")] == ["s3://bucket/sub/a.parquet"]
    assert len(manyhot.read("s3://bucket/a.csv")) == ROWS
    with pytest.raises(UserError, match=r"^s3://bucket/none.csv: no such file"):
        manyhot.read("s3://bucket/none.csv")
    with pytest.raises(UserError, match=r"^s3://bucket/sub: is a folder"):
        manyhot.read("s3://bucket/sub")
    assert ask("s3://bucket/sub").rows == ROWS


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import time; time.sleep(60)", "no answer within 1 seconds"),
        (
            "import os, sys; print('  what():  No token.', file=sys.stderr, flush=True); os.abort()",
            "(No token)",
        ),
    ],
    ids=["hangs", "aborts"],
)
def test_a_bucket_that_cannot_be_reached_ends_in_a_line(monkeypatch, code, said):
    monkeypatch.setattr(remote, "REACH", code)
    monkeypatch.setattr(remote, "REACH_SECONDS", 1)
    with pytest.raises(UserError, match=re.escape(said)):
        manyhot.read("gs://bucket/a.csv")


@pytest.mark.skipif(os.name == "nt", reason="there, new sessions are none")
def test_ctrl_c_does_not_reach_the_processes(tmp_path):
    """A terminal sends it to all of a session; only the first process may say something of it."""
    process = engines._Process(Deadly(tmp_path), 1)
    try:
        assert os.getsid(process._started().pid) != os.getsid(0)
    finally:
        process.stop()
        process.end()
