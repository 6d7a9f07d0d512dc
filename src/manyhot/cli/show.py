"""What people see: schemas, settings, scores and progress as lines and tables.

`commands` calls it. Results go to standard output, everything on the way to standard error.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid

from manyhot.config import FitConfig
from manyhot.resolve import PHOTO_BACKBONES

MAX_CLASSES = 12
WIDTH = 120  # characters


def console(stderr: bool = False) -> Console:
    """Return a console, never so narrow that the scores of a target do not fit; a pipe gets plain text."""
    stream = sys.stderr if stderr else sys.stdout
    width = max(WIDTH, shutil.get_terminal_size().columns) if stream.isatty() else WIDTH
    return Console(stderr=stderr, highlight=False, width=width, soft_wrap=True)


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


def document(content: object) -> None:
    """Print one JSON document on standard output; infinite cells of a table are text in it."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(json.loads(json.dumps(content), parse_constant=str), indent=2, ensure_ascii=False)
    print(text)


def say(text: str = "") -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr)


def description(found: Mapping[str, Any], stderr: bool = False) -> None:
    """Show how a table was read, as `inspect` gives it."""
    out = console(stderr)
    splits = ", ".join(f"{count:,} {name}" for name, count in (found.get("splits") or {}).items())
    out.print(
        f"[bold]{escape(found['source'])}[/]: {found['rows']:,} rows" + (f" ({splits})" if splits else "")
    )
    grid = Grid(
        "input" if found["targets"] else "column",
        "kind",
        "values",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for item in found["inputs"][:30]:
        grid.add_row(escape(item["name"]), item["kind"], escape(_values(item)))
    out.print(grid)
    if len(found["inputs"]) > 30:
        out.print(f"… and {len(found['inputs']) - 30} more inputs")
    grid = Grid("target", "kind", "known", "unknown", "classes", box=None, pad_edge=False, header_style="dim")
    for item in found["targets"]:
        known, unknown = f"{item['known']:,}", f"{item['unknown']:,}"
        grid.add_row(escape(item["name"]), item["kind"], known, unknown, escape(_classes(item["classes"])))
    if found["targets"]:
        out.print()
        out.print(grid)
    told = " ".join(found["problems"])
    unused = [name for name in found["unused"] if f"'{name}'" not in told]
    if unused:
        out.print(f"\nnot used: {escape(', '.join(unused[:20]))}")
    for problem in found["problems"]:
        out.print(f"[yellow]note:[/] {escape(problem)}")


def settings(config: FitConfig, estimate: str) -> None:
    """Show the numbers of a run on one line each group."""
    why = f" ({PHOTO_BACKBONES[config.backbone]})" if config.backbone in PHOTO_BACKBONES else ""
    size = f", {config.size} pixels" if config.size else ""
    folds = f" of {config.folds} members, a fold for each" if config.folds > 1 else ""
    weights = "" if config.weights == "auto" else f", weights {config.weights}"
    say(
        f"effort {config.effort}: backbone {config.backbone}{why}{size}{weights}{folds}, "
        f"at most {config.epochs} epochs of batches of {config.batch_size}, rate {config.learning_rate:g}, "
        f"{config.precision}, {config.threads} threads, seed {config.seed}; {estimate}"
    )


def scores(found: Mapping[str, Any], heading: str, stderr: bool = False) -> None:
    """Show the scores of `evaluate` as a table per kind of metric."""
    out = console(stderr)
    out.print(f"[bold]{escape(heading)}[/]: {found['rows']:,} rows")
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, values in found["targets"].items():
        groups.setdefault(tuple(values), []).append(name)
    for metrics, names in groups.items():
        grid = Grid("target", box=None, pad_edge=False, header_style="dim")
        for metric in metrics:
            grid.add_column(metric.replace("mean_average_precision", "mAP"), justify="right")
        for name in names:
            grid.add_row(escape(name), *(_number(found["targets"][name][metric]) for metric in metrics))
        out.print(grid)
    overall = ", ".join(f"{name} {_number(value)}" for name, value in found["overall"].items())
    out.print(f"overall: {overall}")


def clusters(found: Mapping[str, Any], source: str) -> None:
    """Show what was found: how many groups, how large, how well parted, how like the known labels."""
    out = console()
    sizes = found["sizes"]
    out.print(
        f"[bold]{escape(source)}[/]: {found['rows']:,} rows in {len(sizes)} clusters, "
        f"silhouette {_number(found['silhouette'])}"
    )
    out.print(f"so many: {found['why']}")
    out.print("sizes: " + _classes(sizes))
    left_out = [f"{word} {found[word]:,}" for word in ("outliers", "unreadable") if found[word]]
    if left_out:
        out.print(f"{', '.join(left_out)}: their cluster is empty")
    for name, each in found["targets"].items():
        values = ", ".join(f"{key} {_number(value)}" for key, value in each.items())
        out.print(f"beside '{escape(name)}': {values}")
    if "spread" in found:
        given = found["spread"]
        out.print(f"{given['rows']:,} rows were given a known label of '{escape(given['target'])}'")


def ask(sizes: Mapping[str, int], given: Mapping[str, str]) -> dict[str, str]:
    """Ask on the terminal for the name of each cluster that has none; an empty line leaves it unknown."""
    found = {}
    for cluster, size in sizes.items():
        if cluster not in given:
            print(f"cluster {cluster} ({size:,} rows): ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line:
                break
            if line.strip():
                found[cluster] = line.strip()
    return found


class Training:
    """The progress of a fit: a live bar on a terminal, a line per epoch elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.live = sys.stderr.isatty() and not quiet
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=Console(stderr=True),
            transient=True,
            disable=not self.live,
        )
        self.task = self.bar.add_task("reading pictures", total=None, news="", visible=False)
        self.epochs: int | None = None
        self.reported = 0

    def __enter__(self) -> Training:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def reading(self, done: int, rows: int) -> None:
        """Tell that some pictures have been read."""
        self.bar.update(self.task, completed=done, total=rows, visible=True)
        self._report(f"read {done:,} of {rows:,} pictures", done, rows)

    def begin(self, config: FitConfig, estimate: str) -> None:
        """Tell what is about to be trained."""
        settings(config, estimate)
        self.epochs = config.epochs
        self.bar.reset(self.task, total=config.epochs, description="training", visible=True, news="")

    def tell(self, line: Mapping[str, Any]) -> None:
        """Show a line of the history, or how many pictures a network has seen without learning."""
        if line["kind"] == "features":
            text = f"features of {line['done']:,} of {line['rows']:,} pictures"
            self.bar.update(self.task, news=text)
            self._report(text, line["done"], line["rows"])
            return
        if line["kind"] == "step":
            self.bar.update(self.task, news=f"step {line['step']:,}, loss {line['loss']:.4f}")
            return
        held = line["validation"]
        loss = held["overall"]["loss"]
        best = " *" if line["best"] else ""
        text = (
            f"epoch {line['epoch']}/{self.epochs}  loss {line['loss']:.4f}  held-out loss {_number(loss)}  "
            f"exact match {_number(held['overall']['exact_match'])}  {line['seconds']:.1f} s{best}"
        )
        self.bar.update(
            self.task, completed=line["epoch"], news=f"exact match {_number(held['overall']['exact_match'])}"
        )
        self.bar.console.print(text, highlight=False, soft_wrap=True)

    def _report(self, text: str, done: int, rows: int) -> None:
        """Print a line for each tenth of many rows, where no bar is shown."""
        if done < self.reported:
            self.reported = 0
        if not self.live and done < rows and done >= self.reported + max(1_000, rows // 10):
            self.reported = done
            say(text)


def reading_bar(quiet: bool = False, verb: str = "read") -> Callable[[int, int], None]:
    """Return a function that tells on standard error how many rows are done, now and then.

    On a terminal that is one line that changes, elsewhere one for each tenth of many rows.
    """
    state = {"told": 0}
    live = sys.stderr.isatty()

    def told(done: int, rows: int) -> None:
        step = 100 if live else max(10_000, rows // 10)
        if quiet or not (done - state["told"] >= step or (live and done == rows)):
            return
        state["told"] = done
        ends = ("\r", "\n" if done == rows else "") if live else ("", "\n")
        print(f"{ends[0]}{verb} {done:,} of {rows:,}", end=ends[1], file=sys.stderr, flush=True)

    return told


def work(quiet: bool = False) -> Callable[[str, int, int], None]:
    """Return a function that tells on standard error how far a long piece of work is: a line for each."""
    state = {"last": ""}

    def told(what: str, done: int, total: int) -> None:
        if quiet:
            return
        line = f"{what}: {done:,}" + (f" of {total:,}" if total else "")
        if not sys.stderr.isatty():
            line = what
        if line != state["last"]:
            end = "\r" if sys.stderr.isatty() and done != total else "\n"
            print(line, end=end, file=sys.stderr, flush=True)
        state["last"] = line

    return told


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


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


def _classes(counts: Mapping[str, int]) -> str:
    shown: Sequence[str] = [f"{name} {count:,}" for name, count in list(counts.items())[:MAX_CLASSES]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f", … {rest} more" if rest > 0 else "")
