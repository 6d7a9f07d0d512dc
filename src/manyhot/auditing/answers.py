"""Out-of-fold answers: rows come in, what models say of them that did not learn them leaves.

A model that was fitted with folds has them already. Else they are made here: for tables and frozen photos by
one fit with a member for each fold, for other pictures by a fit for each fold.

Shapes: N rows · C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.choose import FOLDS as FOLDED
from manyhot.choose import choose
from manyhot.classifier import Classifier
from manyhot.config import FitConfig
from manyhot.data.columns import SPLIT
from manyhot.data.rows.split import PARTS, TEST, TRAIN, split
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.fitting import fit
from manyhot.predict import predict
from manyhot.progress import Lines
from manyhot.resolve import FROM_NOTHING
from manyhot.schema import Schema
from manyhot.targets import FloatArray, marginals
from manyhot.train.prepare import labels, settings

FOLDS = 5
FEWEST = 20  # rows below which nothing is learned that could judge a label


@dataclass(frozen=True)
class Answers:
    """What models say of rows that they did not learn.

    chances  target → float (N, C), the probability of each class; NaN in rows that none may judge
    how      in words, for the page
    notes    what people should know
    """

    chances: Mapping[str, FloatArray]
    how: str
    notes: tuple[str, ...] = ()


def of_model(model: Classifier, table: Table) -> Answers:
    """Let a model judge the rows that it did not learn, or that one of its folds did not.

    Raises:
        UserError: a column that it needs is missing.
    """
    every = choose(model.schema, table, model.seen, "all")
    chances = {t.name: np.full((len(table), len(t.classes)), np.nan) for t in model.schema.targets}
    learned = (every.parts == "train") & ~every.folded
    for rows, fold in ((every.folded, every.fold), (~every.folded & ~learned, None)):
        if rows.any():
            own = None if fold is None else fold[rows]
            found = predict(model.bundle, table.take(rows), hashes=every.hashes[rows], fold=own)
            for target in model.schema.targets:
                chances[target.name][rows] = marginals(target, found.probabilities[target.name])
    notes = []
    if learned.all():
        notes = ["the model learned all of these rows and has no folds, so it judges no label of them"]
    elif learned.any():
        notes = [f"{learned.sum():,} of {len(table):,} rows taught the model, which has no folds: not judged"]
    if learned.any():
        notes[0] += "; leave --model out, and the audit fits its own"
    if len(model.seen) == 0:
        notes = ["which rows trained this model is not known; of those it finds hardly a wrong label"]
    kind = "its folds" if every.folded.any() else "rows that it did not learn"
    return Answers(chances, f"answers of the given model, of {kind}", tuple(notes))


def by_folds(
    table: Table,
    schema: Schema,
    together: NDArray[np.int64],
    options: Mapping[str, Any],
    told: Lines,
) -> Answers:
    """Fit with folds, and let each row be judged by what did not learn it.

    Args:
        table: without a column that parts the rows.
        together: int (N,), rows with an equal number stay in one fold.

    Raises:
        UserError: there is nothing to learn, or an option is wrong.
    """
    if len(table) < FEWEST:
        raise UserError(f"{len(table)} rows are too few to judge labels by; {FEWEST} at least.")
    config = settings(table, schema, options)
    if schema.is_image and config.backbone not in FROM_NOTHING and config.weights != "none":
        options = {"freeze": True, **options}
        config = settings(table, schema, options)
    if config.freeze or config.backbone in ("mlp", "linear"):
        return _in_one(table, schema, options, told)
    y = labels(table, schema, "missing")
    fold = split(schema.targets, y, [1 / FOLDS] * FOLDS, config.seed, [together])
    chances = {t.name: np.full((len(table), len(t.classes)), np.nan) for t in schema.targets}
    for number in range(FOLDS):
        part = np.where(fold == number, TEST, TRAIN)
        parted = table.with_columns({SPLIT: [PARTS[each] for each in part]})
        model = fit(parted, schema, on_event=_Fold(told, number), begin=_silent, **options)
        rows = fold == number
        found = predict(model.bundle, table.take(rows))
        for target in model.schema.targets:
            chances[target.name][rows] = marginals(target, found.probabilities[target.name])
    return Answers(chances, f"answers of {FOLDS} models, each of the fifth of the rows that it did not learn")


def _in_one(table: Table, schema: Schema, options: Mapping[str, Any], told: Lines) -> Answers:
    """Fit one network with a member for each fold."""
    model = fit(
        table, schema, on_event=told.on_event, begin=told.begin, **{"folds": FOLDS, **options, "test": 0.0}
    )
    assert model.run is not None, "it was fitted just now"
    judged = model.run.judged
    chances = {t.name: np.full((len(table), len(t.classes)), np.nan) for t in schema.targets}
    at = np.searchsorted(table.rows, judged.table.rows)
    for target in judged.schema.targets:
        chances[target.name][at] = marginals(target, judged.probabilities[target.name])
    assert judged.split == FOLDED, "it has folds"
    return Answers(chances, f"answers of {FOLDS} folds, each of the rows that it did not learn")


class _Fold:
    """Tells of the fit of one fold."""

    def __init__(self, told: Lines, number: int) -> None:
        self.told, self.number = told, number

    def __call__(self, line: Mapping[str, Any]) -> None:
        if line["kind"] == "step":
            done = f"fold {self.number + 1} of {FOLDS}, epoch {line['epoch']}, step {line['step']:,}"
            self.told.tell(done, self.number, FOLDS)


def _silent(config: FitConfig, estimate: str) -> None:
    """Say nothing of each fit."""
