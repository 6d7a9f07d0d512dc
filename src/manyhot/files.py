"""Files that are either whole or not there: atomic writes, checksums, folders for one run, paths inside.

Everything that writes to disk writes through here.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manyhot.errors import UserError, WriteError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PART = ".part"  # the ending of a file that is still being written
LOCK = "lock"  # the file that is locked in a folder that is held
PAUSE_SECONDS = 0.05  # before it is tried again
REMOVED = 1000  # times in a row that nobody removes a folder which has just been made
MEND = {  # by what keeps a file from being written
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room there, or name another place."),
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f).",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "Name a place that may be written to."),
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # which reading never meets
URI = re.compile(r"[a-z][a-z0-9+.-]+:/")  # what `Path` makes of s3://bucket; a drive has one letter
OS_ERROR = re.compile(r"(?:os error|[Ee]rrno|Os \{ code:) (\d+)")  # in what other libraries say of it


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file beside its place, sync it, rename it, sync the folder: whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_with(path, write)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically; what is no character, such as in the name of a file, by its number."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, atomically."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def write(temporary: Path) -> None:
        try:
            save_file(dict(tensors), temporary)
        except SafetensorError as error:  # which a full disk is too
            found = OS_ERROR.search(str(error))
            if found is None:
                raise
            raise OSError(int(found[1]), os.strerror(int(found[1]))) from None

    write_with(path, write)


def write_json(path: Path, document: object) -> None:
    """Write a JSON document, indented, atomically. NaN is refused: a score without a value is null."""
    write_text(path, _json(document))


def checksum_of(document: object) -> str:
    """Return the checksum that a JSON document has once `write_json` has written it."""
    return hashlib.sha256(_json(document).encode()).hexdigest()


def _json(document: object) -> str:
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_with(path: Path, write: Callable[[Path], None], sync: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place atomically.

    Without `sync` a power cut may leave it incomplete; for what can be made again and is checked when read.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o666 & ~_umask())
            if sync:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
            if sync:
                _sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def place(made: Path, path: Path) -> None:
    """Put a file that is whole in its place on the same disk, atomically, and sync the folder."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        made.replace(path)
        _sync_folder(path.parent)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Say of what is written meanwhile that there is no room for it, or that it may not be written.

    Raises:
        WriteError: so it is, in one line with the remedy.
    """
    try:
        yield
    except OSError as error:
        mended = unwritten(path, error)
        if mended is None:
            raise
        raise mended from None


def unwritten(path: Path | str, error: OSError) -> WriteError | None:
    """Return what is said of a file that could not be written; None where something else is the matter."""
    found = OS_ERROR.search(str(error)) if error.errno is None else None
    number = int(found[1]) if found else error.errno
    if isinstance(error, WriteError) or number not in MEND:
        return None
    reason = os.strerror(number)
    return WriteError(f"{path} cannot be written: {reason}. {MEND[number]}", number, reason)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, limit_bytes: int = 64 << 20) -> Any:
    """Read a JSON document.

    Raises:
        UserError: there is no such file, it is larger than `limit_bytes`, or it is not JSON.
    """
    try:
        if path.stat().st_size > limit_bytes:
            raise UserError(f"{path}: larger than {limit_bytes >> 20} MiB, which no such file is.")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}).") from None


def read_json_lines(path: Path) -> list[Any]:
    """Read a JSON document per line. Raises UserError as `read_json` does."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON lines ({error}).") from None


def inside(root: Path, relative: str) -> Path:
    """Return `root / relative`, resolved.

    Raises:
        UserError: the path leaves `root`, by `..`, by a link, or by being absolute elsewhere.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UserError(f"'{relative}' leaves the folder {root}; pass --root with a folder that holds it.")
    return path


def is_file(path: Path) -> bool:
    """Tell whether a file is there; where its name is one that no disk takes, it is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def sweep(folder: Path, older_seconds: float = 0) -> None:
    """Remove what a killed process left half-written in a folder; of others' only what is older."""
    for path in [*folder.rglob(f".*{PART}")]:
        if path.exists() and (not older_seconds or time.time() - path.stat().st_mtime > older_seconds):
            clear(path)


def may_write(path: Path) -> bool:
    """Tell whether a file or folder may be written to: not one that is read-only, though root could."""
    return os.access(path, os.W_OK) and bool(path.stat().st_mode & 0o222)


