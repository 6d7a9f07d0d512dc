"""Which classes stay possible for a row, so that the right one is among them as often as is asked for.

`calibrate` fits a `schema.Coverage` on rows that trained nothing; `targets.possible` reads it. A class is in
a row's set where its probability is not lower than is usual for rows that are of it. The limits of rare
classes are drawn to the common one, which of tags controls the share of a row's tags that its set lacks.

Sources: Sadinle, Lei and Wasserman 2019, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels";
Angelopoulos et al. 2022, "Conformal Risk Control".

Shapes: N rows · C classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from manyhot.schema import Coverage, Target
from manyhot.targets import FloatArray, IntArray, known, marginals

Floats = NDArray[np.float64]
DRAWN = 1  # rows of a class that may be missed, at which half of its limit is its own


def fit_coverage(target: Target, probabilities: FloatArray, y: IntArray, level: float) -> Coverage:
    """Return the limits with which sets of classes hold the right one in a share of `level` of new rows.

    Shape:
        probabilities: float (N, P), calibrated. y: as `targets.encode` gives it.
    """
    rows = known(y)
    chances, given = marginals(target, probabilities)[rows].astype(np.float64), y[rows]
    if target.exclusive:
        given = given.reshape(-1)
        own = chances[np.arange(len(given)), given]
        common = _limit(own, level)
        least = [_drawn(own[given == c], common, level) for c in range(len(target.classes))]
        return Coverage(level, int(rows.sum()), tuple(least))
    common = _row_limit(chances, given, level)
    no = -_limit(-chances[given == 0], level)
    columns = [(chances[:, c], given[:, c]) for c in range(len(target.classes))]
    least = [_drawn(values[labels == 1], common, level) for values, labels in columns]
    most = [-_drawn(-values[labels == 0], -no, level) for values, labels in columns]
    return Coverage(level, int(rows.sum()), tuple(least), tuple(most))


def _limit(own: Floats, level: float) -> float:
    """Return what a share of `level` of new values reaches or passes; −∞ where too few say so.

    The ⌈(n + 1) · level⌉-th largest of n.
    """
    rank = math.ceil((len(own) + 1) * level - 1e-9)
    return float(-np.sort(-own)[rank - 1]) if rank <= len(own) else -math.inf


def _drawn(own: Floats, common: float, level: float) -> float:
    """Return the limit of one class, drawn to the common one where few of its rows may be missed."""
    missed = len(own) * (1 - level)
    share = missed / (missed + DRAWN)
    limit = max(_limit(own, level), -1.0 if common < 0 else 0.0)  # probabilities end there
    return share * limit + (1 - share) * common if math.isfinite(common) else limit


def _row_limit(chances: Floats, given: IntArray, level: float) -> float:
    """Return the highest probability from which on sets lack so small a share of a row's tags."""
    there = given == 1
    tags = there.sum(axis=1)
    rows = tags > 0
    if not rows.any():
        return 0.0
    chances, there, tags = chances[rows], there[rows], tags[rows]
    values = np.where(there, chances, np.inf)
    order = np.argsort(values, axis=None)
    sorted_values, n = values.ravel()[order], len(tags)
    shares = np.broadcast_to((1 / tags)[:, None], values.shape).ravel()[order]
    finite = np.isfinite(sorted_values)
    lost = np.cumsum(shares[finite])  # how much is missed once the limit has passed each value
    allowed = (n + 1) * (1 - level) - 1
    passed = int(np.searchsorted(lost, allowed + 1e-9, side="right"))
    reach = sorted_values[finite]
    return float(reach[min(passed, len(reach) - 1)]) if allowed >= 0 else 0.0
