"""What people see: lines, JSON documents, tables of a description and of scores.

The modules of `commands` call it; all that is printed goes out here. Results go to standard output,
everything on the way to standard error. Rich draws the tables and is loaded for them only.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from manyhot.config import FitConfig
from manyhot.notebook import UNSEEN, visible
from manyhot.notebook import number as number
from manyhot.progress import planned
from manyhot.report.text import escape as escape  # which commands take from here
from manyhot.report.text import grid, put

if TYPE_CHECKING:
    from rich.console import Console

MAX_CLASSES = 12
MAX_INPUTS = 30
MAX_NOTES = 10
WIDTH = 120  # characters of a line where there is no terminal
Words = Callable[[str], str]  # a text, with the options that it names as a command has them


def as_it_is(text: str) -> str:
    """Return a text."""
    return text


_placed: Words = as_it_is


def tell(text: str = "") -> None:
    """Print a line on standard output."""
    print(visible(text))


def say(text: str = "", end: str = "\n") -> None:
    """Print a line on standard error."""
    _on_the_way(visible(_placed(text)) + end)


def notes(lines: Sequence[str]) -> None:
    """Print the first of the notes of a run on standard error."""
    for line in lines[:MAX_NOTES]:
        prose(f"note: {line}")


def prose(text: str, stderr: bool = True) -> None:
    """Print sentences on standard error, or on standard output; a terminal gets them broken between words."""
    width, indent = _columns(sys.stderr if stderr else sys.stdout), text[: len(text) - len(text.lstrip())]
    how: Any = {"subsequent_indent": indent, "break_long_words": False, "break_on_hyphens": False}
    for line in textwrap.wrap(text, width, **how) if width else [text]:
        say(line) if stderr else tell(line)


def problems(lines: Sequence[str]) -> None:
    """Say what is wrong with a model's answers, of the first targets."""
    more = [f"and {len(lines) - MAX_NOTES} more, which the report has."] if len(lines) > MAX_NOTES else []
    with console(stderr=True) as out:
        for line in [*lines[:MAX_NOTES], *more]:
            out.print(f"[yellow]note:[/] {escape(_placed(line))}")


def begin(placed: Words = as_it_is) -> None:
    """Let the library's notes appear as lines on standard error, with options as `placed` has them."""
    global _placed
    _placed = placed

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            prefix = "warning: " if record.levelno >= logging.WARNING else ""
            prose(f"{prefix}{record.getMessage()}")

    log = logging.getLogger("manyhot")
    log.handlers = [Lines()]
    log.propagate = False
    log.setLevel(logging.INFO)


def as_json(content: object) -> None:
    """Print one JSON document on standard output; infinite cells of a table are text in it."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    try:
        text = json.dumps(content, indent=2, ensure_ascii=plain, allow_nan=False)
    except ValueError:
        content = json.loads(json.dumps(content), parse_constant=str)
        text = json.dumps(content, indent=2, ensure_ascii=plain)
    lines = text.split("\n")  # which are JSON's own: those of the content are written as \\n
    print("\n".join(UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in lines))


@contextmanager
def console(stderr: bool = False, into: TextIO | None = None) -> Iterator[Console]:
    """Give a console whose text goes out at the end: as wide as `_columns` says; a pipe gets long lines.

    With `into` it goes there instead, as into a pipe.
    """
    from rich.console import Console

    stream = into or (sys.stderr if stderr else sys.stdout)
    columns = _columns(stream)
    drawn = io.StringIO()
    yield Console(
        file=drawn,
        highlight=False,
        force_terminal=stream.isatty() or None,  # a pipe may be said to take colours
        width=columns or WIDTH,
        soft_wrap=columns is None,
    )
    if into is not None:
        into.write(drawn.getvalue())
    elif stderr:
        _on_the_way(drawn.getvalue())
    else:
        print(drawn.getvalue(), end="")


def _on_the_way(text: str) -> None:
    """Write to standard error, where nobody may be listening any more: that stops no run."""
    with suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)


def _columns(stream: TextIO) -> int | None:
    """Return how many characters a line has: what COLUMNS says, else the terminal; None where both do not."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if not stream.isatty():
        return None
    with suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or WIDTH
    return WIDTH


