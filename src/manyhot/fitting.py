"""Training: rows come in, a Classifier leaves.

`manyhot.fit`, the command line and the estimator call `fit`. The stages of a run stand in `train.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from manyhot import bundle as bundles
from manyhot import files
from manyhot.classifier import Classifier, as_path, as_table, load
from manyhot.config import APART, FitConfig, parse_options
from manyhot.data import disk
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.rows import split
from manyhot.data.rows.infer import OPTIONS as READING
from manyhot.data.rows.infer import infer
from manyhot.data.table import Table
from manyhot.device import described, kept_promise, left_as_found, pick, use, warm_up
from manyhot.errors import RunError, UserError, WriteError
from manyhot.model.network import build
from manyhot.progress import Lines
from manyhot.resolve import estimate
from manyhot.schema import Schema
from manyhot.starting import GoingOn, going_on
from manyhot.targets import with_positive
from manyhot.train import distributed
from manyhot.train.checkpoint import Checkpoints
from manyhot.train.distributed import World
from manyhot.train.loop import OnEvent
from manyhot.train.prepare import prepare
from manyhot.train.prepared import Prepared
from manyhot.train.run import Training, run

CHECKPOINTS = "checkpoints"  # a folder in that of the model, while it is under way


def fit(
    data: object,
    schema: Schema | str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    start: Classifier | str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    positive: object = None,
    begin: Callable[[FitConfig, str], None] | None = None,
    on_event: OnEvent | None = None,
    progress: Progress | None = None,
    verbose: bool = True,
    **options: Any,
) -> Classifier:
    """Train a classifier.

    How far it is appears on standard error, on a terminal and in a notebook in one line that changes, unless
    `verbose` is False or one of the three callbacks is given.

    Args:
        data: a Table, or anything that `manyhot.read` reads.
        schema: from `manyhot.infer`, or the names of the target columns.
        out: a folder for the model, with checkpoints on the way; without it nothing is written
            until `save`.
        start: a model, or its folder, to go on from with new rows, which `data` holds alone or beside the old
            ones; see `starting.going_on`. Settings and schema are then those of the model.
        resume: go on from the newest checkpoint in `out`, where there is one.
        positive: the class that is meant by yes, which precision and recall are of, as {target: class}.
        begin: is called with the settings and an estimate of the time, before training starts.
        on_event: is called with each line of the history as it comes, with one of the kind "stage" as each
            begins, and of the kind "features" while rows pass through a network that does not learn.
        progress: is called with (done, all) while pictures are read, or rows of a table prepared.
        options: fields of FitConfig, such as `effort="fast"` or `epochs=5`.

    Raises:
        UserError: the data or an option cannot be used; nothing has been written.
        RunError: training failed, such as by a loss that is not finite.
    """
    going: GoingOn | None = None
    if start is not None:
        if schema is not None:
            raise UserError("schema: a model to go on from has one. Leave it out.")
        options = asked(options)
        going = going_on(start, as_table(data, options.get("memory")), options)
        table, schema = going.table, with_positive(going.schema, positive)
    else:
        options, table, schema = opened(data, schema, positive, options)
    folder = None if out is None else as_path(out)
    if folder is not None and resume and bundles.finished(folder):
        return load(folder, verbose)
    if folder is not None:
        if going is not None and Path(going.start.name) == folder.absolute():
            raise UserError(f"--out {folder}: is the model to go on from, which stays. Choose another --out.")
        files.check_out(folder, overwrite or resume)
        files.check_ours(folder, bundles.MARKS)
    told = Lines(verbose and begin is None and on_event is None and progress is None)
    begin, on_event = begin or told.begin, on_event or told.on_event
    wanted = options.get("device", "auto")
    device = pick(wanted)
    world = distributed.start(device)
    if folder is not None and world.leads and (folder / CHECKPOINTS).is_dir():
        with files.held(folder / CHECKPOINTS, folder):
            pass  # another run into it is told of here, before all has been read
    with left_as_found(device), told:
        warm_up(device, options.get("deterministic", False))
        how = {**options, "device": device.type}
        model = None if going is None else going.start
        prepared = prepare(table, schema, how, progress or told.reading, model)
        use(prepared.config, device)
        world.wait()
        disk.release()
        if world.leads:
            values = int(np.prod(prepared.x.shape[1:]))
            count = len(prepared.of_part(split.TRAIN))
            begin(prepared.config, estimate(prepared.config, count, values, described(wanted)))
        if model is None:
            network = build(prepared.inputs, prepared.schema.targets, prepared.config)
        else:
            network = model.network(prepared)
        network = network.to(device)
        distributed.share_statistics(network, world)
        heard = on_event if world.leads else lambda line: None
        begun = nullcontext() if folder is None else _begun(folder, prepared, resume, overwrite, world)
        with begun as checkpoints:
            state = None if checkpoints is None else checkpoints.load()
            training = Training(prepared, network, world, heard, folder, checkpoints, state)
            training.pretrained = None if model is None else model.pretrained(prepared, device)
            with kept_promise():
                bundle, left = run(training, table.source)
            classifier = Classifier(bundle, prepared.seen(), left, verbose=verbose)
            if folder is not None and world.leads:
                _write(classifier, folder, checkpoints)
    distributed.finish()
    return classifier


def opened(
    data: object, schema: Schema | str | Sequence[str] | None, positive: object, options: Mapping[str, Any]
) -> tuple[dict[str, Any], Table, Schema]:
    """Return options, data and schema as `fit` takes them, checked and read."""
    found = asked(options)
    table = as_table(data, found.get("memory"))
    if not isinstance(schema, Schema):
        apart = [found[setting] for setting in APART if found.get(setting)]
        schema = infer(table, schema or (), ignore=apart)
    return found, table, with_positive(schema, positive)


def asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options of Python's, among which none may say how a table is read."""
    said = next((name for name in options if name in READING), None)
    if said is not None:
        raise UserError(f"{said} says how a table is read: fit(data, manyhot.infer(data, {said}=…)).")
    return parse_options(options)


