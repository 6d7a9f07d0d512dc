"""Judging a model by rows whose labels are known: what they say, how right it is, where it is wrong.

`classifier.evaluate` calls `judge` with a table, whose rows `choose` picks; `report` shows what it gives.

Shapes: N rows · C classes · P probabilities of a row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot import files, metrics
from manyhot.baselines import Scores, constant
from manyhot.choose import FOLDS, Chosen, SeenRows, choose, weighed_by
from manyhot.data.inputs.fitted import read_new
from manyhot.data.inputs.images.paths import Progress, none_there
from manyhot.data.inputs.images.stream import X
from manyhot.data.inputs.noticed import Noticed
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, shortened
from manyhot.importance import Importance, importance
from manyhot.predict import Answering, beside, predict, predict_pieces
from manyhot.schema import Schema, Target
from manyhot.targets import (
    UNKNOWN,
    WEIGHT,
    Cells,
    FloatArray,
    IntArray,
    Labels,
    as_known,
    classes_in,
    decide,
    decode,
    encode,
    marginals,
    text_of,
    unseen_classes,
    weight_of,
    with_unseen_classes,
)

log = logging.getLogger("manyhot")


class Growth(NamedTuple):
    """Of 100 new rows so many fewer are expected to be wrong with twice the `rows` that train; its ends."""

    rows: int
    gain: float
    low: float
    high: float


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
    baselines      target → who answers in a plainer way, such as "constant" → the scores of that
    importance     target → column → how much the loss rises where it is shuffled, and its error
    taught         target → class → how many training rows are given it
    growth         target → what twice the training rows are expected to bring
    noticed        what is odd about the inputs of the rows
    """

    split: str
    table: Table
    schema: Schema
    y: Labels
    probabilities: dict[str, FloatArray]
    scores: dict[str, Any]
    unreadable: Mapping[str, str]
    baselines: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    importance: Importance = field(default_factory=dict)
    taught: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    growth: Mapping[str, Growth] = field(default_factory=dict)
    noticed: Noticed = field(default_factory=Noticed)

    @property
    def record(self) -> dict[str, Any]:
        """What metrics.json holds: the scores, and what they are seen beside."""
        grown = {name: growth._asdict() for name, growth in self.growth.items()}
        beside = {"baselines": self.baselines, "importance": self.importance, "training": self.taught}
        beside |= {"growth": grown}
        return self.scores | {name: found for name, found in beside.items() if found}

    def beside(self, fitted: Judged) -> Judged:
        """Return it with what `fitted`, of the same rows, says beside its scores."""
        return replace(
            self,
            baselines=fitted.baselines,
            importance=fitted.importance,
            taught=fitted.taught,
            growth=fitted.growth,
        )

    def decided_by(self, targets: Sequence[Target]) -> Judged:
        """Return the same rows judged with other thresholds."""
        schema = replace(self.schema, targets=tuple(targets))
        scores = document(schema.targets, self.y, self.probabilities)
        return replace(self, schema=schema, scores=scores)

    def details(self) -> dict[str, Any]:
        """Return the scores with what stands behind them, as `evaluate --json` prints them.

        Beside `scores`: the `split`; what `baselines` reach; how many rows are `known` of each target; the
        95 % `intervals` of scores that are shares of rows; the `ece_floor` and, where it has one, the
        `coverage` (see `metrics`); the scores of each of `classes`; and which of these are `confused`.
        """
        weight = self.y.get(WEIGHT)
        wrong, known = metrics.wrong_rows(self.schema.targets, self.y, self.probabilities)
        whole = metrics.any_of(known)
        found: dict[str, Any] = {"known": {}, "intervals": {"targets": {}}, "ece_floor": {}}
        found |= {"classes": {}, "confused": {}}
        for number, target in enumerate(self.schema.targets):
            rows = (target, self.y[target.name], self.probabilities[target.name])
            found["known"][target.name] = int(known[:, number].sum())
            found["intervals"]["targets"][target.name] = metrics.intervals(*rows, weight)
            found["ece_floor"][target.name] = metrics.ece_floor(*rows, weight)
            if target.decision.coverage is not None:
                found.setdefault("coverage", {})[target.name] = metrics.coverage(*rows)
            found["classes"][target.name] = metrics.per_class(*rows, weight)
            found["confused"][target.name] = metrics.confused(*rows)
        right = ~metrics.any_of(wrong)[whole]
        found["intervals"]["overall"] = {"exact_match": metrics.interval(right, weight_of(weight, whole))}
        return {**self.scores, "split": self.split, "baselines": self.baselines, **found}

    def mistakes(self) -> Table:
        """Return the rows that are answered wrongly in some target, the worst first.

        Beside the columns of the table, in which NAME becomes NAME_given, stand for each target the answer,
        NAME, and NAME.probability: where that is wrong, its probability, or that of the surest wrong tag.
        """
        targets = self.schema.targets
        wrong, _ = metrics.wrong_rows(targets, self.y, self.probabilities)
        losses = [metrics.row_losses(t, self.y[t.name], self.probabilities[t.name]) for t in targets]
        rows = np.flatnonzero(wrong.any(axis=1))
        rows = rows[np.argsort(-np.nansum(losses, axis=0)[rows], kind="stable")]
        added: dict[str, Any] = {}
        for target, is_wrong in zip(targets, wrong[rows].T, strict=True):
            y, chances = self.y[target.name][rows], self.probabilities[target.name][rows]
            answers = decide(target, chances)
            if target.name not in self.table.columns:
                added[f"{target.name}_given"] = decode(target, y)
            added[target.name] = decode(target, answers)
            sure = _surest_wrong(target, y, answers, chances).astype(np.float64).round(6)
            added[f"{target.name}.probability"] = np.where(is_wrong, sure, np.nan)
        return beside(self.table.take(rows), added, {target.name for target in targets}, {})


