"""How far a fit is, on standard error: the words of `progress` come in, a bar or lines leave.

`commands.fit` hands it to the library. Rich draws the bar and is loaded for it only.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from manyhot.cli.show import number, prose
from manyhot.ensemble import NETWORK, Ensemble
from manyhot.progress import Lines

if TYPE_CHECKING:
    from manyhot.train.run import Run


class Training(Lines):
    """The progress of a fit: each epoch has a line, and below them a terminal has a bar."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        super().__init__()
        self.live = sys.stderr.isatty() and not self.silent
        self.bar = Progress(
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=Console(stderr=True),
            transient=True,
            disable=not self.live,
        )
        self.task = self.bar.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def tell(self, text: str, done: int = 0, total: int = 0, lasting: bool = False) -> None:
        """Draw a text: on a terminal beside the bar, or above it where it stays."""
        if lasting:
            prose(text)
        elif not self.live:
            super().tell(text, done, total)
        if total:
            self.bar.update(self.task, completed=done, total=total, visible=True)
        self.bar.update(self.task, description="" if lasting else text)

    def end(self, run: Run, ensemble: Ensemble) -> None:
        """Tell which epoch is kept, and why the scores that follow are not those that it had."""
        epochs = [line for line in run.history if line["kind"] == "epoch"]
        kept = next(line for line in reversed(epochs) if line["best"])
        overall, rows = kept["validation"]["overall"], run.judged.scores["rows"]
        had = f"exact match {number(overall['exact_match'])} and loss {number(overall['loss'])}"
        who = dict.fromkeys(member.name for member in ensemble.members if any(member.weights.values()))
        model = [f"the answers of {' and '.join(who)}"] if [*who] != [NETWORK] else []
        model += [f"each picture in {ensemble.views} views"] if ensemble.views > 1 else []
        model += [f"all {rows:,} held-out rows"] if kept["validation"]["rows"] < rows else []
        prose(
            f"kept: epoch {kept['epoch']}, the last one marked * (the best so far, or a last epoch that is "
            f"worse by no more than chance). The network alone had {had} then; the scores below are of the "
            f"finished model: {', '.join([*model, 'calibrated probabilities'])}."
        )
