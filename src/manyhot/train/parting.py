"""Which rows of a run train, choose and test: by chance, by groups, in time.

`prepare` calls it where the table does not say it itself, and for the folds of the rows that train.

Shapes: N rows of the run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from manyhot.config import FitConfig
from manyhot.data.columns import SUGGESTED, chosen_rows
from manyhot.data.inputs.hashing import ColumnHashes
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.rows import copies, order, split
from manyhot.errors import UserError
from manyhot.schema import Schema
from manyhot.targets import IntArray
from manyhot.train.prepared import Rows
from manyhot.train.warm_start import Start

WORTH_A_NOTE = 0.05  # of the rows, those that are equal by chance


def parted(
    rows: Rows,
    schema: Schema,
    config: FitConfig,
    cut_off: bool,
    copied: IntArray | None,
    progress: Progress | None = None,
) -> Rows:
    """Part the rows where the table does not: into training, validation and test rows, and into folds."""
    part, fold = rows.part.copy(), None
    time = _time(rows, schema, config) if config.split_by or config.time_series else None
    if not (part == split.VAL).any():
        test = config.test if cut_off else 0.0
        held = config.validation if config.folds == 1 else 0.0
        if time is not None and config.time_series:
            part = _in_time(rows, config, time, [1 - held - test, held, test])
        elif time is not None:
            part = _in_time(rows, config, time, [1 - test, 0.0, test])
            early = np.flatnonzero(part == split.TRAIN)
            later = held / (1 - test)
            of_early = replace(rows, x=None).take(early)
            part[early] = _cut(of_early, schema, config, [1 - later, later], _some(copied, early), progress)
        else:
            part = _cut(rows, schema, config, [1 - held - test, held, test], copied, progress)
    if config.folds > 1:
        equal = [1 / config.folds] * config.folds
        if time is not None and config.time_series:
            fold, train = np.zeros(len(rows), np.int8), part == split.TRAIN
            fold[train] = _in_time(rows, config, time[train], equal)
        else:
            fold = _cut(rows, schema, config, equal, copied, progress)
    return replace(rows, part=part, fold=fold)


def as_before(
    rows: Rows,
    schema: Schema,
    config: FitConfig,
    cut_off: bool,
    copied: IntArray | None,
    start: Start,
    progress: Progress | None = None,
) -> Rows:
    """Leave rows that a model has seen in their parts and folds, and part the others as rows of their own."""
    group = rows.table.cells(config.group, schema.missing).codes if config.group else None
    part, fold = start.parts(rows.table.rows, rows.hashes, group)
    new = np.flatnonzero(part < 0)
    if len(new):
        rest = rows.take(new)
        if config.folds > 1:  # all that are no test rows train, and judge out of fold
            rest = replace(rest, part=np.zeros(len(new), np.int8))
        rest = parted(rest, schema, config, cut_off, _some(copied, new), progress)
        part[new] = rest.part
        fold[new] = -1 if rest.fold is None else rest.fold
    return replace(rows, part=part, fold=fold if config.folds > 1 else None)


def chosen_train(rows: Rows, schema: Schema) -> tuple[Rows, list[str]]:
    """Let rows that `suggest` chose only teach: what they measure or calibrate holds for no others."""
    used = {column.name for column in schema.inputs} | {c for t in schema.targets for c in t.columns}
    chosen = chosen_rows(rows.table) & (rows.part != split.TEST)
    if SUGGESTED in used or not chosen.any():
        return rows, []
    part, fold = np.where(chosen, np.int8(split.TRAIN), rows.part), rows.fold
    fold = None if fold is None else np.where(chosen, np.int8(-1), fold)
    count = "1 row" if chosen.sum() == 1 else f"{chosen.sum():,} rows"
    note = f"column '{SUGGESTED}': {count} that `suggest` chose train, and neither judge nor calibrate"
    return replace(rows, part=part, fold=fold), [note]


def copies_in(rows: Rows, schema: Schema) -> IntArray | None:
    """Return a key that copies of one row share; None where none are, or rows are equal by chance."""
    if not copies.any_equal(rows.hashes):
        return None
    if schema.is_image:  # no two photos are equal by chance
        return rows.hashes.astype(np.int64)
    labels = np.column_stack([rows.y[target.name].reshape(len(rows), -1) for target in schema.targets])
    _, codes = np.unique(labels, axis=0, return_inverse=True)
    columns = ColumnHashes(rows.table, schema.inputs, schema.missing)
    return copies.copies(columns, codes.reshape(-1))


def told(
    rows: Rows, schema: Schema, config: FitConfig, empty: NDArray[np.bool_], copied: IntArray | None
) -> list[str]:
    """Say how rows in time were parted, and where equal rows are, those that are `empty` apart."""
    return [*_of_time(rows, schema, config), *_duplicates(rows, empty, copied)]


def _some(copied: IntArray | None, index: NDArray[np.intp]) -> IntArray | None:
    return None if copied is None else copied[index]


def _time(rows: Rows, schema: Schema, config: FitConfig) -> NDArray[np.float64]:
    """Return where each row stands in time: first where none is said, those of a group with its last one."""
    if not config.split_by:
        time = rows.table.rows.astype(np.float64)
    else:
        time = order.by_column(rows.table, config.split_by, schema.missing)
        time[np.isnan(time)] = -np.inf
    return order.of_groups(time, _groups(rows, schema, config)) if config.group else time


def _in_time(
    rows: Rows, config: FitConfig, time: NDArray[np.float64], fractions: list[float]
) -> NDArray[np.int8]:
    """Part rows into stretches of time of these shares.

    Raises:
        UserError: one of them would have no rows.
    """
    part = order.stretches(time, fractions)
    wanted = np.flatnonzero(fractions)
    if len(np.intersect1d(part, wanted)) < len(wanted):
        number, by = len(np.unique(time)), f"column '{config.split_by}'" if config.split_by else "the groups"
        raise UserError(
            f"{rows.table.source}: {by} parts the rows into {number} moments only, too few for {len(wanted)} "
            "parts, each with rows of its own. Name another column with --split-by, or leave it out."
        )
    return part


def _of_time(rows: Rows, schema: Schema, config: FitConfig) -> list[str]:
    """Say how rows in time were parted."""
    if not (config.split_by or config.time_series):
        return []
    by = f"by column '{config.split_by}'" if config.split_by else "as they stand"
    found = []
    test = int((rows.part == split.TEST).sum())
    if test:
        found.append(f"the last {test:,} of {len(rows):,} rows, {by}, are the test rows")
    if config.split_by:
        empty = int(np.isnan(order.by_column(rows.table, config.split_by, schema.missing)).sum())
        if empty:
            found.append(f"{empty:,} rows have no value in column '{config.split_by}' and count as the first")
    if not config.time_series:
        return found
    if rows.fold is None:
        return [*found, f"the validation rows are the last {by} that are no test rows"]
    return [
        *found,
        f"each of {config.folds} folds is a stretch of time, {by} (blocked cross-validation): its rows are "
        "judged by members that learned from what came before and after it; how rows of the future are "
        "answered, only test rows tell",
    ]


def _cut(
    rows: Rows,
    schema: Schema,
    config: FitConfig,
    fractions: list[float],
    copied: IntArray | None,
    progress: Progress | None,
) -> NDArray[np.int8]:
    """Cut the rows into parts of these shares; groups stay whole.

    So do the copies of a row, that none is judged which was trained on, unless the parts would then not get
    their share.
    """
    groups = [_groups(rows, schema, config)] if config.group else []
    if copied is not None:
        part = split.split(schema.targets, rows.y, fractions, config.seed, [*groups, copied], progress)
        shares = np.bincount(part, minlength=len(fractions)) / len(part)
        if np.all(np.abs(shares - fractions) <= np.minimum(0.05, np.array(fractions) / 2)):
            return part
    return split.split(schema.targets, rows.y, fractions, config.seed, groups, progress)


def _groups(rows: Rows, schema: Schema, config: FitConfig) -> IntArray:
    """Number the groups of the rows; those without one are each their own."""
    codes = rows.table.cells(config.group, schema.missing).codes.astype(np.int64)
    return np.where(codes < 0, len(rows) + np.arange(len(rows)), codes)


def _duplicates(rows: Rows, empty: NDArray[np.bool_], copied: IntArray | None) -> list[str]:
    """Say how many rows are exact duplicates, those that are `empty` apart, and where these are."""
    if not copies.any_equal(rows.hashes):
        return []
    hashes, part = rows.hashes[~empty], rows.part[~empty]
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again = counts[inverse] > 1
    if not again.any():
        return []
    if copied is None and again.mean() < WORTH_A_NOTE:
        return []
    if copied is None:
        return [
            f"{again.sum()} rows have the same inputs as others, by chance rather than as copies: new rows "
            "will too, so each is parted by itself."
        ]
    same = copied[~empty]
    whole = len(np.unique(np.column_stack([same, part]), axis=0)) == len(np.unique(same))
    kept = "equal rows stay in the same part" if whole else "equal rows are in several parts"
    return [f"{again.sum()} rows are exact duplicates of others; {kept}."]
