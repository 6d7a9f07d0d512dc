"""The optimiser and its rate.

`train.loop` calls both; the rate is a function of the step alone, so that resuming needs no state.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from manyhot.config import FitConfig
from manyhot.model.network import Network

BETAS, EPS = (0.9, 0.999), 1e-8
SCALE, CALM = 2.0**16, 2_000  # what a loss in float16 is first multiplied by; steps until that is doubled


class AdamW:
    """AdamW with the gradient clipped by its norm; biases and norms are not decayed.

    It calls the fused kernel of `torch.optim.AdamW(fused=True)` itself: making torch's own object
    imports torch's compiler, which takes two seconds at the start of every run, and clipping apart
    from the step takes two more passes over the gradients. The kernel is no public function of
    torch: where it is missing, or does not do as it did, `plain` does the same.

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """

    def __init__(self, model: Network, config: FitConfig) -> None:
        self.clip = config.clip
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        free = {n for n, p in self.parameters.items() if p.ndim < 2 or n.endswith("bias")}
        self.groups: dict[float, list[str]] = {}  # by their decay
        for name in self.parameters:
            self.groups.setdefault(0.0 if name in free else config.weight_decay, []).append(name)
        self.means = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.squares = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        one = next(iter(self.parameters.values()))
        self.steps = torch.zeros((), device=one.device)
        self.move = fastest(one.device, one.dtype)
        self.scale: Tensor | None = None
        if config.precision == "float16":
            self.scale = torch.full_like(self.steps, SCALE)
            self.calm = torch.zeros_like(self.steps, dtype=torch.int32)  # steps since it was changed

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def scaled(self, loss: Tensor) -> Tensor:
        """Return what is to be differentiated: in float16 a multiple, so that small gradients are not 0.

        Source: Micikevicius et al. 2018, "Mixed Precision Training", section 3.2.
        """
        return loss if self.scale is None else loss * self.scale

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """Move the weights by the gradients at a learning rate, a tensor where the step is captured.

        In float16 a step whose gradients overflowed moves nothing, and the next are scaled by half as much.
        """
        grads = {n: p.grad for n, p in self.parameters.items() if p.grad is not None}
        norm = torch.nn.utils.get_total_norm(list(grads.values()))
        divisor, overflow = self._unscaled(norm)
        self.steps += 1 if overflow is None else 1 - overflow
        for decay, members in self.groups.items():
            names = [name for name in members if name in grads]
            if not names:
                continue
            self.move(
                [self.parameters[name] for name in names],
                [grads[name] for name in names],
                [self.means[name] for name in names],
                [self.squares[name] for name in names],
                self.steps,
                rate,
                decay,
                divisor,
                overflow,
            )

    def _unscaled(self, norm: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what gradients are divided by, and 1 where they overflowed, else 0.

        Both are float32, as the kernel takes them, whatever the weights are.
        """
        if self.scale is None:
            return (norm / self.clip).clamp(min=1).float(), None
        overflow = (~torch.isfinite(norm)).float()
        divisor = (norm / self.scale / self.clip).clamp(min=1).float() * self.scale
        torch._amp_update_scale_(self.scale, self.calm, overflow, 2.0, 0.5, CALM)
        return divisor, overflow

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next step depends on beside the weights, as flat tensors."""
        slots = {"mean": self.means, "square": self.squares}
        flat = {f"{slot}/{name}": value for slot, each in slots.items() for name, value in each.items()}
        scaling = {} if self.scale is None else {"scale": self.scale, "calm": self.calm}
        return {"steps": self.steps, **scaling, **flat}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state_dict` gave, into tensors that lie as the weights do (channels last)."""
        for name, value in self.state_dict().items():
            value.copy_(state[name])


def fused(
    weights: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: Tensor,
    rate: float | Tensor,
    decay: float,
    divisor: Tensor,
    overflow: Tensor | None = None,
) -> None:
    """Make one step by torch's kernel; in place, and the gradients may change too."""
    torch._fused_adamw_(
        weights,
        grads,
        means,
        squares,
        [],
        [steps] * len(weights),
        lr=rate,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=decay,
        eps=EPS,
        amsgrad=False,
        maximize=False,
        grad_scale=divisor,  # the kernel divides by it
        found_inf=overflow,
    )


def plain(
    weights: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: Tensor,
    rate: float | Tensor,
    decay: float,
    divisor: Tensor,
    overflow: Tensor | None = None,
) -> None:
    """Make the step that `fused` makes, by torch's public functions, one tensor after the other."""
    if overflow is not None and overflow:
        return
    done, rate = steps.item(), float(rate)
    first, second = (1 - beta**done for beta in BETAS)  # what the means lack, since they began at 0
    for weight, grad, mean, square in zip(weights, grads, means, squares, strict=True):
        clipped = grad / divisor
        mean.lerp_(clipped, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(clipped, clipped, value=1 - BETAS[1])
        weight.mul_(1 - rate * decay)
        weight.addcdiv_(mean, (square / second).sqrt_().add_(EPS), value=-rate / first)


@functools.cache
def fastest(device: torch.device, dtype: torch.dtype) -> Callable[..., None]:
    """Return `fused` where it takes this device and number and does what `plain` does, else `plain`."""

    def tried(move: Callable[..., None]) -> Tensor:
        weight, grad, mean, square = (
            torch.tensor(values, dtype=dtype, device=device)
            for values in ([1.0, -2.0], [0.3, 4.0], [0.1, -0.2], [0.5, 0.25])
        )
        steps, divisor = (torch.tensor(value, device=device) for value in (3.0, 2.0))
        move([weight], [grad], [mean], [square], steps, 0.1, 0.01, divisor)
        return torch.stack([weight, mean, square])

    try:
        same = torch.allclose(tried(fused), tried(plain), rtol=torch.finfo(dtype).eps * 16)
    except (AttributeError, TypeError, RuntimeError):  # missing, with other arguments, refused
        return plain
    return fused if same else plain


def rate(step: int, steps: int, config: FitConfig) -> float:
    """Return the learning rate of a step (from 0): up in a line, down in half a cosine, to nearly 0.

    Source: the one-cycle schedule of Smith and Topin 2018, without the momentum's cycle.
    """
    up = max(1, round(steps * config.warmup))
    if step < up:
        return config.learning_rate * (step + 1) / up
    done = (step - up) / max(1, steps - up)
    return config.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * done)) / 2)


def cooldown(step: int, first: int, last: int, steps: int, config: FitConfig) -> float:
    """Return the learning rate of a step of a cooldown, which is over before step `last`.

    Down in a line from where the rate was before step `first`, to nearly 0; never above what it would have
    been.

    Source: the decay of warmup-stable-decay schedules, Hägele et al. 2024, "Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations".
    """
    left = (last - step) / (last - first + 1)
    return min(rate(step, steps, config), rate(first - 1, steps, config) * left)
