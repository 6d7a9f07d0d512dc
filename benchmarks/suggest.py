"""How many labels `suggest` needs beside rows chosen at random.

MANYHOT_DATA=… python benchmarks/suggest.py mnist|tags [SEEDS] [--data yeast|scene]

mnist  a pool of 8,000 training digits; from 100 random labels on, 50 a round are added by `suggest` (a fifth
       of them at random) or all at random; accuracy on 5,000 test digits. Asked for: 0.4 of the labels to
       reach an aim. It is what random choice has at 1,000 labels, since 0.97 is beyond these features
tags   Mulan's yeast or scene, their training rows the pool: from 100 labels on, 50 a round up to 500; area
       between the curves on the test rows. Asked for: never below 0 by more than its error

The models are scikit-learn's, fitted anew in each round, since a network for each of a hundred rounds takes
hours: logistic regression on gradient histograms of the digits (8 directions in 4 × 4 fields), extra trees
for tags. The rows are chosen by `manyhot.suggest` as it stands.
"""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
from race import data, machine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

import manyhot
from manyhot import metrics
from manyhot.choose import SeenRows
from manyhot.classifier import Classifier
from manyhot.data.inputs.features import TableInputs, table_inputs
from manyhot.data.table import Table
from manyhot.schema import Schema
from manyhot.targets import encode

STEPS = 1_000  # of the optimiser


class Model:
    """What `suggest` asks of a bundle, without a network: fitted on the known labels by scikit-learn."""

    def __init__(self, schema: Schema, inputs: TableInputs, table: Table) -> None:
        self.schema, self.inputs, self.graph, self.ensemble = (
            schema,
            inputs,
            None,
            SimpleNamespace(encoders=()),
        )
        (target,) = schema.targets
        x, _ = inputs.transform(table)
        y = encode(target, [table.cells(name) for name in target.columns])
        alone = (
            LogisticRegression(max_iter=STEPS) if target.exclusive else ExtraTreesClassifier(random_state=0)
        )
        self.model = alone.fit(np.nan_to_num(x), y)

    def probabilities(self, x: np.ndarray, fold: object = None) -> dict[str, np.ndarray]:
        (target,) = self.schema.targets
        found, classes = self.model.predict_proba(np.nan_to_num(x)), self.model.classes_
        if target.exclusive:
            out = np.zeros((len(x), len(target.classes)), np.float32)
            out[:, classes] = found
        else:  # a tag that all known rows have, or none, has one column
            both = zip(found, classes, strict=True)
            out = np.stack([p[:, 1] if len(c) > 1 else np.full(len(x), c[0]) for p, c in both], axis=1)
        return {target.name: out.astype(np.float32)}


def histograms(pixels: np.ndarray) -> np.ndarray:
    """Return gradient histograms of pictures (N, 28, 28), float32 (N, 128), each of length 1."""
    x = pixels.astype(np.float32) / 255
    dy, dx = np.gradient(x, axis=(1, 2))
    size, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    part = ((angle + np.pi) / (2 * np.pi) * 8).astype(int) % 8
    out = np.stack([np.where(part == k, size, 0) for k in range(8)], axis=-1)
    out = out.reshape(len(x), 4, 7, 4, 7, 8).sum(axis=(2, 4)).reshape(len(x), -1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)


def mnist(seed: int) -> tuple[Table, Table, list[str]]:
    table = manyhot.read(data("mnist"))
    pixels, labels = table.pixels[..., 0], np.array(table.column("label").to_pylist())
    rng = np.random.default_rng(seed)
    parts = (rng.permutation(60_000)[:8_000], 60_000 + rng.permutation(10_000)[:5_000])

    def table_of(rows: np.ndarray) -> Table:
        z = histograms(pixels[rows])
        return manyhot.read({f"h{i}": z[:, i] for i in range(z.shape[1])} | {"y": labels[rows]})

    pool, test = map(table_of, parts)
    return pool, test, ["y"]


