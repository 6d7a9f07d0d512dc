"""How good groups are: by themselves (silhouette), and beside labels that are known.

`cluster` puts them into metrics.json. Rows whose label is unknown (−1) are left out of every comparison;
outliers count by their nearest cluster.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manyhot.clustering.centroids import Embedding, sample
from manyhot.metrics import crossed
from manyhot.targets import UNKNOWN, IntArray

JUDGED = 5_000  # rows of the sample that a silhouette is taken from; its cost is their square


def silhouettes(z: Embedding, labels: IntArray, seed: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows of a seeded sample of at most 5,000, and the silhouette of each in it, in [−1, 1].

    Source: Rousseeuw 1987, "Silhouettes: a graphical aid", by scikit-learn.
    """
    from sklearn.metrics import silhouette_samples

    rows = sample(len(z), JUDGED, seed)
    if not 2 <= len(np.unique(labels[rows])) < len(rows):
        return rows, np.zeros(len(rows))
    return rows, np.asarray(silhouette_samples(z[rows], labels[rows]), dtype=np.float64)


def agreement(y: IntArray, labels: IntArray) -> dict[str, float | None]:
    """Compare clusters with known classes: `nmi`, `ari`, `clustering_accuracy`; None where nothing is known.

    The accuracy is the share of rows that are right once each cluster stands for at most one class, and
    each class for at most one cluster, in the best way there is.

    Shape:
        y: int (N,) class numbers, −1 for unknown. labels: int (N,) cluster numbers.

    Source: Strehl and Ghosh 2002 (nmi), Hubert and Arabie 1985 (ari), both by scikit-learn; Kuhn 1955.

    >>> agreement(np.array([0, 0, 1, -1]), np.array([1, 1, 0, 0]))
    {'nmi': 1.0, 'ari': 1.0, 'clustering_accuracy': 1.0}
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    known = y != UNKNOWN
    if not known.any():
        return {"nmi": None, "ari": None, "clustering_accuracy": None}
    y, labels = y[known], labels[known]
    return {
        "nmi": float(normalized_mutual_info_score(y, labels)),
        "ari": float(adjusted_rand_score(y, labels)),
        "clustering_accuracy": _accuracy(y, labels),
    }


def _accuracy(y: IntArray, labels: IntArray) -> float:
    from scipy.optimize import linear_sum_assignment

    counts = crossed(y, labels, int(y.max()) + 1, int(labels.max()) + 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(y))
