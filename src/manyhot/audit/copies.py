"""Pictures that are nearly the same: small grey copies come in, pairs that their pixels confirm leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.paths import Progress, Unreadable
from manyhot.data.table import Table
from manyhot.progress import Lines
from manyhot.schema import Schema


class Pair(NamedTuple):
    """A row, the earlier one that it nearly equals, how alike they are in [0, 1], and in which way."""

    row: int
    other: int
    likeness: float
    how: str


class Looked(NamedTuple):
    """Pictures seen small: uint8 (N, SIDE, SIDE), and the rows that cannot be read; None of tables."""

    small: NDArray[np.uint8] | None
    unreadable: Unreadable


def look(table: Table, schema: Schema, progress: Progress) -> Looked:
    return Looked(None, {})


def near(seen: Looked, exact: Sequence[tuple[int, int]], told: Lines) -> list[Pair]:
    return []


def groups(rows: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number the rows so that those of a pair, and of pairs that share a row, have the same number."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = np.array(pairs, np.intp).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), (rows, rows))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
