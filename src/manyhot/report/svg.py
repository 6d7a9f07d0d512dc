"""Drawing: numbers enter, pieces of inline SVG leave; `curves` and `plots` compose them.

Colours are CSS classes of page.css (`s0`… for series), so that a picture follows the reader's light
or dark mode and stays small. All text is escaped here; nothing else may put text into a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup, escape

SERIES = 8  # colours that page.css has for lines


@dataclass(frozen=True)
class Figure:
    """One picture with its words; `legend` pairs a CSS class with what it stands for; `width` in pixels."""

    title: str
    svg: Markup
    caption: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    width: float = 0


def series(number: int) -> str:
    """Return the CSS class of a line's colour."""
    return f"s{number % SERIES}"


def picture(width: float, height: float, parts: Iterable[str], name: str) -> Markup:
    """Wrap pieces into one picture which shrinks with the page but never grows beyond its size."""
    return Markup(  # every piece comes from the functions below, which escape their text
        f'<svg role="img" aria-label="{escape(name)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="max-width:{width:.0f}px">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: object, style: str = "", anchor: str = "start", turn: float = 0) -> str:
    """Draw a line of text; `turn` is in degrees, around its anchor."""
    turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}'
    return f'<text class="{style}" {where}>{escape(str(words))}</text>'


def rect(
    x: float, y: float, width: float, height: float, style: str, opacity: float = 1, hint: str = ""
) -> str:
    """Draw a filled rectangle; `hint` shows when the pointer rests on it."""
    inner = f"<title>{escape(hint)}</title>" if hint else ""
    shade = f' fill-opacity="{opacity:.3f}"' if opacity < 1 else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" '
        f'class="{style}"{shade}>{inner}</rect>'
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Choose round numbers (1, 2 or 5 times a power of ten) between two ends.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Choose 1, 2 and 5 times powers of ten between two positive ends; powers alone when many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]


def span(values: Iterable[float], low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """Return ends around finite values with a little air, kept within `low` and `high`.

    >>> span([1.0, float("nan"), 3.0], low=0)
    (0.9, 3.1)
    """
    real = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    air = (max(real) - min(real)) * 0.05 or 0.05 * abs(real[0]) or 0.5
    ends = (min(real) - air, max(real) + air)
    return (ends[0] if low is None else max(ends[0], low), ends[1] if high is None else min(ends[1], high))


@dataclass
class Axes:
    """A box with two scales; its methods add pieces to `parts`, in the units of the data."""

    left: float
    top: float
    width: float
    height: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    log: bool = False
    parts: list[str] = field(default_factory=list)

    def x(self, value: Any) -> Any:
        """Return where a value, or an array of them, stands from left to right."""
        low, high = self.x_ends
        return self.left + (np.asarray(value, dtype=float) - low) / (high - low) * self.width

    def y(self, value: Any) -> Any:
        """Return where a value, or an array of them, stands from top to bottom."""
        low, high = np.log(self.y_ends) if self.log else self.y_ends
        values = np.asarray(value, dtype=float)
        values = np.log(np.maximum(values, self.y_ends[0])) if self.log else values
        return self.top + (1 - (values - low) / (high - low)) * self.height

    def frame(
        self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_name: str = "", y_name: str = ""
    ) -> Axes:
        """Draw grid lines, tick numbers and the names of the axes."""
        bottom, right = self.top + self.height, self.left + self.width
        for tick in y_ticks:
            at = self.y(tick)
            self.parts.append(f'<path class="grid" d="M{self.left:.1f} {at:.1f}H{right:.1f}"/>')
            self.parts.append(text(self.left - 6, at + 3.5, f"{tick:g}", "tick", "end"))
        for tick in x_ticks:
            self.tick(tick, f"{tick:g}")
        self.parts.append(f'<path class="axis" d="M{self.left:.1f} {bottom:.1f}H{right:.1f}"/>')
        if x_name:
            self.parts.append(text(self.left + self.width / 2, bottom + 31, x_name, "name", "middle"))
        if y_name:
            middle = self.top + self.height / 2
            self.parts.append(text(self.left - 38, middle, y_name, "name", "middle", turn=-90))
        return self

    def tick(self, at: float, words: str) -> None:
        """Write what stands at a place of the axis below."""
        self.parts.append(text(self.x(at), self.top + self.height + 15, words, "tick", "middle"))

    def line(self, xs: Any, ys: Any, style: str) -> None:
        """Draw a line through points; it breaks where a value is not finite."""
        xs, ys = np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
        pen, path = "M", []
        for x, y in zip(self.x(xs), self.y(np.where(np.isfinite(ys), ys, np.nan)), strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            path.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        if path:
            self.parts.append(f'<path class="line {style}" d="{"".join(path)}"/>')

    def band(self, xs: Any, lows: Any, highs: Any, style: str) -> None:
        """Shade what lies between two lines through the same places."""
        low, high = (
            [f"{x:.1f} {y:.1f}" for x, y in zip(self.x(xs), self.y(ys), strict=True)] for ys in (lows, highs)
        )
        if len(low) > 1:
            self.parts.append(f'<path class="band {style}" d="M{"L".join([*low, *reversed(high)])}Z"/>')
        elif low:
            self.parts.append(f'<path class="line faint {style}" d="M{low[0]}L{high[0]}"/>')

    def dot(self, x: float, y: float, style: str, hint: str = "", radius: float = 3) -> None:
        """Draw a point; `hint` shows when the pointer rests on it."""
        if math.isfinite(x) and math.isfinite(y):
            self.parts.append(
                f'<circle class="dot {style}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:g}">'
                f"<title>{escape(hint)}</title></circle>"
            )
