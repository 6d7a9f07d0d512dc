"""Two models and labelled rows enter; which model answers better, where, and by more than chance, leaves.

`compare` is what the command line and Python call. Both models are judged as `evaluate` judges one, by rows
that neither learned where such are known; `paired` and `slices` have the statistics, `report.compared` the
page.

Shapes: N rows · C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import files, metrics, notebook
from manyhot.choose import FOLDS, Chosen, choose
from manyhot.classifier import Classifier, as_path, as_table, load
from manyhot.comparing.paired import Answers, Compared, compared_rows, compared_target
from manyhot.comparing.slices import Changed, Slice, find
from manyhot.data.table import Table
from manyhot.errors import UserError, listed
from manyhot.judge import Judged, judge_rows
from manyhot.notebook import number
from manyhot.predict import beside
from manyhot.progress import Lines
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, IntArray, decide, decode, value_of

log = logging.getLogger("manyhot")
FEW_GROUPS = 20  # below which intervals by groups are too narrow


@dataclass(frozen=True)
class Comparison:
    """What two models answer for the same rows, and which of them is better.

    names     what the models are called
    split     which rows: "test", "all", … as `evaluate` calls them
    table     the rows that both answered, in the order of the arrays
    answers   by target, in one numbering of the classes; `targets` name them as Target
    overall   rows with every known target right
    by_target the same of each target, and of its classes
    slices    parts of the rows, the surest first
    change    int8 (N,): 1 where B has fewer entries wrong, −1 where more
    margin    what B may be worse by; None where it fails only if it is surely worse
    notes     what people should know first
    """

    names: tuple[str, str]
    split: str
    table: Table
    judged: tuple[Judged, Judged]
    answers: Mapping[str, Answers]
    targets: Mapping[str, Target]
    overall: Compared
    by_target: Mapping[str, Compared]
    slices: Sequence[Slice]
    change: NDArray[np.int8]
    grouped: str = ""
    margin: float | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def decisive(self) -> Compared:
        """What decides: the one target by its main score; of several, the rows with all of them right."""
        return self.overall if len(self.by_target) > 1 else next(iter(self.by_target.values()))

    @property
    def fails(self) -> bool:
        """Whether B is surely worse, or with a margin, not shown to be within it."""
        if self.margin is None:
            return self.decisive.surely_worse
        return not self.decisive.within(self.margin)

    @property
    def verdict(self) -> str:
        """Say in a sentence which model is better."""
        found = self.decisive
        if found.main is None:
            return "nothing is known of these rows."
        if found.surely_worse:
            said = "B is surely worse than A"
        elif found.surely_better:
            said = "B is surely better than A"
        elif found.changed == 0:
            said = "both answer alike"
        else:
            said = "neither is surely better"
        ends = f"({found.main.low:+.4f} to {found.main.high:+.4f})"
        where = "of rows with all targets right" if len(self.by_target) > 1 else ""
        said = f"{said}: {found.metric} {where} {found.main.value:+.4f} {ends}".replace("  ", " ")
        if self.margin is None:
            return f"{said}."
        shown = "shown" if found.within(self.margin) else "not shown"
        return f"{said}; it is {shown} that B is worse by {self.margin:g} at most."

    def details(self) -> dict[str, Any]:
        """Return the document of `compare --json`."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "rows": len(self.table),
            "split": self.split,
            "group": self.grouped or None,
            "fails": self.fails,
            "margin": self.margin,
            "verdict": self.verdict,
            "overall": self.overall.to_json(),
            "targets": {name: found.to_json() for name, found in self.by_target.items()},
            "slices": [each.to_json() for each in self.slices],
            "changed": {"better": int((self.change > 0).sum()), "worse": int((self.change < 0).sum())},
            "notes": list(self.notes),
        }

    def changes(self) -> Table:
        """Return the rows that are answered otherwise, those that got worse first.

        Beside the columns of the table, in which NAME becomes NAME_given, stand `change` (worse, better or
        other) and for each target NAME.a and NAME.b, the answers.
        """
        rows = self.changed()
        words = np.array(["other", "better", "worse"], object)[self.change[rows]]
        added: dict[str, Any] = {"change": list(words)}
        for name, found in self.answers.items():
            target = self.targets[name]
            if name not in self.table.columns:
                added[f"{name}_given"] = decode(target, found.y[rows])
            for model, values in (("a", found.a), ("b", found.b)):
                added[f"{name}.{model}"] = decode(target, values[rows])
        return beside(self.table.take(rows), added, set(self.answers), {})

    def changed(self) -> NDArray[np.intp]:
        """Return the rows that are answered otherwise: those that got worse, then better, by their losses."""
        n = len(self.table)
        differ = np.zeros(n, bool)
        gain = np.zeros(n)
        for found in self.answers.values():
            differ |= (found.a != found.b).reshape(n, -1).any(axis=1)
            gain += np.nan_to_num(found.losses[:, 0] - found.losses[:, 1])
        rows = np.flatnonzero(differ)
        place = np.array([2, 1, 0])[self.change[rows]]  # other, better, worse
        return rows[np.lexsort((-np.abs(gain[rows]), place))]

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the page about it, and return its path.

        Raises:
            UserError: the file exists and `overwrite` is False.
        """
        from manyhot.report import compared  # drawing needs time, so only when asked for

        out = as_path(path)
        files.check_out(out, overwrite)
        files.write_text(out, compared.render(self.page()))
        return out

    def page(self) -> Any:
        """Return what the page shows."""
        from manyhot.report import compared

        schemas = [judged.schema for judged in self.judged]
        pictured = next((schema for schema in schemas if schema.is_image), schemas[0])
        rows = self.changed()
        return compared.Page(
            names=self.names,
            split=self.split,
            schema=pictured,
            table=self.table,
            verdict=self.verdict,
            fails=self.fails,
            details=self.details(),
            targets=self.targets,
            given={name: found.y for name, found in self.answers.items()},
            answered={name: (found.a, found.b) for name, found in self.answers.items()},
            worse=rows[self.change[rows] < 0],
            better=rows[self.change[rows] > 0],
        )

    def __repr__(self) -> str:
        kept = self.decisive
        scores = "" if kept.main is None else f"{kept.metric} {number(kept.main.a)} → {number(kept.main.b)}"
        return notebook.lines(
            f"Comparison of {self.names[0]} and {self.names[1]}, {len(self.table):,} rows",
            self.verdict,
            scores,
        )


def compare(
    a: Classifier | str | Path,
    b: Classifier | str | Path,
    data: object,
    *,
    split: str | None = None,
    targets: Sequence[str] = (),
    slices: Sequence[str] = (),
    group: str | None = None,
    margin: float | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> Comparison:
    """Compare two models by the same labelled rows: is B better than A, or worse?

    Args:
        split: the rows, as `evaluate` takes it: by default the test rows of both, where there are such.
        targets: those to compare by; all that both models answer where none is named.
        slices: columns, or targets, each of whose parts is tested.
        group: a column whose equal cells are drawn together; by default what `fit` was given as one.
        margin: fail where it is not shown that B is worse by so much at most.

    Raises:
        UserError: no target is answered by both, no row is left, or a column is missing.
    """
    if margin is not None and not 0 <= margin <= 1:
        raise UserError(f"--margin must be from 0 to 1, got {margin:g}.")
    names = (_name(a, "A"), _name(b, "B"))
    models = tuple(each if isinstance(each, Classifier) else load(each, verbose) for each in (a, b))
    table = as_table(data)
    notes: list[str] = []
    chosen = _both(models, table, split)
    judged = []
    said: list[list[str]] = []
    with Lines(verbose) as told:
        for model, mine in zip(models, chosen, strict=True):
            with _listening() as heard:
                judged.append(judge_rows(model.bundle, mine, progress=told.reading))
            said.append(heard)
    notes += [line for line in said[0] if line in said[1]]
    for letter, lines, others in (("A", said[0], said[1]), ("B", said[1], said[0])):
        notes += [f"{letter}: {line}" for line in lines if line not in others]
    kept = [np.isin(each.table.rows, other.table.rows) for each, other in (judged, judged[::-1])]
    rows = judged[0].table.take(kept[0])
    notes += _of_seen(models, names, chosen, rows)
    answers, known_as, odd = _answers(judged, kept, targets)
    notes += odd
    group = _group(models, rows) if group is None else group
    groups = None if not group else _codes(rows, group)
    if groups is not None and len(np.unique(groups)) < FEW_GROUPS:
        notes.append(
            f"only {len(np.unique(groups))} groups of '{group}': the intervals are narrower than is true."
        )
    by_target = {name: compared_target(found, groups, seed) for name, found in answers.items()}
    known, right_a, right_b, change = _rows(answers)
    overall = compared_rows(known, right_a, right_b, groups, seed)
    if not known.any():
        raise UserError(f"{table.source}: not one label of {listed(answers)} is known in these rows.")
    part = np.flatnonzero(known)
    labels = {column for each in judged for target in each.schema.targets for column in target.columns}
    of_known = Changed(change[part], right_a[part], right_b[part], None if groups is None else groups[part])
    parts = {name: _taken(found, part) for name, found in answers.items()}
    sliced, more = find(
        rows.take(part), parts, of_known, slices, labels | {group or ""}, models[0].schema.missing, seed
    )
    return Comparison(
        names,
        chosen[0].split,
        rows,
        (judged[0], judged[1]),
        answers,
        known_as,
        overall,
        by_target,
        sliced,
        change,
        group or "",
        margin,
        (*notes, *more),
    )


def _name(model: Classifier | str | Path, letter: str) -> str:
    if isinstance(model, Classifier):
        return letter if model.folder is None else str(model.folder)
    return str(as_path(model))


def _both(models: Sequence[Classifier], table: Table, split: str | None) -> list[Chosen]:
    """Return the rows that both models may be judged by, as each of them knows them."""
    each = [choose(model.schema, table, model.seen, split) for model in models]
    kept = [np.isin(mine.table.rows, other.table.rows) for mine, other in (each, each[::-1])]
    if not kept[0].any():
        raise UserError(
            f"{table.source}: A and B kept back different rows, none of them the same; name rows that "
            "neither saw, or pass --split all."
        )
    return [mine.take(rows) for mine, rows in zip(each, kept, strict=True)]


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Keep what is warned of meanwhile, since both models say much of it."""
    heard: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            heard.append(record.getMessage())
        return record.levelno < logging.WARNING

    log.addFilter(keep)
    try:
        yield heard
    finally:
        log.removeFilter(keep)


