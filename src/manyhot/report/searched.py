"""The page about a search: the trials enter, one HTML file that needs nothing else leaves.

`searching` writes it. The words and the layout are in searched.html, the colours in page.css.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from manyhot.notebook import number
from manyhot.report.page import made, template
from manyhot.report.svg import Axes, Figure, log_ticks, picture, span, ticks
from manyhot.space import Dimension, Trial, Trials

WIDTH, HEIGHT = 450, 260
Drawn = Sequence[tuple[Trial, float]]  # trials that have a score, with it
WORST = 0.9  # the share of the scores that a picture shows whole; those beyond it are drawn at its edge


def render(found: Trials, command: str, notes: Sequence[str]) -> str:
    """Return the page as HTML that loads nothing, with everything given by users escaped."""
    drawn = [(each, each.score) for each in found.trials if each.score is not None]
    figures = [_over_time(found, drawn)] if drawn else []
    order = sorted(found.space, key=lambda each: -found.importance.get(each.name, 0.0))
    most = max(found.importance.values(), default=0.0)
    states = ("done", "pruned", "failed", "running")
    return template("searched.html").render(
        found=found,
        command=command,
        notes=notes,
        title=f"Search on {found.source}",
        **made(),
        allowed="",
        counts={word: sum(each.state == word for each in found.trials) for word in states},
        default=found.trials[0] if found.trials else None,
        importance=[
            (each.name, found.importance[each.name], found.importance[each.name] / (most or 1.0))
            for each in order
            if each.name in found.importance
        ],
        over_time=figures,
        settings=[figure for each in order if (figure := _of_setting(found, drawn, each)) is not None],
        shown=_shown,
        number=number,
    )


def _shown(value: object) -> str:
    """Write a setting, a number to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ends(found: Trials, drawn: Drawn) -> tuple[float, float]:
    """Return the ends of the axis of scores; pruned and very bad ones do not press the others together."""
    sign = 1 if found.maximize else -1
    scores = [score for each, score in drawn if each.state == "done"] or [score for _, score in drawn]
    kept = sorted((sign * score for score in scores), reverse=True)[: max(2, math.ceil(WORST * len(scores)))]
    return span(sign * score for score in kept)


def _over_time(found: Trials, drawn: Drawn) -> Figure:
    """Draw the score of each trial, and the best so far."""
    done = [(each.number, score) for each, score in drawn if each.state == "done"]
    ends = _ends(found, drawn)
    last = max(each.number for each in found.trials)
    axes = Axes(62, 12, WIDTH - 76, HEIGHT - 54, (0.5, last + 0.5), ends)
    whole = [tick for tick in ticks(1, max(last, 2), 6) if float(tick).is_integer()]
    axes.frame(whole, ticks(*ends), "trial")
    better = np.maximum if found.maximize else np.minimum
    if done:
        numbers, scores = zip(*done, strict=True)
        axes.line(numbers, better.accumulate(scores), "bold ink")
    for trial, score in drawn:
        _dot(axes, trial.number, trial, score)
    words = "Of trials that were pruned the last epoch is shown; what is off the scale lies at its edge."
    legend = (("bold ink", "best so far"), ("s0", "done"), ("s2", "pruned"))
    return Figure(f"Trials: {found.score}", picture(WIDTH, HEIGHT, axes.parts, "trials"), words, legend)


def _of_setting(found: Trials, drawn: Drawn, each: Dimension) -> Figure | None:
    """Draw the scores of the trials over the values of a setting."""
    if len(drawn) < 2:
        return None
    ends = _ends(found, drawn)
    places = {choice: place for place, choice in enumerate(each.choices)}
    if each.choices:
        x_ends = (-0.5, len(each.choices) - 0.5)
    elif each.log:
        x_ends = (math.log10(each.low), math.log10(each.high))
    else:
        x_ends = (each.low, each.high)
    axes = Axes(62, 12, WIDTH - 76, HEIGHT - 54, x_ends, ends)
    axes.frame([] if each.log or each.choices else ticks(*x_ends), ticks(*ends), each.name)
    named = [(math.log10(tick), f"{tick:g}") for tick in log_ticks(each.low, each.high)] if each.log else []
    for at, words in [*named, *((place, str(choice)) for choice, place in places.items())]:
        axes.tick(at, words)
    for trial, score in drawn:
        value: Any = trial.values[each.name]
        at = places[value] if each.choices else math.log10(value) if each.log else value
        _dot(axes, at, trial, score)
    return Figure(each.name, picture(WIDTH, HEIGHT, axes.parts, each.name))


def _dot(axes: Axes, x: float, trial: Trial, score: float) -> None:
    """Draw a trial; one that is beyond the scale at its edge."""
    hint, (low, high) = f"trial {trial.number} ({trial.state}): {number(score)}", axes.y_ends
    style, size = "s0" if trial.state == "done" else "s2", 4 if trial.number == 1 else 3
    axes.dot(x, min(max(score, low), high), style, hint, size)
