"""Parquet answered a piece at a time is what it would be as a whole, also after a stop."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import manyhot
from manyhot.cli import main
from manyhot.data import disk
from manyhot.data.sources import pieces
from manyhot.data.sources.write import write
from manyhot.data.table import from_python
from manyhot.errors import UserError

ROWS = 100  # of a piece, in these tests


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(pieces, "ROWS", ROWS)


@pytest.fixture
def source(tmp_path):
    """A file of 950 rows in groups of 300, which pieces of 100 do not follow."""
    rng = np.random.default_rng(0)
    weight = [None if i < 200 else float(v) for i, v in enumerate(rng.normal(3, 2, 950))]
    origin = [None if i >= 800 else ("north", "south", "east")[i % 3] for i in range(950)]
    table = pa.table({"width": rng.random(950), "weight": weight, "origin": origin, "note": [{"a": 1}] * 950})
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=300)
    return path


def test_pieces_are_the_rows_of_the_file(source):
    found = list(pieces.pieces(source))
    assert [len(piece) for piece in found] == [100] * 9 + [50]
    assert [int(piece.rows[0]) for piece in found] == list(range(1, 951, 100))
    assert found[0].names == ("width", "weight", "origin")  # nested values are left out
    assert [int(piece.rows[0]) for piece in pieces.pieces(source, skip=7)] == [701, 801, 901]


def test_an_answered_file_is_what_all_rows_at_once_would_be(model, source, tmp_path):
    classifier = manyhot.load(model)
    told = []
    out = tmp_path / "answers.parquet"
    assert classifier.answer_file(source, out, progress=lambda *at: told.append(at)) == 950
    assert told == [(min(done, 950), 950) for done in range(100, 1001, 100)]
    whole = classifier.answers(manyhot.read(source))
    found = manyhot.read(out)
    assert found.names == whole.names
    for name in whole.names:
        assert found.column(name).to_pylist() == whole.column(name).to_pylist()
    assert not (tmp_path / "answers.parquet.parts").exists()


def test_a_stopped_run_goes_on_after_its_last_piece(model, source, tmp_path, monkeypatch):
    classifier = manyhot.load(model)
    out, parts = tmp_path / "answers.parquet", tmp_path / "answers.parquet.parts"

    def stop(done, rows):
        if done == 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classifier.answer_file(source, out, progress=stop)
    assert not out.exists()
    assert len(list(parts.glob("*.parquet"))) == 4
    told = []
    classifier.answer_file(source, out, resume=True, progress=lambda done, rows: told.append(done))
    assert told[0] == 500
    assert len(manyhot.read(out)) == 950
    assert not parts.exists()
    before = out.stat().st_mtime_ns
    assert classifier.answer_file(source, out, resume=True) == 950  # nothing is left to do
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["input", "no resume"])
def test_pieces_of_another_run_are_not_taken(model, source, tmp_path, change):
    classifier = manyhot.load(model)
    out = tmp_path / "answers.parquet"
    with pytest.raises(KeyboardInterrupt):
        classifier.answer_file(source, out, progress=lambda *at: (_ for _ in ()).throw(KeyboardInterrupt))
    if change == "input":
        pq.write_table(pq.read_table(source).slice(0, 500), source)
    told = []
    classifier.answer_file(source, out, resume=change == "input", progress=lambda *at: told.append(at[0]))
    assert told[0] == 100


def test_the_command_goes_on_too(model, source, tmp_path, capsys):
    out = tmp_path / "answers.parquet"
    words = ["predict", str(model), str(source), "--out", str(out)]
    assert main(words) == 0
    assert "wrote 950 rows" in capsys.readouterr().err
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert main([*words, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 950, "out": str(out)}


def test_resume_is_refused_where_nothing_could_go_on(model, source, tmp_path, capsys):
    assert main(["predict", str(model), str(source), "--out", str(tmp_path / "a.csv"), "--resume"]) == 2
    assert "--resume is for what is answered in pieces" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("given", ["rows.csv", "rows.arrow"])
def test_what_is_mapped_is_answered_in_pieces(model, source, tmp_path, monkeypatch, capsys, given, ending):
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(disk, "half_of_memory", lambda: 1e-6)
    table = pq.read_table(source).drop_columns(["note"])
    width = pa.array([*map(str, table.column("width").to_pylist()[:-1]), "wide"])
    data, out = tmp_path / given, tmp_path / f"answers.{ending}"
    write(from_python(table.set_column(0, "width", width)), tmp_path / "rows.csv")
    pa.feather.write_feather(table.set_column(0, "width", width), tmp_path / "rows.arrow")
    words = ["predict", str(model), str(data), "--out", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(pieces.Parts, "join", lambda parts: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(words) == 130
    said = capsys.readouterr().err
    assert f"{data} takes more than 2.5e-07 GB of memory" in said
    assert said.rstrip().endswith("--resume")
    assert len(list((tmp_path / f"{out.name}.parts").glob("*.parquet"))) == 10
    with monkeypatch.context() as patched:  # all is answered
        patched.setattr("manyhot.predict.predict", lambda *_: 1 / 0)
        assert main([*words, "--resume"]) == 0
    whole = tmp_path / f"whole.{ending}"
    write(manyhot.load(model).answers(manyhot.read(data)), whole)
    assert manyhot.read(out).columns == manyhot.read(whole).columns
    assert not (tmp_path / f"{out.name}.parts").exists()


def test_what_is_wrong_in_a_later_piece_stops_no_answer(model, source, tmp_path, capsys):
    table = pq.read_table(source)
    width = [*map(str, table.column("width").to_pylist()[:-1]), "wide"]
    pq.write_table(table.set_column(0, "width", pa.array(width)), source)
    out = tmp_path / "answers.parquet"
    assert main(["predict", str(model), str(source), "--out", str(out)]) == 0
    said = "column 'width': 1 of 950 cells is no number, such as 'wide', and counts as missing"
    assert said in capsys.readouterr().err
    answers = pq.read_table(out)
    assert answers.column("error").to_pylist() == [None] * 949 + ["'width': 'wide' is not a number"]
    assert answers.column("fruit").null_count == 0


def test_a_folder_of_somebody_elses_is_not_cleared(model, source, tmp_path):
    theirs = tmp_path / "answers.parquet.parts"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("…")
    with pytest.raises(UserError, match="not written by manyhot"):
        manyhot.load(model).answer_file(source, tmp_path / "answers.parquet")
    assert (theirs / "thesis.txt").exists()
