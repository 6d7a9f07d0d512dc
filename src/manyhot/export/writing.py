"""A model's graph, made, tried beside the model, and written with all that an answer needs.

`Classifier.export` calls `write`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from manyhot import __version__, files
from manyhot.bundle import Bundle
from manyhot.errors import RunError
from manyhot.export.onnx import graph_of, rows_like
from manyhot.graph import FORMAT, PREFIX, open_graph

TRIED = (1, 2, 7)  # rows at a time: an exporter may fix their number without a word
CLOSE = 1e-4  # by how much a probability may differ


def write(bundle: Bundle, path: Path, card: Mapping[str, Any]) -> None:
    """Write the graph of a bundle.

    Args:
        card: on how many rows it was trained, and its scores, for people.

    Raises:
        RunError: the graph would not answer as the model does.
    """
    from onnx import helper

    proto = graph_of(bundle.predictor, bundle.schema.targets, bundle.inputs)
    documents = {
        "format": FORMAT,
        "version": __version__,
        "fingerprint": bundle.fingerprint(),
        "schema": bundle.schema.to_json(),
        "inputs": bundle.inputs.to_json(),
        "predictor": bundle.ensemble.to_json(),
        "config": bundle.config.to_json(),
        "card": card,
    }
    told = {PREFIX + key: json.dumps(each, ensure_ascii=False) for key, each in documents.items()}
    helper.set_model_props(proto, told)
    data: bytes = proto.SerializeToString()

    def write_tried(temporary: Path) -> None:
        temporary.write_bytes(data)
        _try(bundle, temporary)

    files.write_with(path, write_tried)


def _try(bundle: Bundle, path: Path) -> None:
    """Answer made-up rows by the graph and by the model."""
    graph, model = open_graph(path), replace(bundle, graph=None)
    for count in TRIED:
        x = rows_like(bundle.inputs, count, seed=count)
        found, wanted = graph.probabilities(x), model.probabilities(x)
        for name, values in wanted.items():
            apart = float(np.abs(found[name] - values).max()) if found[name].shape == values.shape else np.inf
            if not apart <= CLOSE:
                raise RunError(
                    f"the exported graph answers '{name}' otherwise than the model, by {apart:.2g} in a batch "
                    f"of {count}; nothing was written. Please report it with the model's config.json."
                )
