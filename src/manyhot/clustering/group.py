"""Embeddings into groups: k-means, how many groups there are, and which rows belong to none.

`cluster` calls `group` once and answers by its centroids from then on. Up to 20,000 rows each step of
k-means sees all of them; of more it begins with a sample, then goes over all rows a batch at a time, so
that time is linear in the rows and memory is that of the embeddings.

Shapes: N rows · F features of an embedding · K clusters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manyhot.data.paths import Progress
from manyhot.errors import UserError
from manyhot.targets import IntArray

Embedding = NDArray[np.float32]

WHOLE = 20_000  # rows up to which each step of k-means sees all of them
STARTS = 10  # from different rows; the one with the least distances is kept
BATCH, PASSES = 8_192, 2  # beyond: rows at a time, how often each is seen
MAX_CLUSTERS = 20  # that are tried where no number is given
STRONG = 0.8  # of a number of clusters, as its authors advise
CUTS = 5  # of the rows into halves
JUDGED = 5_000  # rows of the sample that a silhouette is taken from; its cost is their square
GATHERED, GATHERINGS = 16, 2  # rows that one is moved to the mean of, itself among them, and how often
FENCE = 3.0  # interquartile ranges; Tukey's outer fence


@dataclass(frozen=True)
class Groups:
    """Centroids float32 (K, F), the largest cluster first, and the nearest of each row, int32 (N,).

    `distances` is how far each row is from its centroid, float32 (N,); `margins` how much further
    the next is, as a share of that, in [0, 1], 0 half-way between two. `tried` has the prediction strength of
    each number of clusters that was tried, and is empty where the number was given.
    """

    centroids: Embedding
    labels: IntArray
    distances: NDArray[np.float32]
    margins: NDArray[np.float32]
    tried: dict[int, float]

    def outliers(self) -> NDArray[np.bool_]:
        """Tell which rows belong to no cluster: those beyond the outer fence of their cluster's distances.

        The fence stands three interquartile ranges above the upper quartile, so that a cluster's own
        spread decides; of normal distances one in 200,000 is beyond.

        Source: Tukey 1977, "Exploratory Data Analysis", section 2D.
        """
        beyond = np.zeros(len(self.labels), dtype=bool)
        for number in range(len(self.centroids)):
            own = self.labels == number
            if own.any():
                low, high = np.quantile(self.distances[own], [0.25, 0.75])
                beyond[own] = self.distances[own] > high + FENCE * (high - low) + 1e-6
        return beyond


def group(z: Embedding, clusters: int | None, seed: int, progress: Progress | None = None) -> Groups:
    """Part embeddings into `clusters` groups, or into as many as hold in both halves of the rows.

    Without a number it is the largest of 2 to 20 whose prediction strength is at least 0.8; where there is
    none, the one with the greatest.

    Args:
        progress: is called with (rows, all) while many rows are gone through.

    Raises:
        UserError: there are not more rows, or not as many different ones, as clusters.
    """
    check(z, clusters)
    some = z[sample(len(z), WHOLE, seed)]
    tried = {} if clusters is not None else _strengths(z, seed, progress)
    if clusters is None:
        strong = [count for count, strength in tried.items() if strength >= STRONG]
        clusters = max(strong) if strong else max(tried, key=lambda count: tried[count])
    centroids = k_means(some, clusters, seed)
    if len(some) < len(z):
        centroids = _over_all(z, centroids, progress)
    return settle(z, centroids, tried)


def _strengths(z: Embedding, seed: int, progress: Progress | None) -> dict[int, float]:
    """Return the prediction strength of each number of clusters, from a sample of 5,000 rows."""
    z = z[sample(len(z), JUDGED, seed)]
    most = min(MAX_CLUSTERS, len(np.unique(z, axis=0)) // 2, len(z) // 4)
    found = {2: 0.0}  # of few rows, which are parted into two
    for count in range(2, most + 1):
        found[count] = strength(z, count, seed)
        if progress is not None:
            progress(count, most)
    return found


def strength(z: Embedding, clusters: int, seed: int) -> float:
    """Return how well the clusters of one half of the rows hold in the other, in [0, 1].

    Both halves are clustered. Of the pairs of rows that are together in a cluster of one half, it is the
    share that are together by the centroids of the other half too, in the worst cluster; the mean over
    five cuts into halves, each judged both ways.

    Source: Tibshirani and Walther 2005, "Cluster Validation by Prediction Strength", equation 2.1.
    """
    found = []
    for cut in range(CUTS):
        order = np.random.default_rng((seed, cut)).permutation(len(z))
        halves = np.array_split(z[order], 2)
        centroids = [k_means(half, clusters, seed) for half in halves]
        for half, own, other in (
            (halves[0], centroids[0], centroids[1]),
            (halves[1], centroids[1], centroids[0]),
        ):
            together = np.zeros((len(own), len(other)))
            np.add.at(together, (nearest(half, own)[0], nearest(half, other)[0]), 1)
            rows = together.sum(axis=1)
            pairs = (together * (together - 1)).sum(axis=1) / np.maximum(rows * (rows - 1), 1)
            found.append(pairs[rows > 1].min(initial=1.0))
    return float(np.mean(found))


def check(z: Embedding, clusters: int | None) -> None:
    """Refuse a number of clusters that the rows cannot have."""
    if clusters is not None and clusters < 2:
        raise UserError(f"--clusters must be at least 2, got {clusters}.")
    least = clusters or 2
    if len(z) <= least:
        raise UserError(f"{len(z)} rows cannot be parted into {least} clusters; give more rows.")
    different = len(np.unique(z[:WHOLE], axis=0))
    if different < least:
        what = "all rows are equal" if different == 1 else f"only {different} rows differ"
        raise UserError(f"{what}, so there are no {least} clusters among them.")


def settle(z: Embedding, centroids: Embedding, tried: dict[int, float] | None = None) -> Groups:
    """Give each row to its nearest centroid, and number the clusters by size, the largest first."""
    counts = np.bincount(nearest(z, centroids)[0], minlength=len(centroids))
    order = np.argsort(-counts, kind="stable")[: max(2, int((counts > 0).sum()))]
    centroids = np.ascontiguousarray(centroids[order])
    return Groups(centroids, *nearest(z, centroids), tried or {})


def k_means(z: Embedding, clusters: int, seed: int, start: Embedding | None = None) -> Embedding:
    """Return the centroids that k-means ends with, from `start` or the best of ten random starts; (K, F)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that are equal; fewer clusters are left
        if start is None:
            found = KMeans(clusters, n_init=STARTS, random_state=seed).fit(z)
        else:
            found = KMeans(len(start), init=start, n_init=1).fit(z)
    return means(z, found.labels_)  # in one fixed order of adding, however many threads there were


