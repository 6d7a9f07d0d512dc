"""Pictures of training: the lines of history.jsonl enter, figures leave; `page` calls this.

Lines of kind "step" have the training loss so far, lines of kind "epoch" the scores of the validation rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.baselines import main_metric
from manyhot.report.svg import Axes, Figure, log_ticks, picture, series, span, ticks
from manyhot.schema import Target

WIDTH, HEIGHT = 450, 260
POINTS = 400  # of a training curve; more cannot be seen
Values = NDArray[np.float64]
Line = tuple[str, str, Values, Values]  # name, style, epochs, values


def training(history: Sequence[Mapping[str, Any]], targets: Sequence[Target]) -> list[Figure]:
    """Draw losses, validation scores and the learning rate over the epochs; [] without a history."""
    steps = [line for line in history if line.get("kind") == "step"]
    epochs = [line for line in history if line.get("kind") == "epoch"]
    if not epochs and len(steps) < 2:
        return []
    at_steps, at_epochs = _epoch_of(steps, epochs), np.arange(1, len(epochs) + 1, dtype=float)
    best = max((i + 1 for i, line in enumerate(epochs) if line.get("best")), default=None)
    learned: list[Line] = [
        ("mean of the epoch", "bold ink", at_epochs, _values(epochs, "loss")),
    ]
    if len(steps) > 1:
        learned.insert(0, ("each step", "faint ink", at_steps, _values(steps, "loss")))
    held: list[Line] = [
        ("held-out rows", "bold ink", at_epochs, _values(epochs, "validation", "overall", "loss"))
    ]
    if len(targets) > 1:
        for number, target in enumerate(targets):
            line = (target.name, series(number), at_epochs)
            learned.append((*line, _values(epochs, "losses", target.name)))
            held.append((*line, _values(epochs, "validation", "targets", target.name, "log_loss")))
    over = " The bold line is the sum over the targets." if len(targets) > 1 else ""
    words = (
        "What training minimises. Class weights, mixed pictures and sets of tags count in it, so that it "
        "cannot be compared with the held-out loss."
    )
    figures = [
        _figure("Training loss", words + over, learned, best),
        _figure("Held-out loss", f"The log loss on rows from which nothing was learned.{over}", held, best),
    ]
    figures.append(_scores(epochs, at_epochs, targets, best))
    at, lines = (at_steps, steps) if len(steps) > len(epochs) else (at_epochs, epochs)
    rates: list[Line] = [("learning rate", "s2", at, _values(lines, "learning_rate"))]
    figures.append(_figure("Learning rate", "", rates, None))
    return [figure for figure in figures if figure.legend]


def _scores(
    epochs: Sequence[Mapping[str, Any]], at: Any, targets: Sequence[Target], best: int | None
) -> Figure:
    lines: list[Line] = [
        (
            f"{target.name}, {main_metric(target).replace('_', ' ').replace('f1', 'F1')}",
            series(number),
            at,
            _values(epochs, "validation", "targets", target.name, main_metric(target)),
        )
        for number, target in enumerate(targets)
    ]
    if len(targets) == 1 and targets[0].exclusive:
        return _figure("Scores on the validation rows", "", lines, best, top=1.0)  # all that can be right
    whole = ("everything right", "bold ink", at, _values(epochs, "validation", "overall", "exact_match"))
    return _figure("Scores on the validation rows", "", [*lines, whole], best, top=1.0)


def _figure(
    title: str, caption: str, lines: Sequence[Line], best: int | None, top: float | None = None
) -> Figure:
    """Draw lines over epochs; a scale that spans much is logarithmic, except for scores."""
    lines = [line for line in lines if np.isfinite(line[3]).any()]
    if not lines:
        return Figure(title, picture(1, 1, [], title))
    values = np.concatenate([line[3][np.isfinite(line[3])] for line in lines])
    log = top is None and values.min() > 0 and values.max() > 20 * values.min()
    ends = (values.min() / 1.15, values.max() * 1.15) if log else span(values, low=0, high=top)
    last = max(float(line[2].max()) for line in lines)
    first = min(float(line[2].min()) for line in lines)
    axes = Axes(52, 12, WIDTH - 66, HEIGHT - 54, (min(first, last - 0.5), last), ends, log)
    whole = [tick for tick in ticks(axes.x_ends[0], last, 6) if float(tick).is_integer()]
    axes.frame(whole, log_ticks(*ends) if log else ticks(*ends), "epoch")
    if best is not None and axes.x_ends[0] <= best <= last:
        axes.parts.append(
            f'<path class="best" d="M{axes.x(best):.1f} {axes.top}V{axes.top + axes.height:.1f}"/>'
        )
        caption = f"{caption} The upright line marks epoch {best}, which was kept.".strip()
    for name, style, xs, ys in lines:
        every = max(1, math.ceil(len(xs) / POINTS))
        axes.line(xs[::every], ys[::every], style)
        for x, y in zip(xs, ys) if len(xs) <= 60 and "faint" not in style else ():
            axes.dot(x, y, style, f"{name}, epoch {x:.4g}: {y:.4g}", 2 if len(xs) > 1 else 3)
    legend = tuple((style, name) for name, style, _, _ in lines)
    return Figure(title, picture(WIDTH, HEIGHT, axes.parts, title), caption, legend)


def _values(lines: Sequence[Mapping[str, Any]], *keys: str) -> Values:
    """Return one number of each line, NaN where it is absent or null."""
    out = np.full(len(lines), np.nan)
    for index, line in enumerate(lines):
        value: Any = line
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, (int, float)):
            out[index] = value
    return out


def _epoch_of(steps: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, Any]]) -> Values:
    """Place each step between the epochs' ends, so that both kinds of line share one axis."""
    at = _values(steps, "step")
    ends = _values(epochs, "step")
    if not len(epochs) or not np.isfinite(ends).all() or (np.diff(ends, prepend=0) <= 0).any():
        return np.asarray(at / max(np.nanmax(at, initial=1), 1))
    return np.asarray(np.interp(at, [0, *ends], np.arange(len(ends) + 1)))
