"""The loop. Prepared rows and a fresh model go in; the model with its best weights is left.

`classifier.fit` calls `train`. What happens on the way is told through `tell`, a line (dict) per
logged step and per epoch, the lines of history.jsonl.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyhot import metrics
from manyhot.config import FitConfig
from manyhot.data.batches.loader import Batch, Loader
from manyhot.data.inputs.images.stream import X
from manyhot.errors import RunError
from manyhot.judge import document
from manyhot.model import losses, optim
from manyhot.model.backbones.folding import folded
from manyhot.model.network import Model
from manyhot.predict import from_logits, logits, of_fold
from manyhot.schema import Target
from manyhot.targets import IntArray
from manyhot.train.calibrate import fit_temperatures
from manyhot.train.checkpoint import Checkpoints, State
from manyhot.train.distributed import World

STEPS_PER_LINE = 50
SETTLING_ROWS = 4_000
ALONE = World()
Tell = Callable[[Mapping[str, Any]], None]


@dataclass
class Progress:
    """Where a run stands: what a checkpoint keeps beside the weights."""

    step: int = 0
    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    wrong: float = 1.0  # the share of held-out rows that were not all right in the last epoch
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Validation:
    """The held-out rows by which the best epoch is chosen, answered by the network alone.

    With `fold` they are training rows, each judged by the member that does not learn from it.
    """

    x: X
    y: Mapping[str, IntArray]
    fold: NDArray[np.int8] | None = None
    folds: int = 1

    def judge(self, model: Model, targets: tuple[Target, ...]) -> dict[str, Any]:
        """Return the scores of these rows, as `evaluate --json` has them.

        Raises:
            RunError: a probability is not finite, so that the weights are spoilt.
        """
        probabilities = from_logits(targets, self.logits(model))
        for name, values in probabilities.items():
            if not np.isfinite(values).all():
                raise RunError(
                    f"target '{name}': the probabilities of held-out rows are no longer finite; the best "
                    "weights so far are kept. Try a smaller learning rate: --set learning_rate=…"
                )
        return document(targets, self.y, probabilities)

    def losses(self, model: Model, targets: tuple[Target, ...], config: FitConfig) -> NDArray[np.float64]:
        """Return the loss of each row, calibrated, 0 if nothing is known."""
        raw = self.logits(model)
        targets = fit_temperatures(targets, raw, self.y)
        probabilities = from_logits(targets, raw)
        every = np.zeros(len(self.x))
        for t in targets:
            each = metrics.row_losses(t, self.y[t.name], probabilities[t.name])
            every += config.target_weights.get(t.name, 1.0) * np.nan_to_num(each)
        return every

    def logits(self, model: Model) -> Mapping[str, NDArray[np.float32]]:
        """Return the logits of these rows, each by the members that did not learn it, each picture seen once.

        Several views would take as long as a good part of the epoch, and hardly change which one is best.
        """
        with model.seeing(1):
            raw = logits(model, self.x)
        return of_fold(raw, self.fold, self.folds, model.backbone.members)


def train(
    model: Model,
    loader: Loader,
    validation: Validation,
    targets: tuple[Target, ...],
    config: FitConfig,
    tell: Tell,
    checkpoints: Checkpoints | None = None,
    state: State | None = None,
    world: World = ALONE,
) -> list[dict[str, Any]]:
    """Train until the epochs are through or validation stops improving; keep the best epoch's weights.

    Those of the last epoch, at which the rate has come down, are kept where an earlier one was better by no
    more than chance.
    What the model was before stays a part of it where the held-out rows are answered better with it.

    Each epoch is saved to `checkpoints`; `state` is one of them, to go on from.

    Returns:
        The history: a dict per logged step and per epoch.

    Raises:
        RunError: a loss is no longer finite (the message names the step and its rows), or what
            the weights make of the held-out rows.
    """
    optimizer = optim.AdamW(model, config)
    weights = _class_weights(loader, targets, config)
    progress, best = _begin(model, optimizer, state, tell)
    learner = folded(model, resting=True)  # its weights are the model's
    learned = (model, validation, targets, config)
    steps = loader.step_after(config.epochs)
    while progress.epoch < config.epochs and not _stalled(progress, config):
        started = time.perf_counter()
        running = _Mean()
        # What is nearly always right has learned labels that are no matter of doubt.
        doubting = replace(config, label_smoothing=min(config.label_smoothing, progress.wrong))
        for step in range(progress.step, loader.step_after(progress.epoch + 1)):
            rate = optim.rate(step, steps, config)
            batch = loader.batch(step)
            loss, each = _step(learner, optimizer, batch, targets, doubting, weights, rate, step, world)
            running.add(loss, each)
            _check_finite(loss, batch, step, loader)
            if (step + 1) % STEPS_PER_LINE == 0:
                _log_step(progress, tell, step + 1, running, rate, started)
        progress.step, progress.epoch = step + 1, progress.epoch + 1
        scores = validation.judge(model, targets)  # by all processes, so that none waits for long
        right = scores["overall"]["exact_match"]
        progress.wrong = world.agree(1.0 if right is None else 1 - right)
        value, ended = world.agree(monitored(scores, config, progress.epoch)), progress.epoch == config.epochs
        if value > progress.best or (ended and world.agree(_as_good_as(best, *learned))):
            progress.best, progress.best_epoch = value, progress.epoch
            best = model.now()
        progress.seconds += time.perf_counter() - started
        _log_epoch(progress, tell, running, rate, scores)
        if checkpoints is not None and world.leads:
            checkpoints.save(State(model.state_dict(), optimizer.state_dict(), best, vars(progress)))
    model.go_back(best)
    if _settled(learner, loader, config):
        scores = validation.judge(model, targets)
        if world.agree(monitored(scores, config, progress.epoch)) <= progress.best:
            model.go_back(best)
    return progress.history


def _settled(model: Model, loader: Loader, config: FitConfig) -> bool:
    """Take the statistics of batch norms anew, from pictures as they are judged; False where there are none.

    Training sees pictures changed, of other sizes and through other weights than those that are kept.

    Source: Touvron et al. 2019, "Fixing the train-test resolution discrepancy", section 3.2.
    """
    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    norms = [norm for norm in norms if all(p.requires_grad for p in norm.parameters())]  # not frozen
    model.eval()
    steps = -(-min(len(loader), SETTLING_ROWS) // loader.batch_size)
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for step in range(steps if norms else 0):
            batch = loader.batch(step, as_it_is=True)
            for norm in norms:
                norm.train()
                norm.momentum = 1 / (step + 1)  # the mean of all steps
            with autocast(config, batch.x.device), model.seeing(1):
                model(batch.x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    return bool(norms)


def _begin(
    model: Model,
    optimizer: optim.AdamW,
    state: State | None,
    tell: Tell,
) -> tuple[Progress, dict[str, Tensor]]:
    """Start from nothing, or from where a run stood."""
    if state is None:
        return Progress(), model.now()
    model.restore(state.model)
    optimizer.load_state_dict(state.optimizer)
    progress = Progress(**state.progress)
    for line in progress.history:
        tell(line)
    return progress, dict(state.best)


def _step(
    model: Model,
    optimizer: optim.AdamW,
    batch: Batch,
    targets: tuple[Target, ...],
    config: FitConfig,
    weights: Mapping[str, Tensor],
    rate: float,
    step: int,
    world: World = ALONE,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of gradient descent. Returns the loss and each target's own, detached."""
    model.train()
    _seed(batch.x.device, config.seed * 1_000_003 + step)  # dropout, the same after a resume
    with autocast(config, batch.x.device):
        outputs = model(batch.x)
    outputs = {name: value.float() for name, value in outputs.items()}
    mixed = None if batch.other is None or batch.own is None else (batch.other, batch.own)
    settings = (config.label_smoothing, weights, config.target_weights, world.sum, mixed, config.tag_loss)
    loss, each = losses.total(targets, outputs, batch.y, *settings)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    world.sum_gradients(model)
    optimizer.step(rate)
    whole = world.sum(torch.stack([loss.detach(), *(value.detach() for value in each.values())]))
    return whole[0], dict(zip(each, whole[1:], strict=True))


