"""Which rows to label next: a model and rows without labels in, a table to fill in out.

`manyhot suggest` and `manyhot.suggest` call it. Chosen are rows that the model is least sure of and that
differ from each other; a fifth is drawn at random, since whatever is calibrated or promised holds only for
rows that nobody chose. Copies, rows that are labelled already and rows unlike all others are left out.

Shapes: N rows · C classes · F features.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import files, notebook
from manyhot.classifier import Classifier, as_table, load
from manyhot.data import arrays
from manyhot.data.columns import SUGGESTED
from manyhot.data.inputs.features import TableInputs
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.inputs.images.stream import X
from manyhot.data.table import Table
from manyhot.ensemble import NETWORK
from manyhot.errors import UserError
from manyhot.predict import beside, readable
from manyhot.progress import Lines
from manyhot.schema import Target
from manyhot.targets import (
    UNKNOWN,
    FloatArray,
    decide,
    decode,
    encode,
    marginals,
    unseen_classes,
    with_unseen_classes,
)

RANDOM = 0.2  # share that is drawn at random
UNSURE = 10  # times as many of the least sure rows as are asked for, of which those that differ are taken
FEWEST = 5  # labels of a class in the mean, below which typical rows come first
NEIGHBOURS, TYPICAL = 10, 20  # nearest rows that say how far off a row is, and how typical
COMPARED = 3_000  # rows that others are measured by
WHOLE = 20_000  # rows of which typical ones are looked for
TOGETHER = 500  # clusters at a time; of more rows the clusters of each part
LIKELIEST = 5  # probabilities that are written of each target
MARKS = {
    "unsure": "the model is least sure of them",
    "typical": "most like others",
    "random": "drawn from all, whatever the model says",
}

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Suggestions:
    """Rows to label, those that teach most first.

    table  the columns of the pool, the labels to fill in, and beside them what the model answers
    why    "unsure", "typical" or "random" of each row, as the column `suggested` says
    left   why rows are left out → how many
    far    the numbers of the rows unlike all others
    notes  what people should know
    """

    table: Table
    why: Sequence[str]
    left: Mapping[str, int]
    far: Sequence[int] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def details(self) -> dict[str, Any]:
        """Return the document of `suggest --json`, but for the file that was written."""
        counts = {word: self.why.count(word) for word in MARKS if word in self.why}
        return {
            "rows": len(self.table),
            "why": counts,
            "left_out": dict(self.left),
            "far": list(self.far),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        counts = self.details()["why"]
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items())
        return notebook.lines(f"Suggestions: {len(self.table):,} rows of {self.table.source} ({words})")


def suggest(
    model: Classifier | str | Path, pool: object, count: int, *, seed: int = 0, verbose: bool = True
) -> Suggestions:
    """Choose the rows of a pool whose labels would teach a model most.

    Raises:
        UserError: `count` is below 1, no row is left to suggest, or a column is missing.
    """
    if count < 1:
        raise UserError(f"--count must be at least 1, got {count}.")
    classifier = model if isinstance(model, Classifier) else load(model, verbose)
    table = _without_marks(as_table(pool))
    if not len(table):
        raise UserError(f"{table.source}: has no rows to suggest.")
    schema, notes = classifier.schema, []
    unknown = {target.name: _unknown(target, table, schema.missing) for target in schema.targets}
    with Lines(verbose) as told:
        hashes = row_hashes(schema, table)
        free, left = _free(classifier, table, unknown, hashes)
        x, bad = classifier.bundle.inputs.transform(table.take(free), told.reading, hashes[free])
        if bad:
            left["unreadable"] = len(bad)
        kept = np.delete(free, list(bad))
        if not len(kept):
            reasons = ", ".join(f"{number:,} {why}" for why, number in left.items())
            raise UserError(f"{table.source}: no row is left to suggest ({reasons}).")
        if len(kept) < count:
            notes.append(f"--count {count:,} is more than the {len(kept):,} rows there are to suggest.")
        x = readable(x, bad)
        found = classifier.bundle.probabilities(x)
    chances = {name: np.asarray(values) for name, values in found.items()}
    doubt = _doubt(schema.targets, chances, {name: each[kept] for name, each in unknown.items()})
    rng = np.random.default_rng(seed)
    wanted = min(count, len(kept))
    drawn = np.sort(rng.permutation(len(kept))[: round(RANDOM * wanted)])
    rest = np.setdiff1d(np.arange(len(kept)), drawn)
    few = _few_labels(classifier)
    if few:
        word = "typical"
        notes.append(
            f"the model learned from fewer than {FEWEST} rows a class, too few to say where it is unsure: "
            "the rows most like others come first."
        )
        if len(rest) > WHOLE:
            rest = np.sort(rng.permutation(rest)[:WHOLE])
    else:
        word = "unsure"
        rest = rest[np.argsort(-doubt[rest], kind="stable")[: UNSURE * wanted]]
    compared = np.sort(rng.permutation(len(kept))[:COMPARED])
    needed = np.union1d(rest, compared)
    z = _features(classifier, x[needed], {name: values[needed] for name, values in chances.items()})
    of = {int(row): place for place, row in enumerate(needed)}
    z_rest, z_all = z[[of[int(row)] for row in rest]], z[[of[int(row)] for row in compared]]
    is_far = _far(z_rest, z_all)
    far = sorted(map(int, table.rows[kept[rest[is_far]]]))
    if far:
        left["unlike all others"] = len(far)
        numbers = ", ".join(map(str, far[:10])) + (" …" if len(far) > 10 else "")
        notes.append(
            f"left out, since unlike all other rows of the pool: row{'s' * (len(far) > 1)} {numbers}. Look "
            "at them: they may be damaged, or something new."
        )
        rest, z_rest = rest[~is_far], z_rest[~is_far]
    picked = _varied(z_rest, doubt[rest], wanted - len(drawn), seed, typical=few)
    chosen = np.concatenate([rest[picked], drawn])
    why = [word] * len(picked) + ["random"] * len(drawn)
    part = {name: values[chosen] for name, values in chances.items()}
    answered = _beside(table.take(kept[chosen]), schema.targets, part, why)
    return Suggestions(answered, why, left, far, tuple(notes))


def _without_marks(table: Table) -> Table:
    """Return a pool without what an earlier call has written beside its rows."""
    if SUGGESTED not in table.columns:
        return table
    ours = [name for name in table.names if name == SUGGESTED or name.startswith(f"{SUGGESTED}.")]
    columns = {name: column for name, column in table.columns.items() if name not in ours}
    return replace(table, columns=columns)


def _unknown(target: Target, table: Table, missing: Sequence[str]) -> Bools:
    """Tell what is unknown of a target, which is all where the pool lacks a column; bool (N, W)."""
    width = 1 if target.exclusive else len(target.classes)
    if not {*target.columns} <= {*table.names}:
        return np.ones((len(table), width), bool)
    cells = [table.cells(name, missing) for name in target.columns]
    whole = with_unseen_classes(target, unseen_classes(target, cells))  # a new class is known too
    y = encode(whole, cells, "missing").reshape(len(table), -1)
    return np.asarray((y == UNKNOWN)[:, :width])


def _free(
    classifier: Classifier, table: Table, unknown: Mapping[str, Bools], hashes: NDArray[np.uint64]
) -> tuple[Places, dict[str, int]]:
    """Return the rows that may be suggested, and how many are left out for which reason."""
    is_open = np.any([each.any(axis=1) for each in unknown.values()], axis=0)
    untouched = np.all([each.all(axis=1) for each in unknown.values()], axis=0)
    left = {"labelled": int((~is_open).sum())}
    seen = classifier.seen
    places = seen.places(table.rows, hashes)
    same = (places >= 0) & (np.append(seen.rows, -1)[places] == table.rows)
    # The table that trained it, with its labels: rows without one were there too, and need one still.
    own = not untouched.all() and same.sum() * 2 >= len(seen) > 0
    taught = hashes[~untouched] if own else np.append(seen.hashes, hashes[~untouched])
    again = is_open & untouched & np.isin(hashes, taught)
    left["equal to rows that have labels or trained the model"] = int(again.sum())
    free = np.flatnonzero(is_open & ~again)
    _, first = np.unique(hashes[free], return_index=True)
    left["copies of each other"] = len(free) - len(first)
    return free[np.sort(first)], {why: number for why, number in left.items() if number}


def _doubt(
    targets: Sequence[Target], chances: Mapping[str, FloatArray], unknown: Mapping[str, Bools]
) -> Floats:
    """Return how unsure a model is of what is unknown of each row, over all targets; float64 (N,).

    Of one class it is 1 less the margin between the two likeliest; of tags the mean of 1 − |2p − 1|, of which
    each counts less the more often the model is unsure of it, so that rare tags count. Each target is divided
    by its mean.

    Source: Scheffer et al. 2001, "Active Hidden Markov Models for Information Extraction" (the margin).

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> chances, free = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[True], [True]])
    >>> _doubt([pet], {"pet": chances}, {"pet": free}).round(2).tolist()
    [1.67, 0.33]
    """
    total = np.zeros(len(next(iter(unknown.values()))))
    for target in targets:
        each = marginals(target, chances[target.name]).astype(np.float64)
        free = unknown[target.name]
        if target.exclusive:
            second, first = np.partition(each, -2, axis=1)[:, -2:].T
            doubt = np.where(free[:, 0], 1 - (first - second), 0.0)
        else:
            entries = np.where(free, 1 - np.abs(2 * each - 1), 0.0)
            mean = entries.mean(axis=0)
            weight = 1 / np.maximum(mean + mean.mean(), 1e-12)
            doubt = entries @ weight / weight.sum()
        total += doubt / max(float(doubt.mean()), 1e-12)
    return total


def _few_labels(classifier: Classifier) -> bool:
    """Tell whether training had so few rows of each class that its doubts say little."""
    taught: Any = {}
    if classifier.run is not None:
        taught = classifier.run.judged.taught
    elif classifier.folder is not None and (classifier.folder / "metrics.json").is_file():
        taught = files.read_json(classifier.folder / "metrics.json").get("training", {})
    means = [sum(each.values()) / max(1, len(each)) for each in taught.values()]
    return bool(means) and min(means) < FEWEST


def _features(classifier: Classifier, x: X, chances: Mapping[str, FloatArray]) -> NDArray[np.float32]:
    """Return what rows are compared by, each of length 1: what the heads read; float32 (N, F).

    Where no network answers it is the standardised columns, and of pictures the log odds of the answers.
    """
    bundle = classifier.bundle
    alone = bundle.graph is not None and classifier.folder is None
    if not alone and NETWORK in bundle.ensemble.encoders:
        from manyhot.model import inference

        z = inference.features(bundle.predictor, x)
    elif isinstance(bundle.inputs, TableInputs):
        z = _standardised(bundle.inputs, np.asarray(x))
    else:
        every = np.concatenate([np.clip(values, 1e-6, 1 - 1e-6) for values in chances.values()], axis=1)
        z = np.log(every / (1 - every))
    z = np.asarray(z, np.float32)
    return np.asarray(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12), np.float32)


def _standardised(inputs: TableInputs, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return numbers as they were scaled, 0 where one is missing, and a column for each category."""
    columns = []
    for place, feature in enumerate(inputs.features):
        if feature.kind == "number":
            columns.append(np.nan_to_num(x[:, place : place + 1]))
        else:
            columns.append(
                (x[:, place : place + 1] == np.arange(1, len(feature.classes) + 1)).astype(np.float32)
            )
    return np.concatenate(columns, axis=1)


