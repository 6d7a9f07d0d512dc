"""Text for people in a terminal: nothing in it that steers one, columns beside each other.

`cli.show` prints with it, `scores` draws with it. Rich is loaded for tables only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

GAP = 2  # between columns of a table

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


def put(out: Console, table: Grid) -> None:
    """Print a table with all its words whole: where they have no room beside each other, below each other."""
    from rich.measure import measure_renderables
    from rich.padding import Padding

    columns = table.columns
    sizes = [measure_renderables(out, out.options, [c.header, *c.cells]) for c in columns]
    widths, room = [size.maximum for size in sizes], out.width - GAP * (len(columns) - 1)
    if sum(size.minimum for size in sizes) > room:
        for first, *rest in zip(*(column.cells for column in columns), strict=True):
            out.print(first)
            for column, cell in zip(columns[1:], rest, strict=True):
                out.print(Padding(f"[dim]{column.header}[/] {cell}", (0, 0, 0, 2)))
        return
    while sum(widths) > room:
        wide = [width if width > size.minimum else 0 for width, size in zip(widths, sizes, strict=True)]
        widths[wide.index(max(wide))] -= 1
    for column, width in zip(columns, widths, strict=True):
        column.width = width
    out.print(table)


def number(value: float | None) -> str:
    """Write a score with four decimals."""
    return "n/a" if value is None else f"{value:.4f}"
