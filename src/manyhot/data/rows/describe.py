"""What people should know of a table before training: a Table and its Schema come in, words leave.

`cli` prints all of it for `inspect` and `fit`; `infer` re-exports `describe`, `look` and `problems`.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from manyhot.data import dates
from manyhot.data.columns import (
    ROW,
    almost_numbers,
    as_input,
    codes_or_numbers,
    feature,
    image_columns,
    perhaps_thousands,
    repeated,
    split_column,
    split_of,
)
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.inputs.images.levels import held_input
from manyhot.data.inputs.images.paths import Progress, named, picture_column
from manyhot.data.numbers import is_unknown_word, told
from manyhot.data.rows import conflicts, twins
from manyhot.data.rows.kinds import BINS, FEW_NUMBERS, are_counted, empty_words, positive_of
from manyhot.data.rows.leaks import follows, giving_away, restated
from manyhot.data.rows.order import keeping
from manyhot.data.rows.suggest import ROWS_PER_CLASS, suggestions, tags_in
from manyhot.data.table import PIXELS, Table
from manyhot.errors import listed
from manyhot.schema import Input, Levels, Schema, Target
from manyhot.targets import (
    UNKNOWN,
    Cells,
    IntArray,
    encode,
    known,
    number_of,
    text_of,
    unseen_classes,
    with_unseen_classes,
)

FEW = 3  # how many of a kind a message names
EXAMPLES = 5
MOST_NAMED = 10  # pictures that cannot be read


def problems(table: Table, schema: Schema, apart: Collection[str] = (), group: str = "") -> list[str]:
    """List in plain lines what is odd in a table and what is left out of it.

    `apart` names the columns that are to stay unused, such as that of groups, which `group` is.

    Raises:
        UserError: a 0/1 column holds something else.
    """
    lines = list(table.notes)
    for target in schema.targets:
        lines += _target_problems(table, schema, target)
    lines += contradictions(table, schema)
    lines += _given_away(table, schema)
    lines += _in_time(table, schema, apart)
    lines += twins.told(table, schema, group)
    lines += _left_out(table, schema, apart)
    return lines


def describe(table: Table, schema: Schema, apart: Collection[str] = (), group: str = "") -> dict[str, Any]:
    """Summarise a table as JSON: rows, splits, inputs, targets, unused columns and `problems`.

    Raises:
        UserError: a 0/1 column holds something else.
    """
    splits = split_of(table)
    summary: dict[str, Any] = {"source": table.source, "rows": len(table)}
    if splits is not None:
        names, counts = np.unique(splits.astype(str), return_counts=True)
        summary["splits"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    summary["inputs"] = [_describe_input(table, schema, column) for column in schema.inputs]
    summary["targets"] = [_describe_target(table, schema, target) for target in schema.targets]
    summary["unused"] = unused(table, schema)
    summary["problems"] = problems(table, schema, apart, group)
    return summary


def look(table: Table) -> dict[str, Any]:
    """Summarise a table of which nobody has said yet what to predict: all columns, as `describe` has them."""
    columns = [held_input(table)] if table.pixels is not None else []
    pictures = image_columns(table)
    for name in table.names:
        if name in pictures:
            from manyhot.data.inputs.images.opening import image_input  # Pillow is not needed for tables

            columns.append(image_input(table, name))
        elif name != split_column(table):
            columns.append(feature(table, name)[0] or as_input(table, name))
    plain = Schema((), ())
    hint = "no target is named yet; say what to predict with --target NAME or --tags NAME"
    return describe(table, plain) | {
        "inputs": [_describe_input(table, plain, column) for column in columns],
        "unused": [],
        "problems": [
            *table.notes,
            *(line for column in columns for line in _written(table, plain, column)),
            *suggestions(table),
            hint,
        ],
    }


def open_pictures(table: Table, summary: dict[str, Any], progress: Progress) -> None:
    """Open the pictures of a table and add to its summary which of them cannot be read."""
    lines = summary["problems"]
    for column in summary["inputs"]:
        if column["kind"] == "image" and column["name"] != PIXELS:
            from manyhot.data.inputs.images import opening  # Pillow is not needed for tables

            levels = column["levels"] and Levels(**column["levels"])
            read = Input(column["name"], "image", tuple(column["shape"]), levels=levels)
            reasons, opened, notes = opening.look(table, read, progress)
            lines += notes
            names = named(table, column["name"], reasons)
            column["opened"], column["unreadable"] = opened, names
            if opened < len(table):
                lines.append(f"of {len(table)} pictures an even sample of {opened} was opened")
            if names:
                lines.append(f"{len(names)} of {opened} pictures cannot be read")
            lines += [f"cannot be read: {name}: {names[name]}" for name in list(names)[:MOST_NAMED]]
            if len(names) > MOST_NAMED:
                lines.append(f"and {len(names) - MOST_NAMED} more, which --json names")


def compare_rows(table: Table, schema: Schema, summary: dict[str, Any]) -> None:
    """Add to the summary of a table which equal rows have different labels, unless pictures were left out."""
    if any(column.get("opened", len(table)) < len(table) for column in summary["inputs"]):
        return
    y = {target.name: encode(target, _cells(table, schema, target), "missing") for target in schema.targets}
    empty = conflicts.without_input(table, schema)
    found = conflicts.find(table, schema, y, row_hashes(schema, table), empty)
    several = [each for each in found if len({*each.names}) > 1]  # `contradictions` tells of the others
    summary["problems"] += conflicts.told(several, empty)


def unused(table: Table, schema: Schema) -> list[str]:
    """Name the columns that are neither input nor target nor the split."""
    used = {column.name for column in schema.inputs} | {split_column(table)}
    used |= {name for target in schema.targets for name in target.columns}
    return [name for name in table.names if name not in used]


def count(target: Target, cells: list[Cells]) -> dict[str, int]:
    """Count the rows of each class, classes that the target lacks among them (at the end)."""
    wide = with_unseen_classes(target, unseen_classes(target, cells))
    y = encode(wide, cells)
    match y.ndim, len(wide.classes):
        case 1, size:
            counts = np.bincount(y[y != UNKNOWN], minlength=size)
        case _, 2 if target.exclusive:
            counts = np.array([(y == 0).sum(), (y == 1).sum()])
        case _:
            counts = (y == 1).sum(axis=0)
    return dict(zip(wide.classes, counts.tolist(), strict=True))


def _cells(table: Table, schema: Schema, target: Target) -> list[Cells]:
    return [table.cells(name, schema.missing) for name in target.columns]


def _describe_input(table: Table, schema: Schema, column: Input) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.kind == "image":
        summary["shape"] = list(column.shape)
        summary["levels"] = column.levels and asdict(column.levels)
        if column.name != PIXELS:
            from manyhot.data.inputs.images.opening import measure  # Pillow is not needed for tables

            found = measure(table, column.name)
            summary |= {"heights": [*found.heights], "widths": [*found.widths]}
            summary["missing"] = int((table.cells(column.name, schema.missing).codes < 0).sum())
        return summary
    missing = (*schema.missing, *column.missing)
    if column.kind == "number":
        values = table.numbers(column.name, missing, column.notation)
        real = values[np.isfinite(values)]
        summary["missing"] = int(np.isnan(values).sum())
        summary["distinct"] = len(np.unique(real))
        summary["min"] = float(real.min()) if len(real) else None
        summary["max"] = float(real.max()) if len(real) else None
        return summary
    cells = table.cells(column.name, missing)
    if column.kind == "date":
        since = dates.days(cells, column.notation)
        summary["missing"] = int(np.isnan(since).sum())
        for name, pick in (("first", np.nanargmin), ("last", np.nanargmax)):
            summary[name] = str(cells.values[cells.codes[pick(since)]]) if cells.values else None
        return summary
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    summary["missing"] = int((cells.codes < 0).sum())
    summary["distinct"] = len(cells.values)
    summary["most"] = {
        str(cells.values[i]): int(counts[i]) for i in np.argsort(-counts, kind="stable")[:EXAMPLES]
    }
    return summary


def _describe_target(table: Table, schema: Schema, target: Target) -> dict[str, Any]:
    cells = _cells(table, schema, target)
    if len(cells) == 1:  # a class that only test rows have is known all the same
        num_known = int((cells[0].codes >= 0).sum())
    else:
        num_known = int(known(encode(target, cells)).sum())
    counts = count(target, cells)
    examples = cells[0].values[:EXAMPLES] if len(cells) == 1 else ()
    return {
        "name": target.name,
        "kind": target.kind,
        "columns": list(target.columns),
        "known": num_known,
        "unknown": len(table) - num_known,
        "classes": counts,
        **_positive(target, counts),
        "examples": [value if isinstance(value, str) else list(value) for value in examples],
    }


def _positive(target: Target, counts: Mapping[str, int]) -> dict[str, str]:
    """Name the class that is meant by yes, and why where nothing but its rows says so."""
    if not target.positive:
        return {}
    there = {"positive": target.positive}
    if len(target.classes) > 2:
        return there
    chosen, why = positive_of({name: counts[name] for name in target.classes})
    return there | ({"positive_since": why} if why and chosen == target.positive else {})


def _target_problems(table: Table, schema: Schema, target: Target) -> Iterable[str]:
    """Say what is odd about one target: unknown labels, near spellings, classes too small to learn."""
    cells = _cells(table, schema, target)
    where = f"target '{target.name}'"
    y = encode(target, cells, "missing")
    counts = count(target, cells)
    extra = unseen_classes(target, cells)
    empty = int((cells[0].codes < 0).sum()) if len(cells) == 1 else int((~known(y)).sum())
    if empty:
        yield f"{where}: {empty} of {len(table)} rows have no label"
    partly = int((known(y) & (y == UNKNOWN).any(axis=1)).sum()) if y.ndim == 2 else 0
    if partly:
        yield f"{where}: {partly} of {len(table)} rows have some labels and lack others"
    if extra:
        rows = ", ".join(f"'{name}' ({_rows(counts[name])})" for name in extra[:FEW])
        yield f"{where}: {len(extra)} {_classes(extra)} only test rows have: {rows}{_more(extra)}"
    yield from _as_cells(target, cells)
    if len(cells) == 1:
        yield from _unknown_words(table, schema, target, cells[0])
    for names in spellings(counts):
        each = ", ".join(f"'{name}' ({_rows(counts[name])})" for name in names[:FEW]) + _more(names)
        yield f"{where}: classes that differ only by case or blanks are kept apart: {each}"
    if len(target.columns) > 1:
        never = [name for name in target.classes if counts[name] == 0]
        if never:
            yield f"{where}: no row has {listed(never)}"
    single = [name for name in target.classes if counts[name] == 1]
    if single:
        yield f"{where}: {len(single)} {_classes(single)} with one row: {listed(single, FEW)}"
    numbers = [number for name in target.classes if (number := number_of(name)) is not None]
    if len(target.classes) == len(numbers) > FEW_NUMBERS and not are_counted(numbers):
        option = shlex.join(["--bins", f"{target.name}={BINS}"])
        yield f"{where}: its {len(target.classes)} classes are all numbers; to part a quantity: {option}"


def _unknown_words(table: Table, schema: Schema, target: Target, cells: Cells) -> Iterable[str]:
    """Say of words such as NA among the cells of a target what they are taken for."""
    where, name = f"target '{target.name}'", target.columns[0]
    words = [word for word in empty_words(cells) if target.exclusive or word.lower() != "none"]
    if words:
        option = shlex.join(["--missing", ",".join(words)])
        yield f"{where}: {listed(words)} is taken for a class; if it means an unknown label: {option}"
    taken = {word for word in schema.missing if is_unknown_word(word)}
    found = {word: n for word, n in _times(table, name).items() if word in taken}
    for word, number in found.items():
        rows = "1 cell" if number == 1 else f"{number} cells"
        others = [other for other in table.names if other != name and word in _times(table, other)]
        as_in = f", as in {listed(others, FEW)}" if others else ""
        yield f"{where}: {rows} with '{word}' read as unknown{as_in}"


def _times(table: Table, name: str) -> dict[str, int]:
    """Count the cells of a column by their text."""
    cells = table.cells(name)
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values)).tolist()
    return {text_of(value).strip(): count for value, count in zip(cells.values, counts, strict=True)}


def _as_cells(target: Target, cells: list[Cells]) -> Iterable[str]:
    """Say what the cells of a target are taken for that they might not be."""
    where = f"target '{target.name}'"
    if len(cells) > 1:
        yield from _as_flags(target, encode(target, cells, "missing"))
    elif target.exclusive:
        padded = [text for text in map(text_of, cells[0].values) if text.strip() != text]
        if padded and not {*padded} & {*target.classes}:
            yield f"{where}: blanks around classes were removed, as in '{padded[0]}'"
        yield from tags_in(target.columns[0], cells[0])
    else:
        wide = with_unseen_classes(target, unseen_classes(target, cells))
        none = int((encode(wide, cells) == 0).all(axis=1).sum())
        if none:
            yield f"{where}: {none} of {len(cells[0].codes)} rows have no tags"


def _as_flags(target: Target, y: IntArray) -> Iterable[str]:
    """Say what 0/1 columns, as `encode` gives them, are taken for that they might not be."""
    where = f"target '{target.name}'"
    for name in target.columns:
        if name in target.none:
            yield f"{where}: where column '{name}' is 1, empty cells of the others are 0"
    single = not target.exclusive and bool(((y == 1).sum(axis=1) == 1).all() and (y != UNKNOWN).all())
    if single and not target.none and len(y) >= ROWS_PER_CLASS * len(target.classes):
        option = shlex.join(["--kind", f"{target.name}=multiclass"])
        yield f"{where}: each row has one of the {len(target.classes)} tags; to read one class: {option}"


def spellings(names: Iterable[str]) -> list[list[str]]:
    """Group the names that differ only by case or blanks.

    >>> spellings(["cat", "Cat ", "dog"])
    [['cat', 'Cat ']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups["".join(name.casefold().split())].append(name)
    return [group for group in groups.values() if len(group) > 1]


def contradictions(table: Table, schema: Schema) -> list[str]:
    """Name the pictures that stand in the table with different labels of one target, with what to do."""
    clashes = [*_contradictions(table, schema)]
    rest = ["if each row has one of the labels of its picture, gather them with --long"] if clashes else []
    return [*clashes, *rest]


def _contradictions(table: Table, schema: Schema) -> Iterable[str]:
    for column in schema.inputs:
        name = picture_column(table, column.name)
        if column.kind != "image" or name not in table.columns:
            continue
        paths = table.cells(name)
        for target in schema.targets:
            if len(target.columns) > 1:
                continue
            labels = table.cells(target.columns[0], schema.missing)
            both = np.flatnonzero((paths.codes >= 0) & (labels.codes >= 0))
            pairs = np.unique(np.stack([paths.codes[both], labels.codes[both]], axis=1), axis=0)
            codes, times = np.unique(pairs[:, 0], return_counts=True)
            clashing = codes[times > 1]
            some = [_clash(table, paths, labels, int(code)) for code in clashing[:FEW]]
            if some:
                have = " has" if len(clashing) == 1 else "s have"
                what = (
                    f"image{have} more than one class"
                    if target.exclusive
                    else f"picture{have} different tags"
                )
                told = "; ".join(some) + _more(clashing)
                yield f"target '{target.name}': {len(clashing)} {what}: {told}"


def _clash(table: Table, paths: Cells, labels: Cells, code: int) -> str:
    """Say of one picture which rows give it which class."""
    index = np.flatnonzero((paths.codes == code) & (labels.codes >= 0))
    _, first = np.unique(labels.codes[index], return_index=True)
    given = [
        f"'{text_of(labels.values[labels.codes[i]])}' (row {table.rows[i]})"
        for i in index[np.sort(first)][:FEW]
    ]
    return f"'{paths.values[code]}' is " + " and ".join(given)


def _given_away(table: Table, schema: Schema) -> Iterable[str]:
    """Say from which columns targets follow, with the option that leaves each out."""
    for name, targets in giving_away(table, schema).items():
        option = shlex.join(["--kind", f"{name}=ignore"])
        yield (
            f"column '{name}' gives {listed(targets)} away: the class of each row follows from it; if it is "
            f"known only with the answer, leave it out: {option}"
        )


def _in_time(table: Table, schema: Schema, apart: Collection[str]) -> Iterable[str]:
    """Say by which column rows are in time with labels that keep for long, with what judges them right."""
    for name, target in keeping(table, schema):
        if name not in apart and split_column(table) is None:
            option = shlex.join(["--split-by", name, "--time-series"])
            yield (
                f"target '{target}': rows near each other by column '{name}' have the same class far more "
                "often than by chance, so that rows held back at random flatter the model. If new rows come "
                f"later, let `fit` hold the last ones back: {option}"
            )
            return


def _left_out(table: Table, schema: Schema, apart: Collection[str]) -> Iterable[str]:
    """Say which columns are not used and why."""
    rest = [name for name in unused(table, schema) if name != ROW]
    if schema.is_image:
        if rest:
            yield f"not used beside the images: {listed(rest)}"
        yield from _finer(table, schema, [name for name in rest if name not in apart])
        return
    for column in schema.inputs:
        yield from _written(table, schema, column)
    labels = [name for target in schema.targets for name in target.columns]
    copied = restated(table, rest, labels, schema.missing)
    same = repeated(table, [*(column.name for column in schema.inputs), *rest])
    for name in rest:
        reason = feature(table, name, schema.missing)[1]
        if not reason and name in same:
            reason = f"it repeats column '{same[name]}'"
        if not reason and name in copied and name not in apart:
            option = shlex.join(["--kind", f"{name}={as_input(table, name, schema.missing).kind}"])
            reason = f"it is a copy of the target '{copied[name]}'; to take it: {option}"
        yield f"column '{name}' is left out: {reason}" if reason else f"column '{name}' is not used"


def _written(table: Table, schema: Schema, column: Input) -> Iterable[str]:
    """Say how the cells of a column are written, where not as a program writes them."""
    name = column.name
    if column.kind == "category":
        almost = codes_or_numbers(table, name, schema.missing) or almost_numbers(table, name, schema.missing)
        if almost:
            yield f"column '{name}' is read as categories: {almost}"
        return
    if column.missing:
        words = table.cells(name, schema.missing)
        found = [
            number for number, word in enumerate(words.values) if text_of(word).strip() in column.missing
        ]
        number = int(np.isin(words.codes, found).sum())
        cells = "1 cell with" if number == 1 else f"{number} cells with"
        yield f"column '{name}': read as empty: {cells} {listed(column.missing)}"
    if column.kind == "date" and column.notation is not None:
        first, second = (column.notation.first, "month" if column.notation.first == "day" else "day")
        yield f"column '{name}': read as dates, the {first} before the {second}"
        return
    if column.notation is not None:
        yield f"column '{name}': read as numbers, {told(table.column(name), column.notation)}"
        return
    either = perhaps_thousands(table, name, (*schema.missing, *column.missing))
    if either and column.kind == "number":
        yield f"column '{name}': '{either}' is read with a decimal point, see --decimal"


def _finer(table: Table, schema: Schema, names: Iterable[str]) -> Iterable[str]:
    """Say from which unused columns targets follow, as the brand of a car does from its model.

    Learned as well, these tell the backbone more about the same pictures; see docs/experiments.md.
    """
    alone = [t for t in schema.targets if t.exclusive and len(t.columns) == 1]
    labels = {t.name: table.cells(t.columns[0], schema.missing) for t in alone}
    for name in names if labels else ():
        fine = table.cells(name, schema.missing)
        coarser = {
            target: cells.codes for target, cells in labels.items() if len(cells.values) < len(fine.values)
        }
        told = [target for target, coarse in coarser.items() if follows(fine.codes, coarse)]
        if told:
            yield (
                f"column '{name}' tells {listed(told)}; where pictures show it, make it a target too, of "
                f"half the weight (target_weights.{name}=0.5)"
            )


def _rows(number: int) -> str:
    return f"{number} row" if number == 1 else f"{number} rows"


def _classes(names: Any) -> str:
    return "class" if len(names) == 1 else "classes"


def _more(names: Any) -> str:
    return f" and {len(names) - FEW} more" if len(names) > FEW else ""
