"""What people say of answers: corrected and confirmed labels enter with their rows, tables for `fit` leave.

One SQLite file holds them. Each click is an entry of its own, so that it can be undone; of the entries of one
row the last word on each target holds. A target that nobody touched stays unknown.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sqlite3
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from manyhot.errors import UserError, listed, shortened, suggest
from manyhot.schema import Schema
from manyhot.serve.app import form_of
from manyhot.serve.rows import Value, of_form, to_x
from manyhot.serve.served import Served
from manyhot.serve.state import busy
from manyhot.targets import by_meaning

APPLICATION = 0x6D686F74  # "mhot", by which SQLite's files tell whose they are
FORMAT = 1
WAIT_SECONDS = 5  # for another process that writes
LONGEST = 200  # letters of a class
MARKS = re.compile(r"[;|]|^\s*[\[({]|^\s|\s$")  # what makes a cell more than one plain name
CHUNK = 1 << 18  # bytes of a ZIP sent at once
OWN = ("model", "labels", "answers")  # fields of a correction that are not of its row
TABLES = """
CREATE TABLE pictures (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time TEXT NOT NULL,         -- UTC, ISO 8601
    model TEXT NOT NULL,
    fingerprint TEXT NOT NULL,  -- of the model that answered
    row TEXT NOT NULL,          -- JSON: input -> text, or {"sha256": picture}
    answers TEXT NOT NULL,      -- JSON: target -> what the model answered
    labels TEXT NOT NULL        -- JSON: target -> class, or list of tags
);
"""
ENDINGS = (  # how the files of pictures begin, and what their names end in
    (b"\xff\xd8", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)

Row = Mapping[str, str | bytes]
P = ParamSpec("P")
T = TypeVar("T")
Labels = Mapping[str, str | list[str]]
Labelled = list[tuple[dict[str, Any], dict[str, Any]]]  # rows, each with its labels


class Entry(NamedTuple):
    """One correction or confirmation, before it is stored: `row` has text, or the bytes of a picture."""

    model: str
    fingerprint: str
    row: Row
    answers: Mapping[str, Any]
    labels: Labels


class Store:
    """The corrections of one file, which several servers may share; its methods may run in any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it.

        Raises:
            UserError: it can be neither, or is not a file of corrections.
        """
        self.path = path.absolute()  # SQLite keeps what is called :memory: nowhere
        self._lock = threading.Lock()
        try:
            self._open = self._connect()
            try:
                self._begin()
                self._opened = path.stat()
            except BaseException:
                self._open.close()
                raise
        except sqlite3.Error as error:
            raise UserError(
                f"--corrections {path}: cannot be opened ({error}). "
                "Name a new file in a folder that may be written to."
            ) from None

    def _connect(self) -> sqlite3.Connection:
        # Transactions are begun and ended by `with`; the lock keeps one thread at a time in them.
        return sqlite3.connect(self.path, timeout=WAIT_SECONDS, check_same_thread=False)

    def _begin(self) -> None:
        (mark,), (version,) = (
            self._open.execute(f"PRAGMA {key}").fetchone() for key in ("application_id", "user_version")
        )
        (tables,) = self._open.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and mark != APPLICATION:
            raise UserError(
                f"--corrections {self.path}: is a database of another program. "
                "Name a new file, which is then made."
            )
        if tables and version != FORMAT:
            raise UserError(
                f"--corrections {self.path}: was written by another version of manyhot (format {version}, "
                f"this one has {FORMAT}). Name a new file, or serve with that version."
            )
        self._open.execute("PRAGMA journal_mode=WAL")
        if not tables:
            self._open.executescript(
                f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id={APPLICATION}; "
                f"PRAGMA user_version={FORMAT}; COMMIT;"
            )

    def _check(self) -> None:
        """Refuse to go on in a file that nobody finds any more: SQLite would, and all would be lost."""
        try:
            there = os.path.samestat(self._opened, self.path.stat())
        except OSError:
            there = False
        if not there:
            raise HTTPException(
                503, f"{self.path.name} was removed or replaced while it is served; start the server again."
            )

    def close(self) -> None:
        """Close the file; a write that has begun ends first."""
        with self._lock:
            self._open.close()

    def add(self, entry: Entry) -> int:
        """Store an entry and return its number; it is on disk when this returns."""
        pictures = {
            hashlib.sha256(value).hexdigest(): value
            for value in entry.row.values()
            if isinstance(value, bytes)
        }
        row = {
            name: {"sha256": hashlib.sha256(value).hexdigest()} if isinstance(value, bytes) else value
            for name, value in entry.row.items()
        }
        values = (
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            entry.model,
            entry.fingerprint,
            json.dumps(row),
            json.dumps(entry.answers),
            json.dumps(entry.labels),
        )
        with self._lock, self._open as database:
            self._check()
            database.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?)", pictures.items())
            found = database.execute(
                "INSERT INTO corrections (time, model, fingerprint, row, answers, labels) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
        assert found is not None
        return found

    def remove(self, number: int) -> bool:
        """Undo an entry: it goes, and pictures that no other entry has. False where there is none."""
        if number.bit_length() > 63:  # no number of SQLite's
            return False
        with self._lock, self._open as database:
            self._check()
            found = database.execute(
                "DELETE FROM corrections WHERE id = ? RETURNING row", (number,)
            ).fetchone()
            for value in json.loads(found[0]).values() if found else ():
                if isinstance(value, dict):
                    database.execute(
                        "DELETE FROM pictures WHERE sha256 = ?1 "
                        "AND NOT EXISTS (SELECT 1 FROM corrections WHERE instr(row, ?1))",
                        (value["sha256"],),
                    )
        return found is not None

    def count(self) -> int:
        """Return how many rows have a label; several entries of one row count once."""
        with self._lock:
            self._check()
            query = "SELECT count(*) FROM (SELECT DISTINCT model, row FROM corrections)"
            return int(self._open.execute(query).fetchone()[0])

    def commands(self) -> list[str]:
        """Return the `fit` lines that read what `export` writes, for each model with two classes or more."""
        with self._lock:
            labelled = _by_model(self._open)
        found = [_command(_file_name(name, labelled), rows) for name, rows in labelled.items()]
        return [command for command in found if command]

    def export(self, file: IO[bytes]) -> None:
        """Write a ZIP of a CSV for each model and the folder pictures/, which `fit` reads as they are.

        The rows are new ones, in no split: none is taken for a row that an older table kept for testing.
        """
        self._check()
        with closing(self._connect()) as database, zipfile.ZipFile(file, "w") as archive:
            database.execute("BEGIN")  # what is stored meanwhile waits for the next export
            pictures: dict[str, str] = {}
            for key, content in database.execute("SELECT sha256, content FROM pictures ORDER BY rowid"):
                pictures[key] = f"pictures/{key[:20]}{_ending(content)}"
                archive.writestr(pictures[key], content)
            labelled = _by_model(database)
            for name, rows in labelled.items():
                with archive.open(_file_name(name, labelled), "w") as out:
                    _write_csv(rows, pictures, out)


def routes(store: Store, models: Mapping[str, Served]) -> list[Route]:
    """Return what a server answers under /corrections."""

    async def add(request: Request) -> Response:
        entry = await _entry(request, models)
        return JSONResponse({"id": await _beside(store.add, entry)}, 201)

    async def remove(request: Request) -> Response:
        number = request.path_params["number"]
        if not await _beside(store.remove, number):
            raise HTTPException(404, f"There is no correction {number}; it may have been undone already.")
        return JSONResponse({"id": number})

    async def count(_: Request) -> Response:
        rows, commands = await _beside(lambda: (store.count(), store.commands()))
        return JSONResponse({"count": rows, "commands": commands})

    async def export(_: Request) -> Response:
        file = await _beside(_exported, store)
        headers = {"Content-Disposition": 'attachment; filename="corrections.zip"'}
        return StreamingResponse(_chunks(file), media_type="application/zip", headers=headers)

    return [
        Route("/corrections", add, methods=["POST"]),
        Route("/corrections/count", count),
        Route("/corrections/{number:int}", remove, methods=["DELETE"]),
        Route("/corrections.zip", export),
    ]


async def _beside(call: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Run what reads or writes the file beside the event loop."""
    try:
        return await run_in_threadpool(call, *args, **more)
    except (sqlite3.Error, OSError) as error:
        raise busy(f"The corrections' file cannot be used now ({error}).") from None


