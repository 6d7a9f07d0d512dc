"""One unit is answered: it comes in, a file of answers is there, and what became of it leaves.

The workers of every engine call a Job. That a row is answered once is seen to here, so that an engine may do
a unit twice, or lose it: a unit is held while it is answered, its file is written beside and renamed, and the
record, which comes last, says that it is done.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from manyhot import bundle as bundles
from manyhot import files, predict
from manyhot.classifier import Classifier, load
from manyhot.data.inputs.noticed import Noticed
from manyhot.data.sources.pieces import num_rows
from manyhot.data.sources.read import options_of, read
from manyhot.data.sources.remote import here
from manyhot.data.sources.write import write
from manyhot.data.table import NoRowsError, Table
from manyhot.errors import ManyhotError, RunError, UserError, WriteError
from manyhot.scale.units import RUN, Unit

INPUTS = "inputs"  # in the folder RUN: what is recorded of each unit


@dataclass(frozen=True)
class Record:
    """What is recorded of a unit that is done: rows, those without an answer, seconds, what it was."""

    rows: int
    unreadable: int
    seconds: float
    input: Mapping[str, object]


@dataclass(frozen=True)
class Result:
    """What became of a unit: its record, or why it `failed`; what was `noticed`, where that was now.

    `ends` says that all others would fail likewise, for want of room or of the model.
    """

    record: Record | None = None
    failed: str = ""
    noticed: Noticed | None = None
    ends: bool = False


@dataclass(frozen=True)
class Job:
    """What every unit is answered by; it is pickled for the processes that do so.

    model     the path of the model
    identity  what the model was when the run was planned
    out       the folder of the answers
    options   how tables are read, as keywords of `read`
    """

    model: Path
    identity: str
    out: Path
    options: Mapping[str, Any]

    def __call__(self, unit: Unit) -> Result:
        """Answer a unit, unless it is done, and say what became of it; no input raises anything."""
        try:
            classifier = _loaded(self.model, self.identity)
        except ManyhotError as error:
            return Result(failed=error.typed, ends=True)
        work = self._work(unit.name)
        try:
            with files.held(work, self.out / unit.name, wait=True):
                done = self.record(unit.name)
                result = Result(done) if done is not None else self._attempt(classifier, unit)
                if not result.ends:
                    files.clear(work)
                return result
        except Exception as error:
            return _failed(error)

    def record(self, name: str) -> Record | None:
        """Return what is recorded of the unit of this name; None where it is still to be answered."""
        record = _read_record(self._record(name))
        return record if record is not None and (self.out / name).is_file() else None

    def recorded(self) -> list[str]:
        """Return the names of all units that are recorded, of whatever run."""
        found = map(_read_record, (self.out / RUN / INPUTS).glob("*.json"))
        return [str(record.input["name"]) for record in found if record is not None]

    def forget(self, name: str) -> None:
        """Remove the answers of the unit of this name, and all that is known of it."""
        for path in (self._record(name), self._work(name), self.out / name):
            files.clear(path)

    def _record(self, name: str) -> Path:
        return self._work(name).with_suffix(".json")

    def _work(self, name: str) -> Path:
        """Return the folder that is held by whoever answers a unit, and holds what is half done.

        It is called by a hash of the name, which is never too long, nor the name of another one's record.
        """
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
        return self.out / RUN / INPUTS / digest

    def _attempt(self, classifier: Classifier, unit: Unit) -> Result:
        try:
            return self._answer(classifier, unit)
        except Exception as error:
            return _failed(error)

    def _answer(self, classifier: Classifier, unit: Unit) -> Result:
        began = time.monotonic()
        out = self.out / unit.name
        made = self._work(unit.name) / f"answers{out.suffix}"
        rows, noticed = self._rows(classifier, unit, made)
        if unit.stamped().to_json() != unit.to_json():
            raise UserError(f"{unit.source}: has changed since the run began.")
        files.place(made, out)
        record = Record(rows, len(noticed.unreadable), round(time.monotonic() - began, 3), unit.to_json())
        files.write_json(self._record(unit.name), asdict(record))
        return Result(record, noticed=noticed.counted())

    def _rows(self, classifier: Classifier, unit: Unit, out: Path) -> tuple[int, Noticed]:
        """Write the answers of a unit; return how many rows there are, and what was noticed of them."""
        try:
            if unit.pictures is not None:
                return self._whole(classifier, unit.pictures, out)
            if classifier.in_pieces(Path(unit.source)) and not self.options.get("maps"):
                with here(unit.source) as path:
                    return num_rows(path), classifier.answer_pieces(path, out, resume=True)
            table = self._read(unit.source)
            if classifier.in_pieces(table):
                return len(table), classifier.answer_pieces(table, out, resume=True)
            return self._whole(classifier, table, out)
        except NoRowsError as error:
            schema = classifier.schema
            write(predict.answers(schema, error.table, predict.Predicted(predict.nothing(schema))), out)
            return 0, Noticed()

    def _read(self, source: str) -> Table:
        says, path = ("header", "sheet"), Path(source)
        without = [name for name in says if path.is_dir() or name not in options_of(path)]
        return read(source, **{name: value for name, value in self.options.items() if name not in without})

    def _whole(self, classifier: Classifier, table: Table, out: Path) -> tuple[int, Noticed]:
        predicted = predict.predict(classifier.bundle, table)
        write(predict.answers(classifier.schema, table, predicted), out)
        return len(table), predicted.noticed


def _read_record(path: Path) -> Record | None:
    with suppress(UserError, TypeError):  # it is not there, or was changed by somebody
        return Record(**files.read_json(path))
    return None


def _failed(error: Exception) -> Result:
    """Say why a unit failed, which no other one shall suffer from, unless there is no room for any."""
    if isinstance(error, ManyhotError):
        reason = error.typed
    elif isinstance(error, OSError) and error.strerror:
        reason = f"{error.filename}: {error.strerror}"
    else:
        reason = f"{type(error).__name__}: {error}"
    return Result(failed=reason, ends=isinstance(error, WriteError))


@lru_cache(maxsize=1)
def _loaded(model: Path, identity: str) -> Classifier:
    """Load a model once in a process.

    Raises:
        RunError: it is not the one that the run began with.
    """
    if bundles.identity(model)[1] != identity:
        raise RunError(f"{model} has changed since the run began.")
    return load(model, verbose=False)
