"""Who answers along with a pretrained network: what it was before it learned, and training rows alike.

`classifier.fit` calls it on the trained model. Each stays only where held-out rows are answered better so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.data import split
from manyhot.data.paths import Progress
from manyhot.judge import document
from manyhot.model import losses
from manyhot.model.neighbours import Neighbours
from manyhot.model.network import Model, mean
from manyhot.predict import features, from_logits
from manyhot.train.calibrate import fit_temperature
from manyhot.train.distributed import World
from manyhot.train.fit import monitored
from manyhot.train.prepare import Prepared

Features = NDArray[np.float32]
Logits = Mapping[str, torch.Tensor]

MAX_ROWS = 10_000  # of training; the features of more take more room than many a network
# Of cosines, which differ little where features have no negatives.
TEMPERATURES = (0.02, 0.03, 0.04, 0.05, 0.07, 0.1)


def answer_together(
    prepared: Prepared, model: Model, world: World, progress: Progress, seen: Features | None
) -> None:
    """Let what the model was before, and neighbours of both, stay where held-out rows are answered better so.

    Args:
        progress: is told how many rows have passed through a network.
        seen: the features (N, F) of all rows as the backbone gave them before it learned, if at hand.
    """
    if model.before is None and not _may_have_neighbours(prepared):
        return
    targets, (choosing, _) = prepared.schema.targets, prepared.held_out()
    y = prepared.labels(choosing)

    def value(answer: tuple[Logits, Neighbours | None]) -> float:
        """Tell how well rows are answered, with temperatures: several are less sure, and not worse."""
        raw = {name: logits.float().cpu().numpy() for name, logits in answer[0].items()}
        warm = tuple(fit_temperature(t, raw[t.name], y[t.name]) for t in targets)
        return world.agree(monitored(document(warm, y, from_logits(warm, raw)), prepared.config, 0.0))

    x = seen if prepared.config.freeze and seen is not None else features(model, prepared.x, progress)
    own = max(_answers(prepared, model, x), key=value)
    model.neighbours = own[1]
    if model.before is not None:
        x = features(model.before, prepared.x, progress) if seen is None else seen
        then = _answers(prepared, model.before, x)
        both = max(((mean(own[0], logits), rows) for logits, rows in then), key=value)
        model.before.neighbours = both[1]
        if value(both) <= value(own):
            model.before = None


def _may_have_neighbours(prepared: Prepared) -> bool:
    """Tell whether rows are few enough, and count alike, as neighbours do, who do not weigh classes."""
    return len(prepared.rows(split.TRAIN)) <= MAX_ROWS and prepared.config.class_weight == "none"


@torch.no_grad()
def _answers(prepared: Prepared, model: Model, x: Features) -> Iterator[tuple[Logits, Neighbours | None]]:
    """Return how a network may answer the rows that choose: alone, or with neighbours at some temperature.

    Shape:
        x: the features (N, F) of all rows.
    """
    rows, (choosing, _) = prepared.rows(split.TRAIN), prepared.held_out()
    device = next(model.parameters()).device
    learned, asked = (torch.from_numpy(x[part]).to(device) for part in (rows, choosing))
    heads = model.answer(asked)
    yield heads, None
    if _may_have_neighbours(prepared):
        y = prepared.labels(rows)
        votes = [torch.from_numpy(np.stack(losses.votes(t, y[t.name]))) for t in prepared.schema.targets]
        for temperature in TEMPERATURES:
            neighbours = Neighbours(learned, votes, temperature).to(device)
            yield mean(heads, dict(zip(model.names, neighbours(asked), strict=True))), neighbours
