"""Progress for who calls from Python: silent for a moment, one line or a few, ended whatever happens."""

import io
import re

import numpy as np
import pytest
from making import QUICK, features, label_columns, status_of, write_csv

import manyhot
from manyhot import progress
from manyhot.progress import Lines


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class OutStream(io.StringIO):
    """What standard error is in a notebook."""

    __module__ = "ipykernel.iostream"


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def told(clock, monkeypatch, stream, seconds):
    monkeypatch.setattr("sys.stderr", stream)
    with Lines() as lines:
        for second in seconds:
            clock.now = second
            lines.reading(int(second * 10), 900)
    return stream.getvalue()


def test_a_moment_passes_in_silence(clock, monkeypatch):
    assert told(clock, monkeypatch, io.StringIO(), [0.5, 1, 1.9]) == ""


def test_a_pipe_gets_few_lines(clock, monkeypatch):
    lines = told(clock, monkeypatch, io.StringIO(), np.arange(0, 90, 0.5)).splitlines()
    assert lines[0] == "read 20 of 900 rows (2 s)"
    assert lines[1] == "read 120 of 900 rows (12 s)"
    assert lines[-1] == "done in 90 s"
    assert len(lines) == 9


@pytest.mark.parametrize("stream", [Screen, OutStream])
def test_a_terminal_and_a_notebook_get_one_line_that_changes(clock, monkeypatch, stream):
    text = told(clock, monkeypatch, stream(), [1, 2, 2.05, 30])
    assert "\n" not in text[:-1]
    assert [part.rstrip() for part in text.split("\r")] == [
        "read 20 of 900 rows (2 s)",
        "read 300 of 900 rows (30 s)",
        "done in 30 s",
    ]


def test_a_line_that_changes_fits_into_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    first, *_ = told(clock, monkeypatch, Screen(), [30]).split("\r")
    assert first == "read 300 of 900 row"


def stopped(clock):
    with Lines() as lines:
        clock.now = 5
        lines.on_step("clustering", 1, 2)
        return 1 / 0


def test_a_line_that_changes_ends_before_an_error(clock, monkeypatch):
    stream = Screen()
    monkeypatch.setattr("sys.stderr", stream)
    with pytest.raises(ZeroDivisionError):
        stopped(clock)
    assert stream.getvalue().split("\r")[-1].rstrip(" \n") == "clustering: 1 of 2"
    assert stream.getvalue().endswith("\n")


def test_nobody_may_be_listening(clock, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Lines() as lines:
        clock.now = 5
        stream.close()
        lines.reading(1, 2)


def test_of_several_processes_the_first_one_speaks(clock, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert told(clock, monkeypatch, io.StringIO(), [3, 30]) == ""


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(progress, "SILENT", 0.0)
    monkeypatch.setattr(progress, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(progress, "PAUSE", 0.0)


def columns():
    return {**features(30), **label_columns("binary", 30)}


def test_a_fit_is_told(at_once, capsys):
    manyhot.fit(columns(), "ripe", **QUICK)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("effort fast: backbone mlp, at most 1 epochs of batches of 16, ")
    assert any(line.startswith("epoch 1/1  loss ") and line.endswith(" s *") for line in lines)
    assert any(line.startswith("selecting the ensemble") for line in lines)
    assert lines[-1].startswith("done in ")


def test_the_command_tells_a_fit_in_the_same_words(at_once, capsys, tmp_path):
    manyhot.fit(columns(), "ripe", **QUICK)
    told_in_python = without_seconds(capsys.readouterr().err)
    settings = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    table = write_csv(tmp_path / "t.csv", columns())
    assert status_of("fit", table, "--target", "ripe", *settings, "--out", tmp_path / "m") == 0
    told_by_the_command = without_seconds(capsys.readouterr().err)
    assert [line for line in told_in_python if line.startswith(("effort", "epoch"))]
    assert {*told_in_python[:-1]} <= {*told_by_the_command}


def without_seconds(lines):
    return [re.sub(r"[ (]*\d+(\.\d)? s\b\)?", "", line) for line in lines.splitlines()]


@pytest.mark.parametrize("quietly", [{"verbose": False}, {"on_event": lambda line: None}], ids=["off", "own"])
def test_a_fit_may_be_silent(at_once, capsys, quietly):
    manyhot.fit(columns(), "ripe", **QUICK, **quietly)
    assert capsys.readouterr().err == ""


def test_answers_about_pictures_are_told_and_may_be_silent(at_once, capsys, fitted_pictures):
    for verbose in (True, False):
        model = manyhot.load(fitted_pictures / "model", verbose=verbose)
        model.predict(fitted_pictures / "table.csv")
        model.evaluate(fitted_pictures / "table.csv", split="all")
        assert capsys.readouterr().err.count("read 60 of 60 rows") == 2 * verbose


def test_clustering_is_told_and_may_be_silent(at_once, capsys):
    blobs = {"x": [*np.tile([0.0, 5.0], 20) + np.arange(40) / 100]}
    manyhot.cluster(blobs)
    assert capsys.readouterr().err.splitlines()[0].startswith("clustering: ")
    found = manyhot.cluster(blobs, verbose=False)
    assert repr(found).splitlines()[0] == "Clustering of table: 40 rows, 2 clusters"
    assert capsys.readouterr().err == ""
