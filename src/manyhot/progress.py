"""How far a piece of work is: events come in, words leave, and lines of them on standard error.

`classifier`, `clustering.cluster` and the commands tell Lines, unless they are called with `verbose=False`
or with callbacks of the caller's own; `cli.progress` draws the same words as a bar. Work of a moment passes
without a word.
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
from manyhot.notebook import number
from manyhot.resolve import PHOTO_BACKBONES

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


class Words:
    """What happens on the way, in words, which `tell` draws."""

    epochs: int | None = None
    began = 0.0

    def tell(self, text: str, done: int = 0, total: int = 0, lasting: bool = False) -> None:
        """Draw a text about so much of a piece of work; one that is `lasting` is worth a line that stays."""
        raise NotImplementedError

    def reading(self, done: int, rows: int) -> None:
        """Tell that some rows have been read: their pictures, or their columns."""
        self.tell(f"read {done:,} of {rows:,} rows", done, rows)

    def answering(self, done: int, rows: int) -> None:
        """Tell that some rows have been answered."""
        self.tell(f"answered {done:,} of {rows:,} rows", done, rows)

    def units(self, done: int, units: int, rows: int, share: float) -> None:
        """Tell that some inputs have been answered, and so many rows; `share` is that of all the work."""
        seconds = time.monotonic() - self.began
        left = f", about {seconds * (1 / share - 1):,.0f} s left" if 0 < share < 1 else ""
        rate = f", {rows / max(seconds, 1e-9):,.0f} a second" if rows else ""
        self.tell(f"answered {done:,} of {units:,} inputs, {rows:,} rows{rate}{left}", done, units)

    def begin(self, config: FitConfig, estimate: str) -> None:
        """Tell what is about to be trained."""
        self.epochs = config.epochs
        self.tell(planned(config, estimate), 0, config.epochs, lasting=True)

    def on_event(self, line: Mapping[str, Any]) -> None:
        """Tell of a line of the history, of a stage, or of rows that a network has seen without learning."""
        match line["kind"]:
            case "features":
                done, rows = line["done"], line["rows"]
                self.tell(f"{done:,} of {rows:,} rows have passed through the model", done, rows)
            case "stage":
                if line["name"] in STAGES:
                    self.tell(STAGES[line["name"]])
            case "trying":
                self._trying(line)
            case "trial":
                self.tell(_trial(line), lasting=True)
            case "step":
                place = f"epoch {line['epoch']}/{self.epochs}, step {line['step']:,}"
                self.tell(f"{place}, loss {line['loss']:.4f}", line["epoch"] - 1, self.epochs or 0)
            case _:
                held, best = line["validation"]["overall"], " *" if line["best"] else ""
                text = (
                    f"epoch {line['epoch']}/{self.epochs}  loss {line['loss']:.4f}  "
                    f"held-out loss {number(held['loss'])}  exact match {number(held['exact_match'])}  "
                    f"{line['seconds']:.1f} s{best}"
                )
                self.tell(text, line["epoch"], self.epochs or 0, lasting=True)

    def _trying(self, line: Mapping[str, Any]) -> None:
        """Tell how far a trial of a search is."""
        place, under = f"trial {line['trial']} of {line['trials']}", line["line"]
        if under["kind"] in ("step", "epoch"):
            done, epochs = under["epoch"], line["epochs"]
            self.tell(f"{place}: epoch {done}/{epochs}, loss {under['loss']:.4f}", done, epochs)
        elif under["kind"] == "features":
            done, rows = under["done"], under["rows"]
            self.tell(f"{place}: {done:,} of {rows:,} rows have passed through the model", done, rows)

    def on_step(self, what: str, done: int, total: int) -> None:
        """Tell how far a step of a long piece of work is."""
        self.tell(f"{what}: {done:,}" + (f" of {total:,}" if total else ""), done, total)


def planned(config: FitConfig, estimate: str) -> str:
    """Say what is about to be trained, or would be; weights that nobody has looked for are "auto"."""
    why = f" ({PHOTO_BACKBONES[config.backbone]})" if config.backbone in PHOTO_BACKBONES else ""
    size = f", {config.size} pixels" if config.size else ""
    folds = f" of {config.folds} members, a fold for each" if config.folds > 1 else ""
    weights = "" if config.weights == "auto" else f", weights {config.weights}"
    if config.weights == "auto" and config.linear_probe:
        weights = ", pretrained weights if there are any to be had"
    return (
        f"effort {config.effort}: backbone {config.backbone}{why}{size}{weights}{folds}, at most "
        f"{config.epochs} epochs of batches of {config.batch_size}, rate {config.learning_rate:g}, "
        f"{config.precision}, {config.threads} thread{'s' * (config.threads > 1)}, seed {config.seed}; "
        f"{estimate}"
    )


def _trial(line: Mapping[str, Any]) -> str:
    """Say how a trial of a search ended, and which is the best so far."""
    match line["state"]:
        case "done":
            ended = f"{line['name']} {number(line['score'])}"
        case "pruned":
            ended = "pruned, since its epochs were worse than those of others"
        case _:
            ended = f"failed: {line['why']}"
    best = f"; best {number(line['best'][1])} (trial {line['best'][0]})" if line["best"] else ""
    first = " (all defaults)" if line["trial"] == 1 else ""
    return f"trial {line['trial']} of {line['trials']}{first}: {ended}, {line['seconds']:.1f} s{best}"


class Lines(Words):
    """One line that changes on a terminal and in a notebook, a few plain ones elsewhere."""

    def __init__(self, verbose: bool = True) -> None:
        self.began = self.told = time.monotonic()
        self.plan = ""  # what is about to be trained; the first of plain lines
        self.silent = not verbose or os.environ.get("RANK", "0") != "0"  # of several processes one speaks
        self.drawn = 0  # characters of the line that may be changed
        self.spoke = False
        self.last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.spoke and error is None:
            self._write(f"done in {time.monotonic() - self.began:.0f} s", "\n")
        elif self.drawn:  # the line stays, and what is said of the error begins on another
            self._write(self.last, "\n")

    def tell(self, text: str, done: int = 0, total: int = 0, lasting: bool = False) -> None:
        """Draw a text where the work takes long, and the last was not drawn just now."""
        if lasting and not done:
            self.plan = text
        now = time.monotonic()
        since = now - self.began
        if self.silent or since < SILENT or text == self.last:
            return
        live = _can_redraw()
        pause = REDRAW if live else max(FIRST_PAUSE, PAUSE * since)
        if self.spoke and total and now - self.told < pause:  # a stage has no total, and is told at once
            return
        if not self.spoke and not live and self.plan not in ("", text):
            self._write(self.plan, "\n")
        self.told, self.spoke, self.last = now, True, text
        self._write(text if lasting else f"{text} ({since:.0f} s)", "\r" if live else "\n")

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
