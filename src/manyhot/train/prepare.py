"""A table and a schema into arrays to train on: labels, parts, inputs, in that order.

`classifier.fit` calls it once; all that can be wrong with the user's data is refused here, before
anything is written or trained.

Shapes: N rows of the table that is left: without test rows of its own, and without unreadable ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.config import FitConfig
from manyhot.data.inputs import fitted as inputs
from manyhot.data.inputs.fitted import Inputs
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.inputs.images.paths import Progress, Unreadable, named, picture_column
from manyhot.data.inputs.images.stream import X
from manyhot.data.rows import infer, split
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest
from manyhot.model import backbones
from manyhot.predict import refuse_clashes
from manyhot.resolve import resolve
from manyhot.schema import Schema, Target
from manyhot.targets import UNKNOWN, IntArray, UnknownClass, agreeing, encode, known, sets_in

MIN_HALVED = 1_000  # validation rows from which on some choose the epoch and others calibrate
MAX_CHOOSING = 5_000  # rows of a network with folds that choose the epoch
MAX_PARTLY_KNOWN = 0.5  # share of the rows, for tags to be answered by whole sets
MAX_UNREADABLE = 0.05  # share of the pictures


@dataclass(frozen=True)
class Prepared:
    """What training needs, and what the bundle remembers of the rows.

    `part` is the split.PARTS number of each row, `fold` the member that does not learn from it (None
    without folds); `hashes` tell rows apart when they come again.
    """

    table: Table
    schema: Schema
    config: FitConfig
    inputs: Inputs
    x: X
    y: Mapping[str, IntArray]
    part: NDArray[np.int8]
    fold: NDArray[np.int8] | None
    hashes: NDArray[np.uint64]
    unreadable: Mapping[str, str]
    notes: tuple[str, ...]

    def rows(self, part: int) -> NDArray[np.intp]:
        """Return the positions of the rows of one part."""
        return np.flatnonzero(self.part == part)

    def labels(self, rows: NDArray[np.intp]) -> dict[str, IntArray]:
        """Return the labels of some rows."""
        return {name: values[rows] for name, values in self.y.items()}

    def judged(self) -> NDArray[np.intp]:
        """Return the positions of the rows that judge: all training rows where there are folds."""
        return self.rows(split.VAL if self.fold is None else split.TRAIN)

    def fold_of(self, rows: NDArray[np.intp]) -> NDArray[np.int8] | None:
        """Return the fold of some rows."""
        return None if self.fold is None else self.fold[rows]

    def lessons(self, rows: NDArray[np.intp]) -> dict[str, IntArray]:
        """Return the labels that some rows teach: those of each fold, after N, where a network has members.

        A member knows nothing of the rows of its own fold.
        """
        y = self.labels(rows)
        if self.fold is None:
            return {name: v[:, None] for name, v in y.items()} if self.config.members > 1 else y
        members = np.arange(self.config.folds)
        own = self.fold[rows, None] == members
        return {
            name: np.where(own.reshape(own.shape + (1,) * (v.ndim - 1)), UNKNOWN, v[:, None])
            for name, v in y.items()
        }

    def held_out(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows that choose the best epoch, and those that calibrate.

        Below 1,000, and in small tables with folds, there are too few for two parts, and all serve for both.
        """
        held = self.judged()
        if len(held) < MIN_HALVED or (len(held) < MAX_CHOOSING and self.fold is not None):
            return held, held
        if self.fold is not None:  # all that train are held out once
            chosen = np.arange(len(held)) % (len(held) // MAX_CHOOSING + 1) == 0
            return held[chosen], held[~chosen]
        half = split.split(self.schema.targets, self.labels(held), [0.5, 0.5], self.config.seed)
        return held[half == 0], held[half == 1]

    def row_table(self) -> Table:
        """Return a line per row that a fit uses: its number, its split, its hash."""
        columns: dict[str, Any] = {
            "row": self.table.rows,
            "split": [split.PARTS[number] for number in self.part],
            "hash": [f"{value:016x}" for value in self.hashes],
        }
        if self.fold is not None:
            columns["fold"] = list(map(int, self.fold))
        return Table({}, "split.csv", rows=self.table.rows).with_columns(columns)

    def fingerprint(self) -> str:
        """Return a text that two runs share only where their data and settings are the same."""
        fold = b"" if self.fold is None else self.fold.tobytes()
        digest = hashlib.sha256(self.hashes.tobytes() + self.part.tobytes() + fold)
        for values in self.y.values():
            digest.update(np.ascontiguousarray(values).tobytes())
        here = ("threads", "memory", "cache", "device")  # where a run computes may change between its parts
        config = {name: value for name, value in self.config.to_json().items() if name not in here}
        settings = [self.schema.to_json(), config, self.inputs.to_json()]
        digest.update(json.dumps(settings, sort_keys=True).encode())
        return digest.hexdigest()


def prepare(
    table: Table, schema: Schema, options: Mapping[str, Any], progress: Progress | None = None
) -> Prepared:
    """Read labels and inputs, and decide which rows train, choose and test.

    Raises:
        UserError: there is nothing to learn from: no rows, one class only, too many unreadable
            pictures; or an option or a cell is wrong.
    """
    _check_schema(table, schema)
    given = infer.split_of(table)
    given_part = np.zeros(len(table), dtype=np.int8)  # without a column that says so, none is a test row
    if given is not None:
        given_part = np.array([split.PARTS.index(name) for name in given], dtype=np.int8)
        table, given_part = table.take(given_part != split.TEST), given_part[given_part != split.TEST]
        if not len(table):
            raise UserError(f"{table.source}: the column 'split' leaves no rows to train on.")
    config = resolve(options, schema, len(table))
    if schema.is_image and (found := backbones.pretrained(config)) != config.weights:
        config = resolve({**options, "weights": found}, schema, len(table))
    _check_monitor(schema, config)
    if given is not None and config.test:
        raise UserError(
            f"{table.source}: the column 'split' says already which rows are test rows; leave --test out."
        )
    schema = replace(schema, targets=tuple(replace(t, objective=config.objective) for t in schema.targets))
    y = labels(table, schema, config.unknown_class)
    size = config.size if schema.is_image else 0
    hashes, x, bad = inputs.read_rows(schema, table, size, progress, config.memory, config.cache)
    names = named(table, picture_column(table, schema.inputs[0].name), bad)
    check_unreadable(table, bad, names)
    if bad and x is not None:
        keep = np.setdiff1d(np.arange(len(table)), list(bad))
        table, x, hashes = table.take(keep), x[keep], hashes[keep]
        y = {name: values[keep] for name, values in y.items()}
        given_part = given_part[keep]
    if (given_part == split.VAL).any():
        part, config = given_part, replace(config, folds=1)
    else:
        test = config.test if given is None else 0.0
        held = config.validation if config.folds == 1 else 0.0
        part = _cut(table, schema, config, y, hashes, [1 - held - test, held, test])
    fold = None
    if config.folds > 1:
        fold = _cut(table, schema, config, y, hashes, [1 / config.folds] * config.folds)
    _check_parts(part, fold, y, schema.targets)
    notes = (*table.notes, *_agreement(hashes, part, y, schema.targets))
    train = part == split.TRAIN
    fitted, x = inputs.fit_transform(schema, table, np.flatnonzero(train), size, x)
    fitted = with_pixels_of(config, fitted)
    targets = tuple(_with_sets(t, y[t.name][train], config.sets) for t in schema.targets)
    schema = replace(schema, targets=targets)
    return Prepared(table, schema, config, fitted, x, y, part, fold, hashes, names, notes)


def with_pixels_of(config: FitConfig, fitted: Inputs) -> Inputs:
    """Return inputs that give pixels as the backbone's pretrained weights expect them, where it has some."""
    if not isinstance(fitted, ImageInputs):
        return fitted
    expected = backbones.pixels(config)
    return fitted if expected is None else fitted.with_pixels(*expected)


def _with_sets(target: Target, y: IntArray, most: int) -> Target:
    """Let a target be answered by whole sets of tags, where there are few and most rows are known whole."""
    if target.exclusive or most < 2 or (y == UNKNOWN).any(axis=1).mean() > MAX_PARTLY_KNOWN:
        return replace(target, sets=())
    sets = sets_in(target, y)
    if not 2 <= len(sets) <= most:
        return replace(target, sets=())
    found = replace(target, sets=sets)
    # A partly known row that agrees with no set would teach nothing, and its tags might be in none.
    partly = np.unique(y[(y == UNKNOWN).any(axis=1)], axis=0)
    return found if agreeing(found, partly).any(axis=1).all() else replace(target, sets=())


def _check_schema(table: Table, schema: Schema) -> None:
    """Refuse a schema that says too little, as one edited by hand may."""
    if not schema.targets:
        raise UserError(f"{table.source}: the schema has no target; name one with --target NAME.")
    if not schema.inputs:
        raise UserError(f"{table.source}: the schema has no input to predict from.")
    told = {column.name for column in schema.inputs} & {
        c for target in schema.targets for c in target.columns
    }
    if told:
        raise UserError(
            f"{table.source}: {listed(sorted(told))} is both an input and a target in the schema."
        )
    refuse_clashes(table, schema)


def _check_monitor(schema: Schema, config: FitConfig) -> None:
    """Refuse a score that the monitored target does not have."""
    name, metric = config.monitored
    scores = metrics.SINGLE if name and schema.target(name).exclusive else metrics.TAGS
    if name and metric not in scores:
        raise UserError(
            f"monitor: target '{name}' has no score '{metric}'{suggest(metric, scores)}; "
            f"there are {listed(scores)}."
        )


def labels(table: Table, schema: Schema, unknown_class: str) -> dict[str, IntArray]:
    """Encode every target of a table; see `targets.encode`."""
    policy: UnknownClass = "missing" if unknown_class == "missing" else "error"
    return {
        target.name: encode(target, [table.cells(c, schema.missing) for c in target.columns], policy)
        for target in schema.targets
    }


def _cut(
    table: Table,
    schema: Schema,
    config: FitConfig,
    y: Mapping[str, IntArray],
    hashes: NDArray[np.uint64],
    fractions: list[float],
) -> NDArray[np.int8]:
    """Cut the rows into parts of these shares; groups stay whole.

    Exact duplicates stay together too, so that no row is judged that was trained on, unless there
    are so few distinct rows that the parts would not get their share: such a table is one of few
    categories, where equal rows are no copies.
    """
    groups: list[IntArray] = []
    if config.group:
        codes = table.cells(config.group, schema.missing).codes.astype(np.int64)
        alone = len(table) + np.arange(len(table))  # rows without a group are each their own
        groups.append(np.where(codes < 0, alone, codes))
    if len(np.unique(hashes)) < len(hashes):
        together = [*groups, hashes.astype(np.int64)]
        part = split.split(schema.targets, y, fractions, config.seed, together)
        shares = np.bincount(part, minlength=len(fractions)) / len(part)
        if np.all(np.abs(shares - fractions) <= np.minimum(0.05, np.array(fractions) / 2)):
            return part
    return split.split(schema.targets, y, fractions, config.seed, groups)


def _check_parts(
    part: NDArray[np.int8],
    fold: NDArray[np.int8] | None,
    y: Mapping[str, IntArray],
    targets: tuple[Target, ...],
) -> None:
    """Refuse early what could not be learned: an empty part, or a target of which nothing is known."""
    train = part == split.TRAIN
    judging = part == split.VAL if fold is None else train & (fold != fold[train][:1])
    for number, there, needed in ((split.TRAIN, train, 2), (split.VAL, judging, 1)):
        if there.sum() < needed:
            raise UserError(
                f"{there.sum() or 'no'} {split.PARTS[number]} rows are left of {len(part)}; give more rows, "
                "or another --set validation=FRACTION."
            )
    for target in targets:
        if not known(y[target.name][train]).any():
            raise UserError(f"target '{target.name}': all labels of the training rows are unknown.")


def _agreement(
    hashes: NDArray[np.uint64],
    part: NDArray[np.int8],
    y: Mapping[str, IntArray],
    targets: tuple[Target, ...],
) -> list[str]:
    """Say how many rows are exact duplicates, and how many of those contradict each other."""
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again = counts[inverse] > 1
    if not again.any():
        return []
    whole = len(np.unique(np.column_stack([inverse, part]), axis=0)) == len(counts)
    kept = "each set of them stays in one part" if whole else "too many to keep each set of them in one part"
    notes = [f"{again.sum()} rows are exact duplicates of others; {kept}."]
    for target in targets:
        values = y[target.name].reshape(len(hashes), -1)
        rows = np.flatnonzero(again & (values != UNKNOWN).all(axis=1))
        pairs = np.unique(np.column_stack([inverse[rows], values[rows]]), axis=0)
        clashing = int((np.bincount(pairs[:, 0].astype(np.int64)) > 1).sum()) if len(pairs) else 0
        if clashing:
            sets = "set" if clashing == 1 else "sets"
            notes.append(f"target '{target.name}': {clashing} {sets} of equal rows with different labels.")
    return notes


def check_unreadable(table: Table, bad: Unreadable, names: Mapping[str, str]) -> None:
    """Refuse a table more than 5 % of whose pictures cannot be read; `names` has the reasons for people."""
    if len(bad) > MAX_UNREADABLE * len(table):
        first = "; ".join(f"{name}: {reason}" for name, reason in list(names.items())[:3])
        raise UserError(
            f"{table.source}: {len(bad)} of {len(table)} pictures cannot be read, more than "
            f"{MAX_UNREADABLE:.0%} ({first}). Mend the paths (--root FOLDER) or remove the rows."
        )
