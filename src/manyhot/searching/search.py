"""A table enters; the best of many models, and what mattered for it, leave.

`search` is what the command line and Python call. Each trial is a `fit` of the same rows, with the same held
out; the first has all defaults, so that the best is never worse than that by the held-out rows. Test rows
choose nothing: they judge the best alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import pickle
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from manyhot import files, metrics, notebook
from manyhot.classifier import Classifier, as_path, load
from manyhot.config import HERE, FitConfig
from manyhot.data.columns import split_of
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.table import Table
from manyhot.errors import ManyhotError, RunError, UserError, WriteError, listed, shortened
from manyhot.fitting import fit, opened
from manyhot.machine import num_cores
from manyhot.notebook import number
from manyhot.progress import Lines
from manyhot.schema import Schema
from manyhot.searching.journal import TRIALS, Journal, quiet
from manyhot.space import Dimension, Trials, best_of, settings_of, space
from manyhot.train.loop import OnEvent
from manyhot.train.prepare import labels, settings
from manyhot.train.validation import monitored

RECORD, MODEL, PAGE = "search.json", "model", "search.html"
VERSION = 1  # of the record
WATCHED = 0.5  # seconds between two looks at what other processes have done
STANDARD_OUTPUT = 1  # of a process that is started, by which it tells why it ended
STARTS = 3  # times that a process is started again
WORKER = "from manyhot.searching.search import work; work()"


@dataclass(frozen=True)
class Search(Trials):
    """The trials, and the `folder` of the best model (`model`), the page (search.html) and the journal."""

    folder: Path

    @cached_property
    def model(self) -> Classifier:
        """The best model."""
        return load(self.folder / MODEL, verbose=False)

    @property
    def command(self) -> str:
        """The command that trains the best model again, of data that is read as a file says by itself."""
        kept = [f"{self.folder / MODEL / name}.json" for name in ("schema", "config")]
        options = ["--schema", kept[0], "--config", kept[1], "--out", "MODEL"]
        return shlex.join(["manyhot", "fit", self.source, *options])

    @property
    def notes(self) -> list[str]:
        """What people should know of the scores."""
        done = sum(each.state == "done" for each in self.trials)
        if self.best is None or self.best.number == 1:
            return ["no trial was better than the default by the held-out rows."] if done > 1 else []
        said = f"the best of {done} by the same held-out rows looks better than it is, since some is luck"
        if self.test is None:
            return [f"{said}; rows kept back by --test 0.2 would say how good it is."]
        return [f"{said}; the test rows, which chose nothing, say how good it is."]

    def details(self) -> dict[str, Any]:
        """Return the document of `search --json`."""
        return {
            "out": str(self.folder),
            "model": str(self.folder / MODEL),
            "score": self.score,
            "best": None if self.best is None else self.best.to_json(),
            "default": self.default.to_json(),
            "importance": dict(self.importance),
            "test": self.test,
            "trials": [each.to_json() for each in self.trials],
            "notes": self.notes,
        }

    def __repr__(self) -> str:
        best = self.best
        return notebook.lines(
            f"Search of {len(self.trials)} trials in {self.folder}",
            "no trial is finished" if best is None else f"best {self.score} {number(best.score)}",
        )


@dataclass
class Job:
    """All that a process needs to do its share of the trials.

    config   the settings of the default
    options  those that somebody gave, which are not searched
    """

    folder: Path
    table: Table
    schema: Schema
    options: Mapping[str, Any]
    config: FitConfig
    space: Sequence[Dimension]
    trials: int
    told: set[int] = field(default_factory=set)

    @property
    def maximize(self) -> bool:
        """Whether more of the score is better."""
        target, name = self.config.monitored
        return bool(target) and metrics.higher_is_better(name)

    @property
    def score_name(self) -> str:
        """What the score is called."""
        target, name = self.config.monitored
        return f"held-out {f'{name} of {target}' if target else name}"

    def score(self, scores: Mapping[str, Any]) -> float:
        """Return the score by which models are chosen; NaN where it cannot be measured."""
        value = monitored(scores, self.config, math.nan)
        return value if self.maximize else -value

    def journal(self, limit: int | None = None) -> Journal:
        """Open the trials of the folder."""
        config = self.config
        how = (self.maximize, self.trials if limit is None else limit, config.epochs, config.seed)
        return Journal(self.folder, self.space, *how)

    def found(self, journal: Journal, test: Mapping[str, Any] | None = None) -> Search:
        """Return what was found so far."""
        how = (self.score_name, self.maximize, self.space, journal.trials(), journal.importance(), test)
        return Search(self.table.source, *how, self.folder)


class _PrunedError(Exception):
    """A trial whose epochs are worse than those of others."""


def search(
    data: object,
    schema: Schema | str | Sequence[str] | None = None,
    *,
    out: str | Path,
    trials: int = 20,
    workers: int = 1,
    overwrite: bool = False,
    positive: object = None,
    on_event: OnEvent | None = None,
    progress: Progress | None = None,
    verbose: bool = True,
    **options: Any,
) -> Search:
    """Find the settings with which `fit` answers held-out rows best, and keep that model in OUT/model.

    The same call goes on where it was stopped, or killed, and shares the trials with other processes that are
    at work on `out`.

    Args:
        out: a folder for the best model, the page about the search and its journal.
        trials: how many in all, those of earlier calls among them; the first has all defaults.
        workers: processes, which share the processor's cores.
        overwrite: forget another search that is in `out`.
        on_event: is called with a line of the kind "trial" for each that ended, by any process, and with
            those of `fit` meanwhile, as `line` in one of the kind "trying".
        options: fields of FitConfig; what is given is not searched. `monitor` names the score that chooses.

    Raises:
        UserError: the data or an option cannot be used, or `out` holds another search.
        RunError: no trial could be finished, or the disk is full.
    """
    for option, count in (("--trials", trials), ("--workers", workers)):
        if count < 1:
            raise UserError(f"{option} must be at least 1, got {count}.")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("torchrun shares one fit; a search is shared by --workers, or by starting it again.")
    folder = as_path(out)
    _check_folder(folder)
    with quiet():
        options, table, schema = opened(data, schema, positive, options)
        if options.get("start"):
            raise UserError("start: each trial trains from nothing; leave it out.")
        config = settings(table, schema, options)
        dimensions = space(config, schema, options)
        if not dimensions:
            raise UserError("every setting that is searched is given; leave one out, or use `manyhot fit`.")
        record = _record(table, schema, options, dimensions)
        with files.held(folder, folder, wait=True):
            _begin(folder, record, overwrite)
        dimensions = tuple(map(Dimension.from_json, files.read_json(folder / RECORD)["space"]))
        job = Job(folder, table, schema, options, config, dimensions, trials)
        told = Lines(verbose and on_event is None and progress is None)
        with told:
            try:
                return _run(job, workers, on_event or told.on_event, progress or told.reading)
            except UserError:
                if not (folder / MODEL).exists():
                    files.clear(folder)
                raise


def _run(job: Job, workers: int, on_event: OnEvent, progress: Progress) -> Search:
    """Do all trials, and judge the best by the test rows."""
    journal = job.journal()
    job.told |= {each.number for each in journal.trials() if each.state != "running"}
    if workers == 1 or not job.told:
        # What is wrong with the data is told by the first, and pictures are decoded once for all.
        _work(job, journal if workers == 1 else job.journal(limit=1), on_event, progress)
    if workers > 1:
        _share(job, journal, workers, on_event)
    _settle(job, journal)
    found = job.found(journal)
    if found.best is None:
        why = next((each.why for each in found.trials if each.why), "all were pruned")
        raise RunError(f"no trial of {len(found.trials)} was finished: {why}")
    parts = split_of(job.table)
    if job.config.test or (parts is not None and (parts == "test").any()):
        found = job.found(journal, found.model.evaluate(job.table, split="test"))
    _draw(found)
    return found


def _work(job: Job, journal: Journal, on_event: OnEvent, progress: Progress) -> None:
    """Take trials until none is left, and none is under way elsewhere."""
    while True:
        with journal.taken() as trial:
            if trial is not None:
                _try(job, journal, trial, on_event, progress)
        if trial is not None:
            _settle(job, journal)
        _tell(job, journal, on_event)
        if trial is None:
            if not journal.is_running():
                return
            time.sleep(WATCHED)


def _try(job: Job, journal: Journal, trial: Any, on_event: OnEvent, progress: Progress) -> None:
    """Train one model, or go on with it, until it is done, or worse than others."""
    started = time.perf_counter()

    def heard(line: Mapping[str, Any]) -> None:
        place = {"trial": trial.number + 1, "trials": job.trials, "epochs": job.config.epochs}
        on_event({"kind": "trying", **place, "line": line})
        if line["kind"] != "epoch":
            return
        value = job.score(line["validation"])
        if not math.isnan(value) and not journal.report(trial, line["epoch"], value):
            raise _PrunedError

    out = journal.place(trial.number + 1) / MODEL
    ended: dict[str, Any] = {}
    try:
        own = settings_of(job.space, trial.params)
        how: dict[str, Any] = {"on_event": heard, "progress": progress, **job.options, **own}
        fit(job.table, job.schema, out=out, resume=True, begin=lambda *said: None, verbose=False, **how)
        scores = files.read_json(out / "metrics.json")
        value = job.score(scores)
        ended = {"why": "its score cannot be measured"} if math.isnan(value) else {"score": value}
    except _PrunedError:
        ended = {"pruned": True}
    except (RuntimeError, UserError, MemoryError) as error:
        if isinstance(error, WriteError) or isinstance(error.__context__, WriteError):
            raise  # there is no room, for the next trial neither
        if isinstance(error, UserError) and trial.number == 0:
            raise
        why = error.typed if isinstance(error, ManyhotError) else str(error)
        ended = {"why": shortened(" ".join(why.split()) or type(error).__name__, 300)}
    journal.finish(trial, seconds=time.perf_counter() - started, **ended)


def _settle(job: Job, journal: Journal) -> None:
    """Keep the model of the best trial alone, and draw the page, also after a kill in the midst of it."""
    with journal.alone():
        found = job.found(journal)
        for trial in found.trials:
            place = journal.place(trial.number)
            if trial.state == "running" or not place.exists():
                continue
            if trial == found.best and (place / MODEL).exists():
                files.clear(job.folder / MODEL)
                (place / MODEL).replace(job.folder / MODEL)
            with suppress(OSError):  # another process still has it open, where open files stay
                files.clear(place)
        _draw(found)


def _draw(found: Search) -> None:
    from manyhot.report import searched  # drawing needs time, so only here

    files.write_text(found.folder / PAGE, searched.render(found, found.command, found.notes))


def _tell(job: Job, journal: Journal, on_event: OnEvent) -> None:
    """Tell of the trials that have ended, here or elsewhere."""
    trials = journal.trials()
    for each in trials:
        if each.state != "running" and each.number not in job.told:
            job.told.add(each.number)
            best = best_of([other for other in trials if other.number in job.told], job.maximize)
            line = {"trial": each.number, "trials": job.trials, "state": each.state, "score": each.score}
            line |= {"name": job.score_name, "seconds": each.seconds, "why": each.why}
            on_event({"kind": "trial", **line, "best": best and (best.number, best.score)})


def _share(job: Job, journal: Journal, workers: int, on_event: OnEvent) -> None:
    """Start processes that do the trials, and again those that end before their time; tell what they do."""
    threads = max(1, num_cores() // workers)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    given = pickle.dumps(job)

    def started() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # so that Ctrl-C reaches this process alone, which ends that one
        )
        assert process.stdin is not None, "it is a pipe"
        with suppress(BrokenPipeError):  # it has ended, which is seen below
            process.stdin.write(given)
            process.stdin.flush()
        return process

    running, again = [started() for _ in range(workers)], STARTS * workers
    try:
        while running:
            time.sleep(WATCHED)
            _tell(job, journal, on_event)
            for process in [each for each in running if each.poll() is not None]:
                running.remove(process)
                said = process.communicate()[0].decode()
                if said:
                    raise RunError(said)
                if process.returncode and again:
                    again -= 1
                    running.append(started())
    finally:
        for process in running:
            process.kill()  # what it was at goes on from its last epoch
            process.communicate()
    left = job.trials - sum(each.state != "running" for each in journal.trials())
    if left > 0:
        raise RunError(
            f"{left} of {job.trials} trials are left: their processes were ended {STARTS * workers} times, "
            "perhaps for want of memory. The same command goes on; fewer --workers need less."
        )


def work() -> None:
    """Do the trials of the job that comes on standard input, until its other end is closed."""
    job: Job = pickle.load(sys.stdin.buffer)

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    logging.getLogger("manyhot").setLevel(logging.ERROR)
    try:
        with quiet():
            _work(job, job.journal(), lambda line: None, lambda done, rows: None)
    except ManyhotError as error:  # the disk is full, say; for the process that started this one
        os.write(STANDARD_OUTPUT, error.typed.encode())


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else, or cannot be made."""
    files.check_out(folder, overwrite=True)
    if not (folder.is_dir() and {path.name for path in folder.iterdir()} == {files.LOCK}):  # barely begun
        files.check_ours(folder, (RECORD,))


