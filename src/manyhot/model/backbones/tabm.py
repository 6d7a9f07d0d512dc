"""TabM: many perceptrons that share all weights but a scale for each input and output of a layer.

Shapes: x (N, D) → features (N, K, F) of K members.
"""

from __future__ import annotations

from torch import nn

from manyhot.config import FitConfig
from manyhot.model.backbones.base import Backbone

WIDTH, BLOCKS = 256, 2


def tabm(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """Two hidden layers of 256 for `config.tabm_members` members, which begin apart and see the same rows.

    Source: Gorishniy et al. 2024, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
    Ensembling", by its authors' package.
    """
    from tabm import EnsembleView, MLPBackboneBatchEnsemble

    (columns,) = shape
    layers = MLPBackboneBatchEnsemble(
        d_in=columns,
        n_blocks=BLOCKS,
        d_block=WIDTH,
        dropout=config.dropout,
        k=config.tabm_members,
        tabm_init=True,
        scaling_init="random-signs",
        start_scaling_init_chunks=None,
    )
    return Backbone(nn.Sequential(EnsembleView(k=config.tabm_members), layers), WIDTH, config.tabm_members)
