"""Embeddings into groups: how many there are, which row is in which, and which belong to none.

`cluster` calls `group` once and answers by its centroids from then on.

Shapes: N rows · F features of an embedding · K clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manyhot.clustering.centroids import WHOLE, Embedding, k_means, nearest, over_all, sample
from manyhot.data.inputs.images.paths import Progress
from manyhot.errors import UserError
from manyhot.targets import IntArray

MAX_CLUSTERS = 20  # that are tried where no number is given
STRONG = 0.8  # of a number of clusters, as its authors advise
CUTS = 5  # of the rows into halves
JUDGED = 5_000  # rows by which the number is chosen
FENCE = 3.0  # interquartile ranges; Tukey's outer fence


@dataclass(frozen=True)
class Groups:
    """Centroids float32 (K, F), the largest cluster first, and the nearest of each row, int32 (N,).

    `distances` is how far each row is from its centroid, float32 (N,); `margins` how much further
    the next is, as a share of that, in [0, 1], 0 half-way between two. `tried` has the prediction strength of
    each number of clusters that was tried, and is empty where the number was given or there are few rows;
    `why` says why there are so many.
    """

    centroids: Embedding
    labels: IntArray
    distances: NDArray[np.float32]
    margins: NDArray[np.float32]
    tried: dict[int, float]
    why: str

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
    some = z[sample(len(z), WHOLE, seed)]
    check(some, clusters)
    tried: dict[int, float] = {}
    why = "as asked for"
    if clusters is None:
        tried = _strengths(z, seed, progress)
        clusters, why = _chosen(tried)
    centroids = k_means(some, clusters, seed)
    if len(some) < len(z):
        centroids = over_all(z, centroids, progress)
    return settle(z, centroids, tried, why)


def _chosen(tried: Mapping[int, float]) -> tuple[int, str]:
    """Return the number of clusters that is taken, and why."""
    if not tried:
        return 2, "too few different rows for more"
    strong = [count for count, strength in tried.items() if strength >= STRONG]
    if strong:
        return max(strong), "the most that hold in both halves of the rows"
    return max(
        tried, key=lambda count: tried[count]
    ), "no number holds in both halves of the rows; this one is nearest to it"


def _strengths(z: Embedding, seed: int, progress: Progress | None) -> dict[int, float]:
    """Return the prediction strength of each number of clusters, from a sample of 5,000 rows."""
    z = z[sample(len(z), JUDGED, seed)]
    most = min(MAX_CLUSTERS, len(np.unique(z, axis=0)) // 2, len(z) // 4)
    found = {}
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


def check_rows(rows: int, clusters: int | None) -> None:
    """Refuse a number of clusters that so many rows cannot have, before anything is learned from them."""
    if clusters is not None and not (isinstance(clusters, int | np.integer) and clusters >= 2):
        raise UserError(f"--clusters must be a whole number of at least 2, got {clusters}.")
    if rows <= (clusters or 2):
        raise UserError(f"{rows} rows cannot be parted into {clusters or 2} clusters; give more rows.")


def check(z: Embedding, clusters: int | None) -> None:
    """Refuse a number of clusters that the rows, all or a sample of them, cannot have."""
    check_rows(len(z), clusters)
    different = len(np.unique(z, axis=0))
    if different < (clusters or 2):
        what = "all rows are equal" if different == 1 else f"only {different} rows differ"
        raise UserError(f"{what}, so there are no {clusters or 2} clusters among them.")


def settle(z: Embedding, centroids: Embedding, tried: dict[int, float], why: str) -> Groups:
    """Give each row to its nearest centroid, and number the clusters by size, the largest first."""
    found = Groups(centroids, *nearest(z, centroids), tried, why)
    size = np.bincount(found.labels[~found.outliers()], minlength=len(centroids))
    order = np.argsort(-size, kind="stable")[: max(2, int((size > 0).sum()))]
    centroids = np.ascontiguousarray(centroids[order])
    return Groups(centroids, *nearest(z, centroids), tried, why)
