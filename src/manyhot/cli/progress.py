"""How far a run is, on standard error: what the library tells while it works comes in, a bar or lines leave.

The modules of `commands` hand these to the library. Rich draws the bar of `fit` and is loaded for it only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from manyhot.cli.show import number, prose, say
from manyhot.config import FitConfig
from manyhot.ensemble import NETWORK, Ensemble

if TYPE_CHECKING:
    from manyhot.train.run import Run


class Training:
    """The progress of a fit: a live bar on a terminal, a line per epoch elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.live = sys.stderr.isatty()
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

    def reading(self, done: int, rows: int) -> None:
        """Tell that some pictures have been read."""
        self.bar.update(self.task, completed=done, total=rows, visible=True)
        self._report(f"read {done:,} of {rows:,} pictures", done, rows)

    def begin(self, config: FitConfig, estimate: str) -> None:
        """Tell what is about to be trained."""
        from manyhot.resolve import PHOTO_BACKBONES

        why = f" ({PHOTO_BACKBONES[config.backbone]})" if config.backbone in PHOTO_BACKBONES else ""
        size = f", {config.size} pixels" if config.size else ""
        folds = f" of {config.folds} members, a fold for each" if config.folds > 1 else ""
        weights = "" if config.weights == "auto" else f", weights {config.weights}"
        prose(
            f"effort {config.effort}: backbone {config.backbone}{why}{size}{weights}{folds}, at most "
            f"{config.epochs} epochs of batches of {config.batch_size}, rate {config.learning_rate:g}, "
            f"{config.precision}, {config.threads} threads, seed {config.seed}; {estimate}"
        )
        self.epochs = config.epochs
        self.bar.reset(self.task, total=config.epochs, description="training", visible=True, news="")

    def on_event(self, line: Mapping[str, Any]) -> None:
        """Show a line of the history, or how many pictures a network has seen without learning."""
        if line["kind"] == "features":
            text = f"features of {line['done']:,} of {line['rows']:,} pictures"
            self.bar.update(self.task, news=text)
            self._report(text, line["done"], line["rows"])
            return
        if line["kind"] == "stage":
            self.bar.update(self.task, news=line["name"])
            return
        if line["kind"] == "step":
            self.bar.update(self.task, news=f"step {line['step']:,}, loss {line['loss']:.4f}")
            return
        held = line["validation"]["overall"]
        match = f"exact match {number(held['exact_match'])}"
        best = " *" if line["best"] else ""
        self.bar.update(self.task, completed=line["epoch"], news=match)
        text = (
            f"epoch {line['epoch']}/{self.epochs}  loss {line['loss']:.4f}  "
            f"held-out loss {number(held['loss'])}  {match}  {line['seconds']:.1f} s{best}"
        )
        if self.live:
            self.bar.console.print(text, highlight=False)
        else:
            say(text)

    def end(self, run: Run, ensemble: Ensemble) -> None:
        """Tell which epoch is kept, and why the scores that follow are not those that it had."""
        epochs = [line for line in run.history if line["kind"] == "epoch"]
        kept = next(line for line in reversed(epochs) if line["best"])
        overall, rows = kept["validation"]["overall"], run.judged.scores["rows"]
        had = f"exact match {number(overall['exact_match'])} and loss {number(overall['loss'])}"
        who = dict.fromkeys(member.name for member in ensemble.members if any(member.weights.values()))
        model = [f"answers of {' and '.join(who)}"] if [*who] != [NETWORK] else []
        model += [f"each picture in {ensemble.views} views"] if ensemble.views > 1 else []
        model += [f"on all {rows:,} held-out rows"] if kept["validation"]["rows"] < rows else []
        prose(
            f"kept: epoch {kept['epoch']}, the last with a *, which marks the best so far (and a last epoch "
            f"that is worse by no more than chance). Its network had {had}; the scores below are of the "
            f"finished model: {', '.join([*model, 'probabilities calibrated'])}."
        )

    def _report(self, text: str, done: int, rows: int) -> None:
        """Print a line for each tenth of many rows, where no bar is shown."""
        if done < self.reported:
            self.reported = 0
        if not self.live and done < rows and done >= self.reported + max(1_000, rows // 10):
            self.reported = done
            say(text)


def of_rows(quiet: bool = False, verb: str = "read") -> Callable[[int, int], None]:
    """Return a function that tells on standard error how many rows are done, now and then.

    On a terminal that is one line that changes, elsewhere one for each tenth of many rows.
    """
    last = 0
    live = sys.stderr.isatty()

    def on_rows(done: int, rows: int) -> None:
        nonlocal last
        step = 100 if live else max(10_000, rows // 10)
        if not quiet and (done - last >= step or (live and done == rows)):
            last = done
            say(f"{verb} {done:,} of {rows:,}", end="\r" if live and done != rows else "\n")

    return on_rows


def of_steps(quiet: bool = False) -> Callable[[str, int, int], None]:
    """Return a function that tells on standard error how far a long piece of work is: a line for each."""
    last = ""
    live = sys.stderr.isatty()

    def on_step(what: str, done: int, total: int) -> None:
        nonlocal last
        line = f"{what}: {done:,}" + (f" of {total:,}" if total else "") if live else what
        if not quiet and line != last:
            last = line
            say(line, end="\r" if live and done != total else "\n")

    return on_step