def _seed(device: torch.device, number: int) -> None:
    """Seed what dropout draws from; on a processor without `torch.manual_seed`, which takes 4 ms."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)


@contextmanager
def autocast(config: FitConfig, device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 where the configuration says so; weights and losses stay float32."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
        yield


def _class_weights(loader: Loader, targets: tuple[Target, ...], config: FitConfig) -> dict[str, Tensor]:
    """Weigh rare classes up, where it is asked for."""
    if config.class_weight == "none":
        return {}
    y = {t.name: loader.y[t.name].cpu().numpy() for t in targets}
    if max(config.folds, config.members) > 1:  # of what all members know
        y = {name: values.reshape(-1, *values.shape[2:]) for name, values in y.items()}
    return {t.name: torch.from_numpy(losses.class_weights(t, y[t.name])).to(loader.device) for t in targets}


def _check_finite(loss: Tensor, batch: Batch, step: int, loader: Loader) -> None:
    """Stop at a loss that is not finite, before the weights that it spoilt are kept."""
    if not torch.isfinite(loss):
        rows = ", ".join(map(str, loader.names(batch.rows[:8])))
        raise RunError(
            f"the loss is {loss.item()} at step {step + 1} (table rows {rows}, …); the best weights so far "
            "are kept. Try a smaller learning rate: --set learning_rate=…"
        )


def monitored(scores: Mapping[str, Any], config: FitConfig, otherwise: float) -> float:
    """Return what `config.monitor` names, such that more is better; `otherwise` where nothing is known."""
    target, name = config.monitored
    if target:
        value = scores["targets"][target].get(name)
        sign = 1 if metrics.higher_is_better(name) else -1
    else:
        value, sign = weighted_loss(scores, config), -1
    return float(otherwise if value is None else sign * value)


def _as_good_as(
    best: Mapping[str, Tensor],
    model: Model,
    validation: Validation,
    targets: tuple[Target, ...],
    config: FitConfig,
) -> bool:
    """Tell whether a model answers the held-out rows as well as with its best weights so far, but for chance.

    Of many epochs at a high rate one is the best by luck; it is taken for better than the last one only where
    its losses are lower by two standard errors.

    Source: after the rule of one standard error, Breiman et al. 1984, section 3.4.3, of differences here.
    """
    if config.monitor != "loss" or config.tag_loss != "cross_entropy":
        return False
    now, late = model.now(), validation.losses(model, targets, config)
    model.go_back(best)
    worse = late - validation.losses(model, targets, config)
    model.go_back(now)
    return len(worse) > 1 and bool(worse.mean() <= 2 * worse.std(ddof=1) / len(worse) ** 0.5)


def weighted_loss(scores: Mapping[str, Any], config: FitConfig) -> float | None:
    """Return the validation loss with the weights that training has; None when nothing is known.

    A `tag_loss` that makes little of easy tags does not aim at likely answers but at tags in the right order,
    which their mean average precision tells.
    """
    by_order = config.tag_loss != "cross_entropy"
    each = []
    for name, values in scores["targets"].items():
        order = values.get("mean_average_precision") if by_order else None
        value = values.get("log_loss") if order is None else 1 - order
        if value is not None:
            each.append(config.target_weights.get(name, 1.0) * value)
    return float(np.sum(each)) if each else None


def _stalled(progress: Progress, config: FitConfig) -> bool:
    return 0 < config.patience <= progress.epoch - progress.best_epoch


class _Mean:
    """The mean of losses over the steps of an epoch, kept on the device until somebody looks."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, loss: Tensor, each: Mapping[str, Tensor]) -> None:
        self.count += 1
        for name, value in {"": loss, **each}.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def line(self) -> dict[str, Any]:
        means = {name: value.item() / self.count for name, value in self.sums.items()}
        return {"loss": means.pop(""), "losses": means}


def _log_step(progress: Progress, tell: Tell, step: int, running: _Mean, rate: float, started: float) -> None:
    seconds = progress.seconds + time.perf_counter() - started
    place = {"kind": "step", "epoch": progress.epoch + 1, "step": step}
    line = {**place, **running.line(), "learning_rate": rate, "seconds": round(seconds, 3)}
    progress.history.append(line)
    tell(line)


def _log_epoch(
    progress: Progress, tell: Tell, running: _Mean, rate: float, scores: Mapping[str, Any]
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
    tell(line)
