"""From which distance on a new row is far from all that training saw: found by rows that trained nothing.

`run` calls it on the finished predictor. A hundredth of new rows is then called far by chance.

Source: Bates et al. 2023, "Testing for Outliers with Conformal p-values".

Shapes: N rows · D columns of x · F features · R training rows · K directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.data.inputs.features import TableInputs
from manyhot.data.rows import split
from manyhot.model import inference
from manyhot.model.far import NEAREST, Far, spread
from manyhot.model.predictor import Predictor
from manyhot.schema import FarLimits
from manyhot.train.prepared import Prepared

ALARMS = 0.01  # of new rows, half of them by each of the two numbers
ROWS, JUDGING = 3_000, 2_000
DIRECTIONS = 64
FEWEST = 100  # rows by which limits are found
PARTS = 5
BLOCK = 1 << 13  # rows looked at at a time, of which several copies are made


class Ranges(NamedTuple):
    """What the columns of some rows hold, each (D,): the least number, the largest, whether a cell is 0."""

    low: torch.Tensor
    high: torch.Tensor
    lacking: torch.Tensor

    @classmethod
    def of_nothing(cls, columns: int) -> Ranges:
        """Return the ranges of no rows."""
        low = torch.full((columns,), math.inf)
        return cls(low, -low, torch.zeros(columns, dtype=torch.bool))

    def beside(self, other: Ranges) -> Ranges:
        """Return the ranges of these rows and others."""
        low, high = torch.minimum(self.low, other.low), torch.maximum(self.high, other.high)
        return Ranges(low, high, self.lacking | other.lacking)


@torch.no_grad()
def fit_far(prepared: Prepared, predictor: Predictor) -> tuple[Far, FarLimits] | None:
    """Return what tells how far rows are, and from where on they are far; None where rows are too few.

    Rows that train are their own reference where folds hold each of them out: each is judged without itself.
    """
    rng = np.random.default_rng(prepared.config.seed)
    train = rng.permutation(prepared.of_part(split.TRAIN))
    keys, held = train[:ROWS], prepared.held_out()
    alone = prepared.rows.fold is not None
    if alone:
        held = train[ROWS:][:JUDGING] if len(train) >= ROWS + JUDGING else keys
    else:
        held = rng.permutation(held)[:JUDGING]
    if len(held) < FEWEST or len(keys) <= NEAREST:
        return None
    table = isinstance(prepared.inputs, TableInputs)
    model = predictor.stem if table else predictor

    def features(rows: NDArray[np.intp]) -> torch.Tensor:
        x = prepared.x[rows]
        return torch.from_numpy(inference.run(model, x) if table else inference.features(predictor, x))

    far = _of(prepared, keys, features(keys))
    places, own = far.placed(features(held)), far.keys.float()
    itself = held is keys
    distances = torch.cdist(places, own).topk(NEAREST + itself, dim=1, largest=False).values[:, -1]
    outside = np.zeros(len(held))
    if table:
        outside = _outside(prepared, train, held)
    limits = [_limit(values, ALARMS / 2) for values in (distances.numpy(), outside)]
    return far, FarLimits(limits[0], limits[1], len(held))


def _of(prepared: Prepared, keys: NDArray[np.intp], features: torch.Tensor) -> Far:
    """Return what tells how far rows are from some training rows, whose features are given."""
    low = high = unseen = torch.zeros(0)
    if isinstance(prepared.inputs, TableInputs):
        every = _ranges(prepared, prepared.of_part(split.TRAIN))
        low, high, unseen = _as_far_takes(prepared.inputs, every)
    else:
        features = torch.nn.functional.normalize(features.float(), dim=1)
    middle = features.mean(0)
    directions = torch.eye(features.shape[1])
    if features.shape[1] > DIRECTIONS:
        # The principal axes: of 1,536 features in a third of the time of a singular value decomposition.
        _, axes = torch.linalg.eigh((features - middle).T @ (features - middle))
        directions = axes[:, -DIRECTIONS:].flip(1).contiguous()
    return Far((features - middle) @ directions, middle, directions, low, high, unseen)


def _ranges(prepared: Prepared, rows: NDArray[np.intp]) -> Ranges:
    """Return the ranges of some rows, a block at a time, since these may be all that train."""
    found = Ranges.of_nothing(prepared.x.shape[1])
    for first in range(0, len(rows), BLOCK):
        x = torch.from_numpy(np.asarray(prepared.x[rows[first : first + BLOCK]]))
        values, known = spread(torch.nan_to_num(x, nan=0.0)), ~torch.isnan(x)
        low = torch.where(known, values, math.inf).amin(0)
        high = torch.where(known, values, -math.inf).amax(0)
        found = found.beside(Ranges(low, high, (x == 0).any(0)))
    return found


def _as_far_takes(inputs: TableInputs, found: Ranges) -> Sequence[torch.Tensor]:
    """Return the least and largest number of each column, and which categories no row lacks."""
    categories = torch.tensor([feature.kind != "number" for feature in inputs.features])
    none = torch.tensor(0.0)
    usable = (found.high > found.low) & ~categories
    unseen = (categories & ~found.lacking).float()
    return torch.where(usable, found.low, none), torch.where(usable, found.high, none), unseen


def _outside(prepared: Prepared, train: NDArray[np.intp], held: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how far rows are outside of the ranges of the training rows without them."""
    assert isinstance(prepared.inputs, TableInputs)
    outside, empty = np.zeros(len(held)), torch.zeros(0)
    trains, part = np.zeros(len(prepared.x), bool), np.arange(len(held)) % PARTS
    trains[train] = True
    own = [held[(part == number) & trains[held]] for number in range(PARTS)]
    trains[held] = False
    never, of_part = _ranges(prepared, np.flatnonzero(trains)), [_ranges(prepared, rows) for rows in own]
    for number in range(PARTS):
        found = never
        for other in (*of_part[:number], *of_part[number + 1 :]):
            found = found.beside(other)
        far = Far(empty, empty, empty, *_as_far_takes(prepared.inputs, found))
        x = torch.from_numpy(np.asarray(prepared.x[held[part == number]]))
        outside[part == number] = far.outside(x)[:, 0].numpy()
    return outside


def _limit(values: NDArray[np.floating], alarms: float) -> float:
    """Return what new values pass in a share of `alarms` at most; of few the largest of them."""
    rank = math.ceil((len(values) + 1) * (1 - alarms) - 1e-9)
    return float(np.sort(values)[min(rank, len(values)) - 1])
