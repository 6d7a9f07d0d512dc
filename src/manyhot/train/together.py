"""Who answers along with a pretrained network: what it was before it learned, and training rows alike.

`classifier.fit` calls it on the trained model. Each stays only where held-out rows are answered better so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from manyhot.data.inputs.images.paths import Progress
from manyhot.data.rows import split
from manyhot.judge import document
from manyhot.model import losses
from manyhot.model.neighbours import Neighbours
from manyhot.model.network import Model, mean
from manyhot.predict import features, from_logits
from manyhot.train.calibrate import fit_temperatures
from manyhot.train.distributed import World
from manyhot.train.fit import monitored
from manyhot.train.prepare import Prepared

Features = NDArray[np.float32]
Logits = Mapping[str, torch.Tensor]

MAX_ROWS = 10_000  # of training; the features of more take more room than many a network
# Of cosines, which differ little where features have no negatives.
TEMPERATURES = (0.02, 0.03, 0.04, 0.05, 0.07, 0.1)


@torch.no_grad()
def answer_together(
    prepared: Prepared, model: Model, world: World, progress: Progress, known: Mapping[Model, Features]
) -> None:
    """Let what the model was before, then neighbours of both, stay where held-out rows are answered better.

    In this order: beside neighbours, what the model was before hardly lowers the loss, while it still helps
    much to bring rare tags into order.

    Args:
        progress: is told how many rows have passed through a network.
        known: the features (N, F) that a network gives all rows, where they are at hand.
    """
    few = len(prepared.rows(split.TRAIN)) <= MAX_ROWS and prepared.config.class_weight == "none"
    if model.before is None and not few:
        return
    choosing, _ = prepared.held_out()
    y = prepared.labels(choosing)

    def value(raw: Logits) -> float:
        """Tell how well rows are answered, with temperatures: several are less sure, and not worse."""
        numbers = {name: logits.float().cpu().numpy() for name, logits in raw.items()}
        warm = fit_temperatures(prepared.schema.targets, numbers, y)
        return world.agree(monitored(document(warm, y, from_logits(warm, numbers)), prepared.config, 0.0))

    def value_at(voice: tuple[Model, Features], alike: Neighbours, temperature: float) -> float:
        alike.temperature.fill_(temperature)
        return value(_answers([voice], choosing))

    def rows_of(network: Model) -> Features:
        needed = np.arange(len(prepared.x)) if few else choosing
        return known[network] if network in known else _features(network, prepared, needed, progress)

    voices = [(model, rows_of(model))]
    best = value(_answers(voices, choosing))
    if model.before is not None:
        voices.append((model.before, rows_of(model.before)))
        both = value(_answers(voices, choosing))
        if both > best:
            best = both
        else:
            voices.pop()
            model.before = None
    if not few:
        return
    for voice in voices:
        voice[0].neighbours = alike = _neighbours(prepared, *voice)
        alike.temperature.fill_(max(TEMPERATURES, key=partial(value_at, voice, alike)))
    if value(_answers(voices, choosing)) <= best:
        for network, _ in voices:
            network.neighbours = None


def _features(network: Model, prepared: Prepared, rows: NDArray[np.intp], progress: Progress) -> Features:
    """Return the features that a network gives some rows, in their places among all rows."""
    if len(rows) == len(prepared.x):
        return features(network, prepared.x, progress)  # without a copy of the pictures
    found = np.empty((len(prepared.x), network.backbone.num_features), np.float32)
    found[rows] = features(network, prepared.x[rows], progress)
    return found


def _answers(voices: list[tuple[Model, Features]], rows: NDArray[np.intp]) -> Logits:
    """Return the logits that the networks give some rows, whose features are at hand."""
    each = [network.answer(_on_device(x[rows], network)) for network, x in voices]
    return each[0] if len(each) == 1 else mean(*each)


def _neighbours(prepared: Prepared, model: Model, x: Features) -> Neighbours:
    """Return the training rows as neighbours, whose temperature is still to be chosen."""
    rows = prepared.rows(split.TRAIN)
    learned, y = F.normalize(_on_device(x[rows], model)), prepared.labels(rows)
    votes = {t.name: torch.from_numpy(np.stack(losses.votes(t, y[t.name]))) for t in prepared.schema.targets}
    return Neighbours(learned, votes).to(learned.device)


def _on_device(x: Features, model: Model) -> torch.Tensor:
    return torch.from_numpy(x).to(next(model.parameters()).device)
