"""Whether pictures keep their labels when they are mirrored: things do, digits and arrows do not.

`run` asks before it trains, where the settings leave it open.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.config import FitConfig
from manyhot.data.batches.loader import Loader
from manyhot.model.network import Network
from manyhot.resolve import TRIAL_BATCH, TRIAL_STEPS
from manyhot.schema import Target
from manyhot.targets import Labels
from manyhot.train.loop import train
from manyhot.train.validation import Validation

MAX_ROWS, MAX_HELD = 10_000, 2_000  # that it learns from, and that it is asked about
KEPT = 0.9  # of what it knows, for pictures that are mirrored


def of_trial(config: FitConfig, rows: int) -> FitConfig:
    """Return the settings of the trial on so many rows: a small network, briefly, that sees none mirrored."""
    batch = min(TRIAL_BATCH, rows)
    return replace(
        config,
        backbone="cnn",
        weights="none",
        batch_size=batch,
        epochs=max(1, round(TRIAL_STEPS * batch / rows)),
        learning_rate=4e-3,
        weight_decay=0.02,
        dropout=0.0,
        label_smoothing=0.0,
        mixup=0.0,
        random_erasing=0.0,
        first_size=0,
        patience=0,
        mirror="no",
    )


def keeps_labels(
    network: Network,
    loader: Loader,
    x: NDArray[np.uint8],
    y: Labels,
    targets: tuple[Target, ...],
    config: FitConfig,
) -> bool:
    """Tell whether a network that learns from pictures as they are answers mirrored ones about as well.

    What it knows is how far its loss on held-out rows (x, y) is below that of the classes' shares, at which
    its heads must begin. Where it has learned nothing for sure, mirrored pictures are not trusted.

    Shape:
        x: (N, H, W, C).
    """
    with torch.no_grad():
        for parameter in network.heads.parameters():
            if parameter.ndim > 1:
                parameter.zero_()
    as_it_is, mirrored = Validation(x, y), Validation(np.ascontiguousarray(x[:, :, ::-1]), y)
    before = as_it_is.losses(network, targets, config)
    train(network, loader, as_it_is, targets, config, lambda line: None)
    gain = before - as_it_is.losses(network, targets, config)
    with_mirror = before - mirrored.losses(network, targets, config)
    sure = len(gain) > 1 and gain.mean() > 2 * gain.std(ddof=1) / len(gain) ** 0.5
    return bool(sure and with_mirror.mean() >= KEPT * gain.mean())