def gathered(z: Embedding, seed: int) -> Embedding:
    """Return rows of length 1 moved to the mean of their nearest, twice, which draws groups together; (N, F).

    Of more than 20,000 rows the nearest are looked for in a sample, so that time is linear in the rows.

    Source: Cheng 1995, "Mean Shift, Mode Seeking, and Clustering" (blurring), with neighbours by number.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = sample(len(z), WHOLE, seed)
    for _ in range(GATHERINGS):
        some = z[rows]
        near = NearestNeighbors(n_neighbors=min(GATHERED, len(rows)), algorithm="brute").fit(some)
        moved = [
            some[near.kneighbors(z[part], return_distance=False)].mean(axis=1) for part in batches(len(z))
        ]
        z = np.concatenate(moved)
        z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return z


def discriminants(z: Embedding, labels: IntArray) -> Embedding:
    """Return the map to the K − 1 directions that part the clusters, a unit wide within them; (F, K − 1).

    The correlation within clusters is shrunk towards none as far as the rows are too few to know it.
    The nearest centroid after the map is the answer of linear discriminant analysis with equal priors.

    Source: Fisher 1936; Ledoit and Wolf 2004, "A well-conditioned estimator", by scikit-learn.
    """
    from sklearn.covariance import ledoit_wolf

    rows = np.arange(len(z))[:: -(-len(z) // WHOLE)]
    names, inverse = np.unique(labels, return_inverse=True)
    centroids = means(z, labels)
    off = (z[rows] - centroids[inverse[rows]]).astype(np.float64)
    widths = np.maximum(off.std(axis=0), off.std() * 1e-3 + 1e-12)
    values, vectors = np.linalg.eigh(ledoit_wolf(off / widths, assume_centered=True)[0])
    even = (vectors / np.sqrt(np.maximum(values, values.max() * 1e-6))) @ vectors.T / widths[:, None]
    apart = (centroids - centroids.mean(axis=0)) @ even
    directions = np.linalg.svd(apart, full_matrices=False)[2][: len(names) - 1]
    return np.asarray(even @ directions.T, dtype=np.float32)


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
        first, second = np.partition(lengths, 1, axis=1)[:, :2].T
        distances[part], margins[part] = first, 1 - first / np.maximum(second, 1e-12)
    return labels, distances, margins


def silhouette(z: Embedding, labels: IntArray, seed: int) -> float:
    """Return the mean silhouette, in [−1, 1], of a seeded sample of at most 5,000 rows.

    Source: Rousseeuw 1987, "Silhouettes: a graphical aid", by scikit-learn.
    """
    return float(silhouettes(z, labels, seed)[1].mean())


def silhouettes(z: Embedding, labels: IntArray, seed: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows of the sample, and the silhouette of each in it."""
    from sklearn.metrics import silhouette_samples

    rows = sample(len(z), JUDGED, seed)
    if not 2 <= len(np.unique(labels[rows])) < len(rows):
        return rows, np.zeros(len(rows))
    return rows, np.asarray(silhouette_samples(z[rows], labels[rows]), dtype=np.float64)


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


def _over_all(z: Embedding, centroids: Embedding, progress: Progress | None) -> Embedding:
    """Move centroids by all rows, a batch at a time.

    Source: Sculley 2010, "Web-scale k-means clustering", by scikit-learn.
    """
    from sklearn.cluster import MiniBatchKMeans

    moving = MiniBatchKMeans(len(centroids), init=centroids, n_init=1, reassignment_ratio=0)
    for turn in range(PASSES):
        for part in batches(len(z)):
            moving.partial_fit(z[part])
            if progress is not None:
                progress(turn * len(z) + part.stop, PASSES * len(z))
    return np.asarray(moving.cluster_centers_, dtype=np.float32)
