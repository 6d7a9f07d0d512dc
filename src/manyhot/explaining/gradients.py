"""Expected gradients: how far each pixel moved the log odds of a class on the way from other pictures.

What a pixel is given is its distance to another picture times the gradient, averaged on the straight way
between the two; over many pictures to come from, their mean. All pixels together are given the difference of
the log odds at both ends.

Source: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", equation 1; over several
baselines: Erion et al. 2021, "Improving performance of deep learning models with axiomatic attribution priors
and expected gradients". The integral is by Gauss and Legendre, as in captum.

Shapes: N pictures · B baselines · S points of a way · H W C of a picture · M members · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manyhot.model.inference import BATCH_VALUES, BATCH_VALUES_CPU, device_of, in_memory
from manyhot.model.predictor import Predictor
from manyhot.schema import Target
from manyhot.targets import sides

STEPS, FEWEST = 64, 8  # points of the ways from all baselines, and at least of each


def log_odds_of(predictor: Predictor, target: Target, number: int) -> Callable[[Tensor], Tensor]:
    """Return a function from x (N, H, W, C) to the log odds (N,) of one class, that of several members' mean.

    They are of calibrated logits.
    """
    yes, no = sides(target, number)
    temperature = torch.tensor(target.decision.temperature, device=device_of(predictor))

    def score(x: Tensor) -> Tensor:
        logits: Tensor = predictor(x)[target.name] / temperature
        each = logits if logits.ndim == 3 else logits.unsqueeze(1)  # (N, M, W)
        each = torch.cat([each, torch.zeros_like(each[..., :1])], dim=-1)
        return (each[..., [*yes]].logsumexp(-1) - each[..., [*no]].logsumexp(-1)).mean(1)

    return score


def expected_gradients(
    predictor: Predictor,
    target: Target,
    number: int,
    x: NDArray[np.uint8],
    baselines: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return what each pixel was given for a class of a picture, the sum over its channels.

    Shape:
        x: uint8 (H, W, C). baselines: float32 (B, H, W, C). out: float64 (H, W).
    """
    device, score = device_of(predictor), log_odds_of(predictor, target, number)
    steps = STEPS if len(baselines) == 1 else max(FEWEST, STEPS // len(baselines))
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    at = np.tile((nodes + 1) / 2, len(baselines)).astype(np.float32)[:, None, None, None]  # (B · S, …)
    share = np.tile(weights / 2, len(baselines))[:, None, None, None] / len(baselines)
    starts = np.repeat(np.arange(len(baselines)), steps)
    values = BATCH_VALUES_CPU if device.type == "cpu" else BATCH_VALUES
    points = max(1, values // max(1, x.size))
    out = np.zeros(x.shape[:2])

    def given(some: slice) -> NDArray[np.float64]:
        start = baselines[starts[some]]
        way = x.astype(np.float32) - start
        seen = torch.from_numpy(start + at[some] * way).to(device).requires_grad_()
        (found,) = torch.autograd.grad(score(seen).sum(), seen)
        return np.asarray((found.double().cpu().numpy() * way * share[some]).sum(axis=(0, 3)))

    for part, _ in in_memory(given, len(starts), points):
        out += part
    return out