def _record(
    table: Table, schema: Schema, options: Mapping[str, Any], dimensions: Sequence[Dimension]
) -> dict[str, Any]:
    """Return what tells one search from another."""
    digest = hashlib.sha256(row_hashes(schema, table).tobytes())
    policy = str(options.get("unknown_class", "error"))
    for values in labels(table, schema, policy).values():
        digest.update(np.ascontiguousarray(values).tobytes())
    parts = split_of(table)
    digest.update(b"" if parts is None else "".join(parts).encode())
    plain: dict[str, Any] = json.loads(
        json.dumps(
            {
                "version": VERSION,
                "rows": len(table),
                "data": digest.hexdigest(),
                "schema": schema.to_json(),
                "settings": {name: value for name, value in options.items() if name not in HERE},
                "space": [each.to_json() for each in dimensions],
            }
        )
    )
    return plain


def _begin(folder: Path, record: Mapping[str, Any], overwrite: bool) -> None:
    """Write the record of a new search, or see that the one that is there is of the same search."""
    path = folder / RECORD
    if path.exists() and not overwrite:
        there = files.read_json(path)
        differs = "another release" if not isinstance(there, dict) else _difference(there, record)
        if differs:
            raise UserError(
                f"{folder} holds a search of {differs}. Choose another --out, or pass --overwrite to forget "
                "that search."
            )
        return
    if path.exists():
        for place in folder.glob(f"{TRIALS}/*/{files.LOCK}"):
            with files.held(place.parent, folder):
                pass  # another process at work on it is told of here
        files.empty(folder)
    files.write_json(path, record)


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Say in which way a search is another one; "" where it is the same."""
    if there.get("version") != here["version"]:
        return "another release of manyhot"
    names = [[each["name"] for each in one["schema"]["targets"]] for one in (there, here)]
    if names[0] != names[1]:
        return f"{listed(names[0])}, not of {listed(names[1])}"
    if there["rows"] != here["rows"]:
        return f"other data: {there['rows']:,} rows, not {here['rows']:,}"
    if there["schema"] != here["schema"]:
        return "other inputs or classes"
    if there["data"] != here["data"]:
        return "other data: cells, labels or pictures have changed"
    for name in sorted({*there["settings"], *here["settings"]}):
        was, now = (one["settings"].get(name, "found out") for one in (there, here))
        if was != now:
            return f"other settings: {name} is {was} there, and {now} here"
    return ""
