"""A trained classifier as a folder: written whole, checked on reading, no pickle anywhere.

`classifier` saves and loads; `predict` answers by what is loaded. `manyhot.json` is written last, with
the checksums of the rest, so that a folder without it is an unfinished run and no model. All but the weights
is read without torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manyhot import __version__
from manyhot.config import FitConfig
from manyhot.data.inputs import fitted
from manyhot.data.inputs.fitted import Inputs
from manyhot.data.inputs.images.stream import X
from manyhot.data.table import Table
from manyhot.ensemble import NETWORK, PRETRAINED, Ensemble, MemberKind, equally
from manyhot.errors import UserError, suggest
from manyhot.files import (
    checksum,
    checksum_of,
    read_json,
    read_json_lines,
    sweep,
    write_json,
    write_tensors,
    write_text,
    write_with,
)
from manyhot.graph import ENDING, Graph, open_graph
from manyhot.predict import from_logits, out_of_fold, readable, spread
from manyhot.schema import Schema

if TYPE_CHECKING:
    from manyhot.model.predictor import Predictor

FORMAT = 2
MANIFEST = "manyhot.json"
VALIDATION = "validation.parquet"  # the rows that the fit held back, with their answers
GRAPH = "model.onnx"  # once it was exported; see `graph`
LONG_AGO = 3600  # seconds after which a half-written graph is nobody's
MARKS = (MANIFEST, "checkpoints", "history.jsonl")  # one of these is in every folder that a fit began
CHECKED = {  # files that the manifest has checksums of, by format
    1: ("schema.json", "config.json", "inputs.json", "weights.safetensors"),
    2: ("schema.json", "config.json", "inputs.json", "predictor.json", "weights.safetensors"),
}


@dataclass(frozen=True)
class Bundle:
    """All that a prediction needs.

    ensemble  who answers
    built     gives the predictor that the ensemble declares; it is asked when torch is needed
    graph     what computes the same without torch, where the model was exported
    """

    schema: Schema
    config: FitConfig
    inputs: Inputs
    ensemble: Ensemble
    built: Callable[[], Predictor]
    graph: Graph | None = None

    @property
    def predictor(self) -> Predictor:
        """What answers, by torch."""
        return self.built()

    def probabilities(self, x: X, fold: NDArray[np.int8] | None = None) -> Mapping[str, NDArray[np.float32]]:
        """Return the probabilities for x as the inputs give it, by target; float32 (N, P).

        With `fold` (N,) they are of the members that did not learn from each row.
        """
        if self.graph is not None and fold is None:
            return self.graph.probabilities(x)
        from manyhot.model import inference

        members: Any = self.predictor.encoders[NETWORK].members
        logits = out_of_fold(inference.logits(self.predictor, x), fold, self.config.folds, members)
        return from_logits(self.schema.targets, logits)

    def embed(self, table: Table) -> NDArray[np.float32]:
        """Return the features that the network's heads read; float32 (N, F), NaN in unreadable rows."""
        from manyhot.model import inference

        x, noticed = fitted.read_new(self.inputs, table)
        bad = noticed.unreadable
        return spread(inference.features(self.predictor, readable(x, bad)), bad)

    def fingerprint(self) -> str:
        """Return a text that two bundles share only where their answers are the same."""
        if self.graph is not None and self.graph.schema == self.schema:
            return self.graph.fingerprint  # which was written there, so that no weights are read for it
        state = {name: value.detach().cpu().numpy() for name, value in self.predictor.state_dict().items()}
        documents = [self.schema.to_json(), self.inputs.to_json(), self.ensemble.to_json()]
        digest = hashlib.sha256(checksum_of(documents).encode())
        for name in sorted(state):
            digest.update(name.encode() + state[name].tobytes())
        return digest.hexdigest()


def of_predictor(schema: Schema, config: FitConfig, inputs: Inputs, predictor: Predictor) -> Bundle:
    """Return the bundle of a predictor that is at hand."""
    return Bundle(schema, config, inputs, predictor.ensemble, partial(_itself, predictor))


