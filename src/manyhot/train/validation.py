"""Which weights are kept: the held-out rows, the score that is watched, and when it is better by chance.

`loop` asks it after each epoch, `select` for each candidate of the ensemble.

Shapes: N rows · M members · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from manyhot import metrics
from manyhot.config import FitConfig
from manyhot.data.inputs.images.stream import X
from manyhot.errors import RunError
from manyhot.judge import document
from manyhot.model.inference import logits
from manyhot.model.network import Network, snapshot
from manyhot.predict import from_logits, out_of_fold
from manyhot.schema import Target
from manyhot.targets import WEIGHT, Labels
from manyhot.train.calibrate import fit_temperatures


@dataclass(frozen=True)
class Validation:
    """The held-out rows by which the best epoch is chosen, y as `targets.Labels`.

    With `fold` they are training rows, each judged by the member that does not learn from it.
    """

    x: X
    y: Labels
    fold: NDArray[np.int8] | None = None
    folds: int = 1

    def judge(self, network: Network, targets: tuple[Target, ...]) -> dict[str, Any]:
        """Return the scores of these rows, as `evaluate --json` has them.

        Raises:
            RunError: a probability is not finite, so that the weights are spoilt.
        """
        probabilities = from_logits(targets, self.logits(network))
        for name, values in probabilities.items():
            if not np.isfinite(values).all():
                raise RunError(
                    f"target '{name}': the probabilities of held-out rows are no longer finite; the best "
                    "weights so far are kept. Try a smaller learning rate: --set learning_rate=…"
                )
        return document(targets, self.y, probabilities)

    def losses(self, network: Network, targets: tuple[Target, ...], config: FitConfig) -> NDArray[np.float64]:
        """Return the loss of each row as much as it counts, calibrated, 0 if nothing is known."""
        raw = self.logits(network)
        targets = fit_temperatures(targets, raw, self.y)
        probabilities = from_logits(targets, raw)
        every = np.zeros(len(self.x))
        for t in targets:
            each = metrics.row_losses(t, self.y[t.name], probabilities[t.name])
            every += config.target_weights.get(t.name, 1.0) * np.nan_to_num(each)
        every *= self.y.get(WEIGHT, 1.0)
        return every

    def logits(self, network: Network) -> Mapping[str, NDArray[np.float32]]:
        """Return the logits of these rows, each by the members that did not learn it, each picture seen once.

        Several views would take as long as a good part of the epoch, and hardly change which one is best.
        """
        return out_of_fold(logits(network, self.x), self.fold, self.folds, network.backbone.members)


def monitored(scores: Mapping[str, Any], config: FitConfig, otherwise: float) -> float:
    """Return what `config.monitor` names, such that more is better; `otherwise` where nothing is known."""
    target, name = config.monitored
    if target:
        value = scores["targets"][target].get(name)
        sign = 1 if metrics.higher_is_better(name) else -1
    else:
        value, sign = weighted_loss(scores, config), -1
    return float(otherwise if value is None else sign * value)


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


def within_two_standard_errors(
    best: Mapping[str, Tensor],
    network: Network,
    validation: Validation,
    targets: tuple[Target, ...],
    config: FitConfig,
) -> bool:
    """Tell whether a network answers held-out rows as well as with its best weights so far, but for chance.

    Of many epochs at a high rate one is the best by luck; it is taken for better than the last one only where
    its losses are lower by two standard errors.

    Source: after the rule of one standard error, Breiman et al. 1984, section 3.4.3, of differences here.
    """
    if config.monitor != "loss" or config.tag_loss != "cross_entropy":
        return False
    now, late = snapshot(network), validation.losses(network, targets, config)
    network.load_state_dict(best)
    worse = late - validation.losses(network, targets, config)
    network.load_state_dict(now)
    return len(worse) > 1 and bool(worse.mean() <= 2 * worse.std(ddof=1) / len(worse) ** 0.5)
