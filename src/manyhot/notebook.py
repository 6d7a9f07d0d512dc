"""What a notebook and a prompt show of an object: words come in, one plain line or an HTML table leaves.

`Table`, `Schema`, `Classifier` and what `manyhot.inspect` returns call it; a terminal is spared the same
characters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

LONGEST = 110  # characters of a line
CELL = 40  # of a cell
ROWS = 30  # of a table that may be long

# Characters that steer a terminal, turn the direction of a text or hide in it; not the joiners, of which many
# scripts make their words.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def lines(*texts: str) -> str:
    r"""Write each text on a line of its own, cut where it is long, and with all characters visible.

    >>> print(lines("a table", "of\ttwo lines"))
    a table
      of\ttwo lines
    """
    return "\n  ".join(_cut(visible(text), LONGEST) for text in texts)


def grid(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as HTML, with a line above it.

    >>> grid("1 row", ["a<b"], [[1]])
    '<p>1 row</p><table><thead><tr><th>a&lt;b</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    """
    head = _row("th", headers)
    body = "".join(_row("td", row) for row in rows)
    return f"<p>{html.escape(visible(title))}</p><table><thead>{head}</thead><tbody>{body}</tbody></table>"


def names(found: Iterable[str], most: int = 6) -> str:
    """Join names, and count those beyond the first few.

    >>> names(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    every = [_cut(name, CELL) for name in found]
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def visible(text: str) -> str:
    """Write what would steer a terminal, or hide in it, as Python writes it.

    >>> print(visible("\x1b[31mred"))
    \\x1b[31mred
    """
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def number(value: float | None) -> str:
    """Write a score with four decimals."""
    return "n/a" if value is None else f"{value:.4f}"


def _row(kind: str, cells: Iterable[object]) -> str:
    shown = (html.escape(visible(_cut("" if cell is None else str(cell), CELL))) for cell in cells)
    return "<tr>" + "".join(f"<{kind}>{cell}</{kind}>" for cell in shown) + "</tr>"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
