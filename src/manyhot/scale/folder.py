"""Many inputs answered into a folder: paths come in, a file of answers for each and `_DONE` leave.

`manyhot.answer_folder` and `manyhot predict` call it. The plan of a run is written first (`_run/run.json`);
the same call again goes on with what is not done, and so do others that take a part each, on any machine.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyhot import bundle as bundles
from manyhot import files, predict
from manyhot.classifier import as_path
from manyhot.data.inputs.noticed import Noticed, together
from manyhot.data.sources.read import check_options
from manyhot.data.sources.remote import as_local, is_remote
from manyhot.errors import RunError, UserError, listed, shortened
from manyhot.judge import importance_in
from manyhot.machine import given_cores, half_of_memory
from manyhot.progress import Lines
from manyhot.scale.engines import Results, engine_of
from manyhot.scale.job import Job, Record
from manyhot.scale.units import PLAN, RUN, Unit, units_of

log = logging.getLogger("manyhot")

DONE = "_DONE"
TOTALS = ("rows", "tables", "pictures", "unreadable", "seconds")
BYTES, PICTURES = 8 << 20, 300  # of work for which another process is worth the seconds that it starts in
PROCESSES = 4  # times the cores, above which more processes only take memory
MAX_NAMED = 20  # failed inputs that are told one by one


@dataclass(frozen=True)
class Answered:
    """What a folder of answers holds.

    rows, tables, pictures, unreadable  how many rows there are, in how many tables, how many of them are
                 pictures, and how many have no answer
    failed       inputs that could not be answered → why
    new          how many inputs were answered now
    waiting      how many inputs others are to answer, of another part
    seconds      that answering took, of all processes together
    """

    rows: int = 0
    tables: int = 0
    pictures: int = 0
    unreadable: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    new: int = 0
    waiting: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether all is answered."""
        return not self.failed and not self.waiting


def answer_folder(
    model: str | Path,
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    workers: int | None = None,
    part: str | None = None,
    engine: str = "local",
    overwrite: bool = False,
    root: str | Path | None = None,
    header: str | None = None,
    sheet: str | None = None,
    maps: Mapping[str, str | Path] | None = None,
    verbose: bool = True,
) -> Answered:
    """Answer tables, folders of tables and of pictures, and pictures into a folder; the same again goes on.

    A table has a file of answers of its name, pictures one for 2,048 by sorted path. An input that cannot be
    answered is logged and stands in `failed`; all others are answered.

    Args:
        model: a folder that `fit` wrote, or a file that `export` wrote.
        inputs: paths, and URIs of tables such as "s3://bucket/folder".
        workers: processes; as many as the work is worth, unless they are said.
        part: "3/8" takes every eighth input, from the third on; `_DONE` comes with the last part.
        engine: "local", or "dask" or "ray" for the workers of a cluster.
        root, header, sheet, maps: how tables are read; see `read`.

    Raises:
        UserError: an input or an option is wrong, or `out` holds answers of another model or of other inputs
            and `overwrite` is False.
        RunError: there is no room for the answers, or the model or the plan was changed meanwhile.
    """
    named = [inputs] if isinstance(inputs, str | Path) else [*inputs]
    if is_remote(out):
        raise UserError(f"--out {out}: answers are written to a disk. Name a folder, and copy it from there.")
    path, place = as_path(model).absolute(), as_path(out)
    folder = place.absolute()
    if not named:
        raise UserError("no INPUT is named. Name tables, folders, or pictures.")
    share = _part(part)
    answering = engine_of(engine)
    _check_workers(workers, engine)
    base = check_options(root, header)
    options = {"root": base and base.absolute(), "header": header, "sheet": sheet, "maps": _absolute(maps)}
    schema, identity = bundles.identity(as_path(model))
    units, notes = units_of([*map(str, named)], schema.is_image, folder, base)
    for note in notes:
        log.info(note)
    job = Job(path, identity, folder, {name: value for name, value in options.items() if value})
    run = _Run(job, units, units[share[0] - 1 :: share[1]])
    left = run.plan(place, overwrite)
    noticed: dict[str, Noticed] = {}
    if left:
        results = answering(job, left, min(workers or _workers(left), len(left)))
        with Lines(verbose) as told, closing(results):
            for unit, found in run.follow(results, left, told):
                noticed[unit.name] = found
    _tell(noticed, {} if bundles.is_graph(path) else importance_in(path))
    return run.end()