def description(found: Mapping[str, Any], stderr: bool = False, into: TextIO | None = None) -> None:
    """Show how a table was read, as `inspect` gives it."""
    splits = ", ".join(f"{count:,} {name}" for name, count in (found.get("splits") or {}).items())
    rows = f"{found['rows']:,} rows" + (f" ({splits})" if splits else "")
    inputs = grid("input" if found["targets"] else "column", "kind", "values")
    for item in found["inputs"][:MAX_INPUTS]:
        inputs.add_row(escape(item["name"]), item["kind"], escape(_values(item)))
    targets = grid("target", "kind", "known", "unknown", "classes")
    for item in found["targets"]:
        known, unknown = f"{item['known']:,}", f"{item['unknown']:,}"
        targets.add_row(escape(item["name"]), item["kind"], known, unknown, escape(counts(item["classes"])))
    problems = " ".join(found["problems"])
    unused = [name for name in found["unused"] if f"'{name}'" not in problems]
    with console(stderr, into) as out:
        out.print(f"[bold]{escape(found['source'])}[/]: {rows}")
        put(out, inputs)
        if len(found["inputs"]) > MAX_INPUTS:
            out.print(f"… and {len(found['inputs']) - MAX_INPUTS} more inputs")
        if found["targets"]:
            out.print()
            put(out, targets)
        for line in _positives(found["targets"]):
            out.print(escape(line))
        if unused:
            out.print(f"\nnot used: {escape(', '.join(unused[:20]))}")
        if found.get("fit"):
            config = FitConfig.from_json(found["fit"]["settings"])
            out.print(f"\nfit would train with {escape(planned(config, found['fit']['estimate']))}")
        for problem in found["problems"]:
            out.print(f"[yellow]note:[/] {escape(_placed(problem))}")


def _positives(targets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which of two classes is taken for the one that is meant, where no word says so."""
    said = [item for item in targets if "positive_since" in item]
    for item in said[:MAX_NOTES]:
        name, positive = item["name"], item["positive"]
        other = next(each for each in item["classes"] if each != positive)
        option = shlex.join(["--positive", f"{name}={other}"])
        why = item["positive_since"]
        yield f"'{name}': '{positive}' is the positive class, {why}; {option} means the other"
    if len(said) > MAX_NOTES:
        yield f"… and {len(said) - MAX_NOTES} more targets of two classes, whose positive ones --json names"


def scores(found: Mapping[str, Any], heading: str, every_class: bool = False) -> None:
    """Show the scores of `evaluate`."""
    from manyhot.report.scores import draw

    with console() as out:
        draw(out, found, heading, every_class, "--by class")


def tuning(found: Mapping[str, Any]) -> None:
    """Show what `tune` changed."""
    from manyhot.report.scores import draw_tuning

    with console() as out:
        draw_tuning(out, found)


def duration(seconds: float) -> str:
    """Write how long something took.

    >>> duration(8.04), duration(200), duration(3_900)
    ('8.0 s', '3 min 20 s', '1 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def counts(found: Mapping[str, int]) -> str:
    """Write how many rows each class has, of the first classes."""
    shown: Sequence[str] = [f"{name} {count:,}" for name, count in list(found.items())[:MAX_CLASSES]]
    rest = len(found) - len(shown)
    return ", ".join(shown) + (f", … {rest} more" if rest > 0 else "")


def _values(item: Mapping[str, Any]) -> str:
    if item["kind"] == "image":
        height, width, channels = item["shape"]
        size = f"{width} × {height} pixels, {'grey' if channels == 1 else 'colour'}"
        size += "".join(f", {words}" for words in _levels(item.get("levels") or {}))
        (low, high), (least, most) = (item.get(side, (0, 0)) for side in ("widths", "heights"))
        if (low, least) == (high, most):
            return size
        return f"usually {size} (width {low} … {high}, height {least} … {most})"
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


def _levels(found: Mapping[str, Any]) -> Iterator[str]:
    """Say how pictures of more than 8 bits, or with transparent parts, become others."""
    for low, high in filter(None, (found.get("whole"), found.get("real"))):
        yield f"levels {low:g} … {high:g}"
    if found.get("ground", 255) != 255:
        yield f"laid on {'grey' if found['ground'] else 'black'} where transparent"
