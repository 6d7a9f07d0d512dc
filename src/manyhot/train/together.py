"""Who answers along with a pretrained network: what it was before it learned, and training rows alike.

`classifier.fit` calls it on the trained model. Each stays only where held-out rows are answered better so.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.data import split
from manyhot.data.paths import Progress
from manyhot.judge import document
from manyhot.model import losses
from manyhot.model.neighbours import Neighbours
from manyhot.model.network import Model
from manyhot.predict import features, from_logits
from manyhot.train.distributed import World
from manyhot.train.fit import Validation, monitored
from manyhot.train.prepare import Prepared

MAX_ROWS = 10_000  # of training: more would fill more disk than the network does
# Of cosines, which differ little where features have no negatives.
TEMPERATURES = (0.02, 0.03, 0.04, 0.05, 0.07, 0.1)


def answer_together(
    prepared: Prepared,
    model: Model,
    validation: Validation,
    world: World,
    progress: Progress,
    seen: NDArray[np.float32] | None = None,
) -> None:
    """Leave what the model was before, and give it neighbours, where held-out rows are answered better so.

    Args:
        progress: is told how many rows have passed through a network to become neighbours.
        seen: the features (N, F) of all rows as the backbone gave them before it learned, if at hand.
    """
    before, model.before = model.before, None
    best = _value(prepared, model, validation)
    if before is not None:
        model.before = before
        both = _value(prepared, model, validation)
        if world.agree(both > best):
            best = both
        else:
            model.before = None
    many = len(prepared.rows(split.TRAIN)) > MAX_ROWS
    if many or prepared.config.class_weight != "none":  # neighbours answer with classes as often as they are
        return
    networks = [model] if model.before is None else [model, model.before]
    for network in networks:
        as_it_was = network is not model or prepared.config.freeze
        x = seen if seen is not None and as_it_was else features(network, prepared.x, progress)
        network.neighbours = _neighbours(prepared, network, x)
    if not world.agree(_value(prepared, model, validation) > best):
        for network in networks:
            network.neighbours = None


def _value(prepared: Prepared, model: Model, validation: Validation) -> float:
    """Return how well the held-out rows are answered, more is better, with temperatures that they ask for.

    Several that answer together are less sure than one, which alone is no better answer.
    """
    targets, probabilities = validation.calibrated(model, prepared.schema.targets, alone=False)
    return monitored(document(targets, validation.y, probabilities), prepared.config, 0.0)


def _neighbours(prepared: Prepared, model: Model, x: NDArray[np.float32]) -> Neighbours:
    """Return the training rows as a network sees them, at the temperature that suits held-out rows best.

    Shape:
        x: the features (N, F) of all rows.
    """
    targets, rows, (choosing, _) = prepared.schema.targets, prepared.rows(split.TRAIN), prepared.held_out()
    learned, asked = torch.from_numpy(x[rows]), torch.from_numpy(x[choosing])
    lessons, y = prepared.labels(rows), prepared.labels(choosing)
    votes = [torch.from_numpy(np.stack(losses.votes(t, lessons[t.name]))) for t in targets]

    def surprise(neighbours: Neighbours) -> float:
        with torch.inference_mode():
            said = [logits.numpy() for logits in neighbours(asked)]
        chances = from_logits(targets, dict(zip(model.names, said, strict=True)))
        return float(np.nansum([metrics.row_losses(t, y[t.name], chances[t.name]) for t in targets]))

    tried = (Neighbours(learned, votes, temperature) for temperature in TEMPERATURES)
    return min(tried, key=surprise).to(next(model.parameters()).device)