def _write(classifier: Classifier, folder: Path, checkpoints: Checkpoints | None) -> None:
    """Write a model into the folder of its run: whole, or what was there stays.

    Raises:
        RunError: it cannot be written; the message says where training stands.
    """
    from manyhot.data.rows import conflicts

    try:
        with files.staged(folder, bundles.MANIFEST, (bundles.GRAPH, conflicts.FILE)) as beside:
            classifier.write_into(beside)
    except WriteError as error:
        kept = None if checkpoints is None else checkpoints.newest()
        if kept is None:
            if not (folder / bundles.MANIFEST).exists():
                for name in (CHECKPOINTS, "history.jsonl"):
                    files.clear(folder / name)
                with suppress(OSError):  # something else is in it
                    folder.rmdir()
            raise RunError(
                f"{error.typed} No checkpoint could be kept, so what was trained is lost."
            ) from None
        raise RunError(
            f"{error.typed} What was trained is kept in checkpoints/{kept.stem}: --resume goes on there."
        ) from None


@contextmanager
def _begun(
    folder: Path, prepared: Prepared, resume: bool, overwrite: bool, world: World
) -> Iterator[Checkpoints]:
    """Hold a folder for a run, which its checkpoints say is under way until it is done.

    A model that is being replaced stays until the new one is whole.
    """
    path = folder / CHECKPOINTS
    if world.leads:
        files.check_out(folder, overwrite or resume)  # another run may have begun while this one was reading
    with files.held(path, folder) if world.leads else nullcontext():
        if world.leads:
            files.sweep(folder) if resume else files.empty(path)
        world.wait()
        yield Checkpoints(path, prepared.fingerprint())
    if world.leads:
        files.clear(path)
