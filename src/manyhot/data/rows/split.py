"""Rows into parts: stratified over all targets at once, groups and duplicates kept together.

`fitting.fit` calls it with the encoded targets; only positions come back.

The method is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the
stratification of multi-label data"), dealt label by label rather than row by row so that it is
linear in rows: the rarest label first, its rows shared out by what each part still lacks of it.

Shapes: N rows · U units (rows that stay together) · L labels (the classes of all targets, and for
each target "unknown") · P parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.paths import Progress, by_columns
from manyhot.schema import Target
from manyhot.targets import IntArray, known

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TRAIN, VAL, TEST = 0, 1, 2
PARTS = ("train", "val", "test")


def split(
    targets: Sequence[Target],
    y: Mapping[str, IntArray],
    fractions: Sequence[float],
    seed: int,
    together: Sequence[IntArray] = (),
    progress: Progress | None = None,
) -> NDArray[np.int8]:
    """Deal rows into parts so that each has its share of every class and tag of every target.

    Args:
        fractions: share of the rows for each part, summing to 1.
        together: integer keys (N,); rows with an equal key in any of them stay in one part.
        progress: is told what share of the rows has been dealt, where these are many.

    Shape:
        out: int8 (N,), the number of the part of each row.

    >>> target = Target("y", "binary", ("a", "b"), ("y",))
    >>> parts = split([target], {"y": np.array([[0], [1]] * 50)}, [0.8, 0.2], seed=0)
    >>> np.bincount(parts).tolist()
    [80, 20]
    """
    from scipy.sparse import csr_matrix  # here and below: who judges a model deals no rows

    labels, shares = _label_matrix(targets, y, negative=bool(together)), np.asarray(fractions)
    if not together:  # each row is a unit of its own
        return _deal(labels, np.ones(labels.shape[0], np.intp), shares, seed, progress)
    units = _units(labels.shape[0], together)
    sums = csr_matrix((np.ones(len(units), np.float32), (units, np.arange(len(units))))) @ labels
    return _deal(sums, np.bincount(units), shares, seed, progress)[units]


def _label_matrix(targets: Sequence[Target], y: Mapping[str, IntArray], negative: bool) -> csr_matrix:
    """Return float32 (N, L): 1 where a row has a class, and where a target of it is unknown.

    The negative class of a binary target is where the other is not, but for rows that stay together: there it
    must be dealt too.
    """
    from scipy.sparse import coo_matrix

    rows, columns, width, count = list[IntArray](), list[IntArray](), 0, 0

    def add(row: IntArray, column: IntArray | int) -> None:
        rows.append(row.astype(np.int32))
        columns.append(np.broadcast_to(np.asarray(column, np.int32), row.shape))

    for target in targets:
        values = y[target.name]
        count = len(values)
        if values.ndim == 1:
            row = np.flatnonzero(known(values))
            add(row, values[row] + width)
            width += len(target.classes)
        else:
            row, column = np.nonzero(values == 1)
            add(row, column + width)
            width += values.shape[1]
            if negative and target.exclusive:
                add(np.flatnonzero(values[:, 0] == 0), width)
                width += 1
        add(np.flatnonzero(~known(values)), width)
        width += 1
    row, column = np.concatenate(rows), np.concatenate(columns)
    return coo_matrix((np.ones(len(row), np.float32), (row, column)), shape=(count, width)).tocsr()


def _units(rows: int, together: Sequence[IntArray]) -> IntArray:
    """Number the rows so that those which must stay together share a number; int (N,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = []
    for key in together:
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        edges.append((np.arange(rows), first[inverse]))
    a = np.concatenate([edge[0] for edge in edges])
    b = np.concatenate([edge[1] for edge in edges])
    graph = coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(rows, rows))
    units: IntArray = connected_components(graph, directed=False)[1]
    return units


def _deal(
    by_row: csr_matrix,
    sizes: IntArray,
    fractions: NDArray[np.float64],
    seed: int,
    progress: Progress | None,
) -> NDArray[np.int8]:
    """Give each unit a part; its labels are (U, L), sizes (U,) the rows in each unit."""
    labels = by_row.tocsc()
    rng = np.random.default_rng(seed)
    part = np.full(len(sizes), -1, dtype=np.int8)
    totals = np.asarray(labels.sum(axis=0)).ravel()
    lacking = np.outer(fractions, totals)  # (P, L): rows with each label that each part should still get
    room = fractions * sizes.sum()  # (P,): rows that each part should still get
    pending = np.arange(len(totals))
    while len(pending):
        # the label with the fewest rows still to be dealt comes first, as in the paper
        at = int(np.argmin(lacking[:, pending].sum(axis=0)))
        label, pending = pending[at], np.delete(pending, at)
        units = labels.indices[labels.indptr[label] : labels.indptr[label + 1]]
        units = rng.permutation(units[part[units] < 0])
        if len(units):
            part[units] = _share(lacking[:, label], room, fractions, sizes[units])
            for number in range(len(fractions)):
                mine = units[part[units] == number]
                lacking[number] -= np.asarray(by_row[mine].sum(axis=0)).ravel()
                room[number] -= sizes[mine].sum()
        by_columns(progress, len(totals) - len(pending), len(totals), int(sizes.sum()))
    rest = rng.permutation(np.flatnonzero(part < 0))  # units with no label at all, such as empty tag lists
    if len(rest):
        part[rest] = _share(room, room, fractions, sizes[rest])
    return part


def _share(
    lacking: NDArray[np.float64], room: NDArray[np.float64], fractions: NDArray[np.float64], sizes: IntArray
) -> NDArray[np.int8]:
    """Deal units in proportion to what each part lacks; the last odd ones go to parts that are behind.

    Many classes of two rows each would else all go to the larger part. The order of the units is already
    random, so each part takes a run of them.
    """
    behind = room - fractions * room.sum()  # rows that a part lacks of its share of those dealt so far
    want = np.maximum(lacking, 0)
    if want.sum() == 0:
        want = np.maximum(room, 0)
    if want.sum() == 0:
        want = np.ones_like(room)
    ideal = want / want.sum() * sizes.sum()
    if (sizes == 1).all():
        counts = np.floor(ideal + 1e-9).astype(int)
        order = np.lexsort((-room, -(ideal - counts + behind)))
        counts[order[: len(sizes) - counts.sum()]] += 1
        return np.repeat(np.arange(len(room), dtype=np.int8), counts)
    out = np.empty(len(sizes), dtype=np.int8)
    left = ideal.copy()
    for index in np.argsort(-sizes, kind="stable"):  # large units first, each where most is wanted
        best = int(np.lexsort((-room, -left))[0])
        out[index] = best
        left[best] -= sizes[index]
    return out
