"""Thresholds fitted anew, without training: a model and labelled rows enter, what it then decides leaves.

`classifier.tune` calls it. The probabilities stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from manyhot import metrics
from manyhot.bundle import Bundle
from manyhot.choose import FOLDS, Chosen, SeenRows, choose, held_out, weighed_by
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.table import Table
from manyhot.errors import UserError, listed
from manyhot.judge import Judged, judge_rows
from manyhot.schema import Schema, check_objective
from manyhot.targets import WEIGHT, known
from manyhot.train.calibrate import fit_thresholds, has_thresholds

log = logging.getLogger("manyhot")


@dataclass(frozen=True)
class Tuning:
    """What new thresholds changed, on the rows that they were fitted on.

    schema   the targets with their new thresholds
    targets  the names of those that were tuned
    own      whether these rows are all that `fit` held out
    """

    schema: Schema
    before: Judged
    after: Judged
    targets: tuple[str, ...]
    own: bool

    def details(self) -> dict[str, Any]:
        """Return what `manyhot tune --json` prints of it: the `rows`, their `split`, and each of `targets`.

        `before` and `after` say of each how it is decided and what this reaches: precision, recall and F1,
        of a binary target's second class or of all tags together, and of each tag; and the `scores`.
        """
        both = {"before": self.before, "after": self.after}
        found = {name: {when: _state(judged, name) for when, judged in both.items()} for name in self.targets}
        return {"rows": len(self.after.table), "split": self.after.split, "targets": found}


def tune(
    model: Bundle,
    table: Table,
    seen: SeenRows,
    objective: str,
    split: str | None = None,
    weight: str | None = None,
    targets: Sequence[str] = (),
    progress: Progress | None = None,
) -> Tuning:
    """Fit the thresholds of a model to an objective, on labelled rows.

    Args:
        split: the rows, as `judge` names them. None takes those that `fit` held out, or of another table
            those that neither train nor test the model; see `choose.held_out`.
        weight: the column that says how much each row counts.
        targets: the names of the targets to tune; all that have thresholds, where none is named.

    Raises:
        UserError: there is no such target or objective, no target that has thresholds, or no row.
    """
    check_objective(objective)
    named = [model.schema.target(name) for name in targets] or list(model.schema.targets)
    aimed = {target.name for target in named if has_thresholds(target)}
    fixed = [target.name for target in named if target.name not in aimed]
    if fixed and (targets or not aimed):
        raise UserError(
            f"{listed(fixed)}: a target of several classes always answers with the likeliest one, so that "
            "it has no threshold to tune."
        )
    if split is None:
        chosen, own = held_out(model.schema, table, seen)
    else:
        chosen, own = choose(model.schema, table, seen, split), False
    rows = len(chosen.table)
    chosen = weighed_by(chosen, weight, model.schema.missing)
    _warn_of(chosen)
    before = judge_rows(model, chosen, "missing", progress)
    blank = [name for name in sorted(aimed) if not known(before.y[name]).any()]
    if blank:
        raise UserError(
            f"{table.source}: no label of {listed(blank)} is known in these {len(before.table)} rows; give "
            "other rows, or name the targets to tune with --target."
        )
    fitted = [
        fit_thresholds(
            target.deciding(objective=objective),
            before.probabilities[target.name],
            before.y[target.name],
            before.y.get(WEIGHT),
        )
        if target.name in aimed
        else target
        for target in model.schema.targets
    ]
    names = tuple(target.name for target in fitted if target.name in aimed)
    after = before.decided_by(fitted)
    whole = own and len(before.table) == rows
    return Tuning(replace(model.schema, targets=tuple(fitted)), before, after, names, whole)


def _state(judged: Judged, name: str) -> dict[str, Any]:
    """Say how a target is decided, and how right the answers are."""
    target, weight = judged.schema.target(name), judged.y.get(WEIGHT)
    rows = (target, judged.y[name], judged.probabilities[name], weight)
    objective, cuts = target.decision.objective, list(target.decision.thresholds)
    found: dict[str, Any] = {"objective": objective, "thresholds": cuts, **metrics.of_yes(*rows)}
    if not target.exclusive:
        plain = None if objective == "exact_match" else 0.5  # without thresholds it takes the likeliest set
        shown: Sequence[float | None] = cuts or [plain] * len(target.classes)
        each = zip(shown, metrics.per_class(*rows), strict=True)
        found["classes"] = {one.pop("name"): {"threshold": cut, **one} for cut, one in each}
    return found | {"scores": judged.scores["targets"][name]}


def _warn_of(chosen: Chosen) -> None:
    """Say which rows the model is surer of than of new ones, and which will then judge it no more."""
    rows, learned = len(chosen.table), int((chosen.parts == "train").sum())
    if chosen.split != FOLDS and learned:
        log.warning(
            "%d of these %d rows trained the model, which is surer of them than of new ones.", learned, rows
        )
    held = int((chosen.parts == "test").sum()) or (rows if chosen.split == "test" else 0)
    if held:
        log.warning("%d of these %d rows are test rows, which judge the tuned model no more.", held, rows)
