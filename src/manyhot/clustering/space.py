"""Embeddings moved so that groups part: rows drawn to their neighbours, and the directions between groups.

`cluster` calls it around the learning of a network of our own.

Shapes: N rows · F features of an embedding · K clusters.
"""

from __future__ import annotations

import numpy as np

from manyhot.clustering.centroids import WHOLE, Embedding, batches, means, sample
from manyhot.targets import IntArray

GATHERED, GATHERINGS = 16, 2  # rows that one is moved to the mean of, itself among them, and how often
FEWEST = 8  # times as many rows as that there must be, since else groups flow together


def gathered(z: Embedding, seed: int) -> Embedding:
    """Return rows of length 1 moved to the mean of their nearest, twice, which draws groups together; (N, F).

    Of more than 20,000 rows the nearest are looked for in a sample, so that time is linear in the rows.

    Source: Cheng 1995, "Mean Shift, Mode Seeking, and Clustering" (blurring), with neighbours by number.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = sample(len(z), WHOLE, seed)
    count = min(GATHERED, max(1, len(rows) // FEWEST))
    for _ in range(GATHERINGS):
        some = z[rows]
        near = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(some)
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
