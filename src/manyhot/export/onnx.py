"""A predictor as one ONNX graph: x → the probabilities of every target, for any number of rows.

`writing` calls `graph_of`. torch traces the network; trees become the standard's operator for them. What
it gives is then run beside the predictor, since an exporter may fix what ought to stay free without a word.

Shapes: N rows · C classes · K sets of a powerset · W outputs of a target · M members.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyhot.data.inputs.features import TableInputs
from manyhot.data.inputs.fitted import Inputs
from manyhot.ensemble import FAR
from manyhot.export import trees
from manyhot.graph import INPUT, far_output, outputs_of
from manyhot.model.backbones.fusion import fused
from manyhot.model.forest import Trees
from manyhot.model.predictor import Predictor
from manyhot.schema import Target
from manyhot.targets import set_table

OPSET = 18  # the lowest that resizes with antialiasing, and which all engines read
TREES = "manyhot::trees"  # what stands for trees while torch traces


class Answers(nn.Module):
    """x → the outputs of the graph: `targets.probabilities` and `targets.marginals`, by torch."""

    def __init__(self, predictor: Predictor, targets: Sequence[Target]) -> None:
        super().__init__()
        self.predictor = predictor
        self.targets = targets
        tables = [torch.from_numpy(set_table(target)).float() for target in targets]
        for number, table in enumerate(tables):
            self.register_buffer(f"table{number}", table, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return float (N, C) for each target, then float (N, K) if it answers by sets; how far rows are."""
        logits = self.predictor(x)
        found: list[Tensor] = []
        for number, target in enumerate(self.targets):
            scaled = logits[target.name] / target.decision.temperature
            match target.structure:
                case "multiclass":
                    found.append(_mean(scaled.softmax(-1)))
                case "binary":
                    found.append(_mean(torch.cat([-scaled, scaled], -1).sigmoid()))
                case "multilabel":
                    found.append(_mean(scaled.sigmoid()))
                case "powerset":  # summing may pass 1 by a rounding, which no probability does
                    sets = _mean(scaled.softmax(-1))
                    found += [(sets @ self.get_buffer(f"table{number}")).clamp(max=1), sets]
                case _:
                    assert_never(target.structure)
        return found + ([logits[FAR]] if FAR in logits else [])


def _mean(chances: Tensor) -> Tensor:
    """Return the mean over members, where there are any."""
    return chances if chances.ndim == 2 else chances.mean(1)


def graph_of(predictor: Predictor, targets: Sequence[Target], inputs: Inputs) -> Any:
    """Return the graph of a predictor as onnx's ModelProto.

    Its names may be any text, so those within it that an output has too are changed.
    """
    model = Answers(fused(deepcopy(predictor).cpu().float().eval()), targets).eval()
    x = torch.from_numpy(rows_like(inputs, 2))
    grown: list[dict[str, Any]] = []
    for module in model.modules():
        if isinstance(module, Trees):
            folds, width = trees.outputs_of(module)
            number = len(grown)
            grown.append(trees.attributes(module))
            module.reached = _Reached(number, folds, width)  # type: ignore[method-assign]

    def translated(columns: Any, number: int, folds: int, width: int) -> Any:
        from onnxscript.onnx_opset import opset_ai_onnx_ml3

        return opset_ai_onnx_ml3.TreeEnsembleRegressor(columns, **grown[number])

    names: list[str] = []
    for target, answer in outputs_of(targets).items():  # as `Answers` gives them
        names += [target] if answer == target else [target, answer]
    if predictor.ensemble.far:
        names.append(far_output(targets))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            (x,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[f"answer{number}" for number in range(len(names))],
            dynamic_shapes={"x": {0: torch.export.Dim("rows", min=1)}},
            custom_translation_table={torch.ops.manyhot.trees.default: translated},
            external_data=False,
            verbose=False,
        )
    assert program is not None  # which it is of the old exporter alone
    proto: Any = program.model_proto
    _strip(proto)
    _rename(proto, names)
    return proto


class _Reached:
    """What a forest's leaves say, as an operator that the exporter replaces."""

    def __init__(self, number: int, folds: int, width: int) -> None:
        self.number, self.folds, self.width = number, folds, width

    def __call__(self, columns: Tensor) -> Tensor:
        found: Tensor = torch.ops.manyhot.trees(columns, self.number, self.folds, self.width)
        return found.reshape(-1, self.folds, self.width)


@torch.library.custom_op(TREES, mutates_args=())
def _trees(columns: Tensor, number: int, folds: int, width: int) -> Tensor:
    return columns.new_zeros((columns.shape[0], folds * width))


@_trees.register_fake
def _(columns: Tensor, number: int, folds: int, width: int) -> Tensor:
    return columns.new_empty((columns.shape[0], folds * width))


def rows_like(inputs: Inputs, count: int, seed: int = 0) -> NDArray[Any]:
    """Return rows such as the inputs give, to try a graph on; every category and gap is met in enough."""
    random = np.random.default_rng(seed)
    if not isinstance(inputs, TableInputs):
        return random.integers(0, 256, (count, *inputs.shape), dtype=np.uint8)
    x = random.normal(size=(count, len(inputs.features))).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    for place, feature in enumerate(inputs.features):
        if feature.kind != "number":
            x[:, place] = random.integers(0, len(feature.classes) + 1, count)
    return x


def _strip(proto: Any) -> None:
    """Take away what the exporter says of the code it traced: paths of this machine, much of the file."""
    for each in (proto.graph, *proto.functions):
        for item in (*each.node, *each.value_info, *getattr(each, "input", ()), *getattr(each, "output", ())):
            if hasattr(item, "metadata_props"):
                del item.metadata_props[:]
                item.doc_string = ""
        if hasattr(each, "metadata_props"):
            del each.metadata_props[:]
    del proto.graph.value_info[:]
    for tensor in proto.graph.initializer:
        del tensor.metadata_props[:]
    proto.graph.doc_string = proto.doc_string = ""
    proto.graph.name = "manyhot"


def _rename(proto: Any, names: Sequence[str]) -> None:
    """Give the outputs their names, and all else within the graph one that none of them has."""
    outputs = {output.name: name for output, name in zip(proto.graph.output, names, strict=True)}
    graph, taken, renamed = proto.graph, {*names}, dict(outputs)
    made = [graph.input[0].name, *(name for node in graph.node for name in node.output)]
    made += [each.name for each in graph.initializer]
    for number, name in enumerate(name for name in made if name not in outputs and name in taken):
        renamed[name] = f"{name}.within{number}"
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for item in (*graph.initializer, *graph.input, *graph.output):
        item.name = renamed.get(item.name, item.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to oneself what the exporter warns its developers of."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in loggers:
                each.setLevel(logging.ERROR)
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