def _of_seen(
    models: Sequence[Classifier], names: Sequence[str], chosen: Sequence[Chosen], rows: Table
) -> Iterator[str]:
    """Say which model learned from rows that it is judged by."""
    told = [
        int(np.isin(each.parts[np.isin(each.table.rows, rows.rows)], ("train", "val")).sum())
        for each in chosen
    ]
    told = [0 if each.split == FOLDS else count for each, count in zip(chosen, told, strict=True)]
    for letter, model, count in zip("AB", models, told, strict=True):
        if not len(model.seen):
            yield f"which rows trained {letter} is not known; if these did, the comparison flatters it."
        elif count:
            yield (
                f"{letter} saw {count:,} of these {len(rows):,} rows when it was trained, which flatters it; "
                "compare by rows that neither saw."
            )


def _answers(
    judged: Sequence[Judged], kept: Sequence[NDArray[np.bool_]], asked: Sequence[str]
) -> tuple[dict[str, Answers], dict[str, Target], list[str]]:
    """Bring the answers of both models to the targets that they share into one numbering of the classes."""
    a, b = (each.schema for each in judged)
    theirs = {target.name: target for target in b.targets}
    for name in asked:
        a.target(name)  # which suggests one
        b.target(name)
    notes: list[str] = []
    out: dict[str, Answers] = {}
    known_as: dict[str, Target] = {}
    alone = [t.name for t in a.targets if t.name not in theirs]
    others = [name for name in theirs if name not in {t.name for t in a.targets}]
    for letter, names in (("A", alone), ("B", others)):
        if names:
            notes.append(f"only {letter} answers {listed(names)}, which is not compared.")
    for one in a.targets:
        two = theirs.get(one.name)
        if two is None or (asked and one.name not in asked):
            continue
        if one.exclusive != two.exclusive:
            notes.append(f"'{one.name}': one model answers a class and the other tags; it is not compared.")
            continue
        found, target, odd = _together((one, two), judged, kept)
        notes += odd
        if found.known.any() or not odd:
            out[one.name], known_as[one.name] = found, target
    if not out:
        reasons = " ".join(notes)
        raise UserError(f"the models share no target that could be compared. {reasons}".strip())
    return out, known_as, notes