def save(bundle: Bundle, folder: Path, files: Mapping[str, object] | None = None) -> None:
    """Write a bundle into a folder, which is made if need be.

    Args:
        files: more files to put in it, by name: text as it stands, anything else as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    predictor = bundle.predictor
    for name in (MANIFEST, GRAPH):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / "schema.json", bundle.schema.to_json())
    write_json(folder / "config.json", bundle.config.to_json())
    write_json(folder / "inputs.json", bundle.inputs.to_json())
    write_json(folder / "predictor.json", bundle.ensemble.to_json())
    state = {name: value.detach().cpu().contiguous() for name, value in predictor.state_dict().items()}
    write_tensors(folder / "weights.safetensors", state)
    for name, content in (files or {}).items():
        if isinstance(content, str):
            write_text(folder / name, content)
        else:
            write_json(folder / name, content)
    checksums = {name: checksum(folder / name) for name in CHECKED[FORMAT]}
    manifest = {"format": FORMAT, "manyhot": __version__, "checksums": checksums}
    write_json(folder / MANIFEST, manifest)


def replace_schema(schema: Schema, folder: Path) -> None:
    """Give the model in a folder another schema, such as one with other thresholds.

    Its graph goes, since it holds the old one. Killed at any moment it leaves a whole model, the old or the
    new one: while the schema is being replaced, the manifest allows both.
    """
    manifest = check(folder)
    manifest.pop("graph", None)
    path = folder / "schema.json"
    document = schema.to_json()
    both = [checksum(path), checksum_of(document)]
    for allowed in (both, both[1]):
        checksums = {**manifest["checksums"], "schema.json": allowed}
        write_json(folder / MANIFEST, {**manifest, "checksums": checksums})
        write_json(path, document)
    (folder / GRAPH).unlink(missing_ok=True)


def add_graph(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` make the graph of the model in a folder, and return its path.

    Killed at any moment it leaves a model that answers, with or without a graph.
    """
    manifest, path = check(folder), folder / GRAPH
    sweep(folder, LONG_AGO)
    alone = {key: value for key, value in manifest.items() if key != "graph"}

    def write_alone(temporary: Path) -> None:
        write(temporary)
        write_json(folder / MANIFEST, alone)

    write_with(path, write_alone)
    write_json(folder / MANIFEST, {**alone, "graph": checksum(path)})
    return path


def finished(folder: Path) -> bool:
    """Tell whether a folder holds a model and no run that is still to be finished."""
    return (folder / MANIFEST).is_file() and not (folder / "checkpoints").is_dir()


def history(folder: Path) -> list[Any]:
    """Return the lines of the history of the fit that wrote a folder; none where it left none."""
    path = folder / "history.jsonl"
    return read_json_lines(path) if path.is_file() else []


def read_schema(folder: Path) -> Schema:
    """Return the schema of a bundle, without its weights; raises UserError as `load`."""
    check(folder)
    return Schema.from_json(read_json(folder / "schema.json"))


def identity(path: Path) -> tuple[Schema, str]:
    """Return the schema of a model, and a text that two models share only where their answers are the same.

    It is read from the folder of one, or from an exported file, without its weights. Raises UserError as
    `load`.
    """
    if is_graph(path):
        graph = open_graph(path)
        return graph.schema, graph.digest
    checksums = check(path, weights=False)["checksums"]
    return Schema.from_json(read_json(path / "schema.json")), checksum_of(checksums)


def is_graph(path: Path) -> bool:
    """Tell whether a path names an exported file rather than the folder of a model."""
    return path.suffix == ENDING and not path.is_dir()


def load(folder: Path) -> Bundle:
    """Read a bundle, of a folder or of an exported file; weights only when asked for, where it has a graph.

    Raises:
        UserError: there is no such folder, it is no finished model, it was written by a newer
            manyhot, or a file in it is missing or was changed.
    """
    if is_graph(folder):
        return of_graph(folder)
    manifest = check(folder, weights=False)
    schema = Schema.from_json(read_json(folder / "schema.json"))
    with _fitting(str(folder)):
        config = FitConfig.from_json(read_json(folder / "config.json"))
        inputs = fitted.from_json(read_json(folder / "inputs.json"))
    state: Callable[[], Mapping[str, Any]] = partial(_state, folder)
    if manifest["format"] == 1:
        ensemble, old = _of_first_format(folder, schema, config, state())
        state = lambda: old  # noqa: E731
    else:
        ensemble = Ensemble.from_json(read_json(folder / "predictor.json"))

    def build() -> Predictor:
        from manyhot.device import pick
        from manyhot.model import predictor

        with _fitting(str(folder)):
            return predictor.build(ensemble, inputs, schema.targets, config, state()).to(pick("auto"))

    built, graph = Once(build), None
    if "graph" in manifest:
        graph = replace(open_graph(folder / GRAPH, digest=manifest["graph"]), name=folder.name)
    else:
        built()  # what does not fit is told at once
    return Bundle(schema, config, inputs, ensemble, built, graph)


def of_graph(path: Path) -> Bundle:
    """Return a bundle of an exported file alone: it answers, and has no weights to go on from.

    Raises:
        UserError: there is no such file, or manyhot did not write it.
    """
    graph = open_graph(path)
    with _fitting(str(path)):
        config = FitConfig.from_json(graph.document["config"])
        ensemble = Ensemble.from_json(graph.document["predictor"])

    return Bundle(graph.schema, config, graph.inputs, ensemble, partial(_refused, path), graph)


