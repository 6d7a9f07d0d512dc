"""Does a promised precision hold, and how much is promised? Populations of known truth, then yeast's tags.

    MANYHOT_DATA=… python benchmarks/promises.py [POPULATIONS] [SPLITS]

A population is a tag: a share of yes from 0.02 to 0.5, and a normal score that tells it more or less well.
1,000 rows fit the threshold for a precision of 0.9 with confidence 0.9; 200,000 others tell what it is. A
promise is false where it is below 0.9. Of yeast (14 tags, extra trees that half of its rows taught) the tags
promised are counted beside those of the plainest sound way: exact bounds at ten cuts, each with a tenth of
the error.
"""

from __future__ import annotations

import sys

import numpy as np
import tables
from race import machine
from scipy.stats import binom

from manyhot.train.promises import of_precision, of_recall

LEVEL = CONFIDENCE = 0.9


def bonferroni(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """Return the lowest of ten cuts at which the exact bound holds with a tenth of the error."""
    kept = None
    for cut in np.quantile(scores, np.linspace(0.99, 0.5, 10)):
        yes = scores >= cut
        if binom.sf(truth[yes].sum() - 1, yes.sum(), LEVEL) <= (1 - CONFIDENCE) / 10:
            kept = cut
    return kept


def populations(count: int) -> None:
    false, made, recalled, recall_false, found = 0, 0, 0, 0, []
    for number in range(count):
        (scores, truth), (new, real) = drawn(np.random.default_rng(number))
        cut = of_precision(scores, truth, LEVEL, CONFIDENCE).cut
        if cut is not None:
            made += 1
            false += real[new >= cut].mean() < LEVEL
            found.append((real & (new >= cut)).sum() / real.sum())
        cut = of_recall(scores, truth, LEVEL, CONFIDENCE).cut
        if cut is not None:
            recalled += 1
            recall_false += (new[real] >= cut).mean() < LEVEL
    print(
        f"precision 0.9: {made} of {count} populations promised, {false} falsely: {false / count:.4f} of "
        f"all, {false / max(made, 1):.4f} of the promised; mean recall {np.mean(found):.3f}"
    )
    print(f"recall 0.9: {recalled} promised, {recall_false} falsely: {recall_false / max(recalled, 1):.4f}")


def drawn(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the scores and the truth of rows that fit, and of rows that judge."""
    share, apart = np.exp(rng.uniform(np.log(0.02), np.log(0.5))), rng.uniform(0.5, 4)
    found = []
    for rows in (1_000, 200_000):
        truth = rng.random(rows) < share
        z = rng.normal(size=rows) + apart * truth
        logits = apart * z - apart**2 / 2 + np.log(share / (1 - share))
        found.append((1 / (1 + np.exp(-logits)), truth))
    return found


def yeast(splits: int) -> None:
    from sklearn.ensemble import ExtraTreesClassifier

    part = tables.mulan("yeast")
    x, y = np.concatenate([part.x, part.x_test]), np.concatenate([part.y, part.y_test])
    counts = np.zeros(2, int)
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(x))
        learn, fit = order[: len(x) // 2], order[len(x) // 2 :]
        forest = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=split, n_jobs=2).fit(
            x[learn], y[learn]
        )
        chances = np.stack([p[:, 1] for p in forest.predict_proba(x[fit])], axis=1)
        for tag in range(y.shape[1]):
            one = chances[:, tag], y[fit, tag] == 1
            counts += of_precision(*one, LEVEL, CONFIDENCE).cut is not None, bonferroni(*one) is not None
    print(
        f"yeast: tags promised, mean of {splits} splits: {counts[0] / splits:.2f}; Bonferroni "
        f"{counts[1] / splits:.2f}; ratio {counts[0] / max(counts[1], 1):.2f}"
    )


if __name__ == "__main__":
    print(machine())
    populations(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
    yeast(int(sys.argv[2]) if len(sys.argv) > 2 else 20)
