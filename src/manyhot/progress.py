"""How far a piece of work is, for who calls from Python: events come in, lines on standard error leave.

`classifier` and `clustering.cluster` tell it, unless they are called with `verbose=False` or with
callbacks of the caller's own, as the command line has them. Work of a moment passes without a word.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from shutil import get_terminal_size
from typing import Any, Self

from manyhot.config import FitConfig

SILENT = 2.0  # seconds of work of which nobody is told
REDRAW = 0.1  # seconds between two drawings of a line that changes
FIRST_PAUSE = 10.0  # seconds between plain lines, at first;
PAUSE = 0.2  # later this share of the time so far, so that a night fills no screen
STAGES = {  # those that may take long
    "try mirrored": "trying mirrored pictures",
    "learn heads": "training the heads",
    "probe": "training the heads first",
    "select ensemble": "selecting the ensemble",
}


class Lines:
    """One line that changes on a terminal and in a notebook, a few plain ones elsewhere."""

    def __init__(self, verbose: bool = True) -> None:
        self.began = self.told = time.monotonic()
        self.plan = ""  # what is about to be trained; the first of plain lines
        self.epochs: int | None = None
        self.silent = not verbose or os.environ.get("RANK", "0") != "0"  # of several processes one speaks
        self.drawn = 0  # characters of the line that may be changed
        self.spoke = False
        self.last = ""

    def reading(self, done: int, rows: int) -> None:
        """Tell that some pictures have been read."""
        self._tell(f"read {done:,} of {rows:,} pictures")

    def begin(self, config: FitConfig, estimate: str) -> None:
        """Tell what is about to be trained."""
        self.epochs = config.epochs
        self.plan = f"training {config.backbone}, at most {config.epochs} epochs, {estimate}"
        self._tell(self.plan)

    def on_event(self, line: Mapping[str, Any]) -> None:
        """Tell of a line of the history, of a stage, or of rows that a network has seen without learning."""
        match line["kind"]:
            case "features":
                self._tell(f"features of {line['done']:,} of {line['rows']:,} rows")
            case "stage":
                if line["name"] in STAGES:
                    self._tell(STAGES[line["name"]], at_once=True)
            case "step":
                self._tell(f"epoch {line['epoch']} of {self.epochs}, loss {line['loss']:.4f}")
            case _:
                loss = line["validation"]["overall"]["loss"]
                held = "" if loss is None else f", held-out loss {loss:.4f}"
                self._tell(f"epoch {line['epoch']} of {self.epochs} done, loss {line['loss']:.4f}{held}")

    def on_step(self, what: str, done: int, total: int) -> None:
        """Tell how far a step of a long piece of work is."""
        self._tell(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.spoke and error is None:
            self._write(f"done in {time.monotonic() - self.began:.0f} s", "\n")
        elif self.drawn:  # the line stays, and what is said of the error begins on another
            self._write(self.last, "\n")

    def _tell(self, text: str, at_once: bool = False) -> None:
        now = time.monotonic()
        since = now - self.began
        if self.silent or since < SILENT or text == self.last:
            return
        live = _can_redraw()
        pause = REDRAW if live else max(FIRST_PAUSE, PAUSE * since)
        if self.spoke and not at_once and now - self.told < pause:
            return
        if not self.spoke and not live and self.plan not in ("", text):
            self._write(self.plan, "\n")
        self.told, self.spoke, self.last = now, True, text
        self._write(f"{text} ({since:.0f} s)", "\r" if live else "\n")

    def _write(self, text: str, end: str) -> None:
        """Write a line over the one that may be changed; nobody may be listening, which stops no run."""
        live = self.drawn > 0 or end == "\r"
        line = text[: get_terminal_size().columns - 1] if live else text
        wiped = line.ljust(self.drawn)
        self.drawn = len(line) if end == "\r" else 0
        with suppress(OSError, ValueError):  # the stream may be closed
            print(wiped, end=end, file=sys.stderr, flush=True)


def _can_redraw() -> bool:
    """Tell whether a line can be written over: on a terminal, and where a notebook shows it."""
    stream = sys.stderr
    with suppress(ValueError, AttributeError):  # it is closed, or none
        return stream.isatty() or type(stream).__module__.startswith("ipykernel")
    return False
