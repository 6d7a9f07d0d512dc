"""K-means: embeddings enter, centroids and the nearest of each row leave.

`group`, `learn` and `space` call it. Up to 20,000 rows each step sees all of them; of more it begins with
a sample, then goes over all rows a batch at a time, so that time is linear in the rows and memory is that
of the embeddings.

Shapes: N rows · F features of an embedding · K clusters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.paths import Progress
from manyhot.targets import IntArray

Embedding = NDArray[np.float32]

WHOLE = 20_000  # rows up to which each step of k-means sees all of them
STARTS = 10  # from different rows; the one with the least distances is kept
BATCH, PASSES = 8_192, 2  # beyond: rows at a time, how often each is seen


def k_means(z: Embedding, clusters: int, seed: int, start: Embedding | None = None) -> Embedding:
    """Return the centroids that k-means ends with, from `start` or the best of ten random starts; (K, F)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that are equal; fewer clusters are left
        if start is None:
            found = KMeans(clusters, n_init=STARTS, random_state=seed).fit(z)
        else:
            found = KMeans(len(start), init=start, n_init=1, random_state=seed).fit(z)
    return means(z, found.labels_)  # in one fixed order of adding, however many threads there were


def over_all(z: Embedding, centroids: Embedding, progress: Progress | None) -> Embedding:
    """Move centroids by all rows, a batch at a time.

    Source: Sculley 2010, "Web-scale k-means clustering", by scikit-learn.
    """
    from sklearn.cluster import MiniBatchKMeans

    still = {
        "n_init": 1,
        "reassignment_ratio": 0,
        "random_state": 0,
    }  # nothing is drawn, and yet it would seed
    moving = MiniBatchKMeans(len(centroids), init=centroids, **still)
    for turn in range(PASSES):
        for part in batches(len(z)):
            moving.partial_fit(z[part])
            if progress is not None:
                progress(turn * len(z) + part.stop, PASSES * len(z))
    return np.asarray(moving.cluster_centers_, dtype=np.float32)


def means(z: Embedding, labels: IntArray) -> Embedding:
    """Return the mean of each cluster's rows; float32 (K, F). Each cluster has a row at least."""
    return np.stack(
        [z[labels == number].mean(axis=0, dtype=np.float64) for number in range(labels.max() + 1)]
    ).astype(np.float32)


def nearest(z: Embedding, centroids: Embedding) -> tuple[IntArray, NDArray[np.float32], NDArray[np.float32]]:
    """Return each row's nearest centroid, int32 (N,), how far it is, and its margin, both float32 (N,)."""
    labels = np.empty(len(z), dtype=np.int32)
    distances, margins = np.empty((2, len(z)), dtype=np.float32)
    for part in batches(len(z)):
        lengths = np.sqrt(_squares(z[part], centroids))
        labels[part] = lengths.argmin(axis=1)
        if len(centroids) == 1:
            distances[part], margins[part] = lengths[:, 0], 1
            continue
        first, second = np.partition(lengths, 1, axis=1)[:, :2].T
        distances[part], margins[part] = first, 1 - first / np.maximum(second, 1e-12)
    return labels, distances, margins


def batches(rows: int) -> Iterator[slice]:
    """Give slices that go over all rows once."""
    for first in range(0, rows, BATCH):
        yield slice(first, min(first + BATCH, rows))


def sample(rows: int, most: int, seed: int) -> NDArray[np.intp]:
    """Return the positions of a seeded sample of rows, in order; of all where there are fewer; intp (n,)."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _squares(z: Embedding, centroids: Embedding) -> NDArray[np.float32]:
    """Return squared distances, taken from the centroids' mean so that little is lost in float32; (N, K)."""
    middle = centroids.mean(axis=0)
    z, centroids = z - middle, centroids - middle
    squares = (z**2).sum(axis=1)[:, None] - 2 * z @ centroids.T + (centroids**2).sum(axis=1)
    return np.asarray(np.maximum(squares, 0), dtype=np.float32)
