"""The standard streams as users leave them: closed, full, without some characters; never a traceback."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from making import write_csv

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")


def shell(words, after="", before="", **environment):
    """Run a command in a shell with something before and after it; its own status, output and error."""
    line = shlex.join([sys.executable, "-m", "manyhot", *map(str, words)])
    run = subprocess.run(
        ["bash", "-c", f"{before} {line} {after}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in run.stderr
    assert b"Exception ignored" not in run.stderr
    return run.returncode, run.stdout.decode(), run.stderr.decode()


@pytest.fixture
def commands(fitted_tables):
    """Commands by what they print: tables, a document, cells, help, a mistake."""
    table, model = fitted_tables / "table.csv", fitted_tables / "model"
    return {
        "tables": ["inspect", table, "--target", "fruit"],
        "json": ["inspect", table, "--json"],
        "warning and scores": ["evaluate", model, table],
        "cells": ["predict", model, table],
        "help": ["fit", "--help"],
        "mistake": ["inspect", fitted_tables / "none.csv"],
    }


@pytest.mark.parametrize(
    ("name", "after"),
    [
        *(("tables", after) for after in (">&-", "2>&-", "<&-", "<&- >&- 2>&-", "| head -n 1", "| true")),
        pytest.param("warning and scores", "2>/dev/full", marks=full),
        ("warning and scores", "2>&1 >&- | true"),
        ("cells", ">&-"),
        ("help", "| true"),
        ("help", ">&-"),
        ("json", "| true"),
    ],
)
def test_a_stream_that_nobody_reads_is_no_error(commands, name, after):
    status, out, _ = shell(commands[name], after)
    assert status == 0
    assert out or ">&-" in after or "true" in after


@pytest.mark.parametrize("after", [">&-", "2>&-", "2>&1 | true"])
def test_a_mistake_is_status_2_whoever_hears_of_it(commands, after):
    assert shell(commands["mistake"], after)[0] == 2


def test_questions_end_where_standard_input_is_closed(tmp_path):
    columns = {"x": [*range(20), *range(100, 120)]}
    table, folder = write_csv(tmp_path / "t.csv", columns), tmp_path / "groups"
    assert shell(["cluster", table, "--clusters", "2", "--out", folder])[0] == 0
    status, _, err = shell(["name", folder, "0=low", "--interactive"], "<&-")
    assert status == 0
    assert "cluster 1 (20 rows): " in err


@full
@pytest.mark.parametrize("name", ["tables", "json"])
def test_a_full_disk_below_standard_output_is_status_1(commands, name):
    status, _, err = shell(commands[name], "> /dev/full")
    assert status == 1
    assert err.startswith("manyhot: standard output cannot be written: No space left on device. Make room")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("name", ["json", "cells"])
def test_half_an_output_is_status_1(commands, tmp_path, name, unbuffered):
    """Python without buffers takes half of what was to be written for all of it."""
    out = tmp_path / "out"
    status, _, err = shell(commands[name], f"> {out}", before="ulimit -f 1;", PYTHONUNBUFFERED=unbuffered)
    assert status == 1
    assert "File too large" in err
    assert 0 < out.stat().st_size <= 1024


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1:strict"},
    ],
    ids=["ascii", "C", "latin-1"],
)
def test_characters_that_a_stream_cannot_show(tmp_path, environment):
    table = write_csv(tmp_path / "t.csv", {"größe": range(40), "frucht": ["Äpfel", "茶"] * 20})
    status, out, _ = shell(["inspect", table, "--target", "frucht"], "| iconv -f latin1", **environment)
    assert status == 0
    assert "0 ... 39" in out
    assert "\\u8336 20" in out
    assert ("größe" in out) == ("latin" in str(environment))
    status, out, _ = shell(["inspect", table, "--target", "frucht", "--json"], **environment)
    assert status == 0
    assert json.loads(out)["targets"][0]["classes"] == {"Äpfel": 20, "茶": 20}


@pytest.mark.skipif(sys.platform == "darwin", reason="its disks take text alone")
def test_the_name_of_a_file_may_be_no_text(tmp_path):
    name = tmp_path / os.fsdecode(b"\xff.csv")
    write_csv(name, {"x": range(40), "y": ["a", "b"] * 20})
    words = ["inspect", name, "--target", "y"]
    status, out, _ = shell(words)
    assert status == 0
    assert "\\udcff.csv: 40 rows" in out
    status, out, _ = shell([*words, "--json"])
    assert json.loads(out)["source"] == "\udcff.csv"
