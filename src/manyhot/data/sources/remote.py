"""Files elsewhere: a URI such as s3://bucket/rows.parquet comes in, for a while a file of this disk is there.

`sources.read` reads by it and `scale` lists folders. What lies where is pyarrow's to know (s3, gs, abfs,
hdfs), and so are the credentials: those of the environment, of ~/.aws, or of the machine. file:// is a path.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa

from manyhot.errors import UserError, shortened

BROKEN = (pa.ArrowException, OSError, ValueError)
SAFE = "%:/?&=@+,~"  # what is no blank or letter of an alphabet, which may be typed as they are
BLOCK = 1 << 20  # bytes copied at a time
REACH = (
    "import sys; from pyarrow.fs import *; s, path = FileSystem.from_uri(sys.argv[1]); s.get_file_info(path)"
)
REACH_SECONDS = 30


class Listed(NamedTuple):
    """A file elsewhere: its URI, its path there, its size, and when it changed (ns)."""

    uri: str
    path: str
    bytes: int
    changed: int


def is_remote(source: object) -> bool:
    """Tell a URI from a path; file:// is a path.

    >>> is_remote("s3://bucket/a.csv"), is_remote("file:///a.csv"), is_remote("a.csv")
    (True, False, False)
    """
    return isinstance(source, str) and "://" in source and not source.startswith("file://")


def as_local(source: str) -> str:
    """Return the path that a file:// URI means; every other text as it is.

    >>> as_local("file:///tmp/a%20b.csv"), as_local("a.csv")
    ('/tmp/a b.csv', 'a.csv')
    """
    if not source.startswith("file://"):
        return source
    parts = urlsplit(source.replace("#", "%23").replace("?", "%3F"))
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{source}: names another machine. Write file:/// and the path of this one.")
    return unquote(parts.path)


@contextmanager
def here(source: str | Path) -> Iterator[Path]:
    """Give a path of this disk: a local file's own, or that of a copy, which is removed at the end.

    Raises:
        UserError: the file elsewhere cannot be read.
    """
    if not is_remote(source):
        yield Path(as_local(str(source)))
        return
    uri = str(source)
    with tempfile.TemporaryDirectory(prefix="manyhot-") as folder:
        system, path = _opened(uri)
        copy = Path(folder, PurePosixPath(path).name)
        try:
            with system.open_input_stream(path) as file, copy.open("wb") as out:
                shutil.copyfileobj(file, out, BLOCK)
        except BROKEN as error:
            # `listing` says by itself where there is nothing.
            if any(item.path.strip("/") != path.strip("/") for item in listing(uri)):
                raise UserError(f"{uri}: is a folder. Name one of its files, or copy it to a disk.") from None
            raise _unread(uri, error) from None
        try:
            yield copy
        except UserError as error:  # nobody knows the file that was read
            error.args = (error.args[0].replace(str(copy), uri),)
            raise


def listing(uri: str) -> list[Listed]:
    """List the file that a URI names, or those below the folder that it names, sorted.

    Raises:
        UserError: there is nothing, or it cannot be reached.
    """
    from pyarrow.fs import FileSelector, FileType

    system, path = _opened(uri)
    base = path.rstrip("/")
    try:
        found = [system.get_file_info(base)]
        if found[0].type != FileType.File:
            found = system.get_file_info(FileSelector(base, recursive=True))
    except BROKEN as error:
        raise _unread(uri, error) from None
    head, query, options = uri.partition("?")
    start = unquote(head).rstrip("/").removesuffix(base)
    files = sorted((info for info in found if info.type == FileType.File), key=lambda info: str(info.path))
    listed = [(f"{start}{quote(i.path)}{query}{options}", i) for i in files]
    return [Listed(name, str(i.path), int(i.size), int(i.mtime_ns or 0)) for name, i in listed]


def path_of(uri: str) -> str:
    """Return the path that a URI names there."""
    return _opened(uri)[1]


def _opened(uri: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    if not uri.startswith("s3://"):  # which ends soon, and by an error
        _reach("/".join(uri.split("/")[:3]))
    try:
        system, path = FileSystem.from_uri(quote(uri, safe=SAFE))
    except BROKEN as error:
        raise _unread(uri, error) from None
    return system, path


@lru_cache
def _reach(place: str) -> None:
    """See in a process of its own that a bucket can be reached; some libraries hang, or end the process.

    Raises:
        UserError: so it is, for want of a network or of credentials. What is said by an error is told later.
    """
    try:
        found = subprocess.run(
            [sys.executable, "-c", REACH, place], check=False, capture_output=True, timeout=REACH_SECONDS
        )
    except subprocess.TimeoutExpired:
        why = f"no answer within {REACH_SECONDS} seconds"
    else:
        if found.returncode >= 0:
            return
        said = found.stderr.decode(errors="replace").splitlines()
        why = next((line.strip() for line in said if "what():" in line), "its library gave up")
    raise UserError(f"{place}: cannot be reached ({why.removeprefix('what():').strip().rstrip('.')}).")


def _unread(uri: str, error: BaseException) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{uri}: no such file or folder.")
    if "Unrecognized filesystem" in str(error):
        return UserError(f"{uri}: is not read. Read are s3://, gs://, abfs:// and hdfs://; fetch it by hand.")
    reason = shortened(next(iter(str(error).splitlines()), type(error).__name__).rstrip("."), 150)
    return UserError(f"{uri}: cannot be read ({reason}).")
