"""A trained classifier as a folder: written whole, checked on reading, no pickle anywhere.

`classifier` saves and loads; `predict` runs what is loaded. `manyhot.json` is written last, with
the checksums of the rest, so that a folder without it is an unfinished run and no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from manyhot import __version__
from manyhot.config import FitConfig
from manyhot.data.inputs import fitted as inputs_module
from manyhot.data.inputs.fitted import Inputs
from manyhot.errors import UserError, suggest
from manyhot.files import checksum, checksum_of, read_json, write_json, write_text, write_with
from manyhot.model.network import Model, build
from manyhot.schema import Schema

FORMAT = 1
MANIFEST = "manyhot.json"
MARKS = (MANIFEST, "checkpoints", "history.jsonl")  # one of these is in every folder that a fit began
CHECKED = ("schema.json", "config.json", "inputs.json", "weights.safetensors")
BOTH = (
    "two networks answer together, the tuned one and the pretrained one with heads of its own, in twice the "
    "time: held-out rows are answered better so."
)
ALIKE = (
    "the {rows:,} rows of training answer along, those most that look alike: held-out rows are answered "
    "better so. The weights hold their features and labels."
)


@dataclass(frozen=True)
class Bundle:
    """All that a prediction needs."""

    schema: Schema
    config: FitConfig
    inputs: Inputs
    model: Model

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of the model beside its settings."""
        networks = [network for network in (self.model, self.model.before) if network is not None]
        rows = [len(network.neighbours.rows) for network in networks if network.neighbours is not None]
        return [BOTH] * (len(networks) - 1) + [ALIKE.format(rows=count) for count in rows[:1]]

    def fingerprint(self) -> str:
        """Return a text that two bundles share only where their answers are the same."""
        state = {name: value.detach().cpu().numpy() for name, value in self.model.state_dict().items()}
        digest = hashlib.sha256(checksum_of([self.schema.to_json(), self.inputs.to_json()]).encode())
        for name in sorted(state):
            digest.update(name.encode() + state[name].tobytes())
        return digest.hexdigest()


def save(bundle: Bundle, folder: Path, files: Mapping[str, object] | None = None) -> None:
    """Write a bundle into a folder, which is made if need be.

    Args:
        files: more files to put in it, by name: text as it stands, anything else as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(folder / "schema.json", bundle.schema.to_json())
    write_json(folder / "config.json", bundle.config.to_json())
    write_json(folder / "inputs.json", bundle.inputs.to_json())
    state = {name: value.detach().cpu().contiguous() for name, value in bundle.model.state_dict().items()}
    write_with(folder / "weights.safetensors", lambda path: save_file(state, path))
    for name, content in (files or {}).items():
        if isinstance(content, str):
            write_text(folder / name, content)
        else:
            write_json(folder / name, content)
    checksums = {name: checksum(folder / name) for name in CHECKED}
    manifest = {"format": FORMAT, "manyhot": __version__, "checksums": checksums}
    write_json(folder / MANIFEST, manifest)


def replace_schema(schema: Schema, folder: Path) -> None:
    """Give the model in a folder another schema, such as one with other thresholds.

    Killed at any moment it leaves a whole model, the old or the new one: while the schema is being
    replaced, the manifest allows both.
    """
    manifest = check(folder)
    path = folder / "schema.json"
    document = schema.to_json()
    both = [checksum(path), checksum_of(document)]
    for allowed in (both, both[1]):
        checksums = {**manifest["checksums"], "schema.json": allowed}
        write_json(folder / MANIFEST, {**manifest, "checksums": checksums})
        write_json(path, document)


def finished(folder: Path) -> bool:
    """Tell whether a folder holds a model and no run that is still to be finished."""
    return (folder / MANIFEST).is_file() and not (folder / "checkpoints").is_dir()


def load(folder: Path) -> Bundle:
    """Read a bundle.

    Raises:
        UserError: there is no such folder, it is no finished model, it was written by a newer
            manyhot, or a file in it is missing or was changed.
    """
    check(folder)
    try:
        state = load_file(folder / "weights.safetensors")
        schema = Schema.from_json(read_json(folder / "schema.json"))
        config = FitConfig.from_json(read_json(folder / "config.json"))
        inputs = inputs_module.from_json(read_json(folder / "inputs.json"))
        # what the file holds replaces any weights that the run began from
        model = build(inputs, schema.targets, replace(config, weights="none"))
        model.restore(state)
    except UserError:
        raise
    except (SafetensorError, RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: the weights do not fit the model ({reason}).") from None
    model.eval()
    return Bundle(schema, config, inputs, model)


def check(folder: Path) -> dict[str, Any]:
    """Return the manifest of a bundle after comparing its checksums; raises UserError as `load`."""
    if not folder.exists():
        near = suggest(folder.name, [p.name for p in folder.absolute().parent.glob("*") if p.is_dir()])
        raise UserError(f"{folder}: no such model{near}.")
    if not (folder / MANIFEST).is_file():
        unfinished = (folder / "checkpoints").is_dir()
        reason = (
            "its training was not finished; go on with --resume" if unfinished else f"it has no {MANIFEST}"
        )
        raise UserError(f"{folder} is not a manyhot model: {reason}.")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("checksums"), dict):
        raise UserError(f"{folder / MANIFEST}: not the manifest of a model.")
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"{folder} has format {manifest.get('format')} and this manyhot reads format {FORMAT}; "
            f"it was written by manyhot {manifest.get('manyhot')}."
        )
    for name in CHECKED:
        path = folder / name
        if not path.is_file():
            raise UserError(f"{folder}: {name} is missing.")
        allowed = manifest["checksums"].get(name)
        if checksum(path) not in (allowed if isinstance(allowed, list) else [allowed]):
            raise UserError(f"{path} was changed since the model was saved; restore it, or train again.")
    return manifest