class _Run:
    """A plan, and what has become of the units that are this process's `own`."""

    def __init__(self, job: Job, units: Sequence[Unit], own: Sequence[Unit]) -> None:
        self.job, self.own = job, own
        self.records: dict[str, Record] = {}
        self.failed: dict[str, str] = {}
        self.new = 0
        options = {name: _plain(value) for name, value in job.options.items()}
        inputs = [unit.to_json() for unit in units]
        self.document: dict[str, Any] = {"model": job.identity, "options": options, "inputs": inputs}

    @property
    def _path(self) -> Path:
        return self.job.out / RUN / PLAN

    def plan(self, out: Path, overwrite: bool) -> list[Unit]:
        """Write the plan, find out what is answered already, and return what is left.

        Raises:
            UserError: the folder holds something else, or, without `overwrite`, answers of another plan.
        """
        files.check_out(out, True)
        files.check_ours(out, (RUN,))
        with files.held(self.job.out / RUN, out, wait=True):
            old = self._old()
            why = self._difference(old)
            if why and not overwrite:
                raise UserError(f"{out} holds answers of {why}. Choose another --out, or pass --overwrite.")
            if overwrite:
                every = [item["name"] for item in (*old["inputs"], *self.document["inputs"])]
                for name in every if why else [unit.name for unit in self.own]:
                    self.job.forget(name)
            self.records = self._done(unit.name for unit in self.own)
            left = [unit for unit in self.own if unit.name not in self.records]
            if left or old != self.document:
                files.clear(self.job.out / DONE)
            if old != self.document:
                files.write_json(self._path, self.document)
        return left

    def _old(self) -> dict[str, Any]:
        """Return the plan that is there; one of no model where it is lost, or cannot be read."""
        with suppress(UserError):
            old = files.read_json(self._path)
            if isinstance(old, dict) and old.keys() == self.document.keys():
                return old
        return {"model": None, "inputs": [{"name": name} for name in self.job.recorded()]}

    def _done(self, names: Iterable[str]) -> dict[str, Record]:
        found = ((name, self.job.record(name)) for name in names)
        return {name: record for name, record in found if record is not None}

    def _difference(self, old: Mapping[str, Any]) -> str:
        """Say how what is answered differs from what is to be; inputs without answers may be others."""
        done = self._done(item["name"] for item in old["inputs"])
        if not done:
            return ""
        if old["model"] is None:
            return f"another run, whose plan ({RUN}/{PLAN}) cannot be read"
        if old["model"] != self.document["model"]:
            return "another model, or of this one before it was changed"
        if old["options"] != self.document["options"]:
            return "tables that were read with other options"
        now = {item["name"]: item for item in self.document["inputs"]}
        gone = [name for name in done if name not in now]
        if gone:
            return f"other inputs too, such as {listed(gone, 3)}"
        changed = [name for name, record in done.items() if record.input != now[name]]
        return f"{listed(changed, 3)} as it was, which has changed since" if changed else ""

    def follow(self, results: Results, left: Sequence[Unit], told: Lines) -> Iterator[tuple[Unit, Noticed]]:
        """Follow an engine, and give what was noticed of each unit.

        Raises:
            RunError: all others would fail as one did.
        """
        work, done, rows = sum(unit.bytes for unit in left), 0, 0
        for count, (unit, result) in enumerate(results, 1):
            if result.ends:
                raise RunError(
                    f"{result.failed.rstrip('.')}. What is answered stays; go on by the same command."
                )
            if result.record is None:
                self.failed[unit.name] = result.failed
                if len(self.failed) <= MAX_NAMED:
                    log.warning("%s has no answers: %s", unit.name, shortened(result.failed, 200))
            else:
                self.records[unit.name] = result.record
                self.new += 1
                rows += result.record.rows
            done += unit.bytes
            told.units(count, len(left), rows, done / work if work else count / len(left))
            if result.noticed is not None:
                yield unit, result.noticed

    def end(self) -> Answered:
        """Say what is answered; the run that finds all inputs of the plan answered writes `_DONE`.

        Raises:
            RunError: the folder was given another plan meanwhile.
        """
        done = self.job.out / DONE
        with files.held(self.job.out / RUN, done, wait=True):
            plan = self._old()
            if plan["model"] != self.document["model"] or plan["options"] != self.document["options"]:
                raise RunError(f"{self.job.out} was taken by another run, or removed. Start this one again.")
            found = self._done(item["name"] for item in plan["inputs"])
            waiting = len(plan["inputs"]) - len(found) - len(self.failed)
            if len(found) < len(plan["inputs"]):
                files.clear(done)
            elif not done.is_file():
                whole = self._sum(found.values())
                files.write_json(done, {name: getattr(whole, name) for name in TOTALS})
        return self._sum(self.records.values(), waiting)

    def _sum(self, records: Iterable[Record], waiting: int = 0) -> Answered:
        every = [*records]
        pictures = [record.rows for record in every if record.input["pictures"]]
        return Answered(
            rows=sum(record.rows for record in every),
            tables=len(every) - len(pictures),
            pictures=sum(pictures),
            unreadable=sum(record.unreadable for record in every),
            failed=self.failed,
            new=self.new,
            waiting=waiting,
            seconds=round(sum(record.seconds for record in every), 3),
        )


