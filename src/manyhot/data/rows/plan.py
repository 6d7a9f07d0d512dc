"""What `fit` would do with a table on this machine: a table and a schema enter, its settings leave.

`inspect` says it without loading torch: what is for torch alone to know is left open, which is whether there
are pretrained weights to be had (they are "auto" then).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from manyhot.data.columns import split_of
from manyhot.data.table import Table
from manyhot.machine import automatic
from manyhot.resolve import estimate, resolve
from manyhot.schema import Schema


def plan(table: Table, schema: Schema, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the settings of a `fit` that is told `options` alone, an estimate, and what it would compute on.

    Nothing where no rows, or no inputs, are left to learn from.

    Raises:
        UserError: an option is wrong.
    """
    given = split_of(table)
    rows = len(table) if given is None else int((given != "test").sum())
    held = 0 if given is None else int((given == "val").sum())
    if not schema.inputs or not schema.targets or rows - held < 2:
        return {}
    device = automatic()
    config = resolve(options or {}, schema, rows, device=device)
    if held:
        config = replace(config, folds=1)
    train = rows - held
    if not held:
        train = round(rows * (1 - config.test - (config.validation if config.folds == 1 else 0)))
    height, width, channels = schema.inputs[0].shape or (1, 1, len(schema.inputs))
    sides = (config.size, config.size) if config.size else (height, width)
    text = estimate(config, train, math.prod(sides) * channels, device)
    return {"device": device._asdict(), "settings": config.to_json(), "estimate": text}
