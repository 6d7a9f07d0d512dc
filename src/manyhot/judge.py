"""Judging a model by rows whose labels are known: which rows, what they say, how right it is.

`classifier.evaluate` calls `judge` with a table; `report` shows what it gives.

Shapes: N rows · C classes · P probabilities of a row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.data.columns import row_weights
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.rows import infer
from manyhot.data.table import Table
from manyhot.errors import UserError, listed
from manyhot.predict import Answering, predict
from manyhot.schema import Schema, Target
from manyhot.targets import WEIGHT, FloatArray, Labels, encode, unseen_classes, with_unseen_classes

log = logging.getLogger("manyhot")


@dataclass(frozen=True)
class Judged:
    """A model's probabilities for the rows of one split, next to what these rows are given as.

    split          which rows: "val", "test", "all", or "folds": all that train, each judged by the member
                   that did not learn from it
    table          exactly the judged rows, in the order of the arrays
    schema         the targets as judged, with the classes that only these rows have at the end
    y              as `targets.Labels`
    probabilities  target name → float (N, P) as `targets.decide` takes it, without NaN
    scores         the document of `evaluate --json`: rows, targets, overall
    unreadable     rows left out since their picture could not be read: name → reason
    """

    split: str
    table: Table
    schema: Schema
    y: Labels
    probabilities: dict[str, FloatArray]
    scores: dict[str, Any]
    unreadable: Mapping[str, str]


@dataclass(frozen=True)
class SeenRows:
    """The rows that a fit used: their hashes (uint64) and the part that each was in."""

    hashes: NDArray[np.uint64]
    parts: NDArray[np.object_]

    def of(self, *parts: str) -> NDArray[np.uint64]:
        """Return the hashes of the rows of these parts."""
        return self.hashes[np.isin(self.parts, parts)]


def judge(
    model: Answering,
    table: Table,
    seen: SeenRows,
    split: str | None = None,
    unknown_class: str = "wrong",
    progress: Progress | None = None,
    weight: str | None = None,
) -> Judged:
    """Judge a model by the rows of a table.

    Args:
        split: the rows to judge: a part's name, or "all". None takes the `test` rows where there
            are such, by the table's own column or as `fit --test` kept them back; else all rows.
        weight: the column that says how much each row counts; one of weight 0 is left out.
        unknown_class: a class that training never saw counts as "wrong", or its cells as "missing".

    Raises:
        UserError: no row is left to judge, or a column is missing.
    """
    if unknown_class not in ("wrong", "missing"):
        raise UserError(f"unknown_class must be 'wrong' or 'missing', got '{unknown_class}'.")
    name, rows, hashes = _chosen(model.schema, table, seen, split)
    table = table.take(rows)
    if len(table) == 0:
        raise UserError(
            f"{table.source}: no rows to judge in split '{name}'; pass --split all or another name."
        )
    hashes = row_hashes(model.schema, table) if hashes is None else hashes[rows]
    weights = None if weight is None else row_weights(table, weight, model.schema.missing)
    if weights is not None:
        counts = weights > 0
        table, hashes, weights = table.take(counts), hashes[counts], weights[counts]
    _warn_of_seen(hashes, seen)
    schema, y = _labels(model.schema, table, unknown_class)
    if weights is not None:
        y[WEIGHT] = weights
    predicted = predict(model, table, progress, hashes)
    keep = np.setdiff1d(np.arange(len(table)), list(predicted.unreadable))
    if len(keep) == 0:
        raise UserError(f"{table.source}: not one of {len(table)} pictures can be read.")
    bad = {f"row {table.rows[i]}": reason for i, reason in predicted.unreadable.items()}
    if bad:
        log.warning("%d pictures cannot be read and are left out: %s", len(bad), listed(bad, 5))
    y = {key: values[keep] for key, values in y.items()}
    probabilities = {t.name: _padded(predicted.probabilities[t.name][keep], t) for t in schema.targets}
    scores = document(schema.targets, y, probabilities)
    return Judged(name, table.take(keep), schema, y, probabilities, scores, bad)


def document(
    targets: tuple[Target, ...], y: Labels, probabilities: Mapping[str, FloatArray]
) -> dict[str, Any]:
    """Return the scores of some rows as `evaluate --json` prints them."""
    return {
        "rows": len(next(iter(y.values()))),
        "targets": {
            t.name: metrics.scores(t, y[t.name], probabilities[t.name], y.get(WEIGHT)) for t in targets
        },
        "overall": metrics.overall(targets, y, probabilities),
    }


def _chosen(
    schema: Schema, table: Table, seen: SeenRows, split: str | None
) -> tuple[str, NDArray[np.bool_], NDArray[np.uint64] | None]:
    """Return the name of the split to judge, a mask of its rows, and the hashes of all rows if taken."""
    everything = np.ones(len(table), dtype=bool)
    if split == "all":
        return "all", everything, None
    given = infer.split_of(table)
    if given is not None:
        return split or "test", np.asarray(given == (split or "test")), None
    kept_back = seen.of(split or "test")
    if split is None and len(kept_back) == 0:
        return "all", everything, None
    hashes = row_hashes(schema, table)
    mine = np.isin(hashes, kept_back)
    if split is None and not (mine.any() and np.isin(hashes, seen.of("train")).any()):
        return "all", everything, hashes  # another table than the one that fit cut its test rows from
    return split or "test", mine, hashes


def _warn_of_seen(hashes: NDArray[np.uint64], seen: SeenRows) -> None:
    again = int(np.isin(hashes, seen.of("train", "val")).sum())
    if again:
        log.warning(
            "%d of these %d rows were seen in training; the scores flatter the model.", again, len(hashes)
        )


def _labels(schema: Schema, table: Table, unknown_class: str) -> tuple[Schema, dict[str, NDArray[Any]]]:
    """Encode the labels; classes that the model does not know are added, so that they count as wrong."""
    targets: list[Target] = []
    y: dict[str, NDArray[Any]] = {}
    for target in schema.targets:
        absent = [name for name in target.columns if name not in table.columns]
        if absent:
            raise UserError(f"{table.source}: lacks {listed(absent)}, the labels of target '{target.name}'.")
        cells = [table.cells(name, schema.missing) for name in target.columns]
        extra = unseen_classes(target, cells)
        if extra and unknown_class == "missing":
            log.warning(
                "target '%s': %s were not in training and are passed over", target.name, listed(extra)
            )
        elif extra:
            log.warning("target '%s': %s were not in training and count as wrong", target.name, listed(extra))
            target = with_unseen_classes(target, extra)
        targets.append(target)
        y[target.name] = encode(target, cells, "missing")
    return replace(schema, targets=tuple(targets)), y


def _padded(probabilities: FloatArray, target: Target) -> FloatArray:
    """Give classes that the model does not know the probability 0; no set of a powerset has them."""
    missing = target.outcomes - probabilities.shape[1]
    return np.pad(probabilities, ((0, 0), (0, missing)))
