"""The optimiser and its rate.

`train.fit` calls both; the rate is a function of the step alone, so that resuming needs no state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from manyhot.config import FitConfig
from manyhot.model.network import Model

BETAS, EPS = (0.9, 0.999), 1e-8


class AdamW:
    """AdamW with the gradient clipped by its norm; biases and norms are not decayed.

    It calls the fused kernel of `torch.optim.AdamW(fused=True)` itself: making torch's own object
    imports torch's compiler, which takes two seconds at the start of every run, and clipping apart
    from the step takes two more passes over the gradients.

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """

    def __init__(self, model: Model, config: FitConfig) -> None:
        self.clip = config.clip
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        free = {n for n, p in self.parameters.items() if p.ndim < 2 or n.endswith("bias")}
        self.groups: dict[float, list[str]] = {}  # by their decay
        for name in self.parameters:
            self.groups.setdefault(0.0 if name in free else config.weight_decay, []).append(name)
        self.means = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.squares = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.steps = torch.zeros((), device=next(iter(self.parameters.values())).device)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the weights by the gradients at a learning rate."""
        grads = {n: p.grad for n, p in self.parameters.items() if p.grad is not None}
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads.values()))))
        self.steps += 1
        for decay, members in self.groups.items():
            names = [name for name in members if name in grads]
            if not names:
                continue
            torch._fused_adamw_(
                [self.parameters[name] for name in names],
                [grads[name] for name in names],
                [self.means[name] for name in names],
                [self.squares[name] for name in names],
                [],
                [self.steps] * len(names),
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay,
                eps=EPS,
                amsgrad=False,
                maximize=False,
                grad_scale=(norm / self.clip).clamp(min=1),  # the kernel divides by it
            )

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next step depends on beside the weights, as flat tensors."""
        slots = {"mean": self.means, "square": self.squares}
        flat = {f"{slot}/{name}": value for slot, each in slots.items() for name, value in each.items()}
        return {"steps": self.steps, **flat}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state_dict` gave, into tensors that lie as the weights do (channels last)."""
        for name, value in self.state_dict().items():
            value.copy_(state[name])


def rate(step: int, steps: int, config: FitConfig) -> float:
    """Return the learning rate of a step (from 0): up in a line, down in half a cosine, to nearly 0.

    Source: the one-cycle schedule of Smith and Topin 2018, without the momentum's cycle.
    """
    up = max(1, round(steps * config.warmup))
    if step < up:
        return config.learning_rate * (step + 1) / up
    done = (step - up) / max(1, steps - up)
    return config.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * done)) / 2)
