"""Pictures that differ as files and are one and the same to the network: pixels enter, words leave.

`reading` asks while it reads a table, `opening` for `inspect`. Copies of one file are told elsewhere.

Shapes: H W C height, width and channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

from manyhot.errors import listed

SAMPLE = 1_000  # pictures that are compared
FEW, SHARE = 3, 0.02  # files that must become alike, and what share of all, to be told


class Compared:
    """An even sample of some pictures; `add` meets each once; what is told says which are alike."""

    def __init__(self, count: int) -> None:
        self.every = max(1, -(-count // SAMPLE))
        self.files: dict[bytes, dict[Hashable, int]] = {}  # pixels → files that become these → a row of each
        self.blank: set[bytes] = set()
        self.count = 0
        self.size = (0, 0)

    def takes(self, row: int) -> bool:
        """Tell whether a row is one of the sample."""
        return row % self.every == 0

    def add(self, row: int, file: Hashable, pixels: NDArray[np.uint8]) -> None:
        """Add the pixels of a row, (H, W, C) as the network would see them, and what tells its file apart."""
        if not self.takes(row):
            return
        digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
        self.files.setdefault(digest, {}).setdefault(file, row)
        self.count += 1
        self.size = (pixels.shape[0], pixels.shape[1])
        if (pixels == pixels[:1, :1]).all():
            self.blank.add(digest)

    def blank_told(self, name: Callable[[int], str]) -> list[str]:
        """Say how many different files became pictures of one colour that are equal; `name` names a row."""
        rest = (
            "Nothing tells them apart; save them so that what they show is seen in 8 bits, or leave them out"
        )
        return self._told(True, name, ", of one colour throughout", rest)

    def twins_told(self, name: Callable[[int], str]) -> list[str]:
        """Say how many different files became equal pictures that show something."""
        rest = "They are copies saved in several ways, or what tells them apart is lost at this size"
        return self._told(False, name, "", rest)

    def _told(self, blank: bool, name: Callable[[int], str], how: str, rest: str) -> list[str]:
        """Say it of those that are blank, or that are not; nothing where these are few."""
        alike = [f for digest, f in self.files.items() if len(f) > 1 and (digest in self.blank) == blank]
        rows = sorted(row for files in alike for row in files.values())
        if len(rows) < max(FEW, SHARE * self.count):
            return []
        few = "one and the same" if len(alike) == 1 else f"only {len(alike):,} different ones"
        looked = "" if self.every == 1 else " looked at"
        return [
            f"{len(rows):,} of {self.count:,} pictures{looked} differ as files and are {few} when read at "
            f"{self.size[1]} × {self.size[0]} pixels{how}: {listed(map(name, rows), 3)}. {rest}"
        ]
