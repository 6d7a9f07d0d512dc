"""Known labels for rows that have none: those that lie well inside a cluster whose labels agree around them.

`cluster --spread` calls it; what it adds is marked in a column of its own, since it was never given.

Shapes: N rows · F features.
"""

from __future__ import annotations

import numpy as np

from manyhot.clustering.centroids import Embedding
from manyhot.clustering.group import Groups
from manyhot.targets import UNKNOWN, IntArray

NEIGHBOURS = 5  # labelled ones that must agree, or as many as the cluster has
MARGIN = 0.15  # by which a row's centroid is nearer than the next


def spread(z: Embedding, found: Groups, y: IntArray) -> IntArray:
    """Return the labels with those of sure neighbours filled in.

    A row without a label gets one when it is no outlier, when the centroid of its cluster is nearer than the
    next by 15 % at least, and when the five labelled rows of its cluster that are nearest to it (or all,
    of fewer) have the same label.

    Shape:
        z: float32 (N, F). y: int (N,) class numbers, −1 for unknown. out: the same.
    """
    from sklearn.neighbors import NearestNeighbors

    filled = y.copy()
    sure = (found.margins >= MARGIN) & ~found.outliers()
    for number in range(len(found.centroids)):
        own = found.labels == number
        given = np.flatnonzero(own & (y != UNKNOWN))
        open_ = np.flatnonzero(own & (y == UNKNOWN) & sure)
        if not (len(given) and len(open_)):
            continue
        near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(given))).fit(z[given])
        labels = y[given][near.kneighbors(z[open_], return_distance=False)]
        agree = (labels == labels[:, :1]).all(axis=1)
        filled[open_[agree]] = labels[agree, 0]
    return filled
