"""Groups as a model: what rows are compared by and the centroids enter, a bundle that answers leaves.

`cluster` calls `answering`. −‖z − c‖²/τ is a linear head, up to what all clusters share and softmax
ignores, so whatever works with a bundle works with groups.

Shapes: N rows · F features of an embedding · K clusters · M members of a backbone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.bundle import Bundle, of_predictor
from manyhot.clustering.centroids import Embedding, batches
from manyhot.clustering.embed import Viewed
from manyhot.clustering.group import Groups
from manyhot.clustering.names import target_of
from manyhot.device import pick
from manyhot.model.network import Network, build_heads
from manyhot.model.predictor import of_network


def answering(seen: Viewed, found: Groups, z: Embedding, apart: Embedding | None) -> Bundle:
    """Make a model that answers with the nearest centroid; a backbone's members each by their own part.

    `apart` is the map from the backbone's features to z, None where z is these features.
    """
    count = len(found.centroids)
    target = target_of(count)
    backbone = seen.network.backbone
    heads = build_heads((target,), backbone)
    network = Network(seen.network.stem, backbone, heads)
    parts = found.centroids.reshape(count, backbone.members, -1).transpose(1, 2, 0)  # (M, F, K)
    weight, bias = head(parts, temperature(found, z) / backbone.members)
    weight = weight if apart is None else apart @ weight
    layer: Any = heads[0]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight if backbone.members > 1 else weight[0].T))
        layer.bias.copy_(torch.from_numpy(bias if backbone.members > 1 else bias[0]))
    network = network.to(pick(seen.config.device)).eval()
    schema, config = replace(seen.schema, targets=(target,)), seen.config
    return of_predictor(schema, config, seen.inputs, of_network(network, config.views, config.mirrored))


def head(centroids: NDArray[np.float32], tau: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the linear layer whose logits are −‖z − c‖²/τ, up to what all clusters share.

    A vector taken off all centroids changes what they share only, so their mean is, for float32's sake.

    Shape:
        centroids: float32 (M, F, K). out: weight (M, F, K) and bias (M, K).

    Squared, 0.5 is 0.25 from 0 and 2.25 from 2, so that the logits differ by 2:

    >>> weight, bias = head(np.float32([[[0.0, 2.0]]]), tau=1.0)
    >>> logits = np.float32([0.5]) @ weight[0] + bias[0]
    >>> float(logits[0] - logits[1])
    2.0
    """
    exact = centroids.astype(np.float64)
    weight = 2 * (exact - exact.mean(axis=2, keepdims=True)) / tau
    bias = -(exact**2).sum(axis=1) / tau
    bias -= bias[:, :1]
    return weight.astype(np.float32), bias.astype(np.float32)


def temperature(found: Groups, z: Embedding) -> float:
    """Return τ = 2σ², with which softmax gives the share of each cluster in a mixture of equal round normals.

    Features of a network hang together, so σ² is the mean squared distance over as many directions as
    the spread really has: (Σλ)²/Σλ² of the eigenvalues λ of its covariance within clusters.

    Source: Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and measurement", equation 4.
    """
    total = np.zeros((z.shape[1], z.shape[1]))
    for part in batches(len(z)):
        off = (z[part] - found.centroids[found.labels[part]]).astype(np.float64)
        total += off.T @ off
    spread = np.trace(total) / len(z)
    directions = np.trace(total) ** 2 / max((total**2).sum(), 1e-30)
    return max(float(2 * spread / max(directions, 1.0)), 1e-6)