def _exported(store: Store) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed once it is sent
    try:
        store.export(file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


async def _entry(request: Request, models: Mapping[str, Served]) -> Entry:
    """Return what a form says: the fields of one row, as /predict has them, and OWN behind them.

    Raises:
        UserError: the form is not that.
    """
    form = await form_of(request)
    # Of fields called alike the last: a row may have a column "model".
    own = {name: place for place, (name, value) in enumerate(form) if name in OWN and isinstance(value, str)}
    said = {name: str(form[place][1]) for name, place in own.items()}
    name = said.get("model", next(iter(models)) if len(models) == 1 else "")
    if not name:
        raise UserError(f'Name the model in a field "model"; there are {listed(models)}.')
    if name not in models:
        raise UserError(
            f"There is no model '{shortened(name)}'{suggest(name, models)}; there are {listed(models)}."
        )
    served = models[name]
    labels = checked_labels(served.schema, said.get("labels", ""))
    answers = _object("answers", said.get("answers", "{}"))
    found = of_form(served.schema, [part for place, part in enumerate(form) if place not in own.values()])
    if len(found) != 1:
        raise UserError(f"The form has {len(found)} rows; send a correction for each.")
    if isinstance(found[0], str):
        raise UserError(f"The row {found[0]}.")
    _, noticed = await run_in_threadpool(to_x, served.one.inputs, found)
    if noticed.reasons():  # it would spoil the table for `fit`
        raise UserError(f"The row cannot be kept: {noticed.reasons()[0]}.")
    return Entry(
        name, served.fingerprint, {key: _kept(value) for key, value in found[0].items()}, answers, labels
    )


def _kept(value: Value) -> str | bytes:
    return value if isinstance(value, bytes) else "" if value is None else str(value)


def checked_labels(schema: Schema, text: str) -> dict[str, str | list[str]]:
    """Read the field `labels`. A class may be new: that is what the model is to learn."""
    labels = _object("labels", text)
    if not labels:
        raise UserError('The field "labels" says nothing. Send {"TARGET": "CLASS"}, of tags a list.')
    targets = {target.name: target for target in schema.targets}
    for name, label in labels.items():
        if name not in targets:
            raise UserError(
                f"There is no target '{name}'{suggest(name, targets)}; there are {listed(targets)}."
            )
        single = targets[name].exclusive
        known = targets[name].classes
        labels[name] = label = _as_known(label, known)
        words = [label] if single else label
        if not isinstance(words, list) or not all(word in known or _is_name(word) for word in words):
            wanted = "one class" if single else "a list of tags"
            raise UserError(
                f"labels: '{name}' must be {wanted}; each a text of 1 to {LONGEST} letters on one line."
            )
    return labels


def _as_known(label: Any, classes: Sequence[str]) -> Any:
    """Return a class, or a list of tags, as training had those that are only written otherwise."""
    if isinstance(label, list):
        return [_as_known(word, classes) for word in label]
    place = by_meaning(classes)(label) if isinstance(label, str) else None
    return label if place is None else classes[place]


def _is_name(word: object) -> bool:
    return isinstance(word, str) and bool(word.strip()) and len(word) <= LONGEST and word.isprintable()


def _object(field: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f'The field "{field}" must be a JSON object, such as {{"TARGET": "CLASS"}}.')
    return found


def _by_model(database: sqlite3.Connection) -> dict[str, Labelled]:
    """Return by model its rows with their labels, as first met; the last word on each target holds."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for model, row, labels in database.execute("SELECT model, row, labels FROM corrections ORDER BY id"):
        found.setdefault(model, {}).setdefault(row, {}).update(json.loads(labels))
    return {
        model: [(json.loads(row), labels) for row, labels in rows.items()] for model, rows in found.items()
    }


def _write_csv(rows: Labelled, pictures: Mapping[str, str], out: IO[bytes]) -> None:
    """Write rows and labels as `fit` reads them: pictures as paths, several tags in one cell."""
    from manyhot.data.sources.write import write_to  # pyarrow is not for those who only answer
    from manyhot.data.table import from_python

    columns: dict[str, list[str | None]] = {}
    for number, (row, labels) in enumerate(rows):
        cells = {
            name: pictures[value["sha256"]] if isinstance(value, dict) else value
            for name, value in row.items()
        }
        for name, text in (cells | {name: _cell(label) for name, label in labels.items()}).items():
            columns.setdefault(name, [None] * len(rows))[number] = text
    write_to([from_python(columns)], out)


def _cell(label: str | list[str]) -> str:
    """Write a label as one cell: tags joined by ';', as JSON where one of them would be taken apart.

    >>> _cell("red"), _cell(["red", "round"]), _cell([]), _cell(["a;b"])
    ('red', 'red;round', '[]', '["a;b"]')
    """
    if isinstance(label, str):
        return label
    if not label or any(MARKS.search(tag) for tag in label):
        return json.dumps(label, ensure_ascii=False)
    return ";".join(label)


def _command(file: str, rows: Labelled) -> str:
    """Return the line that learns from a file of the export; "" where no target has two classes yet."""
    cells: dict[str, set[str]] = {}
    options: dict[str, list[str]] = {}
    for _, labels in rows:
        for name, label in labels.items():
            cells.setdefault(name, set()).add(_cell(label))
            if isinstance(label, list):
                options[name] = ["--tags", name]
            elif MARKS.search(label):  # one class, though it looks like tags
                options[name] = ["--target", name, "--kind", f"{name}=multiclass"]
            else:
                options.setdefault(name, ["--target", name])
    if not any(len(each) > 1 for each in cells.values()):
        return ""
    words = [
        option
        for name, each in cells.items()
        for option in (options[name] if len(each) > 1 else ["--kind", f"{name}=ignore"])
    ]
    return shlex.join(["manyhot", "fit", file, *words, "--out", "corrected"])


def _file_name(model: str, models: Mapping[str, Any]) -> str:
    """Return the name of a model's CSV in the export; of several each has its model's name in it."""
    if len(models) == 1:
        return "corrections.csv"
    plain = {name: re.sub(r"[^\w.-]+", "_", name) for name in models}
    same = [name for name in models if plain[name] == plain[model]]
    return f"corrections-{plain[model]}{f'-{same.index(model) + 1}' if len(same) > 1 else ''}.csv"


def _ending(content: bytes) -> str:
    """Return what the name of a picture's file ends in, by its first bytes."""
    if content[8:12] == b"WEBP":
        return ".webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return ".avif"
    return next((ending for start, ending in ENDINGS if content.startswith(start)), ".jpg")
