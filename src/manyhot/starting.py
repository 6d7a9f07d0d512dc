"""What a fit that goes on from a model learns from: old rows and new ones, and classes that are new.

`fitting.fit` and the command line call `going_on`; `train.warm_start` gives the run settings, parts, weights.

Shapes: N rows of a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.choose import SeenRows
from manyhot.classifier import Classifier, load
from manyhot.data.columns import split_of
from manyhot.data.inputs.features import TableInputs
from manyhot.data.inputs.fitted import Inputs, row_hashes
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.inputs.images.paths import picture_column
from manyhot.data.rows.long import gather
from manyhot.data.sources.append import append
from manyhot.data.sources.read import read
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest
from manyhot.report import record
from manyhot.schema import Decision, Schema, Target
from manyhot.targets import encode, unseen_classes, with_unseen_classes
from manyhot.train.warm_start import Start

MOST = 0.5  # share of a model's rows from which on a table is said to hold them
# The same where a model's rows are seldom alone of their kind, so that new ones often equal them.
MOST_OF_FEW, FEW = 0.9, 0.9
SHOWN = 5  # classes that are named


@dataclass(frozen=True)
class GoingOn:
    """A model to go on from, and all rows to learn from, whose notes say what they are; see `going_on`."""

    start: Start
    table: Table
    schema: Schema


def going_on(model: Classifier | str | Path, table: Table, options: Mapping[str, Any]) -> GoingOn:
    """Return the rows that a model has learned from beside those of a table, and its schema with new classes.

    The table may hold the old rows too, which are known again by their inputs. Else they are read again from
    where they were. What this returns for the table that it returned is the same.

    Args:
        options: fields of FitConfig; `freeze` goes on without old rows, where these are gone, and
            `unknown_class="missing"` adds no classes.

    Raises:
        UserError: the old rows are gone, a column is missing or holds something else, or the model is an
            exported file, which has no weights to go on from.
    """
    classifier = load(model) if isinstance(model, (str, Path)) else model
    name = str(classifier.folder.absolute()) if classifier.folder else "model"
    start = Start(classifier.bundle, classifier.seen, name)
    _ = start.bundle.predictor  # which an exported file refuses
    table = _with_columns(start, table)
    unknown = options.get("unknown_class", start.bundle.config.unknown_class)
    schema, notes = _grown(start.bundle.schema, table, unknown == "missing")
    start.settings(options, schema, len(table))  # refuses what is not possible, before old rows are read
    table, why = _with_old_rows(classifier, start, schema, table)
    if why and not options.get("freeze", start.bundle.config.freeze):
        sees = isinstance(start.bundle.inputs, ImageInputs)
        frozen = "; --freeze goes on without, and teaches its heads alone" if sees else ""
        raise UserError(
            f"--from {name}: without the rows that trained it, it would forget what {table.source} does not "
            f"show, and {why}. Give a table of old and new rows{frozen}."
        )
    if why:
        notes += (
            f"goes on without the rows that trained it, since {why}: its heads alone learn, from new rows, "
            "which also judge it; what these do not show may be forgotten",
        )
    notes += tuple(_known_again(start, schema, table))
    return GoingOn(start, replace(table, notes=tuple(dict.fromkeys((*table.notes, *notes)))), schema)


def _with_columns(start: Start, table: Table) -> Table:
    """Return a table with the columns that the model reads, and those of its targets, empty where they lack.

    Raises:
        UserError: an input is missing or holds something else, or all targets are.
    """
    schema, inputs = start.bundle.schema, start.bundle.inputs
    if isinstance(inputs, TableInputs):
        inputs.transform(table)
    elif table.pixels is None:
        name, there = inputs.column, picture_column(table, inputs.column)
        if name != there:
            columns = {name if each == there else each: column for each, column in table.columns.items()}
            files = {name if each == there else each: held for each, held in table.files.items()}
            table = replace(table, columns=columns, files=files)
    absent = [t.name for t in schema.targets if not {*t.columns} <= {*table.names}]
    if len(absent) == len(schema.targets):
        labels = [column for target in schema.targets for column in target.columns]
        near = suggest(labels[0], table.names)
        raise UserError(
            f"{table.source}: lacks the labels of {start.name}, {listed(labels)}{near}; there are "
            f"{listed(table.names) or 'no columns'}."
        )
    lacking = [c for t in schema.targets if t.name in absent for c in t.columns if c not in table.columns]
    if not lacking:
        return table
    note = f"lacks {listed(lacking)}: unknown in its rows"
    empty = dict.fromkeys(lacking, [None] * len(table))
    return replace(table.with_columns(empty), trusted=table.trusted, notes=(*table.notes, note))


def _grown(schema: Schema, table: Table, known_alone: bool) -> tuple[Schema, tuple[str, ...]]:
    """Return the schema with the classes that are new in a table, and decisions still to be fitted."""
    splits = split_of(table)
    learning = table if splits is None else table.take(np.asarray(splits != "test"))
    targets, notes = list[Target](), list[str]()
    for target in schema.targets:
        cells = [learning.cells(column, schema.missing) for column in target.columns]
        new = () if known_alone else unseen_classes(target, cells)
        # Of several classes none is meant by yes, unless that is what the answers aim at.
        no_more = new and len(target.classes) == 2 and "=" not in target.decision.objective
        fresh = Decision(target.decision.objective, positive="" if no_more else target.positive)
        wider = with_unseen_classes(replace(target, decision=fresh, label_sets=()), new)
        targets.append(replace(wider, decision=fresh))  # the rest of it is fitted anew
        encode(targets[-1], cells, "missing")  # which refuses what is neither 0 nor 1
        if new:
            named = [f"'{name}'{suggest(name, target.classes)}" for name in new[:SHOWN]]
            more = f" and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
            what = "a new class" if len(new) == 1 else f"{len(new)} new classes"
            notes.append(
                f"target '{target.name}': {what}, {', '.join(named)}{more}; where that is a mistake, correct "
                "the cells or pass --unknown-class missing"
            )
    return replace(schema, targets=tuple(targets)), tuple(notes)


def _with_old_rows(classifier: Classifier, start: Start, schema: Schema, table: Table) -> tuple[Table, str]:
    """Return the old rows beside those of a table, and ""; the table alone, and why, where they are gone.

    A row of the table that is one of the old rows, such as one with another label, takes its place.
    """
    hashes = row_hashes(schema, table)
    if _holds(start.seen, start.seen.places(table.rows, hashes)):
        return table, ""
    old, why = _read_again(classifier, schema)
    if old is None:
        return table, why
    known = row_hashes(schema, old)
    if not _holds(start.seen, start.seen.places(old.rows, known)):
        return table, f"{old.source} no longer has most of them"
    replaced = np.isin(known, _once(hashes)) & np.isin(known, _once(known))
    if replaced.any():
        count = "1 row" if replaced.sum() == 1 else f"{replaced.sum():,} rows"
        note = f"{count} of {table.source} were among the old ones already, and take their place"
        table = replace(table, notes=(*table.notes, note))
    return append(old.take(~replaced), table, _paths(start.bundle.inputs, old)), ""


def _paths(inputs: Inputs, table: Table) -> str | None:
    """Name the column of paths of pictures, None where there is none."""
    return inputs.column if isinstance(inputs, ImageInputs) and table.pixels is None else None


def _once(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return those that are there once: rows of tables of few categories equal others and are no copies."""
    values, counts = np.unique(hashes, return_counts=True)
    return np.asarray(values[counts == 1])


