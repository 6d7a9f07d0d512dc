"""A disk that fills up, a quota, a limit: one line, status 1, nothing half-written; what can go on does."""

import errno
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest

import manyhot
from manyhot import files
from manyhot.classifier import Classifier
from manyhot.errors import RunError, WriteError
from manyhot.train import checkpoint

QUICK = {"effort": "fast", "epochs": 3, "threads": 1, "members": "network", "verbose": False}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


@pytest.fixture
def table(tmp_path):
    x = np.random.default_rng(0).normal(size=80).round(3)
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "\n".join(f"{value},{'yes' if value > 0 else 'no'}" for value in x))
    return path


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", NO_ROOM)
def test_what_keeps_a_file_from_being_written_is_one_line_with_the_remedy(tmp_path, number):
    def refused(temporary):
        temporary.write_text("half")
        raise OSError(number, os.strerror(number), str(temporary))

    with pytest.raises(WriteError) as caught:
        files.write_with(tmp_path / "a.csv", refused)
    assert str(caught.value).startswith(f"{tmp_path / 'a.csv'} cannot be written: {os.strerror(number)}. ")
    assert isinstance(caught.value, RunError)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == number
    assert [*tmp_path.iterdir()] == []


def test_what_other_libraries_say_of_it_is_read_too(tmp_path):
    def arrows(temporary):
        raise OSError("Error writing bytes to file. Detail: [errno 28] No space left on device")

    with pytest.raises(WriteError, match="cannot be written: No space left on device"):
        files.write_with(tmp_path / "a.parquet", arrows)


def test_another_mistake_stays_what_it_is(tmp_path):
    def missing(temporary):
        (tmp_path / "none").read_text()

    with pytest.raises(FileNotFoundError):
        files.write_with(tmp_path / "a.csv", missing)


def test_files_come_together_or_not_at_all(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "last").write_text("old")

    def fill(fails):
        with files.staged(tmp_path, "last", ["old"]) as beside:
            files.write_text(beside / "last", "new")
            files.write_with(beside / "more", full if fails else lambda path: path.write_text("new"))

    with pytest.raises(WriteError) as caught:
        fill(True)
    assert str(caught.value).startswith(f"{tmp_path / 'more'} cannot be written")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old": "old", "last": "old"}
    fill(False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"last": "new", "more": "new"}


def test_training_goes_on_without_checkpoints_and_says_so_once(table, tmp_path, monkeypatch, log_lines):
    monkeypatch.setattr(checkpoint, "write_tensors", lambda path, tensors: files.write_with(path, full))
    out = tmp_path / "model"
    manyhot.fit(table, ["y"], out=out, **QUICK)
    assert len([line for line in log_lines if "goes on without new checkpoints; there is none" in line]) == 1
    assert manyhot.load(out).predict(table)["y"]


def test_training_goes_on_without_its_history(table, tmp_path, monkeypatch, log_lines):
    opened = type(table).open

    def without_history(path, *args, **kwargs):
        return full() if path.name == "history.jsonl" else opened(path, *args, **kwargs)

    monkeypatch.setattr(type(table), "open", without_history)
    manyhot.fit(table, ["y"], out=tmp_path / "model", **QUICK)
    (line,) = [line for line in log_lines if "Training goes on without it" in line]
    assert "history.jsonl cannot be written: No space left on device" in line
    assert (tmp_path / "model" / "history.jsonl").stat().st_size  # with the model


@pytest.mark.usefixtures("checkpoint_each_epoch")
def test_the_checkpoint_before_makes_room(table, tmp_path, monkeypatch, log_lines):
    written, out = [], tmp_path / "model"

    def write(path, tensors):
        if len([*path.parent.glob("*.safetensors")]) > 1:  # there is room for two, one being written
            files.write_with(path, full)
        written.append(path.name)
        files.write_tensors(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", write)
    manyhot.fit(table, ["y"], out=out, **QUICK)
    assert len(written) == 3
    assert not log_lines


def test_checkpoints_take_a_tenth_of_the_time(tmp_path, monkeypatch):
    now, epochs = [0.0], []
    kept = checkpoint.Checkpoints(tmp_path, "a run")
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    def save(network, optimizer, best, progress):
        now[0] += 2  # seconds that writing takes
        epochs.append(progress["epoch"])

    monkeypatch.setattr(kept, "save", save)
    for epoch in range(1, 31):
        now[0] += 3
        kept.keep({}, {}, {}, {"epoch": epoch}, final=epoch == 30)
    assert epochs == [1, 8, 15, 22, 29, 30]


def test_a_model_without_room_names_its_checkpoint_and_leaves_the_old_one(table, tmp_path, monkeypatch):
    out = tmp_path / "model"
    manyhot.fit(table, ["y"], out=out, **QUICK)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "history.jsonl"}
    again = QUICK | {"seed": 1}
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "write_into", lambda self, folder: files.write_with(folder / "w", full))
        with pytest.raises(RunError) as caught:
            manyhot.fit(table, ["y"], out=out, overwrite=True, **again)
    assert str(caught.value).startswith(f"{out / 'w'} cannot be written: No space left on device.")
    (kept,) = sorted((out / "checkpoints").glob("*.json"))[-1:]
    assert f"What was trained is kept in checkpoints/{kept.stem}: " in str(caught.value)
    assert before == {name: (out / name).read_bytes() for name in before}
    manyhot.fit(table, ["y"], out=out, resume=True, **again)
    assert not (out / "checkpoints").exists()
    assert (out / "weights.safetensors").read_bytes() != before["weights.safetensors"]


def test_a_tuned_model_without_room_stays_what_it_was(table, tmp_path, monkeypatch):
    out = tmp_path / "model"
    manyhot.fit(table, ["y"], out=out, **QUICK)
    tuned = manyhot.load(out).tune(table, "recall=1", "all")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match=r"report\.html cannot be written"):
        tuned.update(out)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_limit_on_files_is_one_line_and_leaves_nothing(table, tmp_path):
    out = tmp_path / "model"
    words = [
        sys.executable,
        "-m",
        "manyhot",
        "fit",
        table,
        "--target",
        "y",
        "--effort",
        "fast",
        "--epochs",
        "2",
    ]
    line = shlex.join(map(str, [*words, "--out", out]))
    done = subprocess.run(["sh", "-c", f"ulimit -f 8; {line}"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"manyhot: {out}/")
    assert "cannot be written: File too large. Raise the limit" in last
    assert last.endswith("No checkpoint could be kept, so what was trained is lost.")
    assert not out.exists()
