"""Runs that are killed, or whose disk is full: what resumes ends in the weights of a run left alone."""

import errno
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import manyhot
from manyhot import files, fitting
from manyhot.data.table import from_python
from manyhot.errors import RunError

SETTINGS = {"batch_size": 16, "patience": 0, "dropout": 0.2}


def rows() -> manyhot.Table:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 4))
    columns = {f"x{i}": x[:, i] for i in range(4)}
    return from_python({**columns, "y": np.where(x[:, 0] > 0, "up", "down")})


def run(out: Path, resume: bool = False, epochs: int = 6) -> None:
    manyhot.fit(rows(), ["y"], out=out, resume=resume, epochs=epochs, **SETTINGS)


class FullDisk:
    """A disk whose Nth write from now on finds no room; `fail_at(0)` gives it room again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sync = os.fsync
        self.fail_at(0)
        monkeypatch.setattr(files.os, "fsync", self.write)

    def fail_at(self, number: int) -> None:
        self.writes, self.failing = 0, number

    def write(self, handle: int) -> None:
        self.writes += 1
        if self.writes == self.failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.sync(handle)


def weights(out: Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in load_file(out / "weights.safetensors").items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    out = tmp_path_factory.mktemp("undisturbed") / "model"
    run(tmp_path_factory.mktemp("warm") / "model")  # so that the time below has no first calls in it
    start = time.perf_counter()
    run(out)
    return weights(out), time.perf_counter() - start


def killed(out: Path, after: float, resume: bool) -> bool:
    """Run in a process of its own and kill it after some seconds; tell whether it was killed at work."""
    child = multiprocessing.get_context("fork").Process(target=run, args=(out, resume))
    child.start()
    child.join(after)
    at_work = child.is_alive()
    if at_work:
        os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    return at_work


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("moments", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_resumed(
    tmp_path: Path, undisturbed: tuple[dict[str, bytes], float], moments: int
) -> None:
    expected, seconds = undisturbed
    rng = np.random.default_rng(moments)
    kills = 0
    for number, share in enumerate(rng.random(moments)):
        out = tmp_path / str(number)
        kills += killed(out, share * seconds, resume=False)
        kills += killed(out, rng.random() * seconds / 2, resume=True)  # and once more on the way
        run(out, resume=True)
        assert weights(out) == expected
        assert not list(out.glob("**/.*")), "temporary files are left"
    assert kills >= moments // 2


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path, options: dict[str, bool]) -> None:
    out = tmp_path / "model"
    refused = []

    def second(line: dict) -> None:
        if not refused and line["kind"] == "epoch":
            with pytest.raises(manyhot.UserError, match=r"being written|exists already") as found:
                manyhot.fit(rows(), ["y"], out=out, epochs=3, **SETTINGS, **options)
            refused.append(str(found.value))

    manyhot.fit(rows(), ["y"], out=out, epochs=3, on_event=second, **SETTINGS)
    assert ("exists already" in refused[0]) == (not options)
    manyhot.load(out)
    assert not (out / "checkpoints").exists()
    assert "lock" not in [path.name for path in out.iterdir()]


def test_runs_that_begin_together_are_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one finds the folder free at first, and taken once it has read its rows."""
    out = tmp_path / "model"
    read = fitting.prepare

    def meanwhile(*args: object) -> object:
        monkeypatch.setattr(fitting, "prepare", read)
        run(out, epochs=1)
        return read(*args)

    monkeypatch.setattr(fitting, "prepare", meanwhile)
    with pytest.raises(manyhot.UserError, match="exists already"):
        run(out, epochs=2)
    assert manyhot.load(out).bundle.config.epochs == 1


def test_resume_of_a_finished_run_changes_nothing(
    tmp_path: Path, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    run(tmp_path / "model")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "model").rglob("*")}
    run(tmp_path / "model", resume=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "model").rglob("*")} == before


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_nth_write_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """Every write of a run fails once with a full disk; it ends in the same weights when there is room.

    A checkpoint is written again once the one before the last is gone, so that the run does not stop.
    """
    disk = FullDisk(monkeypatch)
    run(tmp_path / "whole", epochs=2)
    expected, writes = weights(tmp_path / "whole"), disk.writes
    assert writes > 10
    for failing in range(1, writes + 1, every):
        out = tmp_path / str(failing)
        disk.fail_at(failing)
        with suppress(OSError, RunError):
            run(out, epochs=2)
        if (out / "manyhot.json").exists():  # written last, so with it the model is whole
            manyhot.load(out)
        else:
            with pytest.raises(manyhot.UserError):
                manyhot.load(out)
        disk.fail_at(0)  # from here on the disk has room
        run(out, resume=True, epochs=2)
        assert weights(out) == expected, f"write {failing} of {writes}"


def test_old_model_survives_a_refused_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "model"
    run(out)
    before = weights(out)
    with pytest.raises(manyhot.UserError, match="only one class"):
        manyhot.fit(rows().with_columns({"y": ["up"] * 240}), ["y"], out=out, overwrite=True)
    assert weights(out) == before


def test_the_old_model_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "model"
    run(out)
    before = weights(out)

    def stop(line: dict) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manyhot.fit(rows(), ["y"], out=out, overwrite=True, on_event=stop, epochs=3, **SETTINGS)
    manyhot.load(out)
    assert weights(out) == before
    run(out, resume=True, epochs=3)  # the interrupted run goes on, and replaces it
    assert weights(out) != before


def test_tuning_killed_between_its_writes_leaves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    run(out)
    tuned = manyhot.load(out).tune(rows(), "macro_f1")
    disk = FullDisk(monkeypatch)
    for number in range(1, 9):
        disk.fail_at(number)
        with pytest.raises(OSError, match="No space"):
            tuned.update(out)
        assert manyhot.load(out).schema.targets[0].decision.objective in ("hamming", "macro_f1")
    disk.fail_at(0)
    tuned.update(out)
    assert manyhot.load(out).schema == tuned.schema


def test_save_over_a_model_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "model"
    run(out)
    before = weights(out)
    loaded = manyhot.load(out)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        loaded.save(out, overwrite=True)
    assert weights(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
