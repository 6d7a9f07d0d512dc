"""Pictures of one target: given labels and probabilities enter, figures leave; `page` calls this.

Which pictures a target has depends on its kind, and is said here.

Shapes: N rows · C classes.
"""

from __future__ import annotations

from typing import Any, assert_never

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.report.svg import Axes, Figure, picture, rect, text, ticks
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, FloatArray, IntArray, marginals

NUMBERED = 20  # classes up to which the cells of a confusion matrix hold their numbers
DRAWN = 30  # classes or tags up to which a square of them is drawn at all
PAIRS = 30  # of classes or tags, listed where they are too many to draw
RIGHT, THERE = "the model is right as often as it says", "a tag is there as often as the model says"
CURVES = 12  # tags with a precision-recall curve
POINTS = 150  # of such a curve


def judged(target: Target, y: IntArray, probabilities: FloatArray) -> list[Figure]:
    """Draw what shows best how right the answers of a target are.

    Shape:
        y: what `targets.encode` gives. probabilities: as `metrics.scores` takes them.
    """
    calibration = reliability(target, y, probabilities)
    match target.kind:
        case "multiclass" | "binary":
            figures = [_confusion(target, y, probabilities), calibration]
            if target.positive:
                place = target.classes.index(target.positive)
                given = np.where(y == UNKNOWN, UNKNOWN, y == place).reshape(-1, 1)
                figures.append(_curves(target, given, probabilities[:, [place]], (target.positive,)))
        case "multilabel":
            chances = marginals(target, probabilities)
            curves = _curves(target, y, chances, target.classes)
            figures = [curves, _together(target, y), _pull(target, y, chances), calibration]
        case _:
            assert_never(target.kind)
    return [figure for figure in figures if figure is not None]


def together(target: Target, y: IntArray, probabilities: FloatArray) -> list[dict[str, Any]]:
    """List the pairs of tags that most rows have, where they are too many to draw."""
    if target.exclusive or len(target.classes) <= DRAWN or not len(y):
        return []
    there = (y == 1).astype(float)
    both, pull = np.triu(there.T @ there, 1), _correlation(y, marginals(target, probabilities))
    support = there.sum(axis=0)
    most = np.argsort(-both, axis=None, kind="stable")[:PAIRS]
    return [
        {
            "one": target.classes[i],
            "other": target.classes[j],
            "count": int(both[i, j]),
            "share": both[i, j] / min(support[i], support[j]),
            "pull": float(pull[i, j]),
        }
        for i, j in zip(*np.unravel_index(most, both.shape), strict=True)
        if both[i, j]
    ]


def reliability(target: Target, y: IntArray, probabilities: FloatArray) -> Figure | None:
    """Draw how often the model is right when it is so sure, in bins of equally many answers, with a band."""
    count, confidence, right = metrics.reliability(target, y, probabilities)
    if not count.sum():
        return None
    low, high = metrics.wilson(right, count)
    width, height = 300, 290
    axes = Axes(46, 12, width - 60, 232, (0, 1), (0, 1))
    what, said = "share that is right", "confidence of the answer"
    if not target.exclusive:
        what, said = "share that is yes", "probability of yes"
    axes.frame(ticks(0, 1), ticks(0, 1), said, what)
    axes.band(confidence, low, high, "s0")
    axes.parts.append(
        f'<path class="line dashed muted" d="M{axes.x(0)} {axes.y(0)}L{axes.x(1)} {axes.y(1)}"/>'
    )
    axes.line(confidence, right, "s0")
    for number, rows in enumerate(map(int, count)):
        hint = f"{rows:,} answers of about {confidence[number]:.3f}: {right[number]:.1%} right, "
        hint += f"95 % between {low[number]:.1%} and {high[number]:.1%}"
        axes.dot(confidence[number], right[number], "s0", hint, 3)
    kind, number = "answers" if target.exclusive else "entries", len(count)
    each = f"Each of the {number} points is of about {int(np.median(count)):,} {kind}"
    each = each if number > 1 else f"The point is of all {kind}"
    words = f"On the dashed line, {RIGHT if target.exclusive else THERE}. "
    words += f"{each} (n = {int(count.sum()):,}); "
    words += "the band is the 95 % interval of what is seen."
    return Figure("Calibration", picture(width, height, axes.parts, "Calibration"), words, width=width)


