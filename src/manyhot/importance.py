"""How much a model needs each column: rows whose cells of one column are shuffled, judged again.

`train.run` asks it of the held-out rows, `judge.explained` of other rows, and the report shows it.

Source: Breiman 2001, "Random Forests", section 10 (permutation importance), of held-out rows here.

Shapes: N rows · D columns of x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.data.inputs.images.stream import X
from manyhot.schema import Target
from manyhot.targets import WEIGHT, FloatArray, Labels, Weight, dense, weight_of

Probabilities = Callable[[NDArray[np.intp], X], Mapping[str, FloatArray]]
Importance = dict[str, dict[str, tuple[float, float]]]
PASSES = 20_000  # of a row through the model, some seconds
# That are shuffled; of more columns, those that go most with the labels.
ROWS, COLUMNS = (100, 1_000), (20, 100)


def importance(
    probabilities: Probabilities,
    x: X,
    columns: Mapping[str, Sequence[int]],
    targets: Sequence[Target],
    y: Labels,
    seed: int = 0,
    passes: int = PASSES,
) -> Importance:
    """Return by target and column how much the log loss rises where the column is shuffled, and its error.

    What several columns say alike is shared among them: without one, the model reads the others.

    Args:
        probabilities: gives those of the rows at some positions in x, with the x that they are to have.
        columns: the places in x of each column; empty of pictures.
        passes: how many rows may go through the model in all; few columns and rows of few go in any case.

    Shape:
        x: float32 (N, D). out: the most important column first; errors are standard errors.
    """
    if not columns:
        return {}
    random = np.random.default_rng(seed)
    names = _likeliest(np.asarray(x), columns, targets, y, int(np.clip(passes // ROWS[0], *COLUMNS)))
    rows = np.sort(random.permutation(len(x))[: int(np.clip(passes // len(names), *ROWS))])
    ours, labels = np.asarray(x)[rows], {name: values[rows] for name, values in y.items()}

    def losses(seen: X) -> dict[str, NDArray[np.float64]]:
        found = probabilities(rows, seen)
        return {t.name: metrics.row_losses(t, labels[t.name], found[t.name]) for t in targets}

    before, rises = losses(ours), {t.name: dict[str, tuple[float, float]]() for t in targets}
    for name in names:
        places, shuffled = np.array(columns[name]), ours.copy()
        shuffled[:, places] = ours[random.permutation(len(ours))][:, places]
        for target, after in losses(shuffled).items():
            rises[target][name] = _mean(after - before[target], labels.get(WEIGHT))
    return {t: dict(sorted(each.items(), key=lambda item: -item[1][0])) for t, each in rises.items()}


def _mean(each: NDArray[np.float64], weight: Weight) -> tuple[float, float]:
    """Return the mean over the rows whose label is known, and its standard error; 0 of fewer than two."""
    there = np.isfinite(each)
    if there.sum() < 2:
        return 0.0, 0.0
    values, counts = each[there], weight_of(weight, there)
    share = np.full(len(values), 1 / len(values)) if counts is None else counts / counts.sum(dtype=np.float64)
    mean = float(share @ values)
    return mean, float(np.sqrt((share**2) @ (values - mean) ** 2))


def _likeliest(
    x: NDArray[np.float32],
    columns: Mapping[str, Sequence[int]],
    targets: Sequence[Target],
    y: Labels,
    most: int,
) -> list[str]:
    """Return the columns, or of many those that go most with some label, by the size of the correlation."""
    if len(columns) <= most:
        return [*columns]
    labels = np.concatenate([dense(t, y[t.name]) for t in targets], axis=1)
    a, b = (_centred(values) for values in (x, labels))
    size = np.sqrt((a**2).sum(axis=0))[:, None] * np.sqrt((b**2).sum(axis=0))
    found = np.abs(a.T @ b / np.maximum(size, 1e-12)).max(axis=1)
    by_column = {name: max(float(found[place]) for place in places) for name, places in columns.items()}
    chosen = {*sorted(by_column, key=lambda name: -by_column[name])[:most]}
    return [name for name in columns if name in chosen]


def _centred(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return columns less their means; what is missing is as the mean."""
    there = np.isfinite(values)
    sums = np.where(there, values, 0).sum(axis=0, dtype=np.float64)
    return np.where(there, values - sums / np.maximum(there.sum(axis=0), 1), 0.0)