def _together(
    targets: tuple[Target, Target], judged: Sequence[Judged], kept: Sequence[NDArray[np.bool_]]
) -> tuple[Answers, Target, list[str]]:
    """Return the answers to one target by both models."""
    one, two = targets
    numeric = one.numeric or two.numeric
    place: dict[object, int] = {}
    classes: list[str] = []
    luts = []
    for target in targets:
        numbers = []
        for name in target.classes:
            key = value_of(name) if numeric else name.strip()
            if key not in place:
                place[key] = len(classes)
                classes.append(name)
            numbers.append(place[key])
        luts.append(np.array(numbers, np.intp))
    target = Target(one.name, _kind(one, len(classes)), tuple(classes), (one.name,))
    rows = []
    for each, mine, keep, lut in zip(targets, judged, kept, luts, strict=True):
        y, chances = mine.y[each.name][keep], mine.probabilities[each.name][keep]
        losses = metrics.row_losses(each, y, chances)
        rows.append((_numbered(each, y, lut, len(classes), UNKNOWN), chances, losses, lut, each))
    (y, _, _, _, _), (other, _, _, _, _) = rows
    filled = (y, other)
    if (
        not one.exclusive
    ):  # a tag that a model does not know it never answers, so what the other one reads holds
        has_one, has_two = (np.isin(np.arange(len(classes)), lut) for lut in luts)
        y = np.where(has_one, y, other)
        other = np.where(has_two, other, y)
        filled = (y, other)
    differ = np.asarray(filled[0] != filled[1])
    truth = np.where(differ, UNKNOWN, filled[0])
    answered = [_numbered(e, decide(e, chances), lut, len(classes), 0) for _, chances, _, lut, e in rows]
    notes = []
    count = int(differ.reshape(len(differ), -1).any(axis=1).sum())
    if count:
        notes.append(
            f"'{one.name}': A and B read {count:,} of {len(differ):,} labels differently (other ranges, "
            "separators or words for an empty cell); these are left out."
        )
    strange = [[name for name in m.classes if name not in {*o.classes}] for m, o in (targets, targets[::-1])]
    for letter, found in zip("AB", strange, strict=True):
        if found and not numeric:
            rest = "B" if letter == "A" else "A"
            notes.append(
                f"'{one.name}': {rest} does not know {listed(found)}, which {letter} does; no row here is "
                "given as one of these."
            )
    losses = np.stack([each[2] for each in rows], axis=1)
    return Answers(tuple(classes), truth, answered[0], answered[1], losses), target, notes


