"""Golden runs: ten small fits whose weights, probabilities and answers a change of the house must not change.

    python benchmarks/golden.py record FOLDER     with the code before a change
    python benchmarks/golden.py compare FOLDER    with the code after it, on the same machine

`compare` fits all of them again, and also asks the bundles of FOLDER, which the code before wrote. It prints
the largest difference of a probability for each, and whether the weights are the same bits; it ends with
status 1 where a probability differs by more than 1e-6 or an answer differs at all.
"""

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits, load_wine, make_multilabel_classification

import manyhot

CLOSE = 1e-6
GONE = {"counts"}  # naive Bayes of counts is no part of the house any more; its bundles are refused
COMMON: dict[str, Any] = {"threads": 1, "precision": "float32", "seed": 3}


def words(rows, tags):
    return [";".join(t for t, yes in zip("abcdefg", row, strict=False) if yes) or "[]" for row in tags[:rows]]


def counted_table(rows=400):
    x, y = make_multilabel_classification(n_samples=rows, n_features=10, n_classes=3, random_state=1)
    return {**{f"x{i}": x[:, i].astype(int) for i in range(10)}, "tags": words(rows, y)}


def mixed_table(rows=240, empty=0.15, seed=0):
    """Numbers with gaps, a category; a target of each kind, some cells unknown."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    kind = np.array(["north", "south", "east"])[rng.integers(0, 3, rows)]
    x[rng.random((rows, 4)) < 0.05] = np.nan
    z = np.nan_to_num(x)
    columns = {f"x{i}": x[:, i] for i in range(4)} | {"place": kind.tolist()}
    labels = {
        "ripe": np.where(z[:, 0] + (kind == "north") > 0.3, "yes", "no").tolist(),
        "fruit": np.array(["apple", "pear", "plum"])[(z[:, 1] > 0).astype(int) + (z[:, 2] > 0.5)].tolist(),
        "tags": words(rows, np.stack([z[:, 0] > 0, z[:, 1] + z[:, 2] > 0, z[:, 3] > 1], axis=1)),
    }
    for cells in labels.values():
        for row in np.flatnonzero(rng.random(rows) < empty):
            cells[row] = None
    return columns | labels


def small_pictures(rows=360):
    digits = load_digits()
    x = np.repeat(np.repeat(digits.images[:rows] / 16, 2, axis=1), 2, axis=2)
    y = digits.target[:rows]
    tags = np.stack([y % 2 == 0, y > 4, y == 0], axis=1)
    return x, {"digit": [str(v) for v in y], "tags": words(rows, tags)}


def photos(rows=120, side=40):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 140, (rows, side, side, 3), dtype=np.uint8)
    y = rng.integers(0, 3, rows)
    for i in range(rows):
        x[i, :, y[i] * 12 : y[i] * 12 + 12, y[i]] = rng.integers(120, 250)
    tags = np.stack([y == 0, y < 2, rng.random(rows) < 0.5], axis=1)
    return x, {"stripe": np.array(["red", "green", "blue"])[y].tolist(), "tags": words(rows, tags)}


def weights(folder):
    path = folder / "made.safetensors"
    torch.manual_seed(7)
    save_file({k: v.clone() for k, v in timm.create_model("test_resnet").state_dict().items()}, path)
    return str(path)


def wine():
    x, y = load_wine(return_X_y=True)
    return {**{f"x{i}": x[:, i] for i in range(x.shape[1])}, "kind": np.array(["a", "b", "c"])[y].tolist()}


def runs(folder):
    """Name → (data, how `infer` reads it, settings)."""
    timm_photos = {"backbone": "test_resnet", "weights": weights(folder), "size": 40, "first_size": 0}
    tuned = {**timm_photos, "epochs": 3, "batch_size": 16, "views": 2, "heads_first": True}
    tags = {"tags": {"tags": None}}
    mixed = {"targets": ["ripe", "fruit"], **tags}
    of_photos = {"targets": ["stripe"], **tags}
    return {
        "binary": (mixed_table(), {"targets": ["ripe"]}, {"epochs": 4, "folds": 1}),
        "mixed_unknown": (mixed_table(), mixed, {"epochs": 4, "folds": 1, "sets": 0}),
        "folds": (mixed_table(), mixed, {"epochs": 4, "folds": 3}),
        "sets": (
            mixed_table(empty=0.05),
            tags,
            {"epochs": 4, "folds": 1, "sets": 30, "objective": "exact_match"},
        ),
        "wide_pieces": (
            wine(),
            {"targets": ["kind"]},
            {"epochs": 4, "piecewise": True, "class_weight": "balanced"},
        ),
        "tabm": (mixed_table(), mixed, {"epochs": 3, "backbone": "tabm", "members": 4}),
        "counts": (counted_table(), tags, {"epochs": 4}),
        "small_pictures": (
            small_pictures(),
            {"targets": ["digit"], **tags},
            {"epochs": 2, "augment": "warp"},
        ),
        "photos_tuned": (photos(), of_photos, {**tuned, "mixing": 0.3, "erasing": 0.2}),
        "photos_frozen": (photos(), of_photos, {**timm_photos, "epochs": 5, "freeze": True}),
        "photos_tags": (photos(), tags, {**tuned, "sets": 0, "tag_loss": "asymmetric"}),
    }


def bits_of(folder):
    """The bits of all weights, whatever their names."""
    tensors = load_file(folder / "weights.safetensors").values()
    return sorted(hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()[:16] for t in tensors)


def table_of(data):
    return manyhot.read(data)


def fitted(name, data, how, settings, folder):
    table = table_of(data)
    model = manyhot.fit(
        table, manyhot.infer(table, **how), out=folder / name, overwrite=True, **COMMON, **settings
    )
    return model, table


def answers(model, table):
    found = {f"p/{k}": v for k, v in model.predict_proba(table).items()}
    return found | {f"a/{k}": np.array(v, dtype=str) for k, v in model.predict(table).items()}


def clusters(folder):
    z = small_pictures()[0]
    columns = {k: v for k, v in wine().items() if k != "kind"}
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("cluster_table", columns, {}),
        ("cluster_pixels", z, {"epochs": 2}),
    ]
    for name, data, options in cases:
        found = manyhot.cluster(data, clusters=3, effort="fast", seed=3, threads=1, **options)
        found.save(folder / name, overwrite=True)
        yield name, found.classifier, table_of(data)


def every(folder):
    for name, (data, how, settings) in runs(folder).items():
        yield (name, *fitted(name, data, how, settings, folder))
    yield from clusters(folder)


def record(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, model, table in every(folder):
        np.savez(folder / f"{name}.npz", **answers(model, table))
        print(name, *(model.run.notes if model.run else ()), flush=True)


def compare(folder):
    wrong = False
    with tempfile.TemporaryDirectory() as fresh:
        for name, model, table in every(Path(fresh)):
            if name in GONE:
                try:
                    manyhot.load(folder / name)
                except manyhot.UserError as error:
                    print(f"{name:16} old bundle    refused: {error}", flush=True)
                continue
            golden = np.load(folder / f"{name}.npz")
            same = bits_of(Path(fresh) / name) == bits_of(folder / name)
            for who, asked in (("fitted again", model), ("old bundle", manyhot.load(folder / name))):
                found = answers(asked, table)
                most = max(float(np.abs(found[k] - golden[k]).max()) for k in golden if k.startswith("p/"))
                equal = all((found[k] == golden[k]).all() for k in golden if k.startswith("a/"))
                wrong |= most > CLOSE or not equal
                told = f"difference {most:.1e}, answers {'the same' if equal else 'DIFFER'}"
                told += f", weights {'the same bits' if same else 'differ'}" if asked is model else ""
                print(f"{name:16} {who:13} {told}", flush=True)
    return int(wrong)


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    sys.exit(record(where) if what == "record" else compare(where))
