"""What rows are compared by: a table and options come in, a network without heads and its features leave.

`cluster` calls `look`. Rows are seen by, in this order: the backbone of a bundle that is given; timm's
pretrained weights, given or to be had; a network of our own that is yet to learn without labels (`learn`);
or, of a table, its own columns as every model of ours prepares them.

Shapes: N rows · F features.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import bundle as bundles
from manyhot.bundle import Bundle
from manyhot.config import FitConfig
from manyhot.data.inputs.fitted import Inputs, read_new
from manyhot.data.inputs.images.paths import Progress, Unreadable
from manyhot.data.inputs.images.stream import X
from manyhot.data.sources.read import near
from manyhot.data.table import Table
from manyhot.device import described, pick, use
from manyhot.ensemble import NETWORK
from manyhot.errors import UserError
from manyhot.model import backbones
from manyhot.model.network import Network, build, build_heads
from manyhot.predict import tell
from manyhot.resolve import FROM_NOTHING, SMALL_IMAGE, resolve
from manyhot.schema import Schema
from manyhot.train.prepare import fit_inputs, open_rows, readable

log = logging.getLogger("manyhot")
BATCH = 512  # pictures, all of which are compared with each other
STEPS = {"fast": 250, "balanced": 800, "best": 2_400}
MAX_EPOCHS = 150  # more let small sets of pictures fall into smaller groups than there are
LEARN_HERE = ("cnn",)  # networks that learn here, from the pictures themselves


@dataclass(frozen=True)
class Viewed:
    """Rows as a network sees them.

    schema      the inputs; no target
    network     stem and backbone, without a head
    x           what the inputs give for the rows that could be read
    rows        intp (N,): their positions in the table
    fresh       the backbone has learned nothing yet
    """

    schema: Schema
    config: FitConfig
    inputs: Inputs
    network: Network
    x: X
    rows: NDArray[np.intp]
    unreadable: Unreadable
    fresh: bool = False


def look(
    table: Table,
    schema: Schema,
    options: Mapping[str, Any],
    features: str | None,
    progress: Progress | None = None,
) -> Viewed:
    """Read the rows, and get or make the network that sees them.

    Args:
        features: the folder of a model, a safetensors file for the backbone, or None.

    Raises:
        UserError: the model is of other inputs, the file is no weights, no picture can be read.
    """
    if features is not None and Path(features).is_dir():
        return _through(bundles.load(Path(features)), table, options, progress)
    if features is not None:
        _check_file(features, schema, options)
        options = {**options, "weights": features}
    config = _configured(options, schema, len(table))
    opened = open_rows(table, schema, config, progress)
    whole = not opened.unreadable
    left = table if whole else table.take(opened.kept)
    pictures = opened.x if whole or opened.x is None else opened.x[opened.kept]
    inputs, x = fit_inputs(left, schema, config, np.arange(len(left)), pictures)
    device = pick(config.device)
    use(config, device)
    network = build(inputs, (), config).to(device)
    fresh = config.backbone in LEARN_HERE
    return Viewed(schema, config, inputs, network, x, opened.kept, opened.unreadable, fresh)


def _through(bundle: Bundle, table: Table, options: Mapping[str, Any], progress: Progress | None) -> Viewed:
    """See rows by the backbone of a bundle."""
    clashing = sorted({"backbone", "weights", "size"} & set(options))
    if clashing:
        raise UserError(f"--features names a model, which has a {clashing[0]} of its own; leave one out.")
    x, noticed = read_new(bundle.inputs, table, progress)
    tell(noticed)
    bad = noticed.unreadable
    rows, _ = readable(table, bundle.schema, bad)
    own = {name: options[name] for name in ("seed", "device", "effort") if name in options}
    config = replace(bundle.config, **{"device": "auto", **own, "views": 1})
    encoder: Any = bundle.predictor.encoders[NETWORK]
    network = Network(bundle.predictor.stem, encoder, build_heads((), encoder)).to(pick(config.device))
    schema = replace(bundle.schema, targets=())
    return Viewed(schema, config, bundle.inputs, network, x[rows] if bad else x, rows, bad)


def _configured(options: Mapping[str, Any], schema: Schema, rows: int) -> FitConfig:
    """Resolve the options for rows without labels."""
    device = described(options.get("device", "auto"))
    alone = {"folds": 1, "views": 1, "validation": 0.0, "label_sets": 0}
    asked = options.get("backbone", "linear")
    if asked in FROM_NOTHING and asked != "linear" and not (schema.is_image and asked in LEARN_HERE):
        raise UserError(
            f"backbone '{asked}' knows nothing yet and is not trained here; leave --backbone out, or pass "
            "--features MODEL with a model that `fit` trained."
        )
    if not schema.is_image:
        return resolve({"backbone": "linear", **options, **alone}, schema, rows, device=device)
    find = cache(backbones.find_weights)
    config = resolve({**options, **alone}, schema, rows, find, device)
    if config.backbone in FROM_NOTHING:
        changes = {"backbone": "cnn", **_alone(config.effort, rows)}
        return resolve({**changes, **options, **alone}, schema, rows, device=device)
    if config.weights != "none":  # seen once, so as large as the weights were made for
        return resolve({**options, **alone, "freeze": True}, schema, rows, find, device)
    if "backbone" in options:
        raise UserError(
            f"backbone '{config.backbone}' without weights tells nothing apart; pass --features with a "
            "safetensors file or a model, or leave --backbone out."
        )
    log.warning(
        "pictures are brought to %d pixels, and a small network learns to tell them apart by itself",
        SMALL_IMAGE,
    )
    changes = {"backbone": "cnn", "augment": "crop", **_alone(config.effort, rows)}
    fixed = {"weights": "none", "size": SMALL_IMAGE, **alone}
    return resolve({**changes, **options, **fixed}, schema, rows, device=device)


def _alone(effort: str, rows: int) -> dict[str, Any]:
    """Return the settings with which a network of our own learns from pictures without labels."""
    batch = min(BATCH, rows)
    return {
        "batch_size": batch,
        "epochs": max(1, min(MAX_EPOCHS, round(STEPS[effort] * batch / rows))),
        "learning_rate": 4e-3,
        "weight_decay": 0.01,
    }


def _check_file(path: str, schema: Schema, options: Mapping[str, Any]) -> None:
    """Refuse a file of weights that nothing can be made of."""
    if not Path(path).is_file():
        raise UserError(f"--features {path}: no such model or file{near(Path(path))}; or pass 'auto'.")
    if not schema.is_image:
        raise UserError(f"--features {path}: weights are for pictures; of a table name a model, or 'auto'.")
    if "backbone" not in options:
        raise UserError(
            f"--features {path}: say which network these are the weights of, with --backbone NAME."
        )
