"""Folders of pictures: a folder comes in, a Table of image paths and labels leaves.

`sources.read` calls it. A picture's class is the folder it lies in, at the top: DATA/cat/1.png is a cat.
What is not a picture, is hidden, or is a link out of the folder is left out, counted, and told in the notes.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa

from manyhot.data.columns import IMAGE_ENDINGS, is_image_name
from manyhot.data.table import Table
from manyhot.errors import UserError

LITTER = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin"})
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(folder: Path) -> Table:
    """Read class folders (columns `image`, `label`), or a folder of pictures (column `image`).

    Top folders that are all called train, val or test become a column `split`.

    Raises:
        UserError: there is no picture in the folder.
    """
    left_out: Counter[str] = Counter()
    paths = sorted(_walk(folder, "", os.path.realpath(folder), left_out))
    if not paths:
        raise UserError(
            f"{folder}: holds no picture{_told(left_out)}. "
            "Give a folder with a folder of pictures for each class, "
            "or a table; pictures end in " + " ".join(IMAGE_ENDINGS) + "."
        )
    tops = {path.split("/")[0] for path in paths if "/" in path}
    loose = [path for path in paths if "/" not in path]
    has_splits = bool(tops) and not loose and all(top.lower() in SPLITS for top in tops)
    if tops and loose:
        left_out["pictures outside the class folders"] += len(loose)
        paths = [path for path in paths if "/" in path]
    columns: dict[str, list[str | None]] = {"image": [*paths]}
    parts = [path.split("/") for path in paths]
    depth = 1 if has_splits else 0
    labels = [part[depth] if len(part) > depth + 1 else None for part in parts]
    if any(labels):
        columns["label"] = labels
    if has_splits:
        columns["split"] = [SPLITS[part[0].lower()] for part in parts]
    notes = [f"left out: {what} ({count})" for what, count in sorted(left_out.items())]
    return Table(
        {name: pa.chunked_array([pa.array(column, pa.string())]) for name, column in columns.items()},
        source=folder.resolve().name or str(folder),
        root=folder,
        targets=("label",) if "label" in columns else (),
        notes=tuple(notes),
    )


def is_litter(name: str) -> bool:
    """Tell whether systems and editors, not people, put an entry of this name into folders.

    >>> is_litter(".ipynb_checkpoints"), is_litter("__MACOSX"), is_litter("cat")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in LITTER


def _walk(folder: Path, prefix: str, top: str, left_out: Counter[str]) -> list[str]:
    """List the pictures below a folder as POSIX paths; count what is left out, by kind."""
    found: list[str] = []
    pending = [prefix]
    while pending:
        prefix = pending.pop()
        entries = 0
        with os.scandir(folder / prefix) as listing:
            for entry in listing:
                entries += 1
                path = f"{prefix}/{entry.name}" if prefix else entry.name
                reason = _reason(entry, top)
                if reason:
                    left_out[reason] += 1
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    found.append(path)
        if not entries and prefix:
            left_out["empty folders"] += 1
    return found


def _reason(entry: os.DirEntry[str], top: str) -> str:
    """Say why an entry is no picture and no class, or "" when it may be one."""
    if is_litter(entry.name):
        return "hidden or system entries"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "files with a name that is not UTF-8"
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if os.path.commonpath([top, target]) != top or entry.is_dir():
            return "links to folders or out of the folder"
    if not entry.is_dir(follow_symlinks=False) and not is_image_name(entry.name):
        return "files that are not pictures by their ending"
    return ""


def _told(left_out: Counter[str]) -> str:
    """Say in brackets what was left out, or nothing."""
    what = ", ".join(f"{what} ({count})" for what, count in sorted(left_out.items()))
    return f" (left out: {what})" if what else ""
