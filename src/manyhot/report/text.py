"""Text for people in a terminal: nothing in it that steers one, columns beside each other.

`cli.show` prints with it, `scores` draws with it. Rich is loaded for tables only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from manyhot.notebook import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

GAP = 2  # between columns of a table


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
