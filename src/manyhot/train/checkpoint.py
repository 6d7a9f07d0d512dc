"""Where a run stands, on disk: written whole, checked by checksum, the newest whole one read back.

`run` loads at the start and `loop` saves after epochs, as often as it is worth its time. Tensors are kept as
safetensors and numbers as JSON; nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from manyhot.errors import UserError, WriteError
from manyhot.files import checksum, read_json, write_json, write_tensors

log = logging.getLogger("manyhot")
KINDS = ("network", "optimizer", "best", "pretrained")  # the tensors of a state
SHARE = 0.1  # of the time, which writing may take; an epoch on a card may be over sooner than it is written
KEEP = 2  # checkpoints; the one before is there in case the newest is damaged


@dataclass(frozen=True)
class State:
    """All that a run needs to go on as if it had not stopped."""

    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    pretrained: Mapping[str, Tensor]
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in one folder.

    A checkpoint is STEP.safetensors and, written after it, STEP.json with its checksum. `run`
    tells runs apart: a checkpoint of other data or settings is refused. `pretrained` is what the network was
    before it was tuned, where that may answer along; it is part of every checkpoint.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder
        self.run = run
        self.pretrained: Mapping[str, Tensor] = {}
        self.told = False  # that there is no room for them
        self.due = 0.0  # when the next is worth its time

    def newest(self) -> Path | None:
        """Return the newest checkpoint, None where there is none."""
        return max(self.folder.glob("*.json"), default=None)

    def keep(
        self,
        network: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        best: Mapping[str, Tensor],
        progress: dict[str, Any],
        final: bool = False,
    ) -> None:
        """Write a checkpoint, unless the one before it is too recent and it is not the final one.

        Where that cannot be, training goes on, and it is told once. Where the disk is full, the checkpoint
        before the last makes room.
        """
        began = time.monotonic()
        if began < self.due and not final:
            return
        state = (network, optimizer, best, progress)
        try:
            try:
                self.save(*state)
            except WriteError:
                self._tidy(1)
                self.save(*state)
        except WriteError as error:
            if not self.told:
                last = self.newest()
                stands = f"the last one is {last.stem}" if last else "there is none"
                log.warning("%s Training goes on without new checkpoints; %s.", error.typed, stands)
            self.told = True
        ended = time.monotonic()
        self.due = ended + (ended - began) / SHARE

    def save(
        self,
        network: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        best: Mapping[str, Tensor],
        progress: dict[str, Any],
    ) -> None:
        """Write a checkpoint, then remove those that are no longer needed."""
        state = State(network, optimizer, best, self.pretrained, progress)
        name = f"{state.progress['step']:09d}"
        tensors = {f"{kind}/{k}": v for kind in KINDS for k, v in getattr(state, kind).items()}
        data = self.folder / f"{name}.safetensors"
        write_tensors(data, {key: value.detach().contiguous().clone() for key, value in tensors.items()})
        document = {"run": self.run, "sha256": checksum(data), "progress": state.progress}
        write_json(self.folder / f"{name}.json", {"self": _digest(document), **document})
        self._tidy(KEEP)

    def _tidy(self, keep: int) -> None:
        """Remove all but the newest checkpoints, and tensors whose numbers were never written."""
        whole = sorted(self.folder.glob("*.json"))[-keep:]
        for path in [*self.folder.glob("*.json"), *self.folder.glob("*.safetensors")]:
            if path.with_suffix(".json") not in whole:
                path.unlink(missing_ok=True)

    def load(self) -> State | None:
        """Return the newest checkpoint that is whole, None when there is none.

        Raises:
            UserError: the checkpoint belongs to a run with other data or settings.
        """
        for path in sorted(self.folder.glob("*.json"), reverse=True):
            data = path.with_suffix(".safetensors")
            try:
                document = read_json(path)
                if document.pop("self") != _digest(document) or document["sha256"] != checksum(data):
                    raise ValueError("checksum differs")
                tensors = _read(data)
            except (ValueError, LookupError, TypeError, AttributeError, OSError, SafetensorError) as error:
                log.warning("%s is damaged (%s); going on from the checkpoint before it", path, error)
                continue
            if document["run"] != self.run:
                raise UserError(
                    f"{self.folder} holds checkpoints of a run with other data or settings; "
                    "repeat that run's command, or pass --overwrite to start afresh."
                )
            return _state(document, tensors)
        return None


def _digest(document: Mapping[str, Any]) -> str:
    """Return a checksum of the numbers, which have no file of their own to be checked as a whole."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _state(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> State:
    """Put the pieces of a checkpoint back where they came from."""
    kinds: dict[str, dict[str, Tensor]] = {kind: {} for kind in KINDS}
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        kinds[kind][name] = value
    return State(**kinds, progress=document["progress"])


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