def check_out(path: Path, overwrite: bool, option: str = "--out") -> None:
    """Refuse an output that exists already, or that could not be written.

    Raises:
        UserError: `path` exists and `overwrite` is False, it is a URI, or the folder above is a file or
            missing and cannot be made.
    """
    if URI.match(str(path)):
        raise UserError(f"{path} is no path of this machine's disks; choose another {option}.")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; pass --overwrite to replace it, or choose another {option}.")
    for parent in path.absolute().parents:
        if parent.is_dir():
            if not os.access(parent, os.W_OK):
                raise UserError(f"{parent} cannot be written to; choose another {option}.")
            return
        if parent.exists():
            raise UserError(f"{parent} is a file, so {path} cannot be made; choose another {option}.")


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `path`, then put it in place; what was there goes last."""
    with writing(path):
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PART, dir=path.absolute().parent))
    old = beside.with_name(f"{beside.name}.old")
    try:
        beside.chmod(0o777 & ~_umask())
        write(beside)
        if path.exists():
            path.replace(old)
        beside.replace(path)
    except WriteError as error:
        raise _elsewhere(error, beside, path) from None
    finally:
        clear(beside)
        clear(old)


def _elsewhere(error: WriteError, beside: Path, place: Path) -> WriteError:
    """Name a file by where it was to be in the end."""
    return WriteError(error.args[0].replace(str(beside), str(place)), error.errno, str(error.strerror))


@contextmanager
def staged(folder: Path, last: str = "", without: Iterable[str] = ()) -> Iterator[Path]:
    """Give a folder for files that come into `folder` together, once all are written; else none does.

    Before they come what is called `last` goes, and it comes as the last one: so whoever is killed meanwhile
    leaves a folder that is seen not to be whole. The files `without` go where they are not among those.
    """
    made = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".", suffix=PART, dir=folder))
    try:
        yield beside
        if last:
            clear(folder / last)
        there = sorted(beside.iterdir(), key=lambda path: path.name == last)
        for name in {*without} - {path.name for path in there}:
            clear(folder / name)
        for path in there:
            if (folder / path.name).is_dir():
                clear(folder / path.name)
            with writing(folder):
                if path.name == last:
                    _sync_folder(folder)
                path.replace(folder / path.name)
        with writing(folder):
            _sync_folder(folder)
    except WriteError as error:
        raise _elsewhere(error, beside, folder) from None
    finally:
        clear(beside)
        if made and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def held(folder: Path, out: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder for the run that writes `out`; the hold ends with the process, however that ends.

    The folder is made if need be. Where another run holds it, `wait` waits for its end. Where a disk knows no
    locks at all nothing is held.

    Raises:
        UserError: another run holds it, and `wait` is False.
        WriteError: it cannot be made.
    """
    removed = 0
    while True:
        try:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                file = (folder / LOCK).open("ab")
        except FileNotFoundError as error:  # another run has just removed it
            removed += 1
            if removed < REMOVED:
                continue
            why = error.strerror or str(error)
            raise WriteError(
                f"{folder} cannot be made: {why}. Name another folder.", error.errno, why
            ) from None
        with file:
            if _locked(file.fileno()):
                yield
                return
        if not wait:
            raise UserError(
                f"{out} is being written by another run; wait for its end, or choose another --out."
            )
        time.sleep(PAUSE_SECONDS)


def _locked(handle: int) -> bool:
    """Lock an open file for this process; False where another has it, or has just removed it."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # some network disks know only these
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return os.fstat(handle).st_nlink > 0


def empty(folder: Path) -> None:
    """Remove all that is in a folder that this process holds."""
    for path in folder.iterdir():
        if path.name != LOCK:
            clear(path)


def check_ours(path: Path, marks: Iterable[str]) -> None:
    """Refuse to replace what manyhot did not write: `--overwrite` must not cost anybody their pictures.

    Raises:
        UserError: `path` is a file, or a folder with something in it and none of these names.
    """
    if path.is_dir() and (not any(path.iterdir()) or any((path / mark).exists() for mark in marks)):
        return
    if path.exists():
        raise UserError(f"{path} was not written by manyhot and is not replaced; choose another --out.")


def clear(path: Path) -> None:
    """Remove a file or a folder, where it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets folders be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
