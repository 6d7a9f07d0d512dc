"""Fixtures that many tests share."""

import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small are fastest on one core
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks for weights over a network
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # nor tells anybody anything
os.environ["MANYHOT_CACHE"] = tempfile.mkdtemp(prefix="manyhot-cache-")  # nobody's own is touched
# Bits are compared with those of a processor: no test, nor what it starts, sees a card but by the fixture.
os.environ.setdefault("MANYHOT_TEST_CARDS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.pop("COLUMNS", None)  # which pytest-xdist sets: messages would be broken into lines

import pytest
from making import QUICK, infer_options, write_table


def pytest_unconfigure(config):
    shutil.rmtree(os.environ["MANYHOT_CACHE"], ignore_errors=True)


def pytest_make_parametrize_id(config, val, argname):
    """Name bytes by their number: an archive among them holds the time, and processes must agree on names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 20 else None


@pytest.fixture(scope="session")
def on_card():
    """Run Python code in a process that sees this machine's cards; what it printed. Skipped where none is."""
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    cards = os.environ["MANYHOT_TEST_CARDS"]
    seen |= {} if cards == "all" else {"CUDA_VISIBLE_DEVICES": cards}

    def run(code, *words):
        done = subprocess.run([sys.executable, *words, "-c", code], capture_output=True, text=True, env=seen)
        assert done.returncode == 0, done.stderr
        return done.stdout

    if run("import torch; print(torch.cuda.is_available())").strip() != "True":
        pytest.skip("no card here")
    return run


@pytest.fixture
def checkpoint_each_epoch(monkeypatch):
    """Write checkpoints after epochs that are over sooner than it takes to write them, too."""
    monkeypatch.setattr("manyhot.train.checkpoint.SHARE", math.inf)


@pytest.fixture
def log_lines():
    """What the library says on the way; works also after the command line took the logger over."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    log = logging.getLogger("manyhot")
    handler, level = Lines(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(handler)
    log.setLevel(level)


def _fitted(folder, image):
    import manyhot

    data = write_table(folder, "mixed", 60, image=image, empty=0.1)
    table = manyhot.read(data)
    manyhot.fit(table, manyhot.infer(table, **infer_options("mixed")), out=folder / "model", **QUICK)
    return folder


@pytest.fixture(scope="session")
def fitted_tables(tmp_path_factory):
    """A folder with table.csv and the model trained on it; for reading only."""
    return _fitted(tmp_path_factory.mktemp("tables"), image=False)


@pytest.fixture(scope="session")
def fitted_pictures(tmp_path_factory):
    """The same with pictures."""
    return _fitted(tmp_path_factory.mktemp("pictures"), image=True)


@pytest.fixture
def model(fitted_tables, tmp_path):
    """A copy of the model for features, to be changed."""
    return shutil.copytree(fitted_tables / "model", tmp_path / "model")
