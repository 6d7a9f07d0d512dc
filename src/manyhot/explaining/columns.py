"""Replaced columns: how far the log odds of an answer fall where a row has another row's cells.

Columns that go together are replaced together, since without one of them the model reads the others. It needs
answers only, so that networks, trees and exported files are explained alike.

Source: Strumbelj and Kononenko 2010, "An Efficient Explanation of Individual Classifications using Game
Theory" (cells replaced by those of other rows), with one group at a time.

Shapes: N rows · B background rows · D places in x · G groups of columns · K classes of a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.features import TableInputs
from manyhot.explaining.scores import LogOdds, Scores

ALIKE = 0.8  # correlation from which on columns are replaced together
FEWEST = 30  # rows that tell how far columns go together
SHARED = 5  # rows that a category needs for it
PASSES = 200_000  # of a row through the model, at most some seconds
OTHERS = (5, 50)  # rows whose cells are put in


@dataclass(frozen=True)
class Group:
    """Columns that are replaced together, and their places in x."""

    names: tuple[str, ...]
    places: tuple[int, ...]


def groups(inputs: TableInputs, x: NDArray[np.float32]) -> list[Group]:
    """Return the columns, those together of which each two go together in the rows of x (B, D).

    Numbers are compared by their ranks, categories by which they are: how well one follows from the other,
    either way (the root of the adjusted R²).
    """
    columns = inputs.columns
    names = [*columns]
    sets = [[number] for number in range(len(names))]
    if len(x) >= FEWEST and len(names) > 1:
        alike = _alike([_coded(inputs, x, places) for places in columns.values()])
        first, second = np.nonzero(np.triu(alike >= ALIKE, 1))
        of = [*range(len(names))]
        for place in np.argsort(-alike[first, second], kind="stable").tolist():
            a, b = of[first[place]], of[second[place]]
            if a != b and (alike[np.ix_(sets[a], sets[b])] >= ALIKE).all():
                sets[a] += sets[b]
                for number in sets[b]:
                    of[number] = a
                sets[b] = []
    return [
        Group(tuple(names[n] for n in each), tuple(p for n in each for p in columns[names[n]]))
        for each in map(sorted, filter(None, sets))
    ]


def _coded(inputs: TableInputs, x: NDArray[np.float32], places: list[int]) -> NDArray[np.float64]:
    """Return a column as ranks, or as which category it is; standardised, float64 (B, K)."""
    values = x[:, places[0]]
    if inputs.features[places[0]].kind == "number":
        coded = _ranks(np.nan_to_num(values))[:, None]  # 0 is the middle of training
    else:
        kinds, counts = np.unique(values, return_counts=True)
        coded = (values[:, None] == kinds[counts >= SHARED]).astype(np.float64)
    centred = coded - coded.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0))
    return np.asarray(centred[:, size > 1e-9] / size[size > 1e-9])


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the rank of each value; equal ones share their mean."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[which], np.float64)


def _alike(coded: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return how well each two columns follow from each other, in [0, 1]; symmetric, (D, D)."""
    rows = len(coded[0])
    first = np.concatenate([[0], np.cumsum([each.shape[1] for each in coded])])
    every = np.concatenate(coded, axis=1)
    found = np.zeros((len(coded), len(coded)))
    for number, each in enumerate(coded):
        if not each.shape[1]:
            continue
        basis, _ = np.linalg.qr(each)
        told = ((basis.T @ every) ** 2).sum(axis=0)  # R² of each coded column, from this one
        told = 1 - (1 - told) * (rows - 1) / max(rows - basis.shape[1] - 1, 1)
        for other in range(len(coded)):
            own = told[first[other] : first[other + 1]]
            found[number, other] = np.sqrt(max(0.0, float(own.mean()))) if len(own) else 0.0
    return np.minimum(found, found.T)


def replaced(
    scores: Scores, x: NDArray[np.float32], others: NDArray[np.float32], parts: list[Group], seed: int
) -> LogOdds:
    """Return by how much the log odds fall where a group of columns has other rows' cells, by target.

    Shape:
        x: float32 (N, D). others: float32 (B, D). out: float64 (N, G, K), the mean over the other rows.
    """
    count = int(np.clip(PASSES // max(1, len(x) * len(parts)), *OTHERS))
    drawn = others[np.sort(np.random.default_rng(seed).permutation(len(others))[:count])]
    found: dict[str, list[NDArray[np.float64]]] = {t.name: [] for t in scores.model.schema.targets}
    for row in x:
        before = scores(row[None])
        falls: dict[str, list[NDArray[np.float64]]] = {name: [] for name in found}
        for some in _batches(parts, len(drawn)):
            seen = np.tile(row, (len(some), len(drawn), 1))
            for number, group in enumerate(some):
                seen[number][:, group.places] = drawn[:, group.places]
            for name, odds in scores(seen.reshape(-1, len(row))).items():
                each = odds.reshape(len(some), len(drawn), -1)
                falls[name].append(before[name] - each.mean(axis=1))
        for name, each_part in falls.items():
            found[name].append(np.concatenate(each_part))
    return {name: np.stack(each) for name, each in found.items()}


def _batches(parts: list[Group], rows: int, most: int = 20_000) -> list[list[Group]]:
    size = max(1, most // rows)
    return [parts[at : at + size] for at in range(0, len(parts), size)]
