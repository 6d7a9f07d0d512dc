"""Thresholds fitted anew, without training: a model and labelled rows enter, what it then decides leaves.

`classifier.tune` calls it. The probabilities stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manyhot import metrics
from manyhot.bundle import Bundle
from manyhot.choose import FOLDS, Chosen, SeenRows, choose, held_out, weighed_by
from manyhot.data.columns import SUGGESTED
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.table import Table
from manyhot.errors import RunError, UserError, listed
from manyhot.judge import Judged, judge_rows
from manyhot.schema import Schema, Target, check_objective
from manyhot.targets import WEIGHT, known, not_served, serves, with_positive
from manyhot.train.calibrate import Fitted, Short, Unpromised, fit_thresholds
from manyhot.train.conformal import fit_coverage

log = logging.getLogger("manyhot")


@dataclass(frozen=True)
class Tuning:
    """What new thresholds changed, on the rows that they were fitted on.

    schema   the targets with their new thresholds
    targets  the names of those that were tuned
    own      whether these rows are all that `fit` held out
    short    of which classes and tags of these the objective is not reached; they decide as before
    unpromised  of which it is reached on these rows, which cannot promise it for others
    """

    schema: Schema
    before: Judged
    after: Judged
    targets: tuple[str, ...]
    own: bool
    short: tuple[Short, ...] = ()
    unpromised: tuple[Unpromised, ...] = ()

    def details(self) -> dict[str, Any]:
        """Return what `manyhot tune --json` prints of it: the `rows`, their `split`, and each of `targets`.

        `before` and `after` say of each how it is decided and what this reaches: precision, recall and F1,
        of the positive class or of all tags together, and of each tag; and the `scores`. Where a precision
        is not reached, `short` says by class or tag what is the highest; where it is not promised,
        `unpromised` says what could be.
        """
        both = {"before": self.before, "after": self.after}
        meant = {target.name: target.positive for target in self.schema.targets}
        found = {
            name: {when: _state(judged, name, meant[name]) for when, judged in both.items()}
            for name in self.targets
        }
        short: dict[str, dict[str, Any]] = {}
        for each in self.short:
            most = {"precision": each.best, "recall": each.recall}
            short.setdefault(each.target, {})[each.name] = most
        known = {"rows": len(self.after.table), "split": self.after.split, "targets": found}
        left: dict[str, dict[str, Any]] = {}
        for one in self.unpromised:
            could = {"possible": one.possible, "missing": one.missing}
            left.setdefault(one.target, {})[one.name or "all tags"] = could
        return known | ({"short": short} if short else {}) | ({"unpromised": left} if left else {})


def tune(
    model: Bundle,
    table: Table,
    seen: SeenRows,
    objective: str | None,
    split: str | None = None,
    weight: str | None = None,
    targets: Sequence[str] = (),
    positive: object = None,
    confidence: float = 0.9,
    coverage: float | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Fit the thresholds of a model to an objective, or what stays possible to a coverage, on labelled rows.

    Rows that trained the model, or that `suggest` chose, promise nothing of others: they are left out where
    a precision, a recall or a coverage is asked for.

    Args:
        objective: what thresholds aim at; None leaves them.
        split: the rows, as `judge` names them. None takes those that `fit` held out, or of another table
            those that neither train nor test the model; see `choose.held_out`.
        weight: the column that says how much each row counts.
        targets: the names of the targets to tune; all that thresholds can serve, where none is named.
        positive: the class that is meant by yes, by target, where it is another than before.
        confidence: with which a precision or a recall holds for new rows, where these suffice; 0 is none.
        coverage: in which share of new rows the right class is among those that stay possible; 0 is none,
            and None as before.

    Raises:
        UserError: there is no such target, class or objective, none that thresholds can serve, or no row.
        RunError: nothing reaches the objective, so that nothing is changed.
    """
    level = _check(objective, confidence, coverage)
    schema = with_positive(model.schema, positive)
    aimed = _aimed(schema, objective, targets)
    if split is None:
        chosen, own = held_out(model.schema, table, seen)
    else:
        chosen, own = choose(model.schema, table, seen, split), False
    rows = len(chosen.table)
    chosen = weighed_by(chosen, weight, model.schema.missing)
    if (level is not None and confidence) or coverage:
        chosen = _fit_to_promise(chosen)
    _warn_of(chosen)
    before = judge_rows(model, chosen, "missing", progress)
    blank = [name for name in sorted(aimed) if not known(before.y[name]).any()]
    if blank:
        raise UserError(
            f"{table.source}: no label of {listed(blank)} is known in these {len(before.table)} rows; give "
            "other rows, or name the targets to tune with --target."
        )
    fitted: list[Target] = []
    short: list[Short] = []
    unpromised: list[Unpromised] = []
    reached: list[str] = []
    for old, new in zip(model.schema.targets, schema.targets, strict=True):
        if new.name not in aimed:
            fitted.append(old)
            continue
        judged = (before.probabilities[new.name], before.y[new.name])
        found = Fitted(new)
        if objective is not None:
            aiming = _aiming(old, new, objective)
            found = fit_thresholds(aiming, *judged, before.y.get(WEIGHT), confidence)
        target = found.target if found.reached else old
        if coverage is not None:
            sets = fit_coverage(target, *judged, coverage) if coverage else None
            target = target.deciding(coverage=sets)
        fitted.append(target)
        short += found.short
        unpromised += found.unpromised
        reached += [new.name] * found.reached
    if not reached:
        more = f" (and {len(short) - 1} more that miss it)" if len(short) > 1 else ""
        raise RunError(f"{short[0]}{more}. Nothing was changed; ask for less, or give more rows to `fit`.")
    after = before.decided_by(fitted)
    whole = own and len(before.table) == rows
    changed = replace(model.schema, targets=tuple(fitted))
    return Tuning(changed, before, after, tuple(reached), whole, tuple(short), tuple(unpromised))


