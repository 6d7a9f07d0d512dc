"""The audit of labelled rows: a table and a schema come in, what is wrong with its rows leaves.

The command and `manyhot.audit` call `audit`. First what the table alone tells (`findings`, `copies`), then
what models say that did not learn a row (`answers`, `labels`).

Shapes: N rows of the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import files, notebook
from manyhot.auditing import answers, copies, findings, labels
from manyhot.auditing.findings import PROBLEMS, Finding
from manyhot.auditing.labels import Suspects
from manyhot.classifier import Classifier, load
from manyhot.config import parse_options
from manyhot.data import arrays
from manyhot.data.columns import SPLIT, split_of
from manyhot.data.inputs import fitted
from manyhot.data.rows import conflicts
from manyhot.data.rows.describe import problems
from manyhot.data.rows.infer import OPTIONS as READING
from manyhot.data.rows.infer import infer
from manyhot.data.sources.read import read
from manyhot.data.sources.write import write
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.predict import beside
from manyhot.progress import Lines
from manyhot.schema import Schema, Target
from manyhot.targets import UNKNOWN, decode
from manyhot.train.prepare import labels as encoded

TABLE, PAGE, RECORD = "audit.csv", "audit.html", "audit.json"
ADDED = ("problem", "target", "given", "suggested", "score", "note", "row")
RARE_SETS = 0.05  # share of the rows whose set of tags no other has, above which such rows are no wonder


@dataclass(frozen=True)
class Audit:
    """What is wrong with the rows of a table.

    found     the worst first
    suspects  the lists of labels that may be wrong, with the estimated number of errors
    how       by whose answers labels are judged; "" where they are not
    """

    table: Table
    schema: Schema
    found: tuple[Finding, ...]
    suspects: tuple[Suspects, ...]
    how: str
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each problem."""
        counts = Counter(each.problem for each in self.found)
        return {problem: counts[problem] for problem in PROBLEMS}

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {problem}" for problem, count in self.counts.items() if count)
        lists = [
            f"{each.target}: about {each.number[0]:,.0f} labels {SIDES[each.side]}" for each in self.suspects
        ]
        return notebook.lines(f"Audit of {self.table.source}: {counts or 'nothing found'}", *lists)

    def rows(self) -> Table:
        """Return audit.csv: the columns of the table, then the problem, the worst first.

        The line of a whole column that gives the answer away has no cells of a row.
        """
        index = [each.index for each in self.found]
        taken = arrays.array(np.array([max(0, i) for i in index], np.int64))
        none = arrays.array(np.array(index, np.int64) < 0)
        kept: dict[str, Any] = {}
        for name, column in self.table.columns.items():
            cells = arrays.call("take", column, taken)
            kept[name] = arrays.without(cells, none) if any(i < 0 for i in index) else cells
        added = {
            "problem": arrays.texts([each.problem for each in self.found]),
            "target": arrays.texts([each.target or None for each in self.found]),
            "given": arrays.texts([each.given or None for each in self.found]),
            "suggested": arrays.texts([each.suggested or None for each in self.found]),
            "score": arrays.array(np.array([round(each.score, 6) for each in self.found], np.float64)),
            "note": arrays.texts([each.note or None for each in self.found]),
            "row": [None if i < 0 else int(self.table.rows[i]) for i in index],
        }
        table = Table({}, self.table.source, rows=np.arange(1, len(index) + 1)).with_columns(kept)
        return beside(table, added, {*ADDED}, {})

    def to_json(self) -> dict[str, Any]:
        """Return the document of `manyhot audit --json`."""
        return {
            "source": self.table.source,
            "rows": len(self.table),
            "problems": self.counts,
            "judged_by": self.how or None,
            "labels": [_told(each) for each in self.suspects],
            "notes": list(self.notes),
        }

    def page(self) -> str:
        """Return audit.html."""
        from manyhot.report.audit import (
            Item,
            Page,
            render,
            worst,
        )  # drawing needs time, so only when asked for

        items = []
        for each in worst(self.found):
            known = each.index >= 0 and each.problem != "leak" and bool(each.target)
            columns = self._columns(each.target) if known else []
            was = [findings.cell(self.table, name, each.index) for name in columns]
            said = (each.problem, each.index, each.target, each.given, each.suggested, each.score, each.note)
            items.append(Item(*said, each.other, each.changes, was))
        flags = {
            name: (findings.flag_like(self.table, name, False), findings.flag_like(self.table, name, True))
            for target in self.schema.targets
            for name in self._columns(target.name)
            if len(target.columns) > 1
        }
        return render(
            Page(self.table.source, self.schema, self.table, items, self.counts, self.to_json(), flags)
        )

    def _columns(self, target: str) -> list[str]:
        """Name the columns that hold the labels of a target."""
        found = self.schema.target(target)
        return [name for name in found.columns if len(found.columns) == 1 or name not in found.none]

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write audit.csv, audit.html and audit.json into a folder.

        Raises:
            UserError: the folder exists and `overwrite` is False.
        """
        path = Path(folder)
        check_out(path, overwrite)
        page, table = self.page(), self.rows()
        path.mkdir(parents=True, exist_ok=True)
        write(table, path / TABLE)
        files.write_text(path / PAGE, page)
        files.write_json(path / RECORD, self.to_json())


SIDES = {"class": "wrong", "there": "wrongly there", "absent": "wrongly absent"}


def check_out(path: Path, overwrite: bool) -> None:
    """Refuse a folder that is there, and with `overwrite` one that no audit wrote."""
    files.check_out(path, overwrite)
    files.check_ours(path, (RECORD,))


def _told(each: Suspects) -> dict[str, Any]:
    low, high = each.number[1:]
    return {
        "target": each.target,
        "list": SIDES[each.side],
        "listed": len(each.rows),
        "errors": round(each.number[0], 1),
        "interval": [round(low, 1), round(high, 1)],
        "ranked_by": each.method,
        "planted_found": round(each.trust, 4),
        "tried": {name: round(share, 4) for name, share in each.tried.items()},
    }


def audit(
    data: object,
    schema: Schema | str | Sequence[str] | None = None,
    *,
    model: Classifier | str | Path | None = None,
    verbose: bool = True,
    **options: Any,
) -> Audit:
    """Find what is wrong with labelled rows: labels, copies, contradictions, leaks, spelling.

    Args:
        data: a Table, or anything that `manyhot.read` reads.
        schema: from `manyhot.infer`, or the names of the target columns. It is that of the model where one
            is given.
        model: a classifier, or its folder, whose out-of-fold answers judge the labels; without it models are
            fitted here, with folds.
        verbose: tell on standard error how far it is.
        options: fields of FitConfig, such as `effort="fast"`.

    Raises:
        UserError: the data or an option cannot be used.
    """
    said = next((name for name in options if name in READING), None)
    if said is not None:
        raise UserError(f"{said} says how a table is read: audit(data, manyhot.infer(data, {said}=…)).")
    options = parse_options(options)
    table = data if isinstance(data, Table) else read(data)
    judge = load(model, verbose) if isinstance(model, (str, Path)) else model
    splits = split_of(table)
    bare = without_split(table)
    if judge is not None:
        if options:
            raise UserError(
                f"model is fitted already, so {next(iter(options))} changes nothing; leave one out."
            )
        schema = judge.schema
    elif not isinstance(schema, Schema):
        apart = [options["group"]] if options.get("group") else []
        schema = infer(bare, schema or (), ignore=apart)
    with Lines(verbose) as told:
        return _audit(table, bare, schema, splits, judge, options, told)


def without_split(table: Table) -> Table:
    """Return a table whose rows all count alike: those of every split are audited."""
    if split_of(table) is None:
        return table
    return replace(table, columns={name: c for name, c in table.columns.items() if name != SPLIT})


def _audit(
    table: Table,
    bare: Table,
    schema: Schema,
    splits: NDArray[np.object_] | None,
    judge: Classifier | None,
    options: Mapping[str, Any],
    told: Lines,
) -> Audit:
    """Look at a table by itself first, then ask models."""
    notes = [*problems(bare, schema)]
    seen = copies.look(bare, schema, told.reading)
    bad = seen.unreadable
    y = encoded(bare, schema, "missing")
    hashes = fitted.row_hashes(schema, bare)
    empty = conflicts.without_input(bare, schema)
    for row in bad:
        empty[row] = True
    clashing = conflicts.find(bare, schema, y, hashes, empty)
    found = [*findings.unreadable(bare, schema, bad), *findings.misspelt(bare, schema)]
    exact = [*findings.copies(hashes, empty, bare)]
    if exact or seen.small is not None or not clashing:
        found += findings.contradictions(clashing, bare, schema)
    else:
        notes.append("so many rows equal others that equal rows are no copies: they are not listed")
    near = copies.near(seen, exact, told)
    found += _duplicates(table, exact, near, splits)
    found += findings.leaking(bare, schema)
    good = np.setdiff1d(np.arange(len(bare)), list(bad))
    together = copies.groups(len(bare), [*exact, *((each.row, each.other) for each in near)])
    suspects: list[Suspects] = []
    how = ""
    try:
        rows = bare.take(good) if bad else bare
        if judge is not None:
            answered = answers.of_model(judge, rows)
        else:
            answered = answers.by_folds(rows, schema, together[good], options, told)
        how = answered.how
        notes += answered.notes
        for target in schema.targets:
            own = np.full((len(bare), len(target.classes)), np.nan)
            own[good] = answered.chances[target.name]
            mine = labels.suspects(target, y[target.name], own, int(options.get("seed", 0)))
            suspects += mine
            spelt = {each.index for each in found if (each.problem, each.target) == ("spelling", target.name)}
            for each in mine:
                doubted = _labels(bare, target, each, y[target.name])
                found += [one for one in doubted if one.index not in spelt]
            found += _rare_sets(
                bare, target, y[target.name], own, {f.index for f in found if f.target == target.name}
            )
    except UserError as error:
        if judge is not None:
            raise
        notes.append(f"labels are not judged: {error.typed}")
    order = {problem: number for number, problem in enumerate(PROBLEMS)}
    ranked = sorted(found, key=lambda each: (-each.score, order[each.problem]))
    return Audit(table, schema, tuple(ranked), tuple(suspects), how, tuple(dict.fromkeys(notes)))


def _duplicates(
    table: Table, exact: Sequence[tuple[int, int]], near: Sequence[copies.Pair], splits: NDArray[Any] | None
) -> Iterator[Finding]:
    """Give the rows that copy another, exactly or nearly, and say where they stand in different splits."""
    pairs = [copies.Pair(row, other, 1.0, "equal to") for row, other in exact]
    for each in [*pairs, *near]:
        across = ""
        if splits is not None and splits[each.row] != splits[each.other]:
            across = f", which is in {splits[each.other]}; this is in {splits[each.row]}"
        note = f"{each.how} row {table.rows[each.other]}{across}"
        yield Finding("duplicate", each.row, score=each.likeness, note=note, other=each.other)


def _labels(table: Table, target: Target, each: Suspects, y: NDArray[Any]) -> Iterator[Finding]:
    """Give the rows of a list of suspects, each with the cells that would be written anew."""
    given, suggested = decode(target, y), decode(target, each.suggested)
    for row in each.rows:
        chance = float(each.chance[row])
        wrong = (
            float(1 - np.exp(-max(0.0, each.score[row])))
            if each.method != "softmin"
            else float(each.score[row])
        )
        note = f"models say {chance:.0%} '{suggested[row]}'"
        if each.tags is not None:
            names = ", ".join(f"'{target.classes[c]}'" for c in np.flatnonzero(each.tags[row]))
            note = f"probably wrong: {names}" if each.side == "there" else f"probably missing: {names}"
        edits = findings.changes(table, target, int(row), suggested[row])
        yield Finding(
            "label", int(row), target.name, given[row], suggested[row], wrong, note, -1, edits, chance
        )


def _rare_sets(
    table: Table, target: Target, y: NDArray[Any], chances: NDArray[np.float64], listed: set[int]
) -> Iterator[Finding]:
    """Give the rows with a set of tags that no other row has, where that is a rare thing."""
    if target.exclusive or not len(y):
        return
    whole = (y != UNKNOWN).all(axis=1)
    if whole.sum() < 2:
        return
    sets, inverse, counts = np.unique(y[whole], axis=0, return_inverse=True, return_counts=True)
    alone = np.flatnonzero(whole)[counts[inverse.reshape(-1)] == 1]
    if len(alone) > RARE_SETS * whole.sum():
        return
    common = sets[counts > 1]
    weights = np.log(counts[counts > 1])
    for row in alone:
        if int(row) in listed:
            continue
        p = np.clip(np.nan_to_num(chances[row], nan=0.5), 1e-6, 1 - 1e-6)
        fit = common @ np.log(p) + (1 - common) @ np.log(1 - p) + weights
        best = common[int(fit.argmax())] if len(common) else y[row]
        given, suggested = decode(target, y[row : row + 1])[0], decode(target, best[None].astype(y.dtype))[0]
        edits = findings.changes(table, target, int(row), suggested)
        note = "no other row has this set of tags"
        yield Finding("label", int(row), target.name, given, suggested, 0.5, note, -1, edits)
