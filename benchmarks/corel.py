"""Corel photos with 374 tags: ours beside logistic regressions on the frozen features of the same backbone.

MANYHOT_DATA=… python benchmarks/corel.py [EFFORT] [SEED]

Ours is one `manyhot.fit` of MobileNetV2 from the weights in MANYHOT_DATA/weights. The other side is
scikit-learn's logistic regression, one a tag, on what that backbone gives before it is trained,
standardised; C is chosen on a fifth of the training rows. Both are judged by the mean average precision
over the tags that the test rows have.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from cars import given
from race import data, machine, timed

CS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def table():
    import manyhot

    photos = manyhot.read(data("corel5k") / "labels.csv")
    tags = [words.split() for words in photos.column("labels").to_pylist()]
    return photos.with_columns({"tags": tags})


def ours(effort: str, seed: str) -> tuple[float, float]:
    """Return the mean average precision on the test rows, and the seconds of the fit."""
    import manyhot.fitting

    start = time.perf_counter()
    photos = table()
    schema = manyhot.infer(photos, tags={"tags": None}, image="file", kinds={"labels": "ignore"})
    classifier = manyhot.fit(photos, schema, effort=effort, seed=int(seed), **given())
    seconds = time.perf_counter() - start
    return classifier.evaluate(photos)["targets"]["tags"]["mean_average_precision"], seconds


def regression() -> tuple[float, float]:
    """Return the same of one logistic regression a tag on frozen features."""
    from joblib import Parallel, delayed
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.preprocessing import StandardScaler

    import manyhot.fitting

    start = time.perf_counter()
    photos = table()
    schema = manyhot.infer(photos, tags={"tags": None}, image="file", kinds={"labels": "ignore"})
    frozen = manyhot.fit(photos, schema, freeze=True, epochs=1, **given())
    x = StandardScaler().fit_transform(frozen.embed(photos))
    split = np.array(photos.column("split").to_pylist())
    names = schema.targets[0].classes
    y = np.array([[name in tags for name in names] for tags in photos.column("tags").to_pylist()])
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    held = np.random.default_rng(0).random(len(train)) < 0.2

    def one(c, rows, judged, tag):
        model = LogisticRegression(C=c, max_iter=200).fit(x[rows], y[rows, tag])
        return average_precision_score(y[judged, tag], model.decision_function(x[judged]))

    def score(c, rows, judged):
        tags = [t for t in range(len(names)) if y[judged, t].any() and 0 < y[rows, t].sum() < len(rows)]
        found = Parallel(n_jobs=2)(delayed(one)(c, rows, judged, tag) for tag in tags)
        missing = [t for t in range(len(names)) if y[judged, t].any() and t not in tags]
        return float(np.mean(found + [y[judged, t].mean() for t in missing]))

    chosen = max(CS, key=lambda c: score(c, train[~held], train[held]))
    print(f"C = {chosen}", file=sys.stderr)
    return score(chosen, train, test), time.perf_counter() - start


def main(effort: str = "balanced", seed: str = "0") -> None:
    print(machine())
    found = {}
    sides = {"logistic regressions": ["regression"], f"ours, {effort}, seed {seed}": ["ours", effort, seed]}
    for name, words in sides.items():
        printed, _ = timed([sys.executable, __file__, "--side", *words])
        found[name] = json.loads(printed.splitlines()[-1])
        print(f"{name}: mean average precision {found[name][0]:.4f}, {found[name][1]:.0f} s", flush=True)
    (other, _), (mine, _) = found.values()
    print(f"ratio {mine / other:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        sides: dict[str, Any] = {"ours": ours, "regression": regression}
        print(json.dumps(sides[sys.argv[2]](*sys.argv[3:])))
    else:
        main(*sys.argv[1:])
