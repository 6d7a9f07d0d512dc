"""A model's graph, made, tried beside the model, and written with all that an answer needs.

`Classifier.export` calls `write` and `write_int8`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import __version__, files
from manyhot.bundle import Bundle
from manyhot.choose import SeenRows, held_out
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.table import Table
from manyhot.errors import RunError, UserError
from manyhot.export.onnx import graph_of, rows_like
from manyhot.graph import FORMAT, PREFIX, Graph, open_graph
from manyhot.judge import judge_rows
from manyhot.model import inference
from manyhot.predict import from_logits

Losses = dict[str, tuple[float, float]]  # target → log loss of the model, and of what was written
TRIED = (1, 2, 7)  # rows at a time: an exporter may fix their number without a word
# By how much a probability may differ: more only where logits are so large that float32 says no more of them.
CLOSE, OF_LOGITS = 1e-4, 1e-6


def write(bundle: Bundle, path: Path, card: Mapping[str, Any]) -> None:
    """Write the graph of a bundle.

    Args:
        card: on how many rows it was trained, and its scores, for people.

    Raises:
        RunError: the graph would not answer as the model does.
    """
    _write(_made(bundle, card), path, lambda graph: _try(bundle, graph))


def write_int8(
    bundle: Bundle,
    path: Path,
    card: Mapping[str, Any],
    table: Table,
    seen: SeenRows,
    tolerance: float,
    progress: Progress | None = None,
) -> Losses:
    """Write the graph of a bundle of pictures with its convolutions in int8; return what that costs.

    Args:
        table: labelled pictures: those that fit held out judge the graph, others calibrate it.
        tolerance: by how much the log loss of a target may rise.

    Raises:
        UserError: the model has no convolutions, there are none to judge, or a log loss rises by more.
    """
    from manyhot.export.int8 import CALIBRATED, quantised

    proto = _made(bundle, card, "int8")
    if not any(node.op_type == "Conv" for node in proto.graph.node):
        raise UserError("--precision int8 is for networks with convolutions, of which this model has none.")
    chosen, _ = held_out(bundle.schema, table, seen)
    others = np.setdiff1d(np.arange(len(table)), np.flatnonzero(np.isin(table.rows, chosen.table.rows)))
    rows = others if len(others) else np.arange(len(table))
    calibrating = table.take(rows[:: max(1, len(rows) // CALIBRATED)])
    x, bad = bundle.inputs.transform(calibrating)
    x = np.delete(np.asarray(x), list(bad), axis=0)
    before = judge_rows(replace(bundle, graph=None), chosen, "missing", progress).scores["targets"]
    found: Losses = {}

    def check(graph: Graph) -> None:
        after = judge_rows(graph, chosen, "missing").scores["targets"]
        for name, scores in before.items():
            found[name] = (scores["log_loss"], after[name]["log_loss"])
        worst = max(found, key=lambda name: found[name][1] - found[name][0])
        rise = found[worst][1] - found[worst][0]
        if not rise <= tolerance:
            raise UserError(
                f"int8 raises the log loss of '{worst}' by {rise:.4f} on {len(chosen.table):,} held-out rows,"
                f" more than {tolerance:g}; nothing was written. --tolerance {rise + 1e-3:.3f} takes it."
            )

    _write(quantised(proto, x), path, check)
    return found


def close(logits: NDArray[np.float32]) -> float:
    """Return by how much probabilities may differ that come of such logits."""
    return max(CLOSE, OF_LOGITS * float(np.abs(logits).max()))


def _made(bundle: Bundle, card: Mapping[str, Any], precision: str = "") -> Any:
    """Return the graph of a bundle with its metadata, as onnx's ModelProto.

    Another precision answers otherwise, and so has another fingerprint.
    """
    from onnx import helper

    proto = graph_of(bundle.predictor, bundle.schema.targets, bundle.inputs)
    documents = {
        "format": FORMAT,
        "version": __version__,
        "fingerprint": replace(bundle, graph=None).fingerprint() + precision,
        "schema": bundle.schema.to_json(),
        "inputs": bundle.inputs.to_json(),
        "predictor": bundle.ensemble.to_json(),
        "config": bundle.config.to_json(),
        "card": card,
    }
    told = {PREFIX + key: json.dumps(each, ensure_ascii=False) for key, each in documents.items()}
    helper.set_model_props(proto, told)
    return proto


def _write(proto: Any, path: Path, check: Callable[[Graph], None]) -> None:
    """Write a graph, unless `check` refuses it."""

    def write_tried(temporary: Path) -> None:
        temporary.write_bytes(proto.SerializeToString())
        check(open_graph(temporary))

    files.write_with(path, write_tried)


def _try(bundle: Bundle, graph: Graph) -> None:
    """Answer made-up rows by the graph and by the model."""
    for count in TRIED:
        x = rows_like(bundle.inputs, count, seed=count)
        logits = inference.logits(bundle.predictor, x)
        found, wanted = graph.probabilities(x), from_logits(bundle.schema.targets, logits)
        for name, values in wanted.items():
            apart = float(np.abs(found[name] - values).max()) if found[name].shape == values.shape else np.inf
            if not apart <= close(logits[name]):
                raise RunError(
                    f"the exported graph answers '{name}' otherwise than the model, by {apart:.2g} in a "
                    f"batch of {count}; nothing was written. Please report it with the model's config.json."
                )
