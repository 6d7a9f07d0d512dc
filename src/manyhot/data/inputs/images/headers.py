"""What the file of a picture says at its beginning, without Pillow: the first bytes enter, facts leave.

`decode` and `opening` ask it how large a JPEG is and what decoding it takes, `opening` which of many files
are coloured.

Shapes: H W height and width in pixels.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
BEGINNING = 4_096  # bytes that are read of a file to know whether it is coloured
GREY_PNG = (0, 4)  # colour types: grey, and grey with transparent parts
MOST_BYTES = 800_000_000  # that a picture may take while it is decoded: 8 for each of 100 million pixels
MOST_EACH = 16  # that a pixel of a JPEG can take, where it is progressive
MOST_PIXELS = 500_000_000  # of a JPEG that is decoded at a fraction: some seconds
# An EXIF entry that says "upright", in either order of bytes, and the number by which it begins
UPRIGHT = (b"\x01\x12\0\3\0\0\0\1\0\1", b"\x12\1\3\0\1\0\0\0\1\0")
ORIENTATION = (b"\x01\x12", b"\x12\1", b"Orientation")  # how EXIF and XMP name it


class Frame(NamedTuple):
    """What a JPEG says of its pixels.

    samples      values that are stored for each pixel, 1.5 where colours have half the size
    progressive  it is decoded from all of its values at once
    plain        it has 8 bits, and nothing says that it lies on its side
    """

    height: int
    width: int
    components: int
    samples: float
    progressive: bool
    plain: bool

    def decoded(self, size: tuple[int, int] | None) -> int:
        """Return by which of 1, 2, 4 and 8 it may be divided so as not to be smaller than a size (H, W)."""
        if size is None:
            return 1
        most = max(1, min(self.height // size[0], self.width // size[1]))
        return max(factor for factor in (1, 2, 4, 8) if factor <= most)

    def is_too_large(self, size: tuple[int, int] | None) -> bool:
        """Tell whether decoding it for a size takes more memory or time than a picture may."""
        pixels = self.height * self.width
        held = 2 * self.samples * pixels if self.progressive else 0.0
        return pixels > MOST_PIXELS or 8 * pixels / self.decoded(size) ** 2 + held > MOST_BYTES


def jpeg_frame(data: bytes) -> Frame | None:
    """Read the frame of a JPEG; None where there is none in these bytes."""
    at, frame, turned = 2, None, False
    while data[:2] == JPEG[:2] and at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xDA:  # the pixels begin
            return frame and frame._replace(plain=frame.plain and not turned)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = _frame(marker, data[at + 4 : at + 2 + length])
        elif marker == 0xE1:
            turned = turned or _may_be_turned(data[at + 4 : at + 2 + length])
        at += 2 + length
    return frame and frame._replace(plain=False)  # what comes later may say anything


def is_grey(beginning: bytes) -> bool | None:
    """Tell from its first bytes whether a PNG or a JPEG is grey; None where they do not say."""
    if beginning.startswith(PNG):
        return beginning[25] in GREY_PNG if len(beginning) > 25 else None
    frame = jpeg_frame(beginning)
    return None if frame is None else frame.components == 1


def _frame(marker: int, said: bytes) -> Frame | None:
    """Read the frame that a marker begins."""
    if len(said) < 6:
        return None
    bits, height, width, components = struct.unpack(">BHHB", said[:6])
    sampling = [(part >> 4) * (part & 15) for part in said[7 : 6 + 3 * components : 3]]
    samples = sum(sampling) / max(sampling, default=1) if all(sampling) else float(components)
    plain = bits == 8 and marker in (0xC0, 0xC1, 0xC2)
    return Frame(height, width, components, samples, marker in (0xC2, 0xC6, 0xCA, 0xCE), plain)


def _may_be_turned(metadata: bytes) -> bool:
    """Tell whether EXIF or XMP may say that a picture lies on its side; Pillow then reads what they say."""
    for entry in UPRIGHT:
        metadata = metadata.replace(entry, b"")
    return any(mark in metadata for mark in ORIENTATION)
