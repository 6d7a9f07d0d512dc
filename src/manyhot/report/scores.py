"""Scores as text: what was judged enters, tables and sentences leave.

`classifier.evaluate` gives `Scores`; `cli` draws these, and what `tune` changed, on the terminal.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyhot.choose import FOLDS
from manyhot.judge import Judged
from manyhot.notebook import number
from manyhot.report.text import escape, grid, put

if TYPE_CHECKING:
    from rich.console import Console

CLASSES = 20  # classes up to which all are shown
HARDEST = 10  # of more classes, those shown
PAIRS = 5  # of classes taken for each other, shown of each target
WIDTH = 120  # characters of a line of text that goes to no terminal


class Scores(dict[str, Any]):
    """The document of `evaluate --json`; printed, it is the table that `manyhot evaluate` shows."""

    def __init__(self, judged: Judged) -> None:
        super().__init__(judged.details())
        self.heading = f"{judged.table.source}, split {judged.split}"

    def text(self, every_class: bool = False) -> str:
        """Return the table, with a line for each class however many there are, where asked for."""
        from rich.console import Console

        out = Console(file=io.StringIO(), width=WIDTH, highlight=False, color_system=None, soft_wrap=True)
        draw(out, self, self.heading, every_class, "text(every_class=True)")
        drawn: Any = out.file
        return "\n".join(line.rstrip() for line in drawn.getvalue().rstrip().split("\n"))

    def __str__(self) -> str:
        return self.text()


def draw(out: Console, found: Mapping[str, Any], heading: str, every_class: bool, asks: str) -> None:
    """Show scores as a table per kind of metric; several where a terminal is narrow.

    With what `Judged.details` adds, intervals follow, and of each target its classes and those taken for each
    other; of many classes the hardest, and what `asks` for every one.
    """
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}  # by the first of their metrics
    for name, values in found["targets"].items():
        groups.setdefault(next(iter(values)), {})[name] = values
    out.print(f"[bold]{escape(heading)}[/]: {found['rows']:,} rows")
    for targets in groups.values():
        longest: Mapping[str, Any] = max(targets.values(), key=len)  # a binary target has a few more
        others = found.get("baselines", {})
        lines = [line for target in targets.items() for line in _compared(*target, others)]
        columns = {m: [number(v[m]) if m in v else "" for _, v in lines] for m in longest}
        _table(out, "target", [name for name, _ in lines], columns)
    out.print(f"overall: {', '.join(f'{name} {number(value)}' for name, value in found['overall'].items())}")
    if "intervals" not in found:
        return
    out.print("\n95 % intervals (Wilson's):")
    for name, ends in found["intervals"]["targets"].items():
        _intervals(out, f"{escape(name)}, {found['known'][name]:,} rows", found["targets"][name], ends)
        floor = found["ece_floor"][name]
        if floor is not None:
            error = number(found["targets"][name]["ece"])
            out.print(f"    ece {error}, of which chance alone makes {number(floor)} on so many rows")
        if name in found.get("coverage", {}):
            out.print(f"    {covered(found['coverage'][name])}")
    if len(found["targets"]) > 1:
        _intervals(out, "overall", found["overall"], found["intervals"]["overall"])
    for name, classes in found["classes"].items():
        _classes(out, name, classes, every_class, asks)
        for pair in found["confused"][name][:PAIRS]:
            given, answered = escape(pair["given"]), escape(pair["answered"])
            rows = f"{pair['rows']:,} row{'s' if pair['rows'] > 1 else ''}"
            out.print(f"  given '{given}', answered '{answered}': {rows}, {pair['share']:.0%} of '{given}'")


def _compared(
    name: str, scores: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the name and the scores of a target, and below it those of whoever else answered the same rows."""
    yield name, scores
    for other, values in baselines.get(name, {}).items():
        yield f"  {other}", values


def covered(found: Mapping[str, Any]) -> str:
    """Say what `metrics.coverage` tells, with the class that is covered worst."""
    classes = {name: share for name, share in found["classes"].items() if share is not None}
    worst = min(classes, key=lambda name: classes[name], default="")
    least = f", of '{escape(worst)}' {number(classes[worst])}" if worst else ""
    held = (
        f"{number(found['covered'])} of the rows ({found['level']:g} asked, fitted on {found['rows']:,} rows)"
    )
    size = f"{found['size'] or 0:.2f} classes each, {found['unsure'] or 0:.0%} of the rows unsure"
    return f"sets hold what is right in {held}{least}; {size}"


