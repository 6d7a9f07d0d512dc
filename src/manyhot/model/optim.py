"""The optimiser and its rate.

`train.fit` calls both; the rate is a function of the step alone, so that resuming needs no state.
"""

from __future__ import annotations

import math

import torch

from manyhot.config import FitConfig
from manyhot.model.network import Model


def optimizer(model: Model, config: FitConfig) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019); biases and norms are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # fused: one pass over the weights instead of one per parameter and operation
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)


def rate(step: int, steps: int, config: FitConfig) -> float:
    """Return the learning rate of a step (from 0): up in a line, down in half a cosine, to nearly 0.

    Source: the one-cycle schedule of Smith and Topin 2018, without the momentum's cycle.
    """
    up = max(1, round(steps * config.warmup))
    if step < up:
        return config.learning_rate * (step + 1) / up
    done = (step - up) / max(1, steps - up)
    return config.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * done)) / 2)
