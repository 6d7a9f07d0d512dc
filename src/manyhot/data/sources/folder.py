"""Folders of pictures: a folder comes in, a Table of image paths and labels leaves.

`sources.read` calls it. A picture's class is the folder it lies in, at the top: DATA/cat/1.png is a cat.
What is not a picture, is hidden, or is a link to nothing is left out, counted, and told in the notes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from manyhot.data import arrays
from manyhot.data.columns import IMAGE_ENDINGS, is_image_name
from manyhot.data.table import Table
from manyhot.errors import UserError

LITTER = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin"})
NO_PICTURES = "files that are not pictures by their ending"
MOST_ENDINGS = 8  # that a line names
OTHER_PICTURES = (  # endings of pictures that are not read
    *(
        ".heic",
        ".heif",
        ".jxl",
        ".jp2",
        ".j2k",
        ".svg",
        ".psd",
        ".tga",
        ".exr",
        ".hdr",
        ".dcm",
        ".pdf",
        ".eps",
    ),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".npy", ".ico", ".xcf"),
)
FETCHED = {  # where links lead whose files others have to fetch: what to say of them
    ".git/annex/objects": "links to files that git-annex has not fetched, see `git annex get`",
    ".dvc/cache": "links to files that DVC has not fetched, see `dvc pull`",
}
MOST_LINKS = 8  # to folders, one inside the other
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(folder: Path) -> Table:
    """Read class folders (columns `image`, `label`), or a folder of pictures (column `image`).

    Top folders that are all called train, val or test become a column `split`. A picture outside the class
    folders has no label. Links are followed wherever they lead, since the user named the folder.

    Raises:
        UserError: there is no picture in the folder.
    """
    found = walk(folder)
    paths = sorted(found.paths)
    if not paths:
        raise UserError(
            f"{folder}: holds no picture{_in_brackets(found)}. "
            "Give a folder with a folder of pictures for each class, "
            "or a table; pictures end in " + " ".join(IMAGE_ENDINGS) + "."
        )
    parts = [path.split("/") for path in paths]
    tops = {part[0].lower() for part in parts if len(part) > 1}
    loose = sum(len(part) == 1 for part in parts)
    has_splits = tops <= {*SPLITS} and ("train" in tops if loose else bool(tops))
    notes = [f"left out: {what}" for what in found.told()]
    if loose and has_splits:
        parts = [part for part in parts if len(part) > 1]
        notes.append(f"left out: {_pictures(loose)} outside the folders of the split")
    elif loose and tops:
        notes.append(f"{_pictures(loose)} outside the class folders: without a label")
    columns: dict[str, list[str | None]] = {"image": ["/".join(part) for part in parts]}
    depth = 1 if has_splits else 0
    labels = [part[depth] if len(part) > depth + 1 else None for part in parts]
    if any(labels):
        columns["label"] = labels
    if has_splits:
        columns["split"] = [SPLITS[part[0].lower()] for part in parts]
    return Table(
        {name: pa.chunked_array([arrays.texts(column)]) for name, column in columns.items()},
        source=folder.resolve().name or str(folder),
        root=folder,
        targets=("label",) if "label" in columns else (),
        notes=tuple(notes),
        trusted=True,
    )


def is_litter(name: str) -> bool:
    """Tell whether systems and editors, not people, put an entry of this name into folders.

    >>> is_litter(".ipynb_checkpoints"), is_litter("__MACOSX"), is_litter("cat")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in LITTER


@dataclass(frozen=True)
class Found:
    """The files below a folder as POSIX paths, and how many entries were left out, by kind and ending."""

    paths: list[str]
    left_out: Counter[str]
    endings: Counter[str]

    def told(self) -> list[str]:
        """Say what was left out, a line for each kind."""
        lines = [f"{what} ({count})" for what, count in sorted(self.left_out.items())]
        if self.endings:
            kinds_of = sorted(self.endings.items(), key=lambda item: (-item[1], item[0]))
            each = [f"{count} {ending}" for ending, count in kinds_of[:MOST_ENDINGS]]
            more = len(kinds_of) - len(each)
            kinds = ", ".join(each) + (f" and {more} more kinds" if more > 0 else "")
            pictures = [ending for ending, _ in kinds_of if ending in OTHER_PICTURES]
            hint = f"; convert {' and '.join(pictures[:3])} to JPEG, PNG or TIFF" if pictures else ""
            lines.append(f"{NO_PICTURES} ({self.endings.total()}): {kinds}{hint}")
        return sorted(lines)


def walk(folder: Path, wanted: Callable[[str], bool] = is_image_name) -> Found:
    """List the files below a folder whose names are `wanted`, pictures unless it is said.

    It goes through links too, but never into a folder that it is inside of.
    """
    found = Found([], Counter(), Counter())
    pending: list[tuple[str, tuple[str, ...], int]] = [("", (os.path.realpath(folder),), 0)]
    while pending:
        prefix, above, links = pending.pop()
        entries = 0
        with os.scandir(folder / prefix) as listing:
            for entry in listing:
                entries += 1
                path = f"{prefix}/{entry.name}" if prefix else entry.name
                reason = _reason(entry, above, links)
                if reason:
                    found.left_out[reason] += 1
                elif _is_folder(entry):
                    real = os.path.realpath(entry.path) if entry.is_symlink() else f"{above[-1]}/{entry.name}"
                    pending.append((path, (*above, real), links + entry.is_symlink()))
                elif wanted(entry.name):
                    found.paths.append(path)
                else:
                    found.endings[Path(entry.name).suffix.lower() or "without ending"] += 1
        if not entries and prefix:
            found.left_out["empty folders"] += 1
    return found


def _reason(entry: os.DirEntry[str], above: tuple[str, ...], links: int) -> str:
    """Say why an entry is no picture and no class, or "" when it may be one."""
    if is_litter(entry.name):
        return "hidden or system entries"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "files with a name that is not UTF-8"
    if not entry.is_symlink():
        return ""
    if _is_folder(entry):
        real = os.path.realpath(entry.path)
        around = any(folder == real or folder.startswith(f"{real}/") for folder in above)
        return "links to a folder that they are in" if around or links == MOST_LINKS else ""
    path = Path(entry.path)
    if path.exists():
        return ""
    target = path.readlink().as_posix()
    return next((why for mark, why in FETCHED.items() if mark in target), "broken links")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _in_brackets(found: Found) -> str:
    """Say in brackets what was left out, or nothing."""
    what = ", ".join(found.told())
    return f" (left out: {what})" if what else ""
