"""Text for people in a terminal: nothing in it that steers one, columns beside each other.

`cli.show` prints with it, `scores` draws with it. Rich is loaded for tables only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as Grid

# Characters that steer a terminal, turn the direction of a text or hide in it; not the joiners, of which many
# scripts make their words.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Write what would steer a terminal, or hide in it, as Python writes it.

    >>> print(visible("\x1b[31mred"))
    \\x1b[31mred
    """
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def escape(text: str) -> str:
    """Return text that a console shows as it stands, visibly."""
    from rich.markup import escape

    return escape(visible(text))


def grid(*headers: str) -> Grid:
    """Return a table without lines, to be filled."""
    from rich.table import Table as Grid

    return Grid(*headers, box=None, pad_edge=False, header_style="dim")


def number(value: float | None) -> str:
    """Write a score with four decimals."""
    return "n/a" if value is None else f"{value:.4f}"
