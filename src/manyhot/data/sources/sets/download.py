"""Files from the network: an address and a checksum come in, a whole file or a UserError leaves.

`sets.mnist` and `sets.cifar` call it, where their files are not there already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from io import BufferedIOBase
from pathlib import Path
from typing import Any, TypeAlias
from urllib import request

from manyhot import files
from manyhot.errors import UserError

TIMEOUT_SECONDS = 10  # to connect, and for each answer
BLOCK = 1 << 20  # bytes
NETWORK = (OSError, HTTPException)  # URLError, TimeoutError and broken connections are OSErrors

# What is done (such as "fetching x.gz, MB"), how much of it, and of how much (0 is unknown).
StepProgress: TypeAlias = Callable[[str, int, int], None]


def fetch(url: str, path: Path, md5: str, by_hand: str, progress: StepProgress) -> None:
    """Fetch a file whose MD5 sum is known; it is there once it is whole, or not at all.

    `by_hand` ends the message where the network gives nothing: what to put where.

    Raises:
        UserError: the address cannot be reached, or what came is not what was published.
    """

    def unreachable(error: BaseException) -> UserError:
        reason = getattr(error, "reason", None) or error
        return UserError(
            f"{url}: cannot be fetched ({getattr(reason, 'strerror', None) or reason}). {by_hand}"
        )

    try:
        response = open_url(url)
    except NETWORK as error:
        raise unreachable(error) from None

    def fill(temporary: Path) -> None:
        digest, done = hashlib.md5(usedforsecurity=False), 0
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else 0
        with temporary.open("wb") as file:
            while True:
                try:
                    block = response.read(BLOCK)
                except NETWORK as error:  # of the network alone: a full disk is told as what it is
                    raise unreachable(error) from None
                if not block:
                    break
                file.write(block)
                digest.update(block)
                done += len(block)
                progress(f"fetching {path.name}, MB", done >> 20, total >> 20)
        if digest.hexdigest() != md5:
            raise UserError(f"{url}: what came is not what was published (its MD5 sum differs). {by_hand}")

    with response:
        files.write_with(path, fill)


def open_url(url: str) -> Any:
    """Open an address by https and nothing else, wherever it is redirected to."""
    opener = request.OpenerDirector()
    for handler in (
        *(request.HTTPSHandler, request.HTTPRedirectHandler, request.ProxyHandler, request.UnknownHandler),
        *(request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor),
    ):
        opener.add_handler(handler())
    return opener.open(url, timeout=TIMEOUT_SECONDS)


def md5_of(file: BufferedIOBase) -> str:
    """Return the MD5 sum of an open file, in hexadecimal: published, and no guard against an attack."""
    return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
