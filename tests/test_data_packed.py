"""Packed tables are what they are unpacked; what is damaged, encrypted, a bomb or several is refused."""

import bz2
import contextlib
import gzip
import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from manyhot.data.sources import packed
from manyhot.data.sources.arrow import read_parquet
from manyhot.data.sources.jsonl import read_jsonl
from manyhot.data.sources.read import read
from manyhot.data.sources.text import read_text
from manyhot.data.sources.write import write
from manyhot.data.table import from_python
from manyhot.errors import UserError

TABLE = b"a,b\n" + b"".join(b"%d,x%d\n" % (i, i % 3) for i in range(500))
ZSTD = pa.Codec("zstd")


def zipped(members, **flags):
    """The bytes of a .zip of some files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **flags) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: ZSTD.compress(data, asbytes=True),
    ".zip": lambda data: zipped({"t.csv": data}),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Where files are unpacked to; nothing may stay there."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [*folder.iterdir()] == []


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "unpacked/" not in message
    assert len(message) - len(str(path)) < 300
    return message


@pytest.mark.parametrize("ending", PACK)
def test_a_packed_table_is_the_table(tmp_path, ending):
    table = read(put(tmp_path, f"t.csv{ending.upper()}", PACK[ending](TABLE)))
    assert table.column("b").to_pylist() == [f"x{i % 3}" for i in range(500)]
    assert table.source == f"t.csv{ending.upper()}"
    assert table.root == tmp_path


@pytest.mark.parametrize(
    ("ending", "reader"), [(".parquet", read_parquet), (".jsonl", read_jsonl), (".tsv", read_text)]
)
def test_every_kind_of_table_may_be_packed(tmp_path, ending, reader):
    plain = tmp_path / f"t{ending}"
    write(from_python({"a": [1, 2], "b": ["x", "y"]}), plain)
    found = read(put(tmp_path, f"t{ending}.zst", PACK[".zst"](plain.read_bytes())))
    assert found.columns == reader(plain).columns


def test_parts_that_were_packed_one_after_the_other_are_all_read(tmp_path):
    half = len(TABLE) // 2
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        data = PACK[ending](TABLE[:half]) + PACK[ending](TABLE[half:])
        assert len(read(put(tmp_path, f"t.csv{ending}", data))) == 500


def test_litter_in_an_archive_is_no_file(tmp_path):
    members = {"data/t.csv": TABLE, "__MACOSX/data/._t.csv": b"x", "data/.DS_Store": b"x", "data/": b""}
    assert len(read(put(tmp_path, "t.zip", zipped(members)))) == 500


def test_no_name_in_an_archive_leads_out_of_the_folder(tmp_path):
    assert len(read(put(tmp_path, "t.zip", zipped({"../../../evil.csv": TABLE})))) == 500
    assert not (tmp_path.parent / "evil.csv").exists()


def encrypted():
    """A .zip whose member says that it is encrypted, in its own header and in the directory."""
    data = bytearray(zipped({"t.csv": TABLE}))
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("t.zip", encrypted(), "encrypted"),
        ("t.zip", zipped({"a.csv": TABLE, "b.csv": TABLE}), "holds 2 files, 'a.csv', 'b.csv'"),
        ("t.zip", zipped({"__MACOSX/a.csv": TABLE}), "holds no file"),
        ("t.zip", zipped({"a.csv.gz": gzip.compress(TABLE)}), "packed again"),
        ("t.zip", zipped({"a.zip": zipped({"a.csv": TABLE})}), "packed again"),
        ("t.csv.gz", gzip.compress(gzip.compress(TABLE)), "packed again"),
        ("t.csv.xz.gz", gzip.compress(lzma.compress(TABLE)), "packed again"),
        ("t.tar.gz", gzip.compress(TABLE), "'.tar' is no known ending"),
        ("t.gz", gzip.compress(TABLE), "has no ending"),
        ("t.zip", zipped({"a.docx": TABLE}), "'.docx' is no known ending"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n3\n"), "row 2: 1 field"),
        ("t.csv.zst", b"", "is empty"),
        *((f"t.csv{ending}", TABLE, f"no {ending} file") for ending in PACK),
        *((f"t.csv{ending}", pack(TABLE)[:-20], "cut short") for ending, pack in PACK.items()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(tmp_path, name, data, words):
    assert words in refused(put(tmp_path, name, data))


@pytest.mark.parametrize("ending", PACK)
def test_a_bomb_is_refused_by_what_comes_out_of_it(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(packed, "SMALL", 1 << 16)
    monkeypatch.setattr(packed, "BLOCK", 1 << 12)
    path = put(tmp_path, f"t.csv{ending}", PACK[ending](b"1,1\n" * (1 << 20)))
    assert "which is too much" in refused(path)
    assert len(read(put(tmp_path, f"u.csv{ending}", PACK[ending](TABLE)))) == 500


def test_a_size_that_lies_is_not_believed(tmp_path):
    """Both headers say 100 bytes, and more come out."""
    data = bytearray(zipped({"t.csv": b"1,1\n" * (1 << 20)}))
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(mark) + at, 100)
    assert "cut short" in refused(put(tmp_path, "t.csv.zip", bytes(data)))


def test_no_more_than_half_of_the_disk_is_filled(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 2000})())
    assert "more than 1,000" in refused(put(tmp_path, "t.csv.gz", gzip.compress(TABLE)))


@pytest.mark.parametrize("ending", PACK)
def test_any_byte_may_be_wrong(tmp_path, ending):
    """Read as before, or refused in one line; the sums of most formats see to the second."""
    good = PACK[ending](TABLE)
    for at in range(0, len(good), max(1, len(good) // 60)):
        path = put(tmp_path, f"t.csv{ending}", good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        with contextlib.suppress(UserError):  # and nothing but a UserError
            assert read(path).source == path.name


def test_a_stream_of_zlib_is_no_gzip(tmp_path):
    assert "no .gz file" in refused(put(tmp_path, "t.csv.gz", zlib.compress(TABLE)))