def _kind(target: Target, classes: int) -> Any:
    """Say what a target with the classes of both models is."""
    return "multilabel" if not target.exclusive else target.kind if classes == 2 else "multiclass"


def _numbered(target: Target, y: IntArray, lut: NDArray[np.intp], classes: int, absent: int) -> IntArray:
    """Return labels or answers in the numbering of both models; tags that a model lacks are `absent`."""
    if target.exclusive:
        return np.append(lut, UNKNOWN)[y.reshape(-1)]
    out = np.full((len(y), classes), absent, np.int8)
    out[:, lut] = y
    return out


def _rows(
    answers: Mapping[str, Answers],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int8]]:
    """Tell of each row whether anything is known, whether each model has all right, and what changed."""
    known = np.any([found.known for found in answers.values()], axis=0)
    errors = [np.sum([f.errors(getattr(f, m)) for f in answers.values()], axis=0) for m in ("a", "b")]
    change = np.sign(errors[0] - errors[1]).astype(np.int8)
    return known, known & (errors[0] == 0), known & (errors[1] == 0), change


def _taken(found: Answers, rows: NDArray[np.intp]) -> Answers:
    return Answers(found.classes, found.y[rows], found.a[rows], found.b[rows], found.losses[rows])


def _group(models: Sequence[Classifier], table: Table) -> str:
    """Name the column of groups that a model was fitted with, where the rows have it."""
    names = [model.bundle.config.group for model in models]
    return next((name for name in names if name and name in table.columns), "")


def _codes(table: Table, group: str) -> NDArray[np.intp]:
    """Return the group of each row; a row whose cell is empty is one by itself; intp (N,)."""
    codes = table.cells(group).codes.astype(np.intp)
    alone = codes < 0
    codes[alone] = codes.max(initial=0) + 1 + np.arange(alone.sum())
    return codes
