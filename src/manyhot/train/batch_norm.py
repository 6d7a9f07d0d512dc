"""Batch-norm recalibration: statistics taken anew, from pictures as they are judged.

`run` and `clustering.learn` call it once the loop is through.
"""

from __future__ import annotations

import torch
from torch import nn

from manyhot.config import FitConfig
from manyhot.data.batches.loader import Loader
from manyhot.device import autocast
from manyhot.model.backbones.fusion import fused
from manyhot.model.network import Network, snapshot
from manyhot.schema import Target
from manyhot.train.distributed import World
from manyhot.train.validation import Validation, monitored

ROWS = 4_000


def recalibrate(
    network: Network,
    loader: Loader,
    validation: Validation,
    targets: tuple[Target, ...],
    config: FitConfig,
    world: World,
    value: float,
) -> None:
    """Take the statistics of batch norms anew where the watched score is then above `value`, what it is now.

    Training sees pictures changed, of other sizes and through other weights than those that are kept.

    Source: Touvron et al. 2019, "Fixing the train-test resolution discrepancy", section 3.2.
    """
    learner = fused(network, frozen=True)
    norms = [m for m in learner.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    norms = [norm for norm in norms if all(p.requires_grad for p in norm.parameters())]  # not frozen
    if not norms:
        return
    before = snapshot(network)
    learner.eval()
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for step in range(-(-min(len(loader), ROWS) // loader.batch_size)):
            batch = loader.batch(step, as_it_is=True)
            for norm in norms:
                norm.train()
                norm.momentum = 1 / (step + 1)  # the mean of all steps
            with autocast(config.precision, batch.x.device):
                learner(batch.x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    learner.eval()
    if world.agree(monitored(validation.judge(network, targets), config, value)) <= value:
        network.load_state_dict(before)
