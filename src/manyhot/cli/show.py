"""What people see: lines, JSON documents, tables of a description and of scores.

The modules of `commands` call it. Results go to standard output, everything on the way to standard error.
Rich draws the tables and is loaded for them only.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

MAX_CLASSES = 12
MAX_INPUTS = 30
MAX_NOTES = 10
WIDTH = 120  # characters


def say(text: str = "") -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr)


def notes(lines: Sequence[str]) -> None:
    """Print the first of the notes of a run on standard error."""
    for line in lines[:MAX_NOTES]:
        say(f"note: {line}")


def log_to_stderr() -> None:
    """Let the library's notes appear as lines on standard error."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            prefix = "warning: " if record.levelno >= logging.WARNING else ""
            print(f"{prefix}{record.getMessage()}", file=sys.stderr)

    log = logging.getLogger("manyhot")
    log.handlers = [Lines()]
    log.propagate = False
    log.setLevel(logging.INFO)


def as_json(content: object) -> None:
    """Print one JSON document on standard output; infinite cells of a table are text in it."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(json.loads(json.dumps(content), parse_constant=str), indent=2, ensure_ascii=False)
    print(text)


def console(stderr: bool = False) -> Console:
    """Return a console, never so narrow that the scores of a target do not fit; a pipe gets plain text."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = max(WIDTH, shutil.get_terminal_size().columns) if stream.isatty() else WIDTH
    return Console(stderr=stderr, highlight=False, width=width, soft_wrap=True)


def grid(*headers: str) -> Grid:
    """Return a table without lines, to be filled."""
    from rich.table import Table as Grid

    return Grid(*headers, box=None, pad_edge=False, header_style="dim")


def description(found: Mapping[str, Any], stderr: bool = False) -> None:
    """Show how a table was read, as `inspect` gives it."""
    from rich.markup import escape

    out = console(stderr)
    splits = ", ".join(f"{count:,} {name}" for name, count in (found.get("splits") or {}).items())
    rows = f"{found['rows']:,} rows" + (f" ({splits})" if splits else "")
    out.print(f"[bold]{escape(found['source'])}[/]: {rows}")
    inputs = grid("input" if found["targets"] else "column", "kind", "values")
    for item in found["inputs"][:MAX_INPUTS]:
        inputs.add_row(escape(item["name"]), item["kind"], escape(_values(item)))
    out.print(inputs)
    if len(found["inputs"]) > MAX_INPUTS:
        out.print(f"… and {len(found['inputs']) - MAX_INPUTS} more inputs")
    targets = grid("target", "kind", "known", "unknown", "classes")
    for item in found["targets"]:
        known, unknown = f"{item['known']:,}", f"{item['unknown']:,}"
        targets.add_row(escape(item["name"]), item["kind"], known, unknown, escape(counts(item["classes"])))
    if found["targets"]:
        out.print()
        out.print(targets)
    problems = " ".join(found["problems"])
    unused = [name for name in found["unused"] if f"'{name}'" not in problems]
    if unused:
        out.print(f"\nnot used: {escape(', '.join(unused[:20]))}")
    for problem in found["problems"]:
        out.print(f"[yellow]note:[/] {escape(problem)}")


def scores(found: Mapping[str, Any], heading: str) -> None:
    """Show the scores of `evaluate` as a table per kind of metric."""
    from rich.markup import escape

    out = console()
    out.print(f"[bold]{escape(heading)}[/]: {found['rows']:,} rows")
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, values in found["targets"].items():
        groups.setdefault(tuple(values), []).append(name)
    for metrics, names in groups.items():
        table = grid("target")
        for metric in metrics:
            table.add_column(metric.replace("mean_average_precision", "mAP"), justify="right")
        for name in names:
            table.add_row(escape(name), *(number(found["targets"][name][metric]) for metric in metrics))
        out.print(table)
    overall = ", ".join(f"{name} {number(value)}" for name, value in found["overall"].items())
    out.print(f"overall: {overall}")


def number(value: float | None) -> str:
    """Write a score with four decimals."""
    return "n/a" if value is None else f"{value:.4f}"


def counts(found: Mapping[str, int]) -> str:
    """Write how many rows each class has, of the first classes."""
    shown: Sequence[str] = [f"{name} {count:,}" for name, count in list(found.items())[:MAX_CLASSES]]
    rest = len(found) - len(shown)
    return ", ".join(shown) + (f", … {rest} more" if rest > 0 else "")


def _values(item: Mapping[str, Any]) -> str:
    if item["kind"] == "image":
        height, width, channels = item["shape"]
        return f"{height}×{width} pixels, {'grey' if channels == 1 else 'colour'}"
    parts = []
    if item.get("min") is not None:
        parts.append(f"{item['min']:g} … {item['max']:g}")
    if item.get("first") is not None:
        parts.append(f"{item['first']} … {item['last']}")
    if item.get("distinct") is not None:
        parts.append(f"{item['distinct']:,} distinct")
    if item.get("missing"):
        parts.append(f"{item['missing']:,} missing")
    return ", ".join(parts)