def _confusion(target: Target, y: IntArray, probabilities: FloatArray) -> Figure | None:
    size = len(target.classes)
    counts = metrics.confusion(target, y, probabilities)
    if size > DRAWN or not counts.any():
        return None
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbers = [[str(count) if count else "" for count in line] for line in counts.tolist()]
    hints = [
        [
            f"given {a}, answered {b}: {counts[i, j]} ({shares[i, j]:.1%})"
            for j, b in enumerate(target.classes)
        ]
        for i, a in enumerate(target.classes)
    ]
    styles = np.where(np.eye(size, dtype=bool), "good", "bad")
    svg, width = _heat(
        target.classes, shares, styles, numbers if size <= NUMBERED else None, hints, ("answered", "given")
    )
    words = "Given on the left, answered on top; the darker, the larger its share of the row."
    return Figure(
        "Confusion",
        svg,
        words + ("" if size <= NUMBERED else " Point at a cell for its numbers."),
        width=width,
    )


def _met(target: Target, y: IntArray) -> IntArray:
    """Return the places of the tags that some row has; none where they are too many to draw."""
    if len(target.classes) > DRAWN:
        return np.zeros(0, np.intp)
    return np.flatnonzero((y == 1).any(axis=0))


def _together(target: Target, y: IntArray) -> Figure | None:
    """Draw how often the tag of a column is given where the tag of the line is."""
    most = _met(target, y)
    if len(most) < 2:
        return None
    there, known = (y[:, most] == 1).astype(float), (y[:, most] != UNKNOWN).astype(float)
    both, either = there.T @ there, there.T @ known
    shares = both / np.maximum(either, 1)
    names = [target.classes[c] for c in most]
    hints = [
        [f"of {int(either[i, j])} with {a}, {shares[i, j]:.1%} have {b}" for j, b in enumerate(names)]
        for i, a in enumerate(names)
    ]
    numbers = [[f"{share * 100:.0f}" if share >= 0.005 else "" for share in line] for line in shares.tolist()]
    styles = np.where(np.eye(len(most), dtype=bool), "self", "good")
    svg, width = _heat(
        names, shares, styles, numbers if len(most) <= NUMBERED else None, hints, ("also has", "has")
    )
    words = "Of the rows that are given the tag on the left, how many per cent also have the tag on top."
    return Figure("Tags that go together", svg, words, width=width)


def _pull(target: Target, y: IntArray, chances: FloatArray) -> Figure | None:
    """Draw how tags pull on each other: the correlation of what each is beyond its own probability."""
    most = _met(target, y)
    if len(most) < 2:
        return None
    pull = _correlation(y[:, most], chances[:, most])
    np.fill_diagonal(pull, np.nan)
    names = [target.classes[c] for c in most]
    hints = [[f"{a} and {b}: {pull[i, j]:+.2f}" for j, b in enumerate(names)] for i, a in enumerate(names)]
    numbers = [[f"{r * 100:+.0f}" if abs(r) >= 0.005 else "" for r in line] for line in pull.tolist()]
    styles = np.where(pull > 0, "good", "bad")
    shown = numbers if len(most) <= NUMBERED else None
    svg, width = _heat(names, np.abs(pull), styles, shown, hints, ("and", "pull between"))
    words = (
        "The correlation, in per cent, of two tags beyond what the model says of each: above 0, one "
        "comes with the other; below 0, it keeps the other away. "
    )
    words += (
        "The model answers by whole sets of tags, which knows of this."
        if target.structure == "powerset"
        else "The model answers tag by tag, which does not know of this."
    )
    return Figure("Tags that pull on each other", svg, words, width=width)


def _correlation(y: IntArray, chances: FloatArray) -> NDArray[np.float64]:
    """Return the correlations (C, C) of what each tag is beyond its probability, over rows that tell both."""
    known = y != UNKNOWN
    beyond = np.where(known, y - chances, 0.0)
    size = np.sqrt((beyond**2).T @ known * (known.T @ beyond**2))
    return np.asarray(beyond.T @ beyond / np.maximum(size, 1e-12))