def _surest_wrong(target: Target, y: IntArray, answers: IntArray, chances: FloatArray) -> FloatArray:
    """Return the probability of each row's answer, of tags of the surest of the wrong ones; (N,)."""
    each = marginals(target, chances)
    if target.exclusive:
        return np.take_along_axis(each, answers.reshape(-1, 1).astype(np.intp), axis=1)[:, 0]
    sure = np.where(answers == 1, each, 1 - each)
    return np.asarray(np.where((answers != y) & (y != UNKNOWN), sure, 0).max(axis=1, initial=0))


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
        split: the rows to judge: a part's name, "all", or "folds": the rows that trained a model of folds,
            each judged by the members that did not learn from it. None takes the `test` rows where there
            are such, by the table's own column or as `fit --test` kept them back; else all rows.
        weight: the column that says how much each row counts; one of weight 0 is left out.
        unknown_class: a class that training never saw counts as "wrong", or its cells as "missing".

    Raises:
        UserError: no row is left to judge, or a column is missing.
    """
    if unknown_class not in ("wrong", "missing"):
        raise UserError(f"unknown_class must be 'wrong' or 'missing', got '{unknown_class}'.")
    chosen = weighed_by(choose(model.schema, table, seen, split), weight, model.schema.missing)
    _warn_of_seen(chosen)
    return judge_rows(model, chosen, unknown_class, progress)


def judge_rows(
    model: Answering, chosen: Chosen, unknown_class: str = "wrong", progress: Progress | None = None
) -> Judged:
    """Judge a model by rows that are chosen already; see `judge`."""
    from manyhot.data.rows.describe import contradictions  # who only answers needs nothing of it

    table = chosen.table
    for line in contradictions(table, model.schema):
        log.warning("%s", line)
    schema, y = _labels(model.schema, table, unknown_class)
    if chosen.weights is not None:
        y[WEIGHT] = chosen.weights
    fold = chosen.fold if chosen.split == FOLDS else None
    if table.on_disk and model.inputs.columns:
        predicted = predict_pieces(model, table, progress, fold)
    else:
        predicted = predict(model, table, progress, chosen.hashes, fold)
    unreadable = predicted.noticed.unreadable
    keep = np.delete(np.arange(len(table)), list(unreadable))
    if len(keep) == 0:
        gone = none_there(table, schema.inputs[0].name, unreadable)
        raise UserError(gone or f"{table.source}: not one of {len(table)} pictures can be read.")
    bad = {f"row {table.rows[i]}": reason for i, reason in unreadable.items()}
    if bad:
        log.warning("%d pictures cannot be read and are left out: %s", len(bad), listed(bad, 5))
    y = {key: values[keep] for key, values in y.items()}
    probabilities = {t.name: _padded(predicted.probabilities[t.name][keep], t) for t in schema.targets}
    scores = document(schema.targets, y, probabilities)
    others = constants(schema.targets, y)
    return Judged(
        chosen.split,
        table.take(keep) if bad else table,
        schema,
        y,
        probabilities,
        scores,
        bad,
        others,
        noticed=predicted.noticed.counted(),
    )


def constants(targets: tuple[Target, ...], y: Labels) -> dict[str, dict[str, Scores]]:
    """Return what the same answer for every row reaches, by target."""
    return {t.name: {"constant": constant(t, y[t.name], y.get(WEIGHT)).scores} for t in targets}


def explained(model: Answering, judged: Judged) -> Judged:
    """Return what was judged with the importance of each column of a table."""
    columns = model.inputs.columns
    if not columns:
        return judged
    x, targets = read_new(model.inputs, judged.table)[0], judged.schema.targets

    def probabilities(_: NDArray[np.intp], seen: X) -> dict[str, FloatArray]:
        found = model.probabilities(seen)
        return {t.name: _padded(found[t.name], t) for t in targets}

    return replace(judged, importance=importance(probabilities, x, columns, targets, judged.y))


def recalled(judged: Judged, folder: Path, whole: bool = False) -> Judged:
    """Return what was judged beside what the metrics.json of a model's folder says of its training rows.

    With `whole` these are the rows that it is about, so that its baselines and its columns stand too.

    Raises:
        UserError: the file was changed.
    """
    path = folder / "metrics.json"
    record = files.read_json(path) if path.is_file() else {}
    try:
        taught = {t: {c: int(n) for c, n in each.items()} for t, each in record.get("training", {}).items()}
        if not whole:
            return replace(judged, taught=taught)
        old, new = record.get("baselines", {}), judged.baselines
        both = {name: {**found, **old.get(name, {})} for name, found in new.items()}
        growth = {t: Growth(**each) for t, each in record.get("growth", {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise _changed(path, error) from None
    importance = importance_in(folder)
    return replace(judged, taught=taught, importance=importance, baselines=both, growth=growth)


def importance_in(folder: Path) -> Importance:
    """Return what the metrics.json of a model's folder says of its columns; nothing where it says nothing.

    Raises:
        UserError: the file was changed.
    """
    path = folder / "metrics.json"
    record = files.read_json(path) if path.is_file() else {}
    try:
        return {
            t: {c: (float(rise), float(error)) for c, (rise, error) in each.items()}
            for t, each in record.get("importance", {}).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise _changed(path, error) from None


def _changed(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not the scores of a model ({error}); delete it or train again.")


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


def _warn_of_seen(chosen: Chosen) -> None:
    again = 0 if chosen.split == FOLDS else int(np.isin(chosen.parts, ("train", "val")).sum())
    if again:
        log.warning(
            "%d of these %d rows %s seen in training; the scores flatter the model.",
            *(again, len(chosen.table), "was" if again == 1 else "were"),
        )


def _labels(schema: Schema, table: Table, unknown_class: str) -> tuple[Schema, dict[str, NDArray[Any]]]:
    """Encode the labels; classes that the model does not know are added, so that they count as wrong."""
    targets: list[Target] = []
    y: dict[str, NDArray[Any]] = {}
    for target in schema.targets:
        absent = [name for name in target.columns if name not in table.columns]
        if absent:
            raise UserError(f"{table.source}: lacks {listed(absent)}, the labels of target '{target.name}'.")
        given = [table.cells(name, schema.missing) for name in target.columns]
        cells, changed = as_known(target, given)
        for column, renamed in zip(given, changed, strict=True):
            _tell_of_labels(column, renamed)
        extra = unseen_classes(target, cells)
        if extra:
            passed = unknown_class == "missing"
            log.warning(
                "target '%s': %s were not in training and %s (%s)",
                target.name,
                listed(extra),
                "are passed over" if passed else "count as wrong",
                _share(cells[0], _naming(target, cells[0], extra)),
            )
            target = target if passed else with_unseen_classes(target, extra)
        targets.append(target)
        y[target.name] = encode(target, cells, "missing")
    return replace(schema, targets=tuple(targets)), y


def _tell_of_labels(given: Cells, changed: Mapping[int, str]) -> None:
    """Say which labels are written otherwise than in training, and which are none."""
    matched = [number for number, name in changed.items() if name]
    if matched:
        first = f"'{shortened(text_of(given.values[matched[0]]))}' for '{shortened(changed[matched[0]])}'"
        count = _share(given, matched)
        log.info(
            "column '%s': %s are written otherwise than in training, such as %s", given.name, count, first
        )
    wrong = [number for number, name in changed.items() if not name]
    if wrong:
        texts = listed((text_of(given.values[number]) for number in wrong), 3)
        count = _share(given, wrong)
        log.warning("column '%s': %s say neither 0 nor 1, and are unknown: %s", given.name, count, texts)


def _naming(target: Target, cells: Cells, classes: Sequence[str]) -> list[int]:
    """Return the numbers of the distinct cells that name any of some classes."""
    one = (replace(cells, values=(value,)) for value in cells.values)
    return [number for number, cell in enumerate(one) if {*classes_in(target, [cell])} & {*classes}]


def _share(cells: Cells, numbers: Sequence[int]) -> str:
    """Say how many of the labels of a column are some of its distinct cells."""
    return f"{np.isin(cells.codes, numbers).sum():,} of {(cells.codes >= 0).sum():,} labels"


def _padded(probabilities: FloatArray, target: Target) -> FloatArray:
    """Give classes that the model does not know the probability 0; no set of a powerset has them."""
    missing = target.outcomes - probabilities.shape[1]
    return np.pad(probabilities, ((0, 0), (0, missing)))
