"""Every example runs, small, and says what its page promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISED = {
    "mnist_multilabel.py": r"exact_match +\d\.\d{4}",
    "mnist_multiclass.py": r"epoch  training loss(?s:.*)test accuracy \d\.\d{4}",
    "label_structures.py": r"even \+ digit \+ strokes: 3 heads on one backbone",
    "cars.py": r"brand: accuracy(?s:.*)all three right: \d\.\d{4} of \d+ photos",
    "tabular_multilabel.py": r"33 test rows(?s:.*)exact match \d\.\d{4}",
}


def run(name, *options):
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), "--small", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run():
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert there == {*PROMISED, "onnx_alone.py"}  # which test_graph.py runs
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in there if f"]({name})" not in page] == []


@pytest.mark.parametrize("name", PROMISED)
def test_example_runs(name):
    assert re.search(PROMISED[name], run(name))