def draw_tuning(out: Console, found: Mapping[str, Any]) -> None:
    """Show what `Tuning.details` says: how right each target was before and is now, and each tag."""
    names = list(found["targets"])
    states = [(each["before"], each["after"]) for each in found["targets"].values()]
    kinds = ("precision", "recall", "f1")
    columns = {kind: [_change(*pair, kind) for pair in states] for kind in kinds}
    for right in ("accuracy", "exact_match"):  # of a single class, of tags
        scores = [(before["scores"], after["scores"]) for before, after in states]
        if any(right in after for _, after in scores):
            columns[right] = [_change(*pair, right) if right in pair[1] else "" for pair in scores]
    _table(out, "target", names, columns)
    for name, (before, after) in zip(names, states, strict=True):
        if "classes" not in after:
            continue
        tags = list(after["classes"])[:CLASSES]
        out.print()
        pairs = [(before["classes"][tag], after["classes"][tag]) for tag in tags]
        columns = {kind: [_change(*pair, kind) for pair in pairs] for kind in ("threshold", *kinds)}
        _table(out, name, tags, columns)
        if len(tags) < len(after["classes"]):
            out.print(f"… and {len(after['classes']) - len(tags)} more tags; --json has all")


def rows_of(found: Mapping[str, Any]) -> str:
    """Say in words which rows fitted thresholds."""
    rows, split = f"{found['rows']:,}", found["split"]
    if split == FOLDS:
        return f"{rows} training rows, each answered by the members that did not learn from it"
    if split == "all":
        return f"all {rows} rows"
    if split == "new":
        return f"{rows} rows that neither train nor test the model"
    return f"{rows} {'validation' if split == 'val' else escape(split)} rows"


def _change(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    return f"{number(before[name])} → {number(after[name])}"


def _intervals(out: Console, what: str, scores: Mapping[str, Any], ends: Mapping[str, Any]) -> None:
    known = [
        f"{name} {number(scores[name])} ({number(found[0])} to {number(found[1])})"
        for name, found in ends.items()
        if found is not None and scores.get(name) is not None
    ]
    out.print(f"  {what}: {', '.join(known) or 'nothing is known of it'}")


def _classes(out: Console, name: str, classes: Sequence[Mapping[str, Any]], every: bool, asks: str) -> None:
    """Show the scores of each class, or of the hardest where there are many."""
    shown, few = classes, every or len(classes) <= CLASSES
    if not few:
        measured = (each for each in classes if each["f1"] is not None)
        shown = sorted(measured, key=lambda each: each["f1"])[:HARDEST]
    out.print()
    if not few:
        out.print(f"the {len(shown)} of {len(classes)} classes with the lowest F1; {asks} shows every one:")
    columns = {kind: [number(each[kind]) for each in shown] for kind in ("precision", "recall", "f1")}
    columns["support"] = [f"{each['support']:,}" for each in shown]
    _table(out, name, [each["name"] for each in shown], columns)


def _table(out: Console, first: str, lines: Sequence[str], columns: Mapping[str, Sequence[str]]) -> None:
    taken = min(max(map(len, (first, *lines))), out.width // 2)
    for part in _beside(columns, out.width - taken) if not out.soft_wrap else [list(columns)]:
        table = grid(escape(first))
        for name in part:
            table.add_column(_head(name), justify="right")
        for row, line in enumerate(lines):
            table.add_row(escape(line), *(columns[name][row] for name in part))
        put(out, table)


def _beside(columns: Mapping[str, Sequence[str]], width: int) -> Iterator[Sequence[str]]:
    """Give the names of as many columns at a time as have room beside each other."""
    part: list[str] = []
    left = width
    for name, cells in columns.items():
        wide = max(map(len, (_head(name), *cells))) + 2
        if part and wide > left:
            yield part
            part, left = [], width
        part.append(name)
        left -= wide
    yield part


def _head(metric: str) -> str:
    return metric.replace("mean_average_precision", "mAP").rjust(len("0.0000"))