def _refused(path: Path) -> Predictor:
    raise only_answers(path)


def _itself(predictor: Predictor) -> Predictor:
    return predictor


class Once:
    """A predictor that is built when it is first asked for; in another process it comes along built."""

    def __init__(self, build: Callable[[], Predictor]) -> None:
        self._build = cache(build)

    def __call__(self) -> Predictor:
        """Return the predictor."""
        return self._build()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_itself, self())


def only_answers(path: Path) -> UserError:
    """Return what is said where more is wanted of an exported file than answers."""
    return UserError(f"{path} is an exported file, which only answers; name the folder it came from.")


def _state(folder: Path) -> dict[str, Any]:
    """Read the weights of a bundle."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check(folder)
    with _fitting(str(folder), SafetensorError):
        state: dict[str, Any] = load_file(folder / "weights.safetensors")
    return state


@contextmanager
def _fitting(where: str, *more: Any) -> Iterator[None]:
    """Say in one line that what is read is not what belongs together."""
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, *more) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{where}: the weights do not fit the model ({reason}).") from None


def _of_first_format(
    folder: Path, schema: Schema, config: FitConfig, state: Mapping[str, Any]
) -> tuple[Ensemble, dict[str, Any]]:
    """Return the ensemble that format 1 said by the names of its tensors, and these by today's names."""
    if any(name.startswith("offsets.") for name in state):
        raise UserError(
            f"{folder}: it answers by naive Bayes of counts too, which this manyhot no longer does; train "
            "it again."
        )
    starts = {NETWORK: "", PRETRAINED: "before."}
    members: list[tuple[MemberKind, str, int]] = []
    renamed: dict[str, Any] = {}
    kinds: dict[MemberKind, str] = {"heads": "heads.", "neighbours": "neighbours."}
    for encoder, start in starts.items():
        found = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        backbone = {name: value for name, value in found.items() if name.startswith("backbone.")}
        renamed |= {f"encoders.{encoder}.{k.removeprefix('backbone.')}": v for k, v in backbone.items()}
        for kind, below in kinds.items():
            own = {k.removeprefix(below): v for k, v in found.items() if k.startswith(below)}
            own = {k.replace("rows", "keys").replace("votes", "values"): v for k, v in own.items()}
            if own:
                renamed |= {f"members.{len(members)}.{k}": v for k, v in own.items()}
                members.append((kind, encoder, len(own.get("keys", ()))))
    renamed |= {name: value for name, value in state.items() if name.startswith("stem.")}
    targets = [target.name for target in schema.targets]
    views = min(2, config.views) if config.mirrored else config.views
    return Ensemble(equally(members, targets), views, config.mirrored, "probabilities"), renamed


def check(folder: Path, weights: bool = True) -> dict[str, Any]:
    """Return the manifest of a bundle after comparing its checksums; raises UserError as `load`.

    Without `weights` theirs is not compared, which takes longest, until they are read.
    """
    if not folder.exists():
        near = suggest(folder.name, [p.name for p in folder.absolute().parent.glob("*") if p.is_dir()])
        raise UserError(f"{folder}: no such model{near}.")
    if is_graph(folder):
        raise only_answers(folder)
    if not (folder / MANIFEST).is_file():
        unfinished = (folder / "checkpoints").is_dir()
        reason = (
            "its training was not finished; go on with --resume" if unfinished else f"it has no {MANIFEST}"
        )
        raise UserError(f"{folder} is not a manyhot model: {reason}.")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("checksums"), dict):
        raise UserError(f"{folder / MANIFEST}: not the manifest of a model.")
    if manifest.get("format") not in (*CHECKED,):
        raise UserError(
            f"{folder} has format {manifest.get('format')} and this manyhot reads formats up to {FORMAT}; "
            f"it was written by manyhot {manifest.get('manyhot')}."
        )
    checksums = {name: manifest["checksums"].get(name) for name in CHECKED[manifest["format"]]}
    if not (folder / GRAPH).is_file():
        manifest.pop("graph", None)  # the weights answer as it did
    checksums |= {GRAPH: manifest["graph"]} if "graph" in manifest else {}
    if not weights:
        del checksums["weights.safetensors"]
    for name, allowed in checksums.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{folder}: {name} is missing.")
        if checksum(path) not in (allowed if isinstance(allowed, list) else [allowed]):
            mend = "delete it, and export the model" if name == GRAPH else "restore it, or train"
            raise UserError(f"{path} was changed since the model was saved; {mend} again.")
    return manifest