def _heat(
    names: Any,
    shares: Any,
    styles: Any,
    numbers: list[list[str]] | None,
    hints: list[list[str]],
    axes: tuple[str, str],
) -> tuple[Markup, float]:
    """Draw a square of shaded cells with names on two sides; return its width too."""
    size = len(names)
    cell = min(42.0, max(11.0, 700 / size))
    shown = [name if len(name) <= 16 else name[:15] + "…" for name in names]
    margin = 26 + 6.6 * max(len(name) for name in shown)
    upright = max(len(name) for name in shown) * 6.6 <= cell - 2
    top = 38.0 if upright else margin
    parts = [
        text(margin + size * cell / 2, 12, axes[0], "name", "middle"),
        text(12, top + size * cell / 2, axes[1], "name", "middle", turn=-90),
    ]
    small = "tick tiny" if cell < 15 else "tick"
    for i, name in enumerate(shown):
        middle = i * cell + cell / 2
        parts.append(text(margin - 6, top + middle + 3.5, name, small, "end"))
        if upright:
            parts.append(text(margin + middle, top - 6, name, small, "middle"))
        else:
            parts.append(text(margin + middle + 3.5, top - 6, name, small, "start", turn=-90))
    gap = 1.5 if cell > 15 else 0.5
    parts.append(rect(margin, top, size * cell, size * cell, "paper"))
    for i, j in np.argwhere(np.isfinite(shares)):
        share, x, y = float(shares[i, j]), margin + j * cell, top + i * cell
        # The square root lets a few mistakes among many rows still be seen.
        shade = share if styles[i, j] != "bad" else share**0.5
        style = f"cell {styles[i, j]}"
        if share or numbers is not None:
            parts.append(
                rect(x, y, cell - gap, cell - gap, style, 0.08 + 0.92 * shade if share else 0.04, hints[i][j])
            )
        if numbers is not None and numbers[i][j]:
            ink = "count on" if shade > 0.55 else "count"
            parts.append(text(x + (cell - gap) / 2, y + cell / 2 + 3.5, numbers[i][j], ink, "middle"))
    width, height = margin + size * cell + 4, top + size * cell + 4
    return picture(width, height, parts, f"{axes[1]} by {axes[0]}"), width


def _curves(target: Target, y: IntArray, probabilities: FloatArray, names: tuple[str, ...]) -> Figure | None:
    """Draw precision over recall for the most frequent tags, a small panel each.

    Shape:
        y, probabilities: (N, T) for the T names.
    """
    support = (y == 1).sum(axis=0)
    most = [int(c) for c in np.argsort(-support, kind="stable")[:CURVES] if support[c]]
    if not most:
        return None
    cuts = target.decision.thresholds
    thresholds = np.broadcast_to(np.asarray(cuts if len(cuts) in (1, len(names)) else 0.5), len(names))
    columns = min(4, len(most))
    wide, high = (340, 250) if columns == 1 else (230, 190)
    parts: list[str] = []
    for place, c in enumerate(most):
        keep = y[:, c] != UNKNOWN
        left, top = place % columns * wide, place // columns * high
        parts += _curve(
            y[keep, c] == 1, probabilities[keep, c], float(thresholds[c]), names[c], (left, top, wide, high)
        )
    lines = -(-len(most) // columns)
    svg = picture(columns * wide, lines * high + 18, parts, "Precision over recall")
    words = "Precision (upwards) over recall; the dot is where the threshold stands."
    words += f" The {CURVES} most frequent tags." if len(names) > CURVES else ""
    return Figure("Precision and recall", svg, words, width=columns * wide)


def _curve(
    yes: NDArray[np.bool_], chance: FloatArray, threshold: float, name: str, box: tuple[int, int, int, int]
) -> list[str]:
    """Draw one panel; `box` is left, top, width, height."""
    order = np.argsort(-chance, kind="stable")
    ranked, hits = chance[order], yes[order].cumsum()
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # equal probabilities come together
    recall, precision = hits[last] / yes.sum(), hits[last] / (last + 1)
    some = np.unique(np.linspace(0, len(last) - 1, POINTS).astype(int))
    left, top, wide, high = box
    axes = Axes(left + 34, top + 26, wide - 50, high - 52, (0, 1), (0, 1))
    axes.frame([0, 0.5, 1], [0, 0.5, 1])
    room = (wide - 50 - 56) // 7  # letters beside the average precision
    shown = name if len(name) <= room else name[: room - 1] + "…"
    area = float((np.diff(recall, prepend=0) * precision).sum())
    axes.parts.append(text(left + 34, top + 16, shown, "title"))
    axes.parts.append(text(left + wide - 16, top + 16, f"AP {area:.3f}", "tick", "end"))
    axes.line([0, *recall[some]], [precision[some[0]], *precision[some]], "s0")
    at = np.flatnonzero(ranked[last] >= threshold)
    if len(at):
        x, y = float(recall[at[-1]]), float(precision[at[-1]])
        axes.dot(x, y, "s1", f"{name} at {threshold:.3g}: precision {y:.3f}, recall {x:.3f}", 4)
    return axes.parts