def mulan(name: str) -> tuple[Table, Table, Schema]:
    folder = data("mulan") / name
    names = json.loads((folder / "labels.json").read_text())["labels"]
    pool, test = (manyhot.read(folder / f"{part}.csv") for part in ("train", "test"))
    return pool, test, manyhot.infer(pool, tags={"labels": names})


def emptied(table: Table, labels: list[str], known: np.ndarray) -> Table:
    """Return the table with the labels of `known` rows alone."""
    columns = {}
    for name in labels:
        cells = table.column(name).to_pylist()
        columns[name] = [cell if there else None for cell, there in zip(cells, known, strict=True)]
    return table.with_columns(columns)


def curve(pool, test, schema, seed: int, rounds: int, step: int, chosen: bool, start: int = 100):
    """Return the scores after each round, of the first target."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool))
    known = np.zeros(len(pool), bool)
    known[order[:start]] = True
    labels = [column for target in schema.targets for column in target.columns]
    inputs = table_inputs(schema, pool, np.arange(len(pool)))
    (target,) = schema.targets
    x, y = inputs.transform(test)[0], encode(target, [test.cells(name) for name in labels], "missing")
    scores = []
    for number in range(rounds + 1):
        model: Any = Model(schema, inputs, pool.take(known))
        classifier = Classifier(model, SeenRows(), verbose=False)
        scores.append(metrics.scores(target, y, model.probabilities(x)[target.name]))
        if number == rounds:
            break
        free = np.flatnonzero(~known)
        if chosen:
            table = emptied(pool, labels, known)
            found = manyhot.suggest(classifier, table, step, seed=seed + number, verbose=False)
            known[found.table.rows - 1] = True
        else:
            known[rng.permutation(free)[:step]] = True
    return scores


def run_mnist(seeds: int) -> None:
    rounds, step = 18, 50
    both: dict[bool, list[Any]] = {True: [], False: []}
    for seed in range(seeds):
        pool, test, names = mnist(seed)
        schema = manyhot.infer(pool, names)
        for chosen in both:
            curves = curve(pool, test, schema, seed, rounds, step, chosen)
            both[chosen].append([each["accuracy"] for each in curves])
            print(seed, "suggest" if chosen else "random", np.round(both[chosen][-1], 4), flush=True)
    labels = 100 + step * np.arange(rounds + 1)
    mean = {chosen: np.mean(found, axis=0) for chosen, found in both.items()}
    aim = mean[False][-1]
    at = float(np.interp(aim, mean[True], labels)) if mean[True][-1] >= aim else float("inf")
    area = np.mean(np.array(both[True]) - np.array(both[False]), axis=1)
    print(f"accuracy {aim:.4f}: random {labels[-1]} labels, suggest {at:.0f}, ratio {at / labels[-1]:.2f}")
    print(f"area between the curves {area.mean():+.4f} ± {area.std(ddof=1) / len(area) ** 0.5:.4f}")


def run_tags(name: str, seeds: int) -> None:
    rounds, step = 8, 50
    areas: dict[str, list[Any]] = {"micro_f1": [], "macro_f1": [], "mean_average_precision": []}
    pool, test, schema = mulan(name)
    for seed in range(seeds):
        found = [curve(pool, test, schema, seed, rounds, step, chosen) for chosen in (True, False)]
        for metric, area in areas.items():
            one, two = ([each[metric] for each in scores] for scores in found)
            area.append(float(np.mean(np.array(one) - np.array(two))))
        print(seed, {metric: round(area[-1], 4) for metric, area in areas.items()}, flush=True)
    for metric, area in areas.items():
        error = np.std(area, ddof=1) / len(area) ** 0.5
        print(f"{name}, {metric}: area between the curves {np.mean(area):+.4f} ± {error:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=("mnist", "tags"))
    parser.add_argument("seeds", nargs="?", type=int, default=5)
    parser.add_argument("--data", default="yeast", choices=("yeast", "scene"))
    args = parser.parse_args()
    print(machine())
    run_mnist(args.seeds) if args.mode == "mnist" else run_tags(args.data, args.seeds)


if __name__ == "__main__":
    main()
