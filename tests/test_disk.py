"""Tables and arrays that do not fit into memory: mapped they are what they are in memory, to the bit."""

import errno
import gzip
import json
import os
import threading
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from making import QUICK, features, label_columns

import manyhot
from manyhot import files
from manyhot.cli import main
from manyhot.data import arrays, disk
from manyhot.data.inputs import features as prepared
from manyhot.data.inputs.features import table_inputs
from manyhot.data.rows.infer import infer
from manyhot.data.sources import arrow, jsonl, pieces, text, values
from manyhot.data.table import NoRowsError, from_python
from manyhot.errors import UserError

ROWS = 40
LITTLE = 1e-9  # GB of memory, in which nothing fits


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Blocks of few rows, and a cache of the test's own."""
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(arrays, "BLOCK", 7)
    monkeypatch.setattr(disk, "LEAST", 1)
    for module in (disk, arrow):
        monkeypatch.setattr(module, "ROWS", 11)
    monkeypatch.setattr(values, "BATCH", 7)


def plain():
    """Columns of a table that every kind of file holds."""
    return pa.table({**features(ROWS), **label_columns("mixed", ROWS, empty=0.1)})


def odd():
    """Columns whose types are not those that the rest reads."""
    count = range(ROWS)
    return pa.table(
        {
            "nan": pa.array([float("nan") if i % 3 else i / 7 for i in count]),
            "half": pa.array(np.arange(ROWS, dtype=np.float16)),
            "money": pa.array([Decimal(i) / 4 for i in count]),
            "category": pa.array([f"c{i % 4}" for i in count]).dictionary_encode(),
            "day": pa.array([86_400_000 * i for i in count], pa.timestamp("ms")),
            "nothing": pa.nulls(ROWS),
            "tags": pa.array([[str(i % 3)] if i % 4 else None for i in count]),
            "matrix": pa.array([[int(j == i % 3) for j in range(3)] for i in count]),
            "bytes": pa.array([b"a", b"b"] * (ROWS // 2)),
            "late bytes": pa.array([b"a"] * (ROWS - 1) + [b"\xff"]).dictionary_encode(),
            "fixed": pa.array([b"abcd"] * ROWS, pa.binary(4)),
            "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * ROWS, pa.binary(16))),
            "nested": pa.array([{"a": i} for i in count]),
            "large": pa.array([f"t{i}" for i in count], pa.large_string()),
            "y": pa.array(["a", "b"] * (ROWS // 2)),
        }
    )


def stream(data, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, data.schema) as writer:
        writer.write_table(data, max_chunksize=9)


def objects(data):
    return [
        json.dumps({n: v for n, v in row.items() if n != "nested"}, default=str) for row in data.to_pylist()
    ]


WRITERS = {
    "t.ipc": stream,
    "t.parquet": lambda data, path: pa.parquet.write_table(data, path, row_group_size=9),
    "t.feather": lambda data, path: pa.feather.write_feather(data, path, compression="lz4"),
    "t.arrow": lambda data, path: pa.feather.write_feather(
        data, path, compression="uncompressed", chunksize=9
    ),
    "t.jsonl": lambda data, path: path.write_text("\n".join(objects(data))),
    "t.json": lambda data, path: path.write_text(f"[{','.join(objects(data))}]"),
    "t.csv": pa.csv.write_csv,
    "t.tsv": lambda data, path: pa.csv.write_csv(data, path, pa.csv.WriteOptions(delimiter="\t")),
}


def same(one, other):
    assert one.names == other.names
    for name in one.names:
        assert one.columns[name].type == other.columns[name].type
        assert one.columns[name].to_pylist() == other.columns[name].to_pylist()
    for what in ("source", "root", "categories", "notes", "targets"):
        assert getattr(one, what) == getattr(other, what)
    assert (one.rows == other.rows).all()


@pytest.mark.parametrize("data", [plain, odd])
@pytest.mark.parametrize("name", WRITERS)
def test_a_mapped_table_is_the_table(tmp_path, name, data):
    held = data()
    if data is odd and name.endswith(("csv", "tsv")):
        lists = ["tags", "matrix", "bytes", "late bytes", "fixed", "uuid", "nested", "half"]
        held = held.drop_columns(lists)
    WRITERS[name](held, tmp_path / name)
    mapped, again, whole = (manyhot.read(tmp_path / name, memory=m) for m in (LITTLE, LITTLE, 1))
    assert mapped.on_disk
    assert not whole.on_disk
    same(mapped, whole)
    same(again, whole)


TEXTS = {
    "quotes over lines": ('a,y\n"1\n""x"",",p\n' + '"2\n\n",q\n' * 30).encode(),
    "a header longer than a block": (",".join(f"column {i}" for i in range(40)) + "\n").encode()
    + b",".join([b"1"] * 40)
    + b"\n",
    "no header": b"".join(b"p%d.png,%d.5,v%d\n" % (i, i, i % 2) for i in range(30)),
    "formulas": b"'=a,y\n" + b"b,p\n" * 30 + b"'=1+1,q\n''=2,q\n",
    "a late word": b"a,y\n" + b"1,p\n007,q\n" * 30 + b"NA,p\nword,q\n",
    "lines in cells": b"a,y\r\n" + b"".join(b'"%s\r\n\r\n",p\r\n' % (b"x" * (i % 9)) for i in range(90)),
    "Windows": b"\xef\xbb\xbfa;y\r\n" + b'"1,5";p\r\n' * 30 + b";q\r\n",
    "Windows-1252": b"a,y\n" + b"1,p\n" * 30 + b"\xe9,q\n",
    "UTF-16": ("a\ty\n" + "é\tp\n" * 30).encode("utf-16"),
    "a late long row": b"a,y\n" + b"1,p\n" * 30 + b"1" * 500 + b",q\n",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_mapped_text_is_the_text(tmp_path, monkeypatch, kind):
    (tmp_path / "t.csv").write_bytes(TEXTS[kind])
    whole = manyhot.read(tmp_path / "t.csv")
    monkeypatch.setattr(text, "BLOCKS", (64, 700, 1 << 30))
    mapped = manyhot.read(tmp_path / "t.csv", memory=LITTLE)
    assert mapped.on_disk
    same(mapped, whole)


LINES = {
    "a late key": [{"a": 1}] * 30 + [{"b": [0.5, None], "a": None}],
    "a key that ends": [{"a": True, "b": "x"}] * 9 + [{"b": "y"}] * 30,
    "a late fraction": [{"a": 7}] * 30 + [{"a": 0.25}],
    "a late whole number that is no float": [{"a": 0.25}] * 30 + [{"a": 2**53 + 1}],
    "whole numbers that are no float": [{"a": 2**53 + 1}, {"a": None}, {"a": 1}] * 10,
    "whole numbers beyond 64 bits": [{"a": 1}] * 30 + [{"a": 2**70}],
    "a late text": [{"a": 1.0}, {"a": 1e300}, {"a": None}] * 10 + [{"a": "é\n"}],
    "a late list": [{"a": "x"}, {"a": None}] * 15 + [{"a": ["x", 1]}],
    "lists": [{"a": []}, {"a": ["x;y", 2, None, True]}, {}] * 15,
    "flags among numbers": [{"a": 1}] * 10 + [{"a": False}] * 10,
    "nothing but nulls": [{"a": None, "b": 1}] * 20,
    "rows without a cell": [{}] * 10 + [{"a": 1}] + [{}] * 10,
    "an empty key": [{"": 1}] * 10 + [{}] * 10 + [{"a": 1, "": 2}] * 10,
    "numbers that are none": [{"a": float("nan")}, {"a": float("-inf")}] * 10,
    "names with blanks": [{" a": 1}] * 20,
    "names that are one without blanks": [{" a": 1}] * 20 + [{"a": 1}],
    "a nested value": [{"a": 1}] * 20 + [{"a": {"b": 1}}],
    "a list of lists": [{"a": [1]}] * 20 + [{"a": [[1]]}],
    "half a character": [{"a": "x"}] * 20 + [{"a": "\ud800"}],
    "a line that is no object": [{"a": 1}] * 20 + [[1]],
}
BROKEN = {
    "a broken line": '{"a": 1}\n' * 20 + '{"a": 1\n' + '{"a": 1}\n',
    "the same key twice": '{"a": 1}\n' * 20 + '{"a": 1, "a": 2}',
    "nothing": "",
    "blank lines": "\n \n" * 20,
    "Windows' lines": '\ufeff{"a": "é"}\r\n\r\n' + '{"a": "b"}\r\n' * 20,
}
ALL_LINES = BROKEN | {name: "\n".join(map(json.dumps, rows)) for name, rows in LINES.items()}


def read_or_told(path, memory):
    try:
        return manyhot.read(path, memory=memory)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize("kind", ALL_LINES)
def test_mapped_lines_of_json_are_the_lines(tmp_path, kind, ending):
    path = tmp_path / f"t.{ending}"
    path.write_bytes(ALL_LINES[kind].encode())
    whole, mapped, again = (read_or_told(path, memory) for memory in (1, LITTLE, LITTLE))
    if isinstance(whole, str):
        assert whole == mapped == again
        assert not [*(tmp_path / "cache").rglob("*.part")]
    else:
        assert (mapped.on_disk, whole.on_disk) == (True, False)
        same(mapped, whole)
        same(again, whole)


def test_a_broken_line_of_json_is_told_by_its_number(tmp_path):
    (tmp_path / "t.jsonl").write_text(BROKEN["a broken line"])
    with pytest.raises(UserError, match=r"t\.jsonl line 21, character 8: is not valid JSON"):
        manyhot.read(tmp_path / "t.jsonl", memory=LITTLE)


def test_lines_of_json_are_held_where_no_room_is_on_the_disk(tmp_path, monkeypatch, log_lines):
    WRITERS["t.jsonl"](plain(), tmp_path / "t.jsonl")
    monkeypatch.setattr(jsonl.Spooled, "append", refuse)
    assert not manyhot.read(tmp_path / "t.jsonl", memory=LITTLE).on_disk
    (said,) = log_lines
    assert "is held in memory: " in said


@pytest.mark.parametrize("write", [stream, pa.feather.write_feather])
def test_a_file_of_arrow_without_rows_is_told(tmp_path, write):
    write(plain().slice(0, 0), tmp_path / "t.arrow")
    with pytest.raises(NoRowsError, match="the file has no rows"):
        manyhot.read(tmp_path / "t.arrow", memory=LITTLE)


@pytest.mark.parametrize("cut", [0, 8, 1000, -9, -1])
def test_what_was_cut_short_is_converted_anew(tmp_path, cut):
    pa.parquet.write_table(plain(), tmp_path / "t.parquet")
    whole = manyhot.read(tmp_path / "t.parquet")
    manyhot.read(tmp_path / "t.parquet", memory=LITTLE)
    (kept,) = (tmp_path / "cache" / "tables").glob("*.arrow")
    kept.write_bytes(kept.read_bytes()[:cut])
    same(manyhot.read(tmp_path / "t.parquet", memory=LITTLE), whole)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.feather", "t.json"])
def test_what_was_converted_is_taken_again_and_follows_the_file(tmp_path, name):
    WRITERS[name](plain(), tmp_path / name)
    manyhot.read(tmp_path / name, memory=LITTLE)
    (kept,) = (tmp_path / "cache" / "tables").glob("*.arrow")
    made = kept.stat().st_ino
    manyhot.read(tmp_path / name, memory=LITTLE)
    assert kept.stat().st_ino == made
    WRITERS[name](plain().slice(0, 30), tmp_path / name)
    assert len(manyhot.read(tmp_path / name, memory=LITTLE)) == 30


def test_a_file_that_is_changed_in_its_middle_is_converted_anew(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "1,p\n2,q\n" * 30)
    manyhot.read(path, memory=LITTLE)
    before = path.stat()
    with path.open("rb+") as file:
        file.seek(4 + 4 * 30)
        file.write(b"7")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert "7" in manyhot.read(path, memory=LITTLE).column("a").to_pylist()


def test_an_open_file_of_arrow_is_mapped_as_it_is(tmp_path):
    WRITERS["t.arrow"](plain(), tmp_path / "t.arrow")
    assert manyhot.read(tmp_path / "t.arrow", memory=LITTLE).on_disk
    assert not [*(tmp_path / "cache").rglob("*.arrow")]


def test_rows_of_a_mapped_table_are_its_rows(tmp_path):
    pa.parquet.write_table(plain(), tmp_path / "t.parquet")
    mapped, whole = (manyhot.read(tmp_path / "t.parquet", memory=m) for m in (LITTLE, 1))
    for index in (
        np.array([0, 3, 20, 39]),
        np.array([39, 0, 5]),
        np.array([], int),
        np.arange(ROWS) % 2 == 0,
    ):
        same(mapped.take(index), whole.take(index))
    same(mapped.slice(slice(9, 31)), whole.take(np.arange(9, 31)))
    assert (
        len([*(tmp_path / "cache" / "tables").glob("*.arrow")]) == 1
    )  # what was taken goes with the process


@pytest.mark.parametrize("options", [{}, {"folds": 3}, {"test": 0.2}])
@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_model_of_a_mapped_table_is_that_of_one_in_memory(tmp_path, name, options):
    WRITERS[name](plain(), tmp_path / name)
    weights = []
    for memory in (LITTLE, 1.0):
        out = tmp_path / f"m{memory}"
        manyhot.fit(tmp_path / name, "ripe", out=out, memory=memory, verbose=False, **QUICK, **options)
        files_of = ("weights.safetensors", "inputs.json", "split.csv", "metrics.json")
        weights.append([(out / each).read_bytes() for each in files_of])
    assert weights[0] == weights[1]
    assert not [*(tmp_path / "cache").rglob("*.array*")]


def test_floats_that_are_categories_are_called_alike_in_all_blocks():
    sizes = [1.0, 2.0] * 10 + [2.5, 1.5] * 10
    table = from_python({"size": sizes, "y": ["a", "b"] * 20})
    schema = infer(table, "y", kinds={"size": "category"})
    inputs = table_inputs(schema, table, np.arange(40))
    assert inputs.features[0].classes == ("1.0", "1.5", "2.0", "2.5")
    assert (inputs.transform(table)[0] == inputs.read(table)[0]).all()


def test_where_numbers_lie_is_told_by_some_rows_and_gaps_by_all(monkeypatch):
    monkeypatch.setattr(prepared, "QUANTILES", 20)
    values = [*np.arange(999.0), None]
    table = from_python({"a": values, "y": ["a", "b"] * 500})
    rows = np.arange(1000)
    found = [table_inputs(infer(table, "y", kinds={"a": "number"}), table, rows, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert all(inputs.features[0].has_missing for inputs in found)


def test_cells_in_several_parts_are_those_of_one():
    parts = pa.chunked_array([["b", None, "a"], [], ["c", "b"], [" 1e3", "0x", None]], pa.string())
    several = replace(from_python({"a": parts.combine_chunks()}), columns={"a": parts})
    one = from_python({"a": parts.combine_chunks()})
    for way in (lambda t: t.cells("a").values, lambda t: t.cells("a").codes.tolist()):
        assert way(several) == way(one)
    for ours, theirs in zip(several.read_numbers("a"), one.read_numbers("a"), strict=True):
        assert np.array_equal(ours, theirs, equal_nan=True)


def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_without_room_on_the_disk_memory_is_used(tmp_path, monkeypatch, log_lines):
    pa.parquet.write_table(plain(), tmp_path / "t.parquet")
    monkeypatch.setattr(disk, "_write", refuse)
    monkeypatch.setattr(disk, "_fill", refuse)
    table = manyhot.read(tmp_path / "t.parquet", memory=LITTLE)
    assert not table.on_disk
    x = disk.array((3, 2), LITTLE, lambda x: x.fill(1.0))
    assert x.tolist() == [[1, 1]] * 3
    assert [line.count("is held in memory: ") for line in log_lines] == [1, 0]
    assert "No space left on device" in log_lines[0]
    assert not [*(tmp_path / "cache").rglob("*.part")]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_what_is_packed_is_mapped_and_not_kept(tmp_path, name):
    WRITERS[name](plain(), tmp_path / name)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    mapped, whole = (manyhot.read(tmp_path / f"{name}.gz", memory=m) for m in (LITTLE, 1))
    assert mapped.on_disk
    same(mapped, whole)
    assert not [*(tmp_path / "cache").rglob("*.arrow*")]


def test_who_comes_second_waits_and_takes_what_the_first_has_made(tmp_path):
    pa.parquet.write_table(plain(), tmp_path / "t.parquet")
    made = []

    def convert():
        made.append(1)
        time.sleep(0.2)
        yield from plain().to_batches()

    def ask():
        found.append(disk.columns(tmp_path / "t.parquet", "x", 1, convert).num_rows)

    found = []
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert found == [ROWS] * 3


def test_an_array_is_made_once_for_all_processes_of_a_run(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    first = disk.array((3, 2), LITTLE, lambda x: x.fill(1.0), "key")
    second = disk.array((3, 2), LITTLE, refuse, "key")
    assert (first == second).all()
    first[0] = 5  # each writes into its own copy
    assert second[0, 0] == 1
    disk.release()
    assert not [*(tmp_path / "cache").rglob("*.array*")]
    assert second[2, 1] == 1


def test_what_a_killed_run_left_goes(tmp_path):
    pa.parquet.write_table(plain(), tmp_path / "t.parquet")
    manyhot.read(tmp_path / "t.parquet", memory=LITTLE)
    folder = tmp_path / "cache" / "tables"
    (kept,) = folder.glob("*.arrow")
    kept.rename(folder / f".{kept.name}.abc{files.PART}")
    manyhot.read(tmp_path / "t.parquet", memory=LITTLE)
    assert kept.exists()
    assert not [*folder.glob(".*")]


def test_the_cache_shows_and_clears_tables(tmp_path, capsys):
    pa.parquet.write_table(plain(), tmp_path / "t.parquet")
    table = manyhot.read(tmp_path / "t.parquet", memory=LITTLE)
    assert main(["cache"]) == 0
    assert ": 1 converted table, " in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert disk.usage() == {"tables": 0, "bytes": 0}
    assert table.column("origin")[0].as_py() == "north"  # who has it keeps it


def parts(folder, *tables, ending=".parquet"):
    folder.mkdir()
    for number, table in enumerate(tables):
        WRITERS[f"t{ending}"](table, folder / f"part-{number:03d}{ending}")
    (folder / "_SUCCESS").touch()
    return folder


@pytest.mark.parametrize("memory", [LITTLE, 1])
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_folder_of_parts_is_one_table(tmp_path, ending, memory):
    whole = plain()
    found = manyhot.read(
        parts(tmp_path / "shards", whole.slice(0, 15), whole.slice(15, 1), whole.slice(16), ending=ending),
        memory=memory,
    )
    assert found.on_disk == (memory == LITTLE)
    WRITERS[f"t{ending}"](whole, tmp_path / f"t{ending}")
    one = manyhot.read(tmp_path / f"t{ending}")
    same(found, replace(one, source="shards", root=tmp_path / "shards", notes=found.notes))
    assert found.notes == (f"one table in 3 files, from part-000{ending} to part-002{ending}",)


def test_parts_of_other_types_fit_where_no_cell_changes(tmp_path):
    one, two = pa.table({"a": [1, 2], "b": pa.nulls(2)}), pa.table({"a": [0.5, None], "b": ["x", "y"]})
    found = manyhot.read(parts(tmp_path / "p", one, two))
    assert found.column("a").to_pylist() == [1.0, 2.0, 0.5, None]
    assert found.column("b").to_pylist() == [None, None, "x", "y"]


def test_parts_without_rows_are_passed_over_unless_all_are(tmp_path):
    some, none = plain(), plain().slice(0, 0)
    assert len(manyhot.read(parts(tmp_path / "p", none, some, none), memory=LITTLE)) == ROWS
    with pytest.raises(NoRowsError, match="none of its 2 files has rows"):
        manyhot.read(parts(tmp_path / "q", none, none))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"a": [1]}, "lacks 'b'"),
        ({"a": [1], "b": ["x"], "c": [2]}, "has 'c' as well"),
        ({"a": ["x"], "b": ["x"]}, "column 'a' is of type string"),
        ({"a": ["1"], "b": ["x"]}, "column 'a' is of type string"),
        ({"a": [0.5], "b": [2]}, "column 'b' is of type int64"),
    ],
)
def test_parts_of_several_tables_are_refused(tmp_path, other, said):
    folder = parts(tmp_path / "p", pa.table({"a": [1], "b": ["x"]}), pa.table(other))
    with pytest.raises(UserError, match=said):
        manyhot.read(folder)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_rows_that_are_prepared_leave_no_page_of_the_table_behind(tmp_path, monkeypatch):
    count = 200_000
    for module, name in ((arrays, "BLOCK"), (disk, "ROWS"), (arrow, "ROWS")):
        monkeypatch.setattr(module, name, 1 << 15)
    table = pa.table({"a": np.arange(count, dtype=float), "y": ["a", "b"] * (count // 2)})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    mapped = manyhot.read(tmp_path / "t.parquet", memory=LITTLE)
    inputs = table_inputs(infer(mapped, "y"), mapped, np.arange(count))
    assert pages_of(".arrow") > 1 << 20
    x, _ = inputs.transform(mapped)
    assert pages_of(".arrow") < 1 << 20
    assert len(np.unique(x)) == count


def pages_of(ending):
    """Bytes of memory that pages of mapped files with this ending take."""
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0]:
            counts = words[-1].endswith(ending) and len(words) > 5
        elif words[0] == "Rss:" and counts:
            found += 1024 * int(words[1])
    return found


@pytest.mark.parametrize("split", ["all", "folds"])
def test_a_mapped_table_is_judged_a_piece_at_a_time(tmp_path, monkeypatch, split):
    pa.parquet.write_table(plain(), tmp_path / "t.parquet")
    model = manyhot.fit(tmp_path / "t.parquet", "ripe", folds=3, verbose=False, **QUICK)
    data = plain().drop_columns(["width"]).append_column("width", pa.array(["much"] + ["1.5"] * (ROWS - 1)))
    pa.parquet.write_table(plain() if split == "folds" else data, tmp_path / "new.parquet")
    mapped, whole = (manyhot.read(tmp_path / "new.parquet", memory=m) for m in (LITTLE, 1))
    held = model.judge(whole, split)
    rows, read = [], prepared.TableInputs.read
    monkeypatch.setattr(prepared.TableInputs, "read", lambda i, t: rows.append(len(t)) or read(i, t))
    monkeypatch.setattr(pieces, "ROWS", 16)
    told = []
    found = model.judge(mapped, split, progress=lambda *far: told.append(far))
    assert found.details() == held.details()
    assert found.noticed.lines({}) == held.noticed.lines({})
    assert rows == [16, 16, 8]
    assert told == [(16, 40), (32, 40), (40, 40)]
