"""Small tables and pictures of every kind, for the tests that share them, and the names of their cases."""

import csv
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

# No forest is grown and no regression fitted where a test is not about them, which would take a second each.
NETWORKS = "network,pretrained,neighbours"
QUICK = {"effort": "fast", "epochs": 1, "batch_size": 16, "threads": 1, "members": NETWORKS}
ROW_OPTIONS = ["--epochs", "1", "--effort", "fast", "--set", "batch_size=16", "--set", "threads=1"]
ROW_OPTIONS += ["--members", NETWORKS]
SIDE = 8
HERE = Path(__file__).parent

# What each kind of table has: target name → kind. `flags` is a target of three 0/1 columns.
KINDS = {
    "binary": {"ripe": "binary"},
    "multiclass": {"fruit": "multiclass"},
    "multilabel": {"tags": "multilabel"},
    "mixed": {"ripe": "binary", "fruit": "multiclass", "tags": "multilabel", "flags": "multilabel"},
}
FRUITS = ("apple", "pear", "plum")
TAGS = ("red", "green", "round")
FLAGS = ("f1", "f2", "f3")


def label_columns(kind, rows, seed=0, empty=0.0):
    """Cells of the targets of one kind, as a CSV has them; a share `empty` of them is left out."""
    rng = np.random.default_rng(seed)
    columns = {}
    for name in KINDS[kind]:
        if name == "ripe":
            columns[name] = ["yes" if i % 3 else "no" for i in range(rows)]
        elif name == "fruit":
            columns[name] = [FRUITS[i % 3] for i in range(rows)]
        elif name == "tags":
            columns[name] = [";".join(t for t in TAGS if rng.random() < 0.5) or "[]" for _ in range(rows)]
        else:
            for flag in FLAGS:
                columns[flag] = [str(int(rng.random() < 0.5)) for _ in range(rows)]
    for cells in columns.values():
        for row in np.flatnonzero(rng.random(rows) < empty):
            cells[row] = None
    return columns


def features(rows, seed=0):
    """Two numbers, one of them with gaps, and a category."""
    rng = np.random.default_rng(seed)
    weight = [None if i % 11 == 5 else round(float(v), 3) for i, v in enumerate(rng.normal(3, 2, rows))]
    width = [round(float(v), 4) for v in rng.random(rows)]
    return {
        "width": width,
        "weight": weight,
        "origin": [("north", "south", "east")[i % 3] for i in range(rows)],
    }


def pixels(rows, side=SIDE, channels=1, seed=0):
    """Noise with a bright row whose place follows from i % 3, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 120, (rows, side, side, channels), dtype=np.uint8)
    for i in range(rows):
        out[i, (i % 3) * 2] = 250
    return out


def write_csv(path: Path, columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_pictures(folder: Path, rows, seed=0) -> list[str]:
    """Write PNG files and return their names relative to the folder."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    names = [f"pictures/{number:03d}.png" for number in range(rows)]
    for name, array in zip(names, pixels(rows, seed=seed), strict=True):
        Image.fromarray(array[..., 0]).save(folder / name)
    return names


def write_table(folder: Path, kind="mixed", rows=60, image=False, empty=0.0, seed=0, extra=None) -> Path:
    """Write FOLDER/table.csv of one kind, with pictures or features, and return its path."""
    inputs = {"image": write_pictures(folder, rows, seed)} if image else features(rows, seed)
    return write_csv(
        folder / "table.csv", {**inputs, **label_columns(kind, rows, seed, empty), **(extra or {})}
    )


def infer_options(kind):
    """What `infer` must be told of a kind."""
    names = KINDS[kind]
    tags = {name: FLAGS if name == "flags" else None for name, k in names.items() if k == "multilabel"}
    return {"targets": [name for name in names if name not in tags], "tags": tags}


def flags_of(kind):
    """The same as command line options."""
    told = infer_options(kind)
    words = [word for name in told["targets"] for word in ("--target", name)]
    for name, columns in told["tags"].items():
        words += ["--tags", name if columns is None else f"{name}={','.join(columns)}"]
    return words


def cells(test):
    """The names that pytest gives the cases of a parametrised test, whichever of them are run."""
    axes = [mark.args[1] for mark in test.pytestmark if mark.name == "parametrize"]
    assert axes, f"{test.__name__} has no cases"
    return ["-".join(map(_cell, values)) for values in itertools.product(*axes)]


def _cell(value):
    name = getattr(value, "id", value)  # pytest.param has an id
    assert isinstance(name, str), f"a case must be named: pytest.param(…, id=NAME), got {value!r}"
    return name


def changed(names, file):
    """Say which names the list in tests/FILE lacks, and which of its names are gone."""
    listed = (HERE / file).read_text(encoding="utf-8").splitlines()
    gone, new = Counter(listed) - Counter(names), Counter(names) - Counter(listed)
    return [f"gone: {name}" for name in gone] + [f"new, to be listed in {file}: {name}" for name in new]


def status_of(*words):
    """Run a command of manyhot in this process; its exit status, also where argparse leaves."""
    from manyhot.cli import main

    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code
