"""How many mistakes more rows are expected to save: the learning curve of plain trees, and so of the model.

`run` asks it of a table, `report.steps` tells it. Trees learn from all rows that train and from halves of
them; by how much fewer held-out rows all of them get wrong is expected of twice the rows once more, and of
the model as of the trees. Errors that fall as a power of the rows fall so (Hestness et al. 2017, "Deep
Learning Scaling is Predictable, Empirically"); those that end at a floor fall less.

Shapes: N held-out rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manyhot.config import FitConfig
from manyhot.judge import Growth, Judged
from manyhot.metrics import wrong_rows
from manyhot.targets import IntArray, Weight, weight_of
from manyhot.train.examples import MOST, examples, labels_of
from manyhot.train.prepared import Prepared

TREES, LEAST = 40, 20  # of all folds together, and of each
FEWEST = 50  # held-out rows, of which some are wrong
DRAWS = 200  # samples of rows that say how sure it is

Floats = NDArray[np.float64]


def growth(prepared: Prepared, columns: NDArray[np.float32], judged: Judged) -> dict[str, Growth]:
    """Return what twice the rows are expected to bring, by target; nothing where rows are few or very many.

    `columns` are those of all rows as members read them, `judged` the held-out ones.
    """
    held, found, x = prepared.held_out(), dict[str, Growth](), columns
    fold = prepared.fold_of(held)
    wrong, known = wrong_rows(judged.schema.targets, judged.y, judged.probabilities)
    numbers = {target.name: number for number, target in enumerate(judged.schema.targets)}
    for target, parts in examples(prepared):
        number = numbers[target.name]
        judging = known[:, number]
        if judging.sum() < FEWEST or len(parts[0][0]) >= MOST or not wrong[judging, number].any():
            continue
        right = labels_of(target, judged.y[target.name])
        half, full = np.zeros(len(held)), np.zeros(len(held))
        for part, (rows, y, weight) in enumerate(parts):
            own = judging & (fold == part) if fold is not None else judging
            if own.any():
                to_judge = (x[held[own]], right[own], prepared.config)
                order = np.random.default_rng(part).permutation(len(rows)) % 2
                halves = [_wrong(x, rows, y, weight, order == side, *to_judge) for side in (0, 1)]
                half[own] = np.mean(halves, axis=0)
                full[own] = _wrong(x, rows, y, weight, order < 2, *to_judge)
        rows_now = int(np.mean([len(rows) for rows, _, _ in parts]))
        ours = wrong[judging, number].astype(np.float64)
        found[target.name] = _expected(rows_now, ours, half[judging], full[judging])
    return found


def _wrong(
    x: NDArray[np.float32],
    rows: NDArray[np.intp],
    y: IntArray,
    weight: Weight,
    learned: NDArray[np.bool_],
    seen: NDArray[np.float32],
    right: IntArray,
    config: FitConfig,
) -> Floats:
    """Return which of some rows trees get wrong that learned from others: 0 or 1, float64 (N,)."""
    from sklearn.ensemble import ExtraTreesClassifier

    trees = ExtraTreesClassifier(
        max(LEAST, TREES // config.folds), n_jobs=config.threads, random_state=config.seed
    )
    trees.fit(x[rows[learned]], y[learned], weight_of(weight, learned))
    answers = trees.predict(seen)
    return np.asarray((answers != right).reshape(len(seen), -1).any(axis=1), np.float64)


def _expected(rows: int, ours: Floats, half: Floats, full: Floats) -> Growth:
    """Return what as many rows again are expected to bring, with a 95 % interval by resampled rows."""
    counts = np.random.default_rng(0).multinomial(len(ours), np.full(len(ours), 1 / len(ours)), DRAWS)
    of_ours, of_half, of_full = (
        np.vstack([np.ones(len(ours)), counts]) @ each for each in (ours, half, full)
    )
    gain = 100 * of_ours / len(ours) * (1 - of_full / np.maximum(of_half, 1))
    low, high = np.quantile(gain[1:], (0.025, 0.975)).tolist()
    return Growth(rows, float(gain[0]), low, high)
