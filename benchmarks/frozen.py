"""Frozen photos: `freeze` beside logistic regression on the same features, of pictures of the same size.

MANYHOT_DATA=… python benchmarks/frozen.py cars|corel [ROWS] [SEED] [SIZE]

Ours is one `manyhot.fit` with `freeze` of MobileNetV2 from the weights in MANYHOT_DATA/weights, on ROWS of
the training rows (all where it is 0), at SIZE pixels (by default those that the weights were made for). The
other side is scikit-learn's logistic regression on what `embed` of that model gives, standardised: one for
each of the three columns of the cars, judged by their mean accuracy; one for each of Corel's 374 tags, judged
by the mean average precision over the tags that both parts have. Its C is the best of five folds; of the tags
one C for all, by three folds and the 60 tags that are met most often. Both are judged on 1,000 test rows at
most.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import cars
import corel
import numpy as np
from race import machine

MOST_JUDGED, OFTEN = 1_000, 60


def of_cars(rows: int, seed: int, **size: Any) -> tuple[float, float]:
    """Return the mean accuracy of ours and of the regressions."""
    from sklearn.linear_model import LogisticRegressionCV

    import manyhot

    table, train, test = parted(cars.table(), rows, seed)
    ours, x = frozen(table, manyhot.infer(table, cars.TARGETS, image="image"), seed, **size)
    said, theirs, right = ours.predict(table.take(test)), [], []
    for name in cars.TARGETS:
        y = np.array(table.column(name).to_pylist())
        model = LogisticRegressionCV(Cs=corel.CS, cv=5, max_iter=300, use_legacy_attributes=False)
        theirs.append((model.fit(x[train], y[train]).predict(x[test]) == y[test]).mean())
        right.append((np.array(said[name]) == y[test]).mean())
    return float(np.mean(right)), float(np.mean(theirs))


def of_corel(rows: int, seed: int, **size: Any) -> tuple[float, float]:
    """Return the mean average precision of ours and of the regressions."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    import manyhot

    table, train, test = parted(corel.table(), rows, seed)
    schema = manyhot.infer(table, tags={"tags": None}, image="file", kinds={"labels": "ignore"})
    ours, x = frozen(table, schema, seed, **size)
    names = schema.targets[0].classes
    y = np.array([[name in tags for name in names] for tags in table.column("tags").to_pylist()])

    def score(c: float, rows, judged, tags) -> float:
        found = []
        for tag in tags:
            if y[rows, tag].any() and y[judged, tag].any():
                model = LogisticRegression(C=c, max_iter=200).fit(x[rows], y[rows, tag])
                found.append(average_precision_score(y[judged, tag], model.decision_function(x[judged])))
        return float(np.mean(found))

    often = np.argsort(-y[train].sum(axis=0))[:OFTEN]
    folds = np.array_split(np.random.default_rng(seed).permutation(train), 3)

    def held_out(c: float) -> float:
        return float(np.mean([score(c, np.setdiff1d(train, fold), fold, often) for fold in folds]))

    every = np.flatnonzero(y[train].any(axis=0) & y[test].any(axis=0))
    said = ours.predict_proba(table.take(test))["tags"]
    right = np.mean([average_precision_score(y[test, tag], said[:, tag]) for tag in every])
    return float(right), score(max(corel.CS, key=held_out), train, test, every)


def parted(table, rows: int, seed: int):
    """Return some rows of a table, and the positions of training and test rows in it."""
    split = np.array(table.column("split").to_pylist())
    order = np.random.default_rng(seed).permutation(len(table))
    train, test = (order[split[order] == part] for part in ("train", "test"))
    kept = table.take(np.sort(np.concatenate([train[: rows or None], test[:MOST_JUDGED]])))
    split = np.array(kept.column("split").to_pylist())
    return kept, np.flatnonzero(split == "train"), np.flatnonzero(split == "test")


def frozen(table, schema, seed: int, **size: Any):
    """Return our model, and the standardised features that it reads."""
    from sklearn.preprocessing import StandardScaler

    import manyhot.fitting

    start = time.perf_counter()
    model = manyhot.fit(table, schema, freeze=True, seed=seed, **size, **cars.given())
    print(f"ours: {time.perf_counter() - start:.0f} s at {model.bundle.config.size} pixels", flush=True)
    return model, StandardScaler().fit_transform(model.embed(table))


SIDES: dict[str, Callable[..., tuple[float, float]]] = {"cars": of_cars, "corel": of_corel}


def main(name: str = "cars", rows: str = "0", seed: str = "0", size: str = "") -> None:
    print(machine())
    ours, theirs = SIDES[name](int(rows), int(seed), **({"size": int(size)} if size else {}))
    print(
        f"{name}, seed {seed}: ours {ours:.4f}, logistic regression {theirs:.4f}, ratio {ours / theirs:.3f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