def _part(text: str | None) -> tuple[int, int]:
    """Read which part of how many."""
    if text is None:
        return 1, 1
    first, slash, count = str(text).partition("/")
    numbers = (int(first), int(count)) if first.isdecimal() and count.isdecimal() else (0, 0)
    if not slash or not 1 <= numbers[0] <= numbers[1]:
        raise UserError(f"--part {text}: must be I/N, such as 3/8, with I from 1 to N.")
    return numbers


def _check_workers(workers: int | None, engine: str) -> None:
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise UserError(f"--workers must be a whole number from 1 on, got {workers}.")
    most = PROCESSES * given_cores()
    if workers is not None and engine == "local" and workers > most:
        raise UserError(
            f"--workers {workers}: this machine has {given_cores()} cores; say at most {most}, or spread the "
            "inputs over machines with --part."
        )


def _workers(units: Any) -> int:
    """Return how many processes some units are worth: each takes seconds to start, and memory."""
    work = sum(len(u.pictures) / PICTURES if u.pictures else u.bytes / BYTES for u in units)
    return max(1, min(int(work), given_cores(), int(half_of_memory())))


def _absolute(maps: Mapping[str, str | Path] | None) -> dict[str, str]:
    """Return the paths of --map for processes that are elsewhere."""
    return {
        column: str(path) if is_remote(path) else str(Path(as_local(str(path))).absolute())
        for column, path in (maps or {}).items()
    }


def _plain(value: Any) -> Any:
    """Return what two runs must share of an option: of --map what its tables are."""
    if isinstance(value, Mapping):
        return {column: Unit("", path).stamped().changed for column, path in value.items()}
    return str(value)


def _tell(noticed: Mapping[str, Noticed], rises: Any) -> None:
    """Say what was noticed of all inputs together, and which lack a column that others have."""
    whole = together(noticed.values())
    predict.tell(whole, rises)
    told = {line.text for line in whole.lines(rises)}
    apart: dict[str, list[str]] = defaultdict(list)
    for name, found in noticed.items():
        for line in found.without(rises):
            if line.text not in told:
                apart[line.text].append(name)
    for text, names in apart.items():
        log.warning("%s: %s", listed(names, 3), text)
