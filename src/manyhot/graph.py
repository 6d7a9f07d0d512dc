"""A model as one ONNX graph, run by onnxruntime: x in, probabilities out, and no torch anywhere.

`export` writes it, `bundle` and `serve` answer by it. The file holds all that an answer needs: the graph,
and as metadata, each a JSON document, what turns rows into x and what its outputs mean:

    manyhot.format       1
    manyhot.version      of the manyhot that wrote it
    manyhot.fingerprint  which two files share only where their answers are the same
    manyhot.schema       inputs and targets, with classes, thresholds and objective, as in schema.json
    manyhot.inputs       how rows become x, as in inputs.json
    manyhot.predictor    who answers, as in predictor.json
    manyhot.config       the settings of the fit, as in config.json
    manyhot.card         on how many rows it was trained, and its scores on the rows held back

Its one input, `x`, is uint8 (N, H, W, C) or float32 (N, D). Its outputs are named as the targets: float32
(N, C), the probability of every class; where one answers by whole sets of tags, NAME.sets is that of each
(NAME.sets.sets where a target is called NAME.sets). `far`, float32 (N, 2), tells how far a row is from those
of training (far.far where a target is called so); see `schema.FarLimits`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import files
from manyhot.data.inputs import fitted
from manyhot.data.inputs.fitted import Inputs
from manyhot.data.inputs.images.stream import X
from manyhot.ensemble import FAR
from manyhot.errors import UserError, listed, shortened
from manyhot.machine import cache_folder, cpu_flags, num_cores
from manyhot.schema import Schema, Target

FORMAT = 1
ENDING = ".onnx"
INPUT, SETS = "x", ".sets"
PREFIX = "manyhot."
VALUES, ROWS = 1 << 20, 4_096  # at most in a batch, since what fits the processor's cache is quicker
KEPT = 20  # graphs in the cache, made ready for this processor
MAX_REASON = 160  # letters
PROVIDERS = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class Graph:
    """What answers by a file; `predict.Answering`. Several threads may ask it at once.

    schema    the targets, with their decisions
    inputs    what turns rows into x
    name      what people call it
    path      the file
    digest    its SHA-256
    document  its metadata, by keys without their prefix
    session   onnxruntime's, ready to run
    """

    schema: Schema
    inputs: Inputs
    name: str
    path: Path
    digest: str
    document: Mapping[str, Any]
    session: Any

    @property
    def fingerprint(self) -> str:
        """A text that two graphs share only where their answers are the same."""
        return str(self.document.get("fingerprint", ""))

    @property
    def card(self) -> dict[str, Any]:
        """On how many rows it was trained, and its scores; as far as is known."""
        found = self.document.get("card")
        return found if isinstance(found, dict) else {}

    def again(self, threads: int) -> Graph:
        """Return the same graph, opened once more, which computes a batch with so many threads."""
        return replace(self, session=_session(self.path, threads, self.digest))

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.path, self.digest, self.name)  # another process opens the file

    def probabilities(self, x: X, fold: NDArray[np.int8] | None = None) -> dict[str, NDArray[np.float32]]:
        """Return the probabilities for x by target; float32 (N, P).

        Raises:
            UserError: `fold` is given, of which a graph knows nothing; or the graph is broken.
        """
        if fold is not None:
            raise UserError(f"{self.path}: a graph answers by all folds together; judge it by other rows.")
        names = [*outputs_of(self.schema.targets).values()]
        if self.schema.far is not None:
            names.append(far_output(self.schema.targets))
        given = self.session.get_inputs()[0].name
        rows = int(np.clip(VALUES // max(1, int(np.prod(x.shape[1:]))), 1, ROWS))
        starts = range(0, max(1, len(x)), rows)
        try:
            pieces = [self.session.run(names, {given: np.asarray(x[at : at + rows])}) for at in starts]
        except Exception as error:
            raise _broken(self.path, error) from None
        found = [np.concatenate(each) if len(each) > 1 else each[0] for each in zip(*pieces, strict=True)]
        for target, values in zip(self.schema.targets, found):
            if values.shape != (len(x), target.outcomes):
                raise UserError(f"{self.path}: its '{target.name}' is not of the shape that it says.")
        return dict(zip([*(target.name for target in self.schema.targets), FAR], found))


def outputs_of(targets: Sequence[Target]) -> dict[str, str]:
    """Return by target the output that has the probabilities (N, P) which `targets.decide` takes.

    That of sets is called as no target is, nor another's sets.
    """
    taken = {target.name for target in targets}
    found: dict[str, str] = {}
    for target in targets:
        name = target.name
        while target.structure == "powerset" and name in taken:
            name += SETS
        taken.add(name)
        found[target.name] = name
    return found


def far_output(targets: Sequence[Target]) -> str:
    """Return the output that tells how far rows are, which is called as no other is."""
    taken = {*outputs_of(targets), *outputs_of(targets).values()}
    name = "far"
    while name in taken:
        name += ".far"
    return name


def open_graph(path: Path, threads: int = 0, digest: str = "") -> Graph:
    """Open a graph, whether it lies in a model's folder or not.

    Args:
        threads: that one batch is computed with; 0 for as many as there are cores.
        digest: the SHA-256 of the file, where it is known.

    Raises:
        UserError: there is no such file, or manyhot did not write it.
    """
    if not files.is_file(path):
        raise UserError(f"{path}: no such file.")
    digest = digest or files.checksum(path)
    session = _session(path, threads or num_cores(), digest)
    strange = f"{path}: not a graph that `manyhot export` wrote"
    try:
        found = session.get_modelmeta().custom_metadata_map
        document = {k.removeprefix(PREFIX): json.loads(v) for k, v in found.items() if k.startswith(PREFIX)}
        if document["format"] != FORMAT:
            raise UserError(
                f"{path} has format {document['format']} and this manyhot reads {FORMAT}; it was written by "
                f"manyhot {document.get('version')}."
            )
        schema, inputs = Schema.from_json(document["schema"]), fitted.from_json(document["inputs"])
    except KeyError:
        raise UserError(f"{strange}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{strange} ({error}).") from None
    names = outputs_of(schema.targets)
    wanted = {names[target.name]: [target.outcomes] for target in schema.targets}
    if schema.far is not None:
        wanted[far_output(schema.targets)] = [2]
    there = {output.name: output.shape[1:] for output in session.get_outputs()}
    odd = [name for name, shape in wanted.items() if there.get(name) != shape]
    if [each.shape[1:] for each in session.get_inputs()] != [[*inputs.shape]]:
        odd.append(INPUT)
    if odd:
        raise UserError(f"{strange} (it lacks {listed(odd)}, or has it in another shape).")
    return Graph(schema, inputs, path.stem, path, digest, document, session)


def _named(path: Path, digest: str, name: str) -> Graph:
    return replace(open_graph(path, digest=digest), name=name)


def _session(path: Path, threads: int, digest: str) -> Any:
    """Load a graph, by a copy in the cache that is made ready for this processor, in a third of the time."""
    import onnxruntime

    def opened(file: Path, copy: Path | None = None) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 4
        # Threads that wait for each other in circles halve the time of a picture; once it is answered they
        # sleep.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if file == ready:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if copy is not None:
            options.optimized_model_filepath = str(copy)
        # Its fallback to another provider, of which there is none, would print.
        return onnxruntime.InferenceSession(file, options, providers=PROVIDERS, enable_fallback=0)

    ready = _ready(digest)
    made: list[Any] = []
    if ready is not None:
        with suppress(Exception):  # damaged
            if ready.exists():
                return opened(ready)
        with suppress(Exception):  # a cache is a help and no more
            ready.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_with(ready, lambda copy: made.append(opened(path, copy)))
            _tidy(ready.parent)
    try:
        return made[0] if made else opened(path)
    except Exception as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> UserError:
    """Say what onnxruntime says, which has a class for each way in which a file is broken."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{path}: onnxruntime cannot run it ({shortened(reason, MAX_REASON)}).")


def _ready(digest: str) -> Path | None:
    """Return where the copy for this processor lies of a graph with this SHA-256; None without a cache."""
    folder = cache_folder()
    if folder is None:
        return None
    import onnxruntime

    which = f"{digest} {onnxruntime.__version__} {sorted(cpu_flags())}"
    return folder / "graphs" / (hashlib.sha256(which.encode()).hexdigest()[:24] + ENDING)


def _tidy(folder: Path) -> None:
    """Remove the oldest graphs of the cache."""
    every = sorted(folder.glob(f"*{ENDING}"), key=lambda path: path.stat().st_mtime)
    for path in every[:-KEPT]:
        path.unlink(missing_ok=True)
