"""A table and a schema into arrays to train on: labels, inputs, parts, in that order.

`fitting.fit` calls `prepare` once; all that can be wrong with the user's data is refused here, before
anything is written or trained. `clustering` opens its rows here too.

Shapes: N rows of the table that is left: without test rows of its own, and without unreadable ones.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.config import FitConfig
from manyhot.data.columns import row_weights
from manyhot.data.inputs import fitted
from manyhot.data.inputs.fitted import Inputs
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.inputs.images.paths import Progress, Unreadable, named, none_there, picture_column
from manyhot.data.inputs.images.stream import X
from manyhot.data.rows import conflicts, infer, split, twins
from manyhot.data.table import Table
from manyhot.device import described
from manyhot.errors import UserError, listed, suggest
from manyhot.model import backbones
from manyhot.predict import answer_columns, refuse_clashes
from manyhot.resolve import resolve
from manyhot.schema import Schema, Target
from manyhot.targets import (
    UNKNOWN,
    WEIGHT,
    IntArray,
    UnknownClass,
    consistent_sets,
    encode,
    known,
    not_served,
    serves,
    sets_in,
)
from manyhot.train import parting
from manyhot.train.prepared import Prepared, Rows
from manyhot.train.warm_start import Start

log = logging.getLogger("manyhot")

MAX_PARTLY_KNOWN = 0.5  # share of the rows, for tags to be answered by whole sets
MORE = f" (all in {conflicts.FILE})"  # what a run says of them
MAX_UNREADABLE = 0.05  # share of the pictures


class Opened(NamedTuple):
    """What the inputs of all rows of a table are, before these are parted.

    x           their pictures, None for features
    hashes      uint64 (N,)
    kept        intp: the positions of the rows that could be read
    unreadable  the positions of the others → why
    names       the same for people
    notes       what is odd about the pictures
    """

    x: X | None
    hashes: NDArray[np.uint64]
    kept: NDArray[np.intp]
    unreadable: Unreadable
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()


def open_rows(
    table: Table,
    schema: Schema,
    config: FitConfig,
    progress: Progress | None = None,
    inputs: Inputs | None = None,
) -> Opened:
    """Read the inputs of a table, as `inputs` do it where these are known.

    Raises:
        UserError: more than 5 % of the pictures cannot be read.
    """
    side = _side(schema, config)
    hashes, x, bad, notes = fitted.read_rows(
        schema, table, side, progress, config.memory, config.cache, inputs
    )
    kept, names = readable(table, schema, bad)
    for note in notes:  # before hours are spent on it
        log.warning("%s", note)
    return Opened(x, hashes, kept, bad, names, notes)


def readable(table: Table, schema: Schema, bad: Unreadable) -> tuple[NDArray[np.intp], dict[str, str]]:
    """Return the positions of the rows that could be read, and the others by name, each with its reason.

    Raises:
        UserError: these are more than 5 %.
    """
    if gone := none_there(table, schema.inputs[0].name, bad):
        raise UserError(gone)
    names = named(table, picture_column(table, schema.inputs[0].name), bad)
    if len(bad) > MAX_UNREADABLE * len(table):
        first = "; ".join(f"{name}: {reason}" for name, reason in list(names.items())[:3])
        raise UserError(
            f"{table.source}: {len(bad)} of {len(table)} pictures cannot be read, more than "
            f"{MAX_UNREADABLE:.0%} ({first}). Mend the paths (--root FOLDER) or remove the rows."
        )
    return np.delete(np.arange(len(table)), list(bad)), names


def fit_inputs(
    table: Table, schema: Schema, config: FitConfig, train: NDArray[np.intp], x: X | None, **how: Any
) -> tuple[Inputs, X]:
    """Fit the inputs on the training rows (positions), with pixels as pretrained weights expect them.

    `how` features are turned into x is said to `TableInputs.transform`.
    """
    inputs, x = fitted.fit_transform(schema, table, train, _side(schema, config), x, config.seed, **how)
    expected = backbones.pixels(config) if isinstance(inputs, ImageInputs) else None
    if isinstance(inputs, ImageInputs) and expected is not None:
        inputs = inputs.with_pixels(*expected)
    return inputs, x


def _side(schema: Schema, config: FitConfig) -> int:
    return config.size if schema.is_image else 0


def prepare(
    table: Table,
    schema: Schema,
    options: Mapping[str, Any],
    progress: Progress | None = None,
    start: Start | None = None,
) -> Prepared:
    """Read labels and inputs, and decide which rows train, choose and test; see `warm_start` for `start`.

    Raises:
        UserError: there is nothing to learn from: no rows, one class only, too many unreadable
            pictures; or an option or a cell is wrong.
    """
    table, part, weight, across = _taking_part(table, schema, options, start)
    given = infer.split_of(table)
    config = _settings(table, schema, options, start)
    said = config if start is None else FitConfig(**options)
    if given is not None and (said.test or said.split_by):
        option = "--split-by" if said.split_by else "--test"
        raise UserError(
            f"{table.source}: the column 'split' says already which rows are test rows; leave {option} out."
        )
    if start is None or "objective" in options:  # else each keeps the one that it was tuned to
        schema = aimed(schema, config.objective)
    y = labels(table, schema, config.unknown_class)
    if weight is not None:
        y[WEIGHT] = weight
    opened = open_rows(table, schema, config, progress, None if start is None else start.bundle.inputs)
    rows = Rows(table, opened.x, y, opened.hashes, part).take(opened.kept)
    copied = parting.copies_in(rows, schema)
    if start is not None:
        rows = parting.as_before(rows, schema, config, given is None, copied, start, progress)
    else:
        if (rows.part == split.VAL).any():
            config = replace(config, folds=1)
        rows = parting.parted(rows, schema, config, given is None, copied, progress)
    rows, chosen = parting.chosen_train(rows, schema)
    _check_parts(rows, schema.targets)
    train = rows.part == split.TRAIN
    how: dict[str, Any] = {"progress": progress, "hashes": rows.hashes, "memory": config.memory}
    if start is None:
        inputs, x = fit_inputs(rows.table, schema, config, np.flatnonzero(train), rows.x, **how)
    else:
        inputs = start.bundle.inputs
        x = inputs.transform(rows.table, **how)[0] if rows.x is None else rows.x
    empty = conflicts.without_input(rows.table, schema)
    clashing = conflicts.find(rows.table, schema, rows.y, rows.hashes, empty)
    notes = [*opened.notes, *rows.table.notes, *across, *_weighed(schema, config), *chosen]
    notes += parting.told(rows, schema, config, empty, copied)
    notes += conflicts.told(clashing, empty, MORE)
    taught = {name: values[train] for name, values in rows.y.items()}
    targets = tuple(_with_label_sets(t, taught[t.name], config.label_sets) for t in schema.targets)
    schema = replace(schema, targets=targets)
    return Prepared(replace(rows, x=x), schema, config, inputs, opened.names, tuple(notes), tuple(clashing))


def settings(table: Table, schema: Schema, options: Mapping[str, Any]) -> FitConfig:
    """Return the settings that `prepare` finds for a table, without reading its pictures.

    Raises:
        UserError: an option, or the schema, is wrong.
    """
    return _settings(_taking_part(table, schema, options)[0], schema, options)


def _settings(
    table: Table, schema: Schema, options: Mapping[str, Any], start: Start | None = None
) -> FitConfig:
    """Return the settings for the rows that take part."""
    if start is not None:
        config = start.settings(options, schema, len(table))
    else:
        device = described(options.get("device", "auto"))
        config = resolve(options, schema, len(table), backbones.find_weights, device)
    _check_monitor(schema, config)
    return config


def _taking_part(
    table: Table, schema: Schema, options: Mapping[str, Any], start: Start | None = None
) -> tuple[Table, NDArray[np.int8], NDArray[np.float32] | None, list[str]]:
    """Leave out test rows and those of weight 0; return the rest, its parts, its weights, and notes."""
    _check_schema(table, schema)
    given = infer.split_of(table)
    part = np.zeros(len(table), dtype=np.int8)  # without a column that says so, none is a test row
    across: list[str] = []
    if given is not None:
        across = twins.told(table, schema, options.get("group", ""))
        part = np.array([split.PARTS.index(name) for name in given], dtype=np.int8)
        table, part = table.take(part != split.TEST), part[part != split.TEST]
        if not len(table):
            raise UserError(f"{table.source}: the column 'split' leaves no rows to train on.")
    weighed_by = options.get("weight", "" if start is None else start.bundle.config.weight)
    weight = _weights(table, schema, weighed_by)
    if weight is not None and not weight.all():
        counts = weight > 0
        note = f"left out, since their weight is 0: {(~counts).sum():,} of {len(table):,} rows."
        table = replace(table.take(counts), notes=(*table.notes, note))
        part, weight = part[counts], weight[counts]
    return table, part, weight, across


def aimed(schema: Schema, objective: str) -> Schema:
    """Return the schema with an objective for each target that thresholds can serve it for.

    Raises:
        UserError: there is none.
    """
    if not any(serves(target, objective) for target in schema.targets):
        raise UserError(not_served(schema.targets, objective))
    targets = [t.deciding(objective=objective) if serves(t, objective) else t for t in schema.targets]
    return replace(schema, targets=tuple(targets))


def _weighed(schema: Schema, config: FitConfig) -> list[str]:
    """Say what class weights change, and what they do not."""
    if config.class_weight == "none":
        return []
    own = {target.decision.objective for target in schema.targets}
    return [
        "rare classes count as much as frequent ones while the network learns; probabilities are corrected "
        f"back to how often classes are met, and answers aim at {listed(sorted(own))}."
    ]


def _with_label_sets(target: Target, y: IntArray, most: int) -> Target:
    """Let a target be answered by whole sets of tags, where there are few and most rows are known whole."""
    alone = replace(target, label_sets=())
    if target.exclusive or most < 2 or (y == UNKNOWN).any(axis=1).mean() > MAX_PARTLY_KNOWN:
        return alone
    sets = sets_in(target, y)
    if not 2 <= len(sets) <= most:
        return alone
    found = replace(target, label_sets=sets)
    # A partly known row that agrees with no set would teach nothing, and its tags might be in none.
    partly = np.unique(y[(y == UNKNOWN).any(axis=1)], axis=0)
    return found if consistent_sets(found, partly).any(axis=1).all() else alone


def _check_schema(table: Table, schema: Schema) -> None:
    """Refuse a schema that says too little, as one edited by hand may."""
    if not schema.targets:
        raise UserError(f"{table.source}: the schema has no target; name one with --target NAME.")
    if not schema.inputs:
        raise UserError(f"{table.source}: the schema has no input to predict from.")
    labels = {column for target in schema.targets for column in target.columns}
    both = labels & {column.name for column in schema.inputs}
    if both:
        raise UserError(
            f"{table.source}: {listed(sorted(both))} is both an input and a target in the schema."
        )
    refuse_clashes(table, answer_columns(schema), [target.name for target in schema.targets])


def _weights(table: Table, schema: Schema, name: str) -> NDArray[np.float32] | None:
    """Return how much each row counts, where a column says so, which is neither an input nor a target."""
    used = {column.name for column in schema.inputs} | {c for t in schema.targets for c in t.columns}
    if name in used:
        raise UserError(
            f"{table.source}: column '{name}' is to weigh the rows, but is in the schema too; "
            "leave it out there."
        )
    return row_weights(table, name, schema.missing) if name else None


def _check_monitor(schema: Schema, config: FitConfig) -> None:
    """Refuse a score that the monitored target does not have."""
    name, metric = config.monitored
    scores = metrics.names(schema.target(name)) if name else ()
    if name and metric not in scores:
        raise UserError(
            f"monitor: target '{name}' has no score '{metric}'{suggest(metric, scores)}; "
            f"there are {listed(scores)}."
        )


def labels(table: Table, schema: Schema, unknown_class: str) -> dict[str, NDArray[Any]]:
    """Encode every target of a table; see `targets.encode`."""
    policy: UnknownClass = "missing" if unknown_class == "missing" else "error"
    return {
        target.name: encode(target, [table.cells(c, schema.missing) for c in target.columns], policy)
        for target in schema.targets
    }


def _check_parts(rows: Rows, targets: tuple[Target, ...]) -> None:
    """Refuse early what could not be learned: an empty part, or a target of which nothing is known."""
    part, fold = rows.part, rows.fold
    train = part == split.TRAIN
    judging = part == split.VAL if fold is None else train & (fold != fold[train][:1])
    for number, there, needed in ((split.TRAIN, train, 2), (split.VAL, judging, 1)):
        if there.sum() < needed:
            raise UserError(
                f"{there.sum() or 'no'} {split.PARTS[number]} rows are left of {len(part)}; give more rows, "
                "or another --set validation=FRACTION."
            )
    for target in targets:
        if not known(rows.y[target.name][train]).any():
            raise UserError(f"target '{target.name}': all labels of the training rows are unknown.")
