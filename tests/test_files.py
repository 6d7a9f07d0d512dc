"""Files: whole or not there, nothing left over, and no path that leaves its folder."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from manyhot import files
from manyhot.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writing_makes_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "x.txt"
    files.write_text(path, "ü\n")
    assert path.read_bytes() == "ü\n".encode()
    assert names(path.parent) == ["x.txt"]
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert names(path.parent) == ["x.txt"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_permissions_are_those_of_a_usual_file(tmp_path):
    files.write_text(tmp_path / "ours", "x")
    (tmp_path / "usual").write_text("x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "usual")}
    assert len(modes) == 1


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")]
)
def test_the_old_file_is_intact_when_writing_fails(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def half(temporary):
        temporary.write_text("ha")
        raise error

    with pytest.raises(type(error)):
        files.write_with(path, half)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_failing_sync_or_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_what_is_no_text_is_written_by_its_number(tmp_path):
    files.write_json(tmp_path / "x.json", {"source": os.fsdecode(b"\xff.csv")})
    assert files.read_json(tmp_path / "x.json") == {"source": "\udcff.csv"}


@pytest.mark.skipif(os.name == "nt", reason="files have no limit there")
@pytest.mark.parametrize(
    "write",
    [
        "files.write_bytes(path, bytes(9999))",
        "files.write_tensors(path, {'w': torch.zeros(9999)})",
        "write(table, path.with_suffix('.parquet'))",
        "write(table, path.with_suffix('.csv'))",
    ],
)
def test_a_file_that_may_not_grow_fails_as_on_a_full_disk(tmp_path, write):
    """Whatever writes it: what the operating system says, with the file's name, and nothing left."""
    code = f"""
import resource, signal, sys
from pathlib import Path
import torch
from manyhot import files
from manyhot.data.sources.write import write
from manyhot.data.table import from_python
table, path = from_python({{"x": [i * 0.7 for i in range(9999)]}}), Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    {write}
except OSError as error:
    print(error)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "x.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert re.fullmatch(r".*/x\.\w+ cannot be written: File too large. Raise .*\n", done.stdout), done.stdout
    assert names(tmp_path) == []


def test_a_folder_is_held_by_one(tmp_path):
    folder, out = tmp_path / "m" / "checkpoints", tmp_path / "m"
    with files.held(folder, out):
        (folder / "old").mkdir()
        files.empty(folder)
        assert names(folder) == ["lock"]
        with pytest.raises(UserError, match="m is being written by another run"), files.held(folder, out):
            pass
    with files.held(folder, out):  # it was let go
        pass


@pytest.mark.skipif(os.name == "nt", reason="it has locks of its own")
@pytest.mark.parametrize("known", [True, False])
def test_disks_that_know_other_locks_or_none(tmp_path, monkeypatch, known):
    def refuse(*args):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    if not known:
        monkeypatch.setattr(files.fcntl, "lockf", refuse)
    code = f"""
import fcntl
from pathlib import Path
from manyhot import files
def refuse(*args):
    raise OSError(95, "Operation not supported")
fcntl.flock = refuse
with files.held(Path({str(tmp_path)!r}), Path("m")):
    pass
"""
    with files.held(tmp_path, tmp_path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ("being written" in other.stderr) == known


def test_json(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": [1, None, "ü"]})
    assert files.read_json(path) == {"a": [1, None, "ü"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": [1, None, "ü"]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": 1} x'])
def test_what_is_not_json(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not JSON"):
        files.read_json(path)


def test_json_that_is_missing_a_folder_or_too_large(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot be read"):
        files.read_json(tmp_path)
    (tmp_path / "x.json").write_text(json.dumps("a" * 100))
    with pytest.raises(UserError, match="larger than"):
        files.read_json(tmp_path / "x.json", limit_bytes=50)


def test_json_lines(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert files.read_json_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a"')
    with pytest.raises(UserError, match="not JSON lines"):
        files.read_json_lines(path)
    with pytest.raises(UserError, match="cannot be read"):
        files.read_json_lines(tmp_path / "none")


def test_checksum(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.checksum(tmp_path / "x").startswith("ba7816bf")


@pytest.mark.parametrize("inner", ["a.png", "sub/a.png", "sub/../a.png", "./a.png", "not there.png"])
def test_paths_that_stay_inside(tmp_path, inner):
    (tmp_path / "sub").mkdir()
    assert files.inside(tmp_path, inner).is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize("outer", ["../a.png", "sub/../../a.png", "/etc/passwd", "link/a.png", "file.png"])
def test_paths_that_leave(tmp_path, outer):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    (root / "link").symlink_to(tmp_path / "out")
    (root / "file.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(UserError, match="leaves the folder"):
        files.inside(root, outer)


def test_outputs_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="exists already; pass overwrite=True"):
        files.check_out(tmp_path / "file", overwrite=False)
    files.check_out(tmp_path / "file", overwrite=True)
    files.check_out(tmp_path / "new" / "deep", overwrite=False)
    with pytest.raises(UserError, match="is a file"):
        files.check_out(tmp_path / "file" / "x", overwrite=False)
    for uri in ("s3://bucket/model", "file:///model"):  # which would be a folder called `s3:`
        with pytest.raises(UserError, match="no path of this machine"):
            files.check_out(Path(uri), overwrite=False)


def test_a_folder_that_nobody_can_make_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    def mkdir(self, **how):
        raise FileNotFoundError(2, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with (
        pytest.raises(files.WriteError, match="cannot be made"),
        files.held(tmp_path / "x", tmp_path / "x", wait=True),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written to"):
        files.check_out(tmp_path / "closed" / "x", overwrite=False)


def test_only_what_manyhot_wrote_is_replaced(tmp_path):
    files.check_ours(tmp_path / "none", ["mark"])
    files.check_ours(tmp_path, ["mark"])
    (tmp_path / "photo.png").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "photo.png"):
        with pytest.raises(UserError, match="not written by manyhot"):
            files.check_ours(path, ["mark"])
    (tmp_path / "mark").write_bytes(b"")
    files.check_ours(tmp_path, ["mark"])


def test_clear(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "x").write_text("x")
    (tmp_path / "link").symlink_to(target)
    files.clear(tmp_path / "link")
    assert (target / "x").exists()
    files.clear(target)
    files.clear(target)
    assert names(tmp_path) == []
