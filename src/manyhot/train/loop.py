"""The loop: prepared rows and a fresh network go in; the network with its best weights is left.

`run` and `clustering.learn` call `train`. What happens on the way is told through `on_event`, a line (dict)
per logged step and per epoch, the lines of history.jsonl.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from manyhot.config import FitConfig
from manyhot.data.batches.loader import Loader
from manyhot.errors import RunError
from manyhot.model import optim
from manyhot.model.backbones.fusion import fused
from manyhot.model.network import Network, snapshot
from manyhot.priors import class_weights
from manyhot.schema import Target
from manyhot.targets import WEIGHT
from manyhot.train.checkpoint import Checkpoints, State
from manyhot.train.distributed import World
from manyhot.train.step import Step, launched
from manyhot.train.validation import Validation, monitored, within_two_standard_errors

STEPS_PER_LINE = 50
COOLDOWN, MIN_COOLDOWN = 0.2, 2  # of the epochs so far, and epochs at least, in which the rate comes down
ALONE = World()
OnEvent = Callable[[Mapping[str, Any]], None]


@dataclass
class LoopState:
    """Where the loop stands: what a checkpoint keeps beside the weights."""

    step: int = 0
    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    stalled: int = 0  # the epoch after which patience had run out and the rate began to come down; 0: none
    wrong: float = 1.0  # the share of held-out rows that were not all right in the last epoch
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def train(
    network: Network,
    loader: Loader,
    validation: Validation,
    targets: tuple[Target, ...],
    config: FitConfig,
    on_event: OnEvent,
    checkpoints: Checkpoints | None = None,
    state: State | None = None,
    world: World = ALONE,
) -> LoopState:
    """Train until the epochs are through or validation stops improving; keep the best epoch's weights.

    Where it stops improving the rate first comes down (a cooldown), since weights at a high rate are not
    what they could be; then the run ends. Those of the last epoch, at which the rate has come down, are kept
    where an earlier one was better by no more than chance.

    Epochs are saved to `checkpoints`; `state` is one of them, to go on from.

    Returns:
        Where the loop stands at its end, with the history: a dict per logged step and per epoch.

    Raises:
        RunError: a loss is no longer finite (the message names the step and its rows), or what
            the weights make of the held-out rows.
    """
    optimizer = optim.AdamW(network, config)
    weights = _class_weights(loader, targets, config)
    progress, best = _begin(network, optimizer, state, on_event)
    learner = fused(network, frozen=True)  # its weights are the network's
    take = launched(Step(learner, optimizer, targets, config, weights, world))
    judging = (network, validation, targets, config)
    steps = loader.step_after(config.epochs)
    while progress.epoch < (last := _last(progress, config)):
        world.wait()  # for the one that prepares longer, or writes a checkpoint
        started = time.perf_counter()
        running = Losses(targets, loader)
        # What is nearly always right has learned labels that are no matter of doubt.
        smoothing = min(config.label_smoothing, progress.wrong)
        learner.train()
        for step in range(progress.step, loader.step_after(progress.epoch + 1)):
            rate = _rate(step, steps, loader, progress, config)
            running.add(step, take(loader.batch(step), step, rate, smoothing))
            if (step + 1) % STEPS_PER_LINE == 0:
                _log_step(progress, on_event, step + 1, running, rate, started)
        running.look()
        progress.step, progress.epoch = step + 1, progress.epoch + 1
        scores = validation.judge(network, targets)  # by all processes, so that none waits for long
        right = scores["overall"]["exact_match"]
        progress.wrong = world.agree(1.0 if right is None else 1 - right)
        value, ended = world.agree(monitored(scores, config, progress.epoch)), progress.epoch == last
        if value > progress.best or (ended and world.agree(within_two_standard_errors(best, *judging))):
            progress.best, progress.best_epoch = value, progress.epoch
            best = snapshot(network)
        if not progress.stalled and 0 < config.patience <= progress.epoch - progress.best_epoch:
            progress.stalled = progress.epoch
        progress.seconds += time.perf_counter() - started
        _log_epoch(progress, on_event, running, rate, scores)
        if checkpoints is not None and world.leads:
            stands = network.state_dict(), optimizer.state_dict(), best, vars(progress)
            checkpoints.keep(*stands, final=progress.epoch == _last(progress, config))
    network.load_state_dict(best)
    return progress


def _begin(
    network: Network, optimizer: optim.AdamW, state: State | None, on_event: OnEvent
) -> tuple[LoopState, dict[str, Tensor]]:
    """Start from nothing, or from where a run stood."""
    if state is None:
        return LoopState(), snapshot(network)
    network.load_state_dict(state.network)
    optimizer.load_state_dict(state.optimizer)
    progress = LoopState(**state.progress)
    for line in progress.history:
        on_event(line)
    return progress, dict(state.best)


def _class_weights(loader: Loader, targets: tuple[Target, ...], config: FitConfig) -> dict[str, Tensor]:
    """Weigh rare classes up, where it is asked for."""
    if config.class_weight == "none":
        return {}
    every = loader.labels(torch.arange(len(loader), device=loader.device))
    y = {name: values.cpu().numpy() for name, values in every.items()}
    found = {}
    for t in targets:
        labels, weight = y[t.name], y.get(WEIGHT)
        if max(config.folds, config.tabm_members) > 1:  # of what all members know
            weight = None if weight is None else weight.repeat(labels.shape[1])
            labels = labels.reshape(-1, *labels.shape[2:])
        found[t.name] = torch.from_numpy(class_weights(t, labels, weight)).to(loader.device)
    return found


def _last(progress: LoopState, config: FitConfig) -> int:
    """Return the epoch that ends the run, as far as it is known."""
    if not progress.stalled:
        return config.epochs
    return min(config.epochs, progress.stalled + max(MIN_COOLDOWN, round(COOLDOWN * progress.stalled)))


def _rate(step: int, steps: int, loader: Loader, progress: LoopState, config: FitConfig) -> float:
    """Return the learning rate of a step, which follows from its number and the epoch of the stall."""
    if not progress.stalled:
        return optim.rate(step, steps, config)
    first, last = (loader.step_after(epoch) for epoch in (progress.stalled, _last(progress, config)))
    return optim.cooldown(step, first, last, steps, config)


class Losses:
    """The losses of the steps of an epoch, and their mean, kept on the device until somebody looks.

    To look is to wait for a card, and so is done every STEPS_PER_LINE and at the end; a processor has nothing
    to wait for. `left` is what is left where one is not finite.
    """

    def __init__(
        self, targets: tuple[Target, ...], loader: Loader, left: str = "the best weights so far are kept"
    ) -> None:
        self.names, self.left = [target.name for target in targets], left
        self.loader, self.defers = loader, torch.device(loader.device).type != "cpu"
        self.waiting: list[tuple[int, Tensor]] = []  # steps, and the losses (1 + T,) of each
        self.count = 0
        self.sums = torch.zeros(1 + len(targets))

    def add(self, step: int, losses: Tensor) -> None:
        """Take the losses of a step; see `look`."""
        self.waiting.append((step, losses.clone()))
        if not self.defers:
            self.look()

    def look(self) -> None:
        """Add up what has come; stop at a loss that is not finite, before weights that it spoilt are kept."""
        found = torch.stack([losses for _, losses in self.waiting]).cpu() if self.waiting else ()
        for (step, _), losses in zip(self.waiting, found):
            if not math.isfinite(loss := losses[0].item()):
                at = self.loader.rows(step)[self.loader.mine][:8]
                rows = ", ".join(map(str, self.loader.names(at)))
                raise RunError(
                    f"the loss is {loss} at step {step + 1} (table rows {rows}, …); {self.left}. Try a "
                    "smaller learning rate: --set learning_rate=…"
                )
            self.sums += losses
            self.count += 1
        self.waiting.clear()

    def line(self) -> dict[str, Any]:
        """Return the means so far, as a line of the history has them."""
        self.look()
        loss, *each = (value / self.count for value in self.sums.tolist())
        return {"loss": loss, "losses": dict(zip(self.names, each, strict=True))}


def _log_step(
    progress: LoopState, on_event: OnEvent, step: int, running: Losses, rate: float, started: float
) -> None:
    seconds = progress.seconds + time.perf_counter() - started
    place = {"kind": "step", "epoch": progress.epoch + 1, "step": step}
    line = {**place, **running.line(), "learning_rate": rate, "seconds": round(seconds, 3)}
    progress.history.append(line)
    on_event(line)


def _log_epoch(
    progress: LoopState, on_event: OnEvent, running: Losses, rate: float, scores: Mapping[str, Any]
) -> None:
    place = {"kind": "epoch", "epoch": progress.epoch, "step": progress.step}
    line = {
        **(place | running.line()),
        "learning_rate": rate,
        "seconds": round(progress.seconds, 3),
        "validation": scores,
        "best": progress.best_epoch == progress.epoch,
    }
    progress.history.append(line)
    on_event(line)