def _holds(seen: SeenRows, places: NDArray[np.intp]) -> bool:
    """Tell whether rows, by where they stand among those of a model, are most of these."""
    if not len(seen):
        return False
    alone = len(np.unique(seen.hashes)) / len(seen)
    found = len(np.unique(places[places >= 0])) / len(seen)
    return found >= (MOST if alone >= FEW else MOST_OF_FEW)


def _read_again(classifier: Classifier, schema: Schema) -> tuple[Table | None, str]:
    """Read the rows that a model was fitted on, as they were read; None, and why, where that cannot be."""
    origin = classifier.run.origin if classifier.run is not None else ()
    if classifier.folder is not None:
        origin = record.read(classifier.folder).origin
    if not origin:
        return None, "it does not say where they are"
    table: Table | None = None
    for each in origin:
        said = dict(each)
        source, long = said.pop("source", ""), said.pop("long", None)
        try:
            more = read(source, **said)
            more = more if long is None else gather(more, schema, long)
            table = more if table is None else append(table, more, _paths(classifier.bundle.inputs, more))
        except (UserError, TypeError) as error:
            why = (
                error.typed.rstrip(".") if isinstance(error, UserError) else f"{source} cannot be read again"
            )
            return None, why.split(" (did you")[0]
    return table, ""


def _known_again(start: Start, schema: Schema, table: Table) -> list[str]:
    """Say how many rows the model has seen, how many of these are gone, and how many are new."""
    places = start.seen.places(table.rows, row_hashes(schema, table))
    old = int((places >= 0).sum())
    if not old:
        return []
    gone = len(start.seen) - len(np.unique(places[places >= 0]))
    lost = f"; {gone:,} that it has seen are gone" if gone else ""
    return [
        f"{old:,} of {len(table):,} rows are known to {start.name}, and those that judged it judge again; "
        f"{len(table) - old:,} are new{lost}"
    ]