def _far(z: NDArray[np.float32], others: NDArray[np.float32]) -> Bools:
    """Tell which rows are unlike all others; bool (N,), none where there are fewer than 100.

    The logarithm of the distance to the tenth nearest is beyond its upper quartile by three times the
    interquartile range.
    """
    if len(others) < 10 * NEIGHBOURS:
        return np.zeros(len(z), bool)
    usual = np.log(_tenth(others, others, NEIGHBOURS + 1) + 1e-6)
    quarter, three = np.quantile(usual, [0.25, 0.75])
    limit = three + 3 * max(three - quarter, 0.1)
    return np.asarray(np.log(_tenth(z, others, NEIGHBOURS + 1) + 1e-6) > limit)


def _tenth(z: NDArray[np.float32], others: NDArray[np.float32], number: int) -> Floats:
    """Return the distance of rows of length 1 to their nearest but so many; float64 (N,)."""
    out = np.empty(len(z))
    for at in range(0, len(z), 1024):
        squares = np.maximum(2 - 2 * (z[at : at + 1024] @ others.T), 0)
        out[at : at + 1024] = np.sqrt(np.partition(squares, number - 1, axis=1)[:, number - 1])
    return out


def _varied(z: NDArray[np.float32], doubt: Floats, count: int, seed: int, typical: bool) -> Places:
    """Choose rows that differ: of as many clusters the one nearest to each centre, or the most typical.

    Source: Zhdanov 2019, "Diverse mini-batch Active Learning" (k-means weighted by the doubt); Hacohen et al.
    2022, "Active Learning on a Budget" (typical rows).
    """
    if len(z) <= count:
        return np.argsort(-doubt, kind="stable")
    rng = np.random.default_rng(seed)
    parts = -(-count // TOGETHER)
    part = rng.permutation(len(z)) % parts
    out: list[int] = []
    for number in range(parts):
        rows = np.flatnonzero(part == number)
        clusters = min(len(rows), count // parts + (number < count % parts))
        out += map(int, rows[_one_of_each(z[rows], doubt[rows], clusters, seed, typical)])
    rest = np.setdiff1d(
        np.argsort(-doubt, kind="stable"), out, assume_unique=True
    )  # of equal rows, fewer clusters
    picked = np.array([*out, *rest[: count - len(out)]], np.intp)
    return picked[np.argsort(-doubt[picked], kind="stable")]


def _one_of_each(z: NDArray[np.float32], doubt: Floats, clusters: int, seed: int, typical: bool) -> Places:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if not clusters:
        return np.zeros(0, np.intp)
    weight = None if typical else np.maximum(doubt, 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that are equal
        found = KMeans(clusters, n_init=1, random_state=seed).fit(z, sample_weight=weight)
    labels = found.labels_
    if typical:
        near = min(TYPICAL, len(z))
        cost = _tenth(z, z[:: -(-len(z) // COMPARED)], min(near, -(-len(z) // -(-len(z) // COMPARED))))
    else:
        cost = ((z - found.cluster_centers_[labels]) ** 2).sum(axis=1)
    order = np.lexsort((cost, labels))
    first = np.r_[True, labels[order][1:] != labels[order][:-1]]
    return np.asarray(order[first])


def _beside(
    table: Table, targets: Sequence[Target], chances: Mapping[str, FloatArray], why: Sequence[str]
) -> Table:
    """Return rows with the labels to fill in, why each is there, and what the model answers."""
    empty = arrays.texts([None] * len(table))
    labels = [name for target in targets for name in target.columns]
    added: dict[str, Any] = {name: empty for name in labels if name not in table.columns}
    added[SUGGESTED] = list(why)
    for target in targets:
        values = chances[target.name]
        added[f"{SUGGESTED}.{target.name}"] = decode(target, decide(target, values))
        added[f"{SUGGESTED}.{target.name}.likeliest"] = _likeliest(target, values)
    return beside(table, added, (), {})


def _likeliest(target: Target, values: FloatArray) -> list[str]:
    """Write the likeliest classes of each row with their probabilities: "cat 0.51, dog 0.47"."""
    each = marginals(target, values)
    order = np.argsort(-each, axis=1, kind="stable")[:, :LIKELIEST]
    return [
        ", ".join(f"{target.classes[c]} {row[c]:.2f}" for c in top if row[c] >= 0.005)
        for row, top in zip(each, order, strict=True)
    ]
