"""What the columns of a table mean: a Table and the names of targets come in, a Schema leaves.

`manyhot.infer`, `classifier` and `cli` call it. Nothing is guessed silently: `describe.problems`
tells what was left out, and the schema is written down, shown, and can be edited.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.columns import (
    ROW,
    as_input,
    feature,
    image_columns,
    is_index,
    is_text,
    numbers_rows,
    repeated,
    split_column,
    split_of,
)
from manyhot.data.inputs.images.levels import held_input
from manyhot.data.rows.describe import contradictions, describe, look, problems
from manyhot.data.rows.kinds import Tags, check_none, check_separator, empty_words, target_of
from manyhot.data.rows.leaks import restated
from manyhot.data.sources.read import read
from manyhot.data.table import PIXELS, Table
from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Input, InputKind, Schema
from manyhot.targets import with_positive

__all__ = ["contradictions", "describe", "infer", "look", "problems", "split_column", "split_of"]

LIKELY = ("label", "labels", "target", "class", "class_name", "category", "tags", "y", "outcome")
FEATURES: dict[str, InputKind] = {
    "number": "number",
    "category": "category",
    "date": "date",
    "text": "text",
}
MAX_BINS = 1_000
OVERRIDES = ("binary", "multiclass", "multilabel", *FEATURES, "image", "ignore")


def infer(
    data: object,
    targets: str | Sequence[str] = (),
    *,
    tags: Tags | str | Sequence[str] | None = None,
    image: str | None = None,
    separator: str | None = None,
    missing: str | Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    ignore: str | Collection[str] = (),
    none: str | Sequence[str] = (),
    decimal: str | None = None,
    bins: Mapping[str, int] | None = None,
    positive: object = None,
) -> Schema:
    """Read off a table, or anything that `read` makes one of, what its inputs and targets are.

    `tags` maps a target to the 0/1 columns that are its classes, or to None where one column holds the tags;
    names alone are such columns. Of 0/1 columns of which each row has one, `kinds` says "multiclass". `none`
    are words that mean no tags, or 0/1 columns that say so. `decimal` is what stands before a fraction, "."
    or ",", where cells such as 1,234 leave it open. `kinds` says what a column is where the rules would see
    something else; `ignore` names columns that are neither target nor
    feature. `bins` parts the numbers of a target into so many ranges of about equally many rows, which are
    then its classes. `positive` says of a target, as {name: class}, which class is meant by yes: the one that
    precision and recall are of. A single name or word may stand where several may.

    Raises:
        UserError: no target is named, a column does not exist, a target has fewer than two classes,
            or nothing is left to predict from.

    >>> from manyhot.data.table import from_python
    >>> schema = infer(from_python({"size": [1, 2, 3], "ripe": ["no", "yes", "no"]}), ["ripe"])
    >>> schema.targets[0].kind, schema.targets[0].classes, schema.inputs[0].kind
    ('binary', ('no', 'yes'), 'number')
    """
    table = data if isinstance(data, Table) else read(data)
    targets, missing, none = _several(targets=targets), _several(missing=missing), _several(none=none)
    ignore, kinds, bins = _several(ignore=ignore), _by_name(kinds=kinds), _by_name(bins=bins)
    if not isinstance(tags, Mapping):
        tags = {} if tags is None else dict.fromkeys(_several(tags=tags))
    tags = {name: (columns,) if isinstance(columns, str) else columns for name, columns in tags.items()}
    if decimal not in (None, ".", ","):
        raise UserError(f"decimal must be '.' or ',', got '{decimal}'.")
    _check_columns(table, kinds, ignore, [name for name, columns in tags.items() if columns])
    names = list(dict.fromkeys([*targets, *tags])) or list(table.targets)
    if not names:
        raise UserError(_no_target(table))
    _check_bins(bins, [name for name in names if name not in {*tags, *kinds}])
    alone = [name for name in names if not tags.get(name) and name not in kinds]
    missing = (*missing, *_words_for_unknown(table, alone, missing))
    rows = _training_rows(table)
    made = tuple(
        target_of(table, name, rows, tags, separator, none, missing, kinds.get(name), bins.get(name))
        for name in names
    )
    check_separator(table, made, separator, missing)
    check_none(table, made, none, missing)
    used = {column for target in made for column in target.columns}
    inputs = _inputs(table, used, image, missing, kinds, ignore, decimal, rows)
    return with_positive(Schema(inputs, made, tuple(missing)), positive)


OPTIONS = tuple(signature(infer).parameters)[1:]


def _several(**given: Any) -> tuple[Any, ...]:
    """Return the names or words that an option was given, one or more."""
    ((option, names),) = given.items()
    if isinstance(names, str):
        return (names,)
    if isinstance(names, Iterable):
        return tuple(names)
    raise UserError(f"{option} must be a list of texts, got {names!r}.")


def _by_name(**given: Any) -> dict[str, Any]:
    """Return what an option says of each column."""
    ((option, names),) = given.items()
    if names is None or isinstance(names, Mapping):
        return dict(names or {})
    raise UserError(f"{option} must be a dict by the names of columns, got {names!r}.")


def unlabelled(
    table: Table,
    *,
    image: str | None = None,
    missing: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    ignore: Collection[str] = (),
) -> Schema:
    """Read off a table what its inputs are, without any target; see `infer`.

    Raises:
        UserError: a column does not exist, or none says anything about the rows.

    >>> from manyhot.data.table import from_python
    >>> [column.name for column in unlabelled(from_python({"size": [1, 2, 3], "same": [1, 1, 1]})).inputs]
    ['size']
    """
    kinds = dict(kinds or {})
    _check_columns(table, kinds, ignore)
    return Schema(_inputs(table, set(), image, missing, kinds, ignore), (), tuple(missing))


def _check_columns(
    table: Table, kinds: Mapping[str, str], ignore: Collection[str], made: Collection[str] = ()
) -> None:
    """Refuse kinds that there are not, and columns that the table has not; `made` are targets of several."""
    for name, kind in kinds.items():
        if name not in made:
            table.column(name)
        if kind not in OVERRIDES:
            raise UserError(
                f"column '{name}': '{kind}' is no kind{suggest(kind, OVERRIDES)}; use {listed(OVERRIDES)}."
            )
    for name in ignore:
        table.column(name)


def _check_bins(bins: Mapping[str, int], names: Collection[str]) -> None:
    """Refuse to part what is no target or is read in another way, and a number of ranges that cannot be."""
    for name, number in bins.items():
        if name not in names:
            raise UserError(
                f"bins: '{name}' is no target, or is read otherwise. Name it with --target, and leave it out "
                "of --tags and --kind."
            )
        if type(number) is not int or not 2 <= number <= MAX_BINS:
            raise UserError(f"bins: '{name}' must be a whole number from 2 to {MAX_BINS}, got '{number}'.")


def _words_for_unknown(table: Table, targets: Sequence[str], missing: Sequence[str]) -> list[str]:
    """Return words such as NA in targets that stand for missing numbers in other columns, so mean unknown."""
    found = {word for name in targets for word in empty_words(table.cells(name, missing))}
    others = [name for name in table.names if name not in targets] if found else []
    read = {word for name in others for word in as_input(table, name, missing).missing}
    return sorted(found & read)


def _training_rows(table: Table) -> NDArray[np.bool_] | None:
    """Tell which rows classes may come from: those that are not test; None means all."""
    splits = split_of(table)
    if splits is None:
        return None
    if not (splits == "train").any():
        raise UserError(f"{table.source}, column 'split': no row is 'train'. Mark the rows to learn from.")
    return np.asarray(splits != "test", dtype=bool)


def _inputs(
    table: Table,
    used: Collection[str],
    image: str | None,
    missing: Sequence[str],
    kinds: Mapping[str, str],
    ignore: Collection[str],
    decimal: str | None = None,
    rows: NDArray[np.bool_] | None = None,
) -> tuple[Input, ...]:
    """Return the picture of each row, or else the columns that say something about it.

    What pictures are is found over those of `rows` (N,), of all rows unless said.
    """
    if table.pixels is not None:
        if image not in (None, PIXELS):
            raise UserError(
                f"{table.source}: holds its pictures itself, so no column '{image}' can be their path."
            )
        return (held_input(table if rows is None else table.take(rows)),)
    taken = {*used, *ignore, *(name for name, kind in kinds.items() if kind == "ignore")}
    column = image or next((name for name, kind in kinds.items() if kind == "image"), None)
    if column is None:
        others = {*taken, *(name for name, kind in kinds.items() if kind in FEATURES)}
        found = image_columns(table, others)
        if len(found) > 1:
            raise UserError(
                f"{table.source}: columns {listed(found)} all hold pictures. Choose one with --image NAME."
            )
        column = found[0] if found else None
    if column is not None:
        if not is_text(table.column(column).type) or column in used:
            raise UserError(
                f"{table.source}, column '{column}': must hold paths of pictures and be no target."
            )
        from manyhot.data.inputs.images.opening import image_input  # Pillow is not needed for tables

        return (image_input(table, column, rows),)
    taken |= {split_column(table) or ROW, ROW, *({*table.mapped} - {*kinds})}
    features = _features(table, used, taken, missing, kinds, decimal)
    if not features:
        purpose = f"predict {listed(used)} from" if used else "tell rows apart by"
        raise UserError(f"{table.source}: no column is left to {purpose}. {_reasons(table, taken)}")
    return features


def _features(
    table: Table,
    used: Collection[str],
    taken: Collection[str],
    missing: Sequence[str],
    kinds: Mapping[str, str],
    decimal: str | None,
) -> tuple[Input, ...]:
    """Return the columns that say something about a row, without copies of others and of targets."""
    said: dict[str, InputKind] = {name: FEATURES[kind] for name, kind in kinds.items() if kind in FEATURES}
    usable: dict[str, Input] = {}
    for name in table.names:
        read = None
        if name in said:
            read = as_input(table, name, missing, decimal)
            words = read.missing if read.kind == "category" else ()
            read = read if read.kind == said[name] else Input(name, said[name], missing=words)
        elif name not in taken:
            read = feature(table, name, missing, decimal)[0]
        if read is not None:
            usable[name] = read
    free = [name for name in usable if name not in said]
    left_out = {**repeated(table, free), **restated(table, free, used, missing)}
    features = [read for name, read in usable.items() if name not in left_out]
    if not features:  # nothing else says what a row is
        rest = [name for name in table.names if name not in taken and not is_index(name)]
        features = [as_input(table, name, missing, decimal) for name in rest if numbers_rows(table, name)]
    return tuple(features)


def _reasons(table: Table, taken: Collection[str]) -> str:
    """Say why the columns that are not targets cannot be features."""
    reasons = [f"'{name}': {feature(table, name)[1]}" for name in table.names if name not in taken]
    return "Left out: " + "; ".join(reasons[:4]) + "." if reasons else "Add columns that describe the rows."


def _no_target(table: Table) -> str:
    """Say that a target must be named, and which columns may be one, the likely ones first."""
    pictures = image_columns(table)
    apart = {*pictures, split_column(table), ROW}
    names = [name for name in table.names if name not in apart and not _is_plain_number(table, name)]
    names = names or [name for name in table.names if name not in apart]
    names.sort(key=lambda name: LIKELY.index(name.lower()) if name.lower() in LIKELY else len(LIKELY))
    if not names:
        return f"{table.source}: there is no column to predict. Add labels with --labels FILE."
    return f"{table.source}: no target is named. Name one with --target NAME; there are {listed(names)}."


def _is_plain_number(table: Table, name: str) -> bool:
    """Tell whether a column holds numbers that nearly all differ, or counts the rows: no label."""
    if numbers_rows(table, name):
        return True
    if as_input(table, name).kind != "number":
        return False
    return len(table.cells(name).values) > max(20, len(table) // 2)
