"""The three standard streams, made fit for all that is said: open, buffered, at a loss for no character.

`main` calls `ready` before anything else and `let_go` in the end. What goes out is made in `show`.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata

PLAIN = "manyhot.plain"  # the name of an error handler, as "replace" is one
ALIKE = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—―−━─", "-"),
        **dict.fromkeys("‘’‚", "'"),
        **dict.fromkeys("“”„", '"'),
        **{"×": "x", "·": "-", "•": "*", "→": "->", "≤": "<=", "≥": ">="},
    }
)


def ready() -> None:
    """Open what is closed on nothing, and let standard output and standard error take any character.

    A stream that is closed would leave its number to the next file that is opened, which then got what was
    meant for people.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # Python's -u writes without a buffer, and then takes half a file on a full disk for a whole one.
        number, encoding = sys.stdout.fileno(), sys.stdout.encoding
        sys.stdout = open(number, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


def let_go() -> None:
    """Write what standard output still holds; where nobody takes it, forget it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plainly(error: UnicodeError) -> tuple[str, int]:
    """Stand in for characters that a stream cannot show: what looks alike, else their number.

    >>> "5 … 7 × é 漢".encode("ascii", "manyhot.plain")
    b'5 ... 7 x e \\\\u6f22'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_alike, error.object[error.start : error.end])), error.end


def _alike(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).translate(ALIKE).encode("ascii", "ignore").decode()
    return plain or ascii(character)[1:-1]


codecs.register_error(PLAIN, plainly)
