"""Rows in, probabilities and answers out: the one way for `evaluate`, `predict` and the server.

Shapes: N rows · C classes · P probabilities of a row: of its sets where a target has some, else C.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from manyhot.bundle import Bundle
from manyhot.data.batches.loader import in_order
from manyhot.data.inputs.images.paths import Progress, Unreadable
from manyhot.data.inputs.images.stream import X
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.model import losses
from manyhot.model.backbones.folding import folded
from manyhot.model.network import Model
from manyhot.schema import Schema, Target
from manyhot.targets import decide, decode, marginals

BATCH = 512  # rows at a time; more gain nothing on a processor
# Numbers in a batch of large pictures: on a processor, layers that do not fit its cache take thrice the time.
BATCH_VALUES, BATCH_VALUES_CPU = 32 << 20, 1 << 20


@dataclass(frozen=True)
class Predicted:
    """Probabilities of every target, float32 (N, P), NaN in rows whose input could not be read."""

    probabilities: Mapping[str, NDArray[np.float32]]
    unreadable: Unreadable


def predict(
    bundle: Bundle,
    table: Table,
    progress: Progress | None = None,
    hashes: NDArray[np.uint64] | None = None,
) -> Predicted:
    """Return the probabilities of every row of a table; `hashes` are its `row_hashes`, where they are known.

    Raises:
        UserError: a column that the model needs is missing or of the wrong type.
    """
    x, unreadable = bundle.inputs.transform(table, progress, hashes)
    found = run(bundle.model, bundle.schema.targets, _readable(x, unreadable))
    return Predicted({name: _spread(values, unreadable) for name, values in found.items()}, unreadable)


def _readable(x: X, unreadable: Unreadable) -> X:
    """Return the rows of x that could be read; x itself, not a copy, where all could."""
    return x[np.setdiff1d(np.arange(len(x)), list(unreadable))] if unreadable else x


def _spread(values: NDArray[np.float32], unreadable: Unreadable) -> NDArray[np.float32]:
    """Put back the rows that `_readable` left out, as NaN."""
    if not unreadable:
        return values
    out = np.full((len(values) + len(unreadable), *values.shape[1:]), np.nan, dtype=np.float32)
    out[np.setdiff1d(np.arange(len(out)), list(unreadable))] = values
    return out


def run(model: Model, targets: Sequence[Target], x: X) -> dict[str, NDArray[np.float32]]:
    """Return probabilities for x as the inputs give it; float32 (N, P) by target."""
    return from_logits(targets, logits(model, x))


def from_logits(
    targets: Sequence[Target], raw: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Return the probabilities that logits stand for; float32 (N, P) by target."""
    return {t.name: losses.probabilities(t, torch.from_numpy(raw[t.name])).numpy() for t in targets}


def logits(model: Model, x: X) -> dict[str, NDArray[np.float32]]:
    """Return the logits for x; float32 (N, W) by target, or (N, M, W) of M members."""
    pieces = _batched(model, x, Model.forward)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in model.names}


def of_fold(
    raw: Mapping[str, NDArray[np.float32]], fold: NDArray[np.int8] | None, folds: int, members: int
) -> Mapping[str, NDArray[np.float32]]:
    """Return for each row the logits of the members that were trained without it, where there are folds.

    `members` are those of all folds, of one fold after the other.
    """
    if fold is None:
        return raw
    rows = np.arange(len(fold))
    found = {}
    for name, values in raw.items():
        by_fold = values.reshape(len(rows), -1, folds, members // folds, values.shape[-1])
        found[name] = by_fold[rows, :, fold].reshape(len(rows), -1, values.shape[-1])
    return found


def embed(bundle: Bundle, table: Table) -> NDArray[np.float32]:
    """Return the features that all heads read; float32 (N, F), NaN in rows whose input could not be read."""
    x, unreadable = bundle.inputs.transform(table)
    return _spread(features(bundle.model, _readable(x, unreadable)), unreadable)


def features(model: Model, x: X, progress: Progress | None = None) -> NDArray[np.float32]:
    """Return the features that all heads read for x as the inputs give it; float32 (N, F)."""
    pieces = _batched(model, x, lambda network, batch: {"": network.embed(batch)}, progress)
    return np.concatenate([piece[""] for piece in pieces])


def _batched(
    model: Model,
    x: X,
    forward: Callable[[Model, torch.Tensor], dict[str, torch.Tensor]],
    progress: Progress | None = None,
) -> list[dict[str, NDArray[np.float32]]]:
    model = folded(model.eval())
    tensors = (*model.parameters(), *model.buffers())
    device = tensors[0].device if tensors else torch.device("cpu")
    values = BATCH_VALUES_CPU if device.type == "cpu" else BATCH_VALUES
    rows = max(1, min(BATCH, values // max(1, int(np.prod(x.shape[1:])))))
    pieces = []
    with torch.inference_mode():
        for batch in in_order(x, rows, device) if len(x) else [torch.from_numpy(np.asarray(x)).to(device)]:
            outputs = forward(model, batch)
            pieces.append({name: value.float().cpu().numpy() for name, value in outputs.items()})
            if progress is not None:
                progress(min(rows * len(pieces), len(x)), len(x))
    return pieces


def answers(schema: Schema, table: Table, predicted: Predicted) -> Table:
    """Return the table with the answers beside it, as `manyhot predict` writes it.

    For each target come NAME and the probabilities NAME.CLASS, and what `beside` adds.
    """
    added: dict[str, Any] = {}
    for target in schema.targets:
        values = predicted.probabilities[target.name]
        texts = decode(target, decide(target, values))
        added[target.name] = pa.array([text if text else None for text in texts], pa.string())
        chances = marginals(target, values)
        for number, name in enumerate(target.classes):
            column = chances[:, number].astype(np.float64).round(6)
            added[f"{target.name}.{name}"] = pa.array(column, from_pandas=True)  # NaN becomes an empty cell
    return beside(table, added, {target.name for target in schema.targets}, predicted.unreadable)


def refuse_clashes(table: Table, schema: Schema) -> None:
    """Refuse a table that answers could not stand beside, before they are there."""
    none = {t.name: np.zeros((0, len(t.sets) or len(t.classes)), np.float32) for t in schema.targets}
    answers(schema, table.take(np.zeros(0, np.intp)), Predicted(none, {}))


def beside(table: Table, added: Mapping[str, Any], names: Collection[str], unreadable: Unreadable) -> Table:
    """Return the table with columns added, and `error` where an input could not be read.

    A column that is called like one of `names` becomes NAME_given. Pictures without files get their number.

    Raises:
        UserError: a column of the table is in the way.
    """
    columns: dict[str, Any] = {}
    for name, column in table.columns.items():
        given = f"{name}_given" if name in names else name
        if given in columns or (given != name and given in table.columns):
            raise UserError(f"{table.source}: the column '{given}' is in the way of '{name}'; rename it.")
        columns[given] = column
    if table.pixels is not None:
        columns = {"row": [int(number) for number in table.rows], **columns}
    if unreadable:
        added = {**added, "error": [unreadable.get(index) for index in range(len(table))]}
    clashing = sorted(set(columns) & set(added))
    if clashing:
        raise UserError(f"{table.source}: the column '{clashing[0]}' is in the way of an answer; rename it.")
    return Table({}, table.source, rows=table.rows).with_columns(columns | dict(added))