def _fit_to_promise(chosen: Chosen) -> Chosen:
    """Leave out the rows that promise nothing of new ones: those that trained the model, or were chosen."""
    learned = (chosen.parts == "train") & ~(chosen.folded if chosen.split == FOLDS else np.array(False))
    picked = np.zeros(len(chosen.table), bool)
    if SUGGESTED in chosen.table.columns:
        how = np.array(chosen.table.column(SUGGESTED).to_pylist(), dtype=object)
        picked = np.array([text not in (None, "", "random") for text in how], bool)
    usable = ~learned & ~picked
    if usable.all():
        return chosen
    said = f"{learned.sum():,} trained the model, {picked.sum():,} were chosen by `suggest`"
    if not usable.any():
        raise UserError(
            f"{chosen.table.source}: no row can promise anything of new ones ({said}); give others."
        )
    left = int((~usable).sum())
    log.warning("%d of %d rows promise nothing of new ones and are left out: %s.", left, len(usable), said)
    return chosen.take(usable)


def _check(objective: str | None, confidence: float, coverage: float | None) -> float | None:
    """Refuse what cannot be asked for; return the precision or recall that is."""
    if not 0 <= confidence < 1:
        raise UserError(f"--confidence must be at least 0 and below 1, got {confidence:g}.")
    if coverage is not None and not 0 <= coverage < 1:
        raise UserError(f"--coverage must be at least 0 and below 1, got {coverage:g}.")
    if objective is None and coverage is None:
        raise UserError("nothing to tune: name an --objective, a --coverage, or both.")
    return None if objective is None else check_objective(objective)[1]


def _aimed(schema: Schema, objective: str | None, targets: Sequence[str]) -> set[str]:
    """Return the names of the targets to tune: of those named, or of all, the ones that can be."""
    named = [schema.target(name) for name in targets] or list(schema.targets)
    if objective is None:
        return {target.name for target in named}
    aimed = {target.name for target in named if serves(target, objective)}
    fixed = [target for target in named if target.name not in aimed]
    if fixed and (targets or not aimed):
        raise UserError(not_served(fixed, objective))
    return aimed


def _aiming(old: Target, new: Target, objective: str) -> Target:
    """Return a target that aims at an objective; a threshold of another class says nothing of this one."""
    cuts = old.decision.thresholds if old.positive == new.positive else ()
    return new.deciding(objective=objective, thresholds=cuts)


def _state(judged: Judged, name: str, meant: str) -> dict[str, Any]:
    """Say how a target is decided, and how right the answers are, of the class that is `meant` now."""
    target, weight = judged.schema.target(name), judged.y.get(WEIGHT)
    rows = (target, judged.y[name], judged.probabilities[name], weight)
    objective, cuts = target.decision.objective, list(target.decision.thresholds)
    found: dict[str, Any] = {"objective": objective, "thresholds": cuts, **metrics.of_yes(*rows, meant)}
    if target.positive:
        found["positive"] = target.positive
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
