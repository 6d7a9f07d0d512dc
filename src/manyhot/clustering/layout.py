"""Embeddings on a page: where each row stands on a map of two dimensions.

`cluster` calls `flat` for clusters.html; nothing else depends on it. A map keeps neighbours near each other
and says little of what is far.

Shapes: N rows · F features.
"""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
from numpy.typing import NDArray

from manyhot.clustering.centroids import Embedding, batches, sample

PLACED = 2_000  # rows that t-SNE places, in some seconds; the others stand among their nearest of these
PLACED_BY_UMAP = 4_000
NEIGHBOURS = 3
COMPONENTS = 30  # of the embedding, that neighbours are found by


def flat(z: Embedding, seed: int) -> tuple[NDArray[np.float32], str]:
    """Return a place for each row, float32 (N, 2) from 0 to at most 1, and the name of the method.

    UMAP is used where it is installed, else t-SNE; rows beyond a sample are put between the three of
    the sample that are nearest to them.

    Source: McInnes, Healy and Melville 2018 (UMAP); van der Maaten and Hinton 2008 (t-SNE), by
    scikit-learn.
    """
    from sklearn.decomposition import PCA

    by_umap = importlib.util.find_spec("umap") is not None and len(z) > 50
    rows = sample(len(z), PLACED_BY_UMAP if by_umap else PLACED, seed)
    if z.shape[1] > COMPONENTS and len(rows) > COMPONENTS:
        reduction = PCA(COMPONENTS, random_state=seed).fit(z[rows])
        z = np.concatenate([reduction.transform(z[part]) for part in batches(len(z))]).astype(np.float32)
    some = z[rows]
    if z.shape[1] == 1:
        chance = np.random.default_rng(seed).uniform(-0.2, 0.2, len(rows)) * np.ptp(some)
        method, places = "their one direction, up and down at random", np.column_stack([some, chance])
    elif len(rows) < 10:  # too few for neighbours to mean anything
        method, places = "their first two directions", some[:, :2]
    elif by_umap:
        method, places = "UMAP", _umap(some, seed)
    else:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(rows) - 1) / 3)
        placing = TSNE(perplexity=perplexity, init="pca", random_state=seed)
        method, places = "t-SNE", placing.fit_transform(some)
    upright = _upright(np.asarray(places, dtype=np.float64))
    if len(rows) < len(z):
        upright = _between(z, some, upright)
    return upright.astype(np.float32), method


def _upright(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn places so that they are widest from left to right, and bring them to 0 … 1, both sides alike."""
    off = places - places.mean(axis=0)
    turned = off @ np.linalg.svd(off, full_matrices=False)[2].T
    low, high = np.quantile(turned, [0.001, 0.999], axis=0)
    return np.asarray(np.clip((turned - low) / max(float((high - low).max()), 1e-9), 0, 1))


def _umap(some: Embedding, seed: int) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba's, about threads that a seed rules out
        import umap

        found = umap.UMAP(
            n_neighbors=20, min_dist=0.7, spread=1.5, random_state=seed, n_jobs=1
        ).fit_transform(some)
    return np.asarray(found, dtype=np.float32)


def _between(z: Embedding, some: Embedding, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put each row between the rows of the sample that are nearest to it, by how near they are."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(some)
    out = np.empty((len(z), 2))
    for part in batches(len(z)):
        distances, index = near.kneighbors(z[part])
        weights = 1 / (distances + 1e-6)
        weights /= weights.sum(axis=1, keepdims=True)
        out[part] = (places[index] * weights[..., None]).sum(axis=1)
    return out
