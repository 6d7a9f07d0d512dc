"""Is the right class among those said to be possible as often as asked, and how many are said?

    MANYHOT_DATA=… python benchmarks/coverage.py [SEEDS] [SET …]

For each seed new rows fit a classifier of scikit-learn's, new ones the sets, and new ones judge them:
satimage (extra trees), mnist300 and mnist10k (logistic regression on so many digits), yeast (tags, extra
trees). Printed are the coverage of all rows with two standard errors, the least mean coverage of a class,
and the mean size ÷ that of the plain method (one limit for all classes). Of tags: the share of a row's tags
in its set, and how many of all are unsure.
"""

from __future__ import annotations

import sys

import numpy as np
import tables
from race import data, machine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from suite import keel

import manyhot
from manyhot.schema import Coverage, Target
from manyhot.targets import possible, unsure
from manyhot.train.conformal import _limit, fit_coverage


def single(name: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return probabilities and classes of the rows that fit sets and of those that judge."""
    if name == "satimage":
        rows = keel("satimage")
        x, y, learn, fit = rows.x.astype(float), rows.y, 3_000, 300
        make = ExtraTreesClassifier(100, n_jobs=2, random_state=int(rng.integers(1 << 30)))
    else:
        x, y = MNIST
        learn, fit = (300, 1_000) if name == "mnist300" else (10_000, 5_000)
        make = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    order = rng.permutation(len(x))
    a, b, c = order[:learn], order[learn : learn + fit], order[learn + fit :][:10_000]
    model = make.fit(x[a], y[a])
    return model.predict_proba(x[b]), y[b], model.predict_proba(x[c]), y[c]


def mnist() -> tuple[np.ndarray, np.ndarray]:
    table = manyhot.read(data("mnist"))
    order = np.random.default_rng(0).permutation(len(table))[:30_000]
    pixels = np.asarray(table.pixels)[order].reshape(len(order), 28, 28)
    x = pixels.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
    return x, np.array(table.column("label").to_pylist()).astype(int)[order]


def main(seeds: int, names: list[str]) -> None:
    for name in names:
        for level in (0.9, 0.95, *((0.995,) if name == "mnist10k" else ())):
            lines, classes = [], []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                p, y, q, z = yeast(rng) if name == "yeast" else single(name, rng)
                if name == "yeast":
                    target = Target("t", "multilabel", tuple(map(str, range(14))), ("t",))
                    target = target.deciding(coverage=fit_coverage(target, p, y, level))
                    sets, doubt = possible(target, q), unsure(target, q)
                    there = z == 1
                    held = ((sets & there).sum(1) / np.maximum(there.sum(1), 1))[there.any(1)]
                    lines.append((held.mean(), doubt.mean(), sets.sum(1).mean() / there.sum(1).mean()))
                    classes.append((sets & there).sum(0) / np.maximum(there.sum(0), 1))
                    continue
                target = Target("t", "multiclass", tuple(map(str, range(p.shape[1]))), ("t",))
                coverage = fit_coverage(target, p, y, level)
                plain = Coverage(level, 0, (_limit(p[np.arange(len(y)), y], level),) * p.shape[1])
                sets, rows = possible(target.deciding(coverage=coverage), q), np.arange(len(z))
                ratio = sets.sum(1).mean() / possible(target.deciding(coverage=plain), q).sum(1).mean()
                lines.append((sets[rows, z].mean(), sets.sum(1).mean(), ratio))
                classes.append([sets[z == k, k].mean() for k in range(p.shape[1])])
            mean, error = np.mean(lines, axis=0), 2 * np.std(lines, axis=0) / np.sqrt(seeds)
            words = (
                ("tags in the set", "unsure", "tags possible ÷ tags")
                if name == "yeast"
                else ("covered", "size", "size ÷ plain")
            )
            shown = ", ".join(f"{w} {m:.4f} ± {e:.4f}" for w, m, e in zip(words, mean, error, strict=True))
            print(
                f"{name} at {level}: {shown}; least of a class {np.mean(classes, 0).min():.4f} (n = {seeds})"
            )


def yeast(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    part = tables.mulan("yeast")
    x, y = np.concatenate([part.x, part.x_test]), np.concatenate([part.y, part.y_test])
    a, b, c = np.split(rng.permutation(len(x)), [1_200, 1_800])
    forest = ExtraTreesClassifier(100, min_samples_leaf=2, n_jobs=2, random_state=int(rng.integers(1 << 30)))
    forest.fit(x[a], y[a])
    p, q = (np.stack([each[:, 1] for each in forest.predict_proba(x[rows])], axis=1) for rows in (b, c))
    return p, y[b], q, y[c]


if __name__ == "__main__":
    print(machine())
    NAMES = sys.argv[2:] or ["satimage", "mnist300", "mnist10k", "yeast"]
    MNIST = mnist() if any("mnist" in name for name in NAMES) else None
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, NAMES)
