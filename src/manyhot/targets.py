"""What a kind of target means: cells → numbers, and logits → probabilities → answers → names.

`encode` turns cells into numbers, `dense` turns those into the rows of 0, 1 and NaN that weighting and
splitting use. `probabilities` is the link of each structure of outputs, `decide` turns what it gives into
answers, `decode` gives these names. Everything here is numpy, so that whatever computes logits, with torch or
without, is answered for exactly as training was.

Shapes: N rows · M members · C classes · K sets of tags · W numbers per row: in y 1 for binary, else C; of
logits 1 for binary, K for a powerset, else C · P probabilities of a row (K for a powerset, else C).
"""

from __future__ import annotations

import json
import math
import re
import shlex
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Coverage, Kind, Schema, Target, check_objective

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]
Labels = Mapping[str, NDArray[Any]]  # by target what `encode` gives, and by WEIGHT how much each row counts
Weight = NDArray[Any] | None  # how much each row counts, float (N,); None: all alike
Cell = str | tuple[str, ...]
UnknownClass = Literal["error", "missing"]

UNKNOWN = -1
WEIGHT = "\0weight"  # stands beside targets where rows do not all count alike; no column is called so
PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?|[Tt]rue|[Ff]alse")  # texts that may stand for a typed value
DIGITS = 15  # characters of a number up to which no two are the same float
YES = frozenset({"1", "true", "yes", "y", "t", "positive", "pos", "+"})
NO = frozenset({"0", "false", "no", "n", "f", "negative", "neg", "-"})
MARKS = str.maketrans(
    "\u2018\u2019\u02bc\u201c\u201d\u2010\u2011\u2012\u2013\u2014\u2212", "'''\"\"------"
)  # as keyboards have them
QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
PYTHON_LIST = re.compile(rf"[\[({{]\s*(?:{QUOTED})(?:[\s,]+(?:{QUOTED}))*[\s,]*[\])}}]", re.DOTALL)


@dataclass(frozen=True)
class Cells:
    """One column of a table, each distinct cell held once.

    Row i holds `values[codes[i]]`, and an empty cell where `codes[i]` is −1. A value is a text, or
    a tuple of texts where the source has lists. `typed` is True when the source had numbers or
    booleans rather than text. `rows` are the row numbers that messages name, counted from 1.
    """

    values: tuple[Cell, ...]
    codes: IntArray
    name: str = ""
    source: str = ""
    typed: bool = False
    rows: IntArray | None = None

    def where(self, value: int) -> str:
        """Say where the distinct cell number `value` first stands: "train.csv row 418, column 'x'"."""
        index = int(np.flatnonzero(self.codes == value)[0])
        row = index + 1 if self.rows is None else int(self.rows[index])
        return f"{self.source} row {row}, column '{self.name}'".lstrip()


def num_outputs(target: Target) -> int:
    """Return how many logits a row has: 1 for binary, else one per class, or per set of a powerset."""
    match target.structure:
        case "binary":
            return 1
        case "multiclass" | "multilabel" | "powerset":
            return target.outcomes
        case _:
            assert_never(target.structure)


def tags_of(cell: Cell, separators: Sequence[str]) -> tuple[str, ...]:
    """Take one cell apart into its tags; `[]` has none.

    >>> tags_of("sky; sea", (";",)), tags_of("[]", (";",)), tags_of('["a;b"]', (";",))
    (('sky', 'sea'), (), ('a;b',))
    """
    if isinstance(cell, tuple):
        return tuple(dict.fromkeys(item for item in cell if item.strip()))
    items = list_of(cell)
    if items is not None:
        return tuple(dict.fromkeys(item for item in items if item.strip()))
    pattern = "|".join(re.escape(separator) for separator in separators)
    parts = re.split(pattern, cell.strip()) if pattern else [cell]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def list_of(text: str) -> list[str] | None:
    """Read a text that is written as a list: of JSON, of Python, or of Label Studio; None where it is none.

    >>> list_of("['a', 'b']"), list_of('{"choices": ["a", "b"]}'), list_of("a, b")
    (['a', 'b'], ['a', 'b'], None)
    """
    text = text.strip()
    if not text.startswith(("[", "{", "(")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if PYTHON_LIST.fullmatch(text):
            return [re.sub(r"\\(.)", r"\1", quoted[1:-1]) for quoted in re.findall(QUOTED, text)]
        return None
    if isinstance(found, list):
        each = [(item, _chosen(item)) for item in found]
        return [tag for item, tags in each for tag in ([str(item)] if tags is None else tags)]
    return _chosen(found)


def _chosen(item: object) -> list[str] | None:
    """Return the choices, or the labels of a region, of an object that Label Studio wrote."""
    for key, value in item.items() if isinstance(item, dict) else ():
        if isinstance(value, list) and (key == "choices" or key.endswith("labels")):
            return [str(tag) for tag in value]
    return None


def classes_in(target: Target, cells: Sequence[Cells]) -> tuple[str, ...]:
    """Return the classes that a target's cells name, in the order of their first distinct cell."""
    if len(target.columns) > 1:
        return target.classes
    found: dict[str, None] = {}
    for value in cells[0].values:
        found.update(dict.fromkeys(_names(target, value)))
    return tuple(found)


def unseen_classes(target: Target, cells: Sequence[Cells]) -> tuple[str, ...]:
    """Return the classes among the cells that the target does not have."""
    if len(target.columns) > 1:
        return ()
    index = _index(target, cells[0].typed)
    return tuple(name for name in classes_in(target, cells) if index(name) is None)


def with_unseen_classes(target: Target, classes: Iterable[str]) -> Target:
    """Return the target with more classes at the end, so that rows that have them count as wrong."""
    extra = tuple(classes)
    if not extra:
        return target
    kind: Kind
    thresholds = target.decision.thresholds
    match target.kind:
        case "multiclass":
            kind, old, new = "multiclass", thresholds, 1.0
        case "binary":
            kind, old, new = "multiclass", thresholds or (0.5,), 1.0
        case "multilabel":
            kind, old, new = "multilabel", thresholds, 0.5
        case _:
            assert_never(target.kind)
    each = len(old) == len(target.classes)  # where one decides alone, it does so of more classes too
    decision = replace(
        target.decision,
        thresholds=old + (new,) * len(extra) if each else old,
        positive=target.positive,
        promised=(),
        coverage=_widened(target.decision.coverage, len(extra)),
    )
    return replace(target, kind=kind, classes=target.classes + extra, decision=decision)


def _widened(coverage: Coverage | None, extra: int) -> Coverage | None:
    """Return limits for so many more classes, which are never possible."""
    if coverage is None:
        return None
    never = (math.inf,) * extra
    return replace(coverage, least=coverage.least + never, most=coverage.most and coverage.most + never)


def as_known(target: Target, cells: Sequence[Cells]) -> tuple[list[Cells], list[dict[int, str]]]:
    """Bring the labels of new rows to the classes that training knew, where they are only written otherwise.

    Training itself never does so. A cell of a 0/1 column that says neither yes nor no becomes unknown.

    Returns:
        the cells; and for each column by the number of a distinct cell which class it was brought to, ""
        where it became unknown.

    >>> cells = Cells(("CAT", "dog", "cow"), np.array([0, 1, 2]))
    >>> found, changed = as_known(Target("pet", "binary", ("cat", "dog"), ("pet",)), [cells])
    >>> found[0].values, changed
    (('cat', 'dog', 'cow'), [{0: 'cat'}])
    """
    if len(target.columns) > 1:
        each = [_flags_alone(column) for column in cells]
        return [found for found, _ in each], [changed for _, changed in each]
    (column,) = cells
    names = (*target.classes, *target.none)
    index, meant = _index(target, column.typed), by_meaning(names)
    values, changed = list(column.values), dict[int, str]()
    for number, value in enumerate(column.values):
        given = _names(target, value)
        known = [name for name in given if index(name) is None and (meant(name) is not None)]
        if known:
            found = {name: names[place] for name in known if (place := meant(name)) is not None}
            changed[number] = next(iter(found.values()))
            tags = tuple(found.get(name, name) for name in given)
            values[number] = tags[0] if target.exclusive else tags
    return [replace(column, values=tuple(values))], [changed]


def _flags_alone(column: Cells) -> tuple[Cells, dict[int, str]]:
    """Return a 0/1 column in which what is neither is unknown."""
    wrong = [number for number, value in enumerate(column.values) if flag_of(value, column.typed) is None]
    codes = np.where(np.isin(column.codes, wrong), UNKNOWN, column.codes) if wrong else column.codes
    return replace(column, codes=codes), dict.fromkeys(wrong, "")


def encode(target: Target, cells: Sequence[Cells], unknown_class: UnknownClass = "error") -> IntArray:
    """Turn the cells of a target's columns into numbers; −1 stands for unknown, always.

    Shape:
        out: int32 (N,) class numbers for multiclass; int8 (N, W) of 0, 1 and −1 otherwise.

    Raises:
        UserError: a cell names a class that the target does not have and `unknown_class` is
            "error" (with "missing" such a class is passed over), or a 0/1 column holds neither.

    >>> cells = Cells(("cat", "dog"), np.array([1, -1, 0]))
    >>> encode(Target("pet", "multiclass", ("cat", "dog", "cow"), ("pet",)), [cells]).tolist()
    [1, -1, 0]
    """
    if len(target.columns) > 1:
        flags = _encode_flags(target, cells)
        return _single(target, flags, cells, unknown_class) if target.exclusive else flags
    (column,) = cells
    index = _index(target, column.typed)
    numbers: list[list[int]] = []
    for number, value in enumerate(column.values):
        names = _names(target, value)
        found = [index(name) for name in names]
        if unknown_class == "error" and None in found:
            name = names[found.index(None)]
            raise UserError(
                f"{column.where(number)}: '{name}' is not a known class{suggest(name, target.classes)}. "
                "Correct the cell, or pass --unknown-class missing."
            )
        numbers.append([i for i in found if i is not None])
    match target.kind:
        case "multiclass":
            table = np.array([n[0] if n else UNKNOWN for n in numbers] + [UNKNOWN], dtype=np.int32)
        case "binary":
            table = np.array([[n[0] if n else UNKNOWN] for n in numbers] + [[UNKNOWN]], dtype=np.int8)
        case "multilabel":
            table = np.zeros((len(numbers) + 1, len(target.classes)), dtype=np.int8)
            table[-1] = UNKNOWN
            for row, tags in enumerate(numbers):
                table[row, tags] = 1
        case _:
            assert_never(target.kind)
    return table[column.codes]  # code −1 takes the last line, the unknown one


def dense(target: Target, y: IntArray) -> NDArray[np.float32]:
    """Turn what `encode` gave into 0, 1 and NaN for unknown.

    Shape:
        y: what `encode` gives.
        out: float32 (N, W).
    """
    match target.kind:
        case "multiclass":
            rows = np.eye(len(target.classes), dtype=np.float32)[y]
            rows[y == UNKNOWN] = np.nan
            return rows
        case "binary" | "multilabel":
            return np.where(y == UNKNOWN, np.float32(np.nan), y.astype(np.float32))
        case _:
            assert_never(target.kind)


def known(y: IntArray) -> NDArray[np.bool_]:
    """Tell for each row whether anything is known of it.

    Shape:
        y: what `encode` gives. out: bool (N,).
    """
    there: NDArray[np.bool_] = np.not_equal(y, UNKNOWN)
    return there if y.ndim == 1 else np.asarray(there.any(axis=1))


def weight_of(weight: Weight, rows: NDArray[Any]) -> Weight:
    """Return how much some rows count, by positions or bool (N,)."""
    return None if weight is None else weight[rows]


def weighed(values: NDArray[Any], weight: Weight) -> NDArray[Any]:
    """Return values (N,) or (N, C), each multiplied by how much its row counts."""
    return values if weight is None else values * weight.reshape(-1, *(1,) * (values.ndim - 1))


def sets_in(target: Target, y: IntArray) -> tuple[tuple[str, ...], ...]:
    """Return the different sets of tags among the rows that are known whole, in a fixed order.

    >>> tags = Target("t", "multilabel", ("a", "b"), ("t",))
    >>> sets_in(tags, np.array([[1, 1], [0, 0], [1, 1], [-1, 1]]))
    ((), ('a', 'b'))
    """
    whole = y[(y != UNKNOWN).all(axis=1)]
    names = np.array(target.classes, dtype=object)
    return tuple(tuple(names[row == 1]) for row in np.unique(whole, axis=0))


def consistent_sets(target: Target, y: IntArray) -> NDArray[np.bool_]:
    """Tell which sets of a powerset agree with what is known of each row; bool (N, K).

    >>> pair = Target("t", "multilabel", ("a", "b"), ("t",), label_sets=((), ("a", "b")))
    >>> consistent_sets(pair, np.array([[1, -1], [1, 0]])).tolist()
    [[False, True], [False, False]]
    """
    table = set_table(target).astype(np.float32)
    clashes = (y == 1).astype(np.float32) @ (1 - table).T + (y == 0).astype(np.float32) @ table.T
    return np.asarray(clashes == 0)


def probabilities(target: Target, logits: FloatArray) -> FloatArray:
    """Return the probability of every class, or of every set of a powerset, in [0, 1]: the link of a target.

    Shape:
        logits: float (N, W), or (N, M, W) of M members, whose probabilities' mean it then is.
        out: float (N, P) of the same type; for binary, of no and of yes.

    >>> sure = Target("t", "binary", ("no", "yes"), ("t",))
    >>> probabilities(sure, np.array([[0.0], [np.log(3)]])).round(2).tolist()
    [[0.5, 0.5], [0.25, 0.75]]
    """
    with np.errstate(invalid="ignore"):  # spoilt weights give NaN here too
        scaled = logits / np.asarray(target.decision.temperature, logits.dtype)
        match target.structure:
            case "multiclass" | "powerset":
                found = _softmax(scaled)
            case "binary":
                found = _sigmoid(np.concatenate([-scaled, scaled], axis=-1))
            case "multilabel":
                found = _sigmoid(scaled)
            case _:
                assert_never(target.structure)
    return found if found.ndim == 2 else np.asarray(found.mean(axis=1))


def _softmax(scaled: FloatArray) -> FloatArray:
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _sigmoid(scaled: FloatArray) -> FloatArray:
    powers = np.exp(-np.abs(scaled))  # at most 1, so that nothing overflows
    return np.asarray(np.where(scaled >= 0, 1, powers) / (1 + powers))


def logits_of(target: Target, probabilities: FloatArray) -> NDArray[np.float64]:
    """Return logits that probabilities (N, P) stand for, float64 (N, W): what `probabilities` undoes.

    One that is rounded to 0 or 1 counts as the nearest that its type can tell from them.
    """
    info = np.finfo(probabilities.dtype)
    yes = np.clip(probabilities.astype(np.float64), float(info.tiny), 1)
    match target.structure:
        case "binary":
            return np.asarray(np.log(yes[:, 1:]) - np.log(yes[:, :1]))
        case "multiclass" | "powerset":
            return np.asarray(np.log(yes))
        case "multilabel":
            return np.asarray(np.log(yes) - np.log1p(-np.minimum(yes, 1 - float(info.epsneg))))
        case _:
            assert_never(target.structure)


@lru_cache(maxsize=1024)
def sides(target: Target, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which logits speak for a class and which against it, W being that of a logit 0 behind them.

    The log odds of the class are the logarithm of the sum of powers of the first, less that of the second.

    >>> sides(Target("pet", "multiclass", ("cat", "dog", "cow"), ("pet",)), 1)
    ((1,), (0, 2))
    >>> sides(Target("ripe", "binary", ("no", "yes"), ("ripe",)), 0)
    ((1,), (0,))
    """
    last = num_outputs(target)
    match target.structure:
        case "binary":
            return ((last,), (0,)) if number == 0 else ((0,), (last,))
        case "multilabel":
            return (number,), (last,)
        case "multiclass":
            return (number,), tuple(other for other in range(last) if other != number)
        case "powerset":
            has = set_table(target)[:, number] == 1
            both = tuple(np.flatnonzero(has).tolist()), tuple(np.flatnonzero(~has).tolist())
            return both if all(both) else ((last,), (last,))  # a tag of all sets, or of none, has no reasons
        case _:
            assert_never(target.structure)


def log_odds(target: Target, logits: FloatArray) -> NDArray[np.float64]:
    """Return the log odds of every class, which no probability near 0 or 1 hides.

    Shape:
        logits: float (N, W). out: float64 (N, C).

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> log_odds(pet, np.array([[3.0, 1.0]])).tolist()
    [[2.0, -2.0]]
    """
    every = np.append(logits.astype(np.float64), np.zeros((len(logits), 1)), axis=1)
    both = (sides(target, number) for number in range(len(target.classes)))
    found = [_log_sum(every[:, [*yes]]) - _log_sum(every[:, [*no]]) for yes, no in both]
    return np.stack(found, axis=1)


def _log_sum(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    top = logits.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(logits - top).sum(axis=1)))


@lru_cache(maxsize=64)
def set_table(target: Target) -> NDArray[np.int8]:
    """Return the tags of each of a target's sets as 0 and 1; int8 (K, C)."""
    index = {name: number for number, name in enumerate(target.classes)}
    table = np.zeros((len(target.label_sets), len(target.classes)), dtype=np.int8)
    for row, tags in enumerate(target.label_sets):
        table[row, [index[tag] for tag in tags]] = 1
    return table


def marginals(target: Target, probabilities: FloatArray) -> FloatArray:
    """Return the probability of each class; a tag's is that of all sets that have it.

    Shape:
        probabilities: float (N, P). out: float (N, C).

    >>> tags = Target("t", "multilabel", ("a", "b"), ("t",), label_sets=((), ("a",), ("a", "b")))
    >>> marginals(tags, np.array([[.2, .5, .3]])).tolist()
    [[0.8, 0.3]]
    """
    match target.structure:
        case "binary" | "multiclass" | "multilabel":
            return probabilities
        case "powerset":  # summing may pass 1 by a rounding, which no probability does
            return np.minimum(probabilities @ set_table(target).astype(probabilities.dtype), 1)
        case _:
            assert_never(target.structure)


def decide(target: Target, probabilities: FloatArray) -> IntArray:
    """Choose the answer of each row, in the numbers of `encode`; −1 where a probability is NaN.

    A probability equal to its threshold counts as yes; below that of the positive class, the likeliest
    other one is the answer. Where a powerset aims at exact matches, the answer is the likeliest set.

    Shape:
        probabilities: float (N, P), in [0, 1]; those of a binary target and of sets sum to 1.
        out: as `encode`.

    >>> tags = Target("t", "multilabel", ("a", "b", "c"), ("t",))
    >>> decide(tags, np.array([[.2, .5, .8], [.4, .7, .1]])).tolist()
    [[0, 1, 1], [0, 1, 0]]
    """
    blank: NDArray[np.bool_] = np.asarray(np.isnan(probabilities).any(axis=1))
    thresholds = np.asarray(target.decision.thresholds or 0.5)
    match target.structure:
        case "multiclass":
            return np.where(blank, UNKNOWN, _of_several(target, probabilities)).astype(np.int32)
        case "binary":
            place = target.classes.index(target.positive)
            yes = (probabilities[:, [place]] >= thresholds) == bool(place)
        case "powerset" if target.decision.objective == "exact_match":
            yes = set_table(target)[probabilities.argmax(axis=1)] == 1
        case "multilabel" | "powerset":
            yes = marginals(target, probabilities) >= thresholds
        case _:
            assert_never(target.structure)
    return np.where(blank[:, None], UNKNOWN, yes).astype(np.int8)


def serves(target: Target, objective: str) -> bool:
    """Tell whether thresholds of a target can serve an objective.

    Precision and recall are of one class, which a target of several must name; F1 of several they do not fit.
    """
    name, level = check_objective(objective)
    if name == "micro_precision":
        return not target.exclusive
    if level is not None and target.exclusive:
        return bool(target.positive)
    return target.kind != "multiclass" or name not in ("micro_f1", "macro_f1")


def not_served(targets: Sequence[Target], objective: str) -> str:
    """Say what may be asked for instead of an objective that thresholds cannot serve; see `serves`."""
    name, level = check_objective(objective)
    names = listed(target.name for target in targets)
    first = targets[0]
    if name == "micro_precision":
        return f"{names}: micro_precision is of all tags together; aim at precision=P, which is of one class."
    if level is not None:
        option = shlex.join(["--positive", f"{first.name}={first.classes[-1]}"])
        return (
            f"{names}: {name} is of one class, and there are several; name the one meant, such as {option}."
        )
    return (
        f"{names}: no threshold serves {name} of several classes. Aim at balanced_accuracy, which answers "
        "more of the rare ones, or at recall=R or precision=P of one with --positive NAME=CLASS."
    )


def _of_several(target: Target, probabilities: FloatArray) -> IntArray:
    """Choose one of several classes for each row; (N,)."""
    thresholds = np.asarray(target.decision.thresholds)
    if len(thresholds) == 1:  # of the positive class
        place = target.classes.index(target.positive)
        others = probabilities.copy()
        others[:, place] = -1
        return np.where(probabilities[:, place] >= thresholds, place, others.argmax(axis=1))
    return np.asarray((probabilities / thresholds if len(thresholds) else probabilities).argmax(axis=1))


def with_positive(schema: Schema, positive: object) -> Schema:
    """Return a schema in which some targets mean another class by yes.

    Args:
        positive: by the names of targets their classes, or one class where one target can have it; None or
            an empty mapping for none.

    Raises:
        UserError: there is no such target or class, or a target has tags, each of which is a yes or no.

    >>> pet = Target("pet", "binary", ("cat", "dog"), ("pet",))
    >>> with_positive(Schema((), (pet,)), {"pet": "cat"}).targets[0].positive
    'cat'
    """
    if positive is None:
        return schema
    if not isinstance(positive, Mapping):
        single = [target.name for target in schema.targets if target.exclusive]
        if not single:
            raise UserError("--positive is for a target of one class for each row, and there is none.")
        if len(single) > 1:
            raise UserError(f"--positive must name its target, one of {listed(single)}: NAME=CLASS.")
        positive = {single[0]: positive}
    found = {target.name: target for target in schema.targets}
    for name, given in positive.items():
        target, text = schema.target(str(name)), str(given)
        if not target.exclusive:
            raise UserError(f"--positive {name}={text}: '{name}' has tags, each with a threshold of its own.")
        number = _index(target, not isinstance(given, str))(text)
        if number is None:
            raise UserError(
                f"--positive {name}={text}: '{name}' has no class '{text}'{suggest(text, target.classes)}; "
                f"there are {listed(target.classes)}."
            )
        found[target.name] = target.deciding(positive=target.classes[number])
    return replace(schema, targets=tuple(found.values()))


def decode(target: Target, answers: IntArray) -> list[str]:
    """Give answers the names that people read: a class, tags joined by ';', `[]`, '' for unknown.

    A multilabel row some of whose tags are unknown names those known to be there.
    """
    match target.kind:
        case "multiclass" | "binary":
            names = (*target.classes, "")
            return [names[answer] for answer in answers.reshape(-1).tolist()]
        case "multilabel":
            tags = np.array(target.classes, dtype=object)
            return ["" if (row == UNKNOWN).all() else ";".join(tags[row == 1]) or "[]" for row in answers]
        case _:
            assert_never(target.kind)


def number_of(text: str) -> float | None:
    """Read a text as the number that a typed source would hold; True is 1.

    >>> number_of("1"), number_of("1.0"), number_of("True"), number_of("cat")
    (1.0, 1.0, 1.0, None)
    """
    if text in ("True", "true", "False", "false"):
        return float(text in ("True", "true"))
    try:
        return float(text)
    except ValueError:
        return None


def text_of(cell: Cell) -> str:
    """Return a cell as one text: several tags with ";" between them."""
    return cell if isinstance(cell, str) else ";".join(cell)


def value_of(text: str) -> str | float:
    """Return what a typed source would hold where a text may stand for a number or a boolean, else the text.

    >>> value_of("7.0"), value_of("true"), value_of("007")
    (7.0, 1.0, '007')
    """
    found = number_of(text) if len(text) <= DIGITS and PLAIN.fullmatch(text) else None
    return text if found is None else found


def flag_of(cell: Cell, typed: bool = False) -> bool | None:
    """Read a cell as yes or no, None where it is neither; `typed` ones are numbers or booleans.

    >>> flag_of("Yes "), flag_of("0.0"), flag_of("2")
    (True, False, None)
    """
    word = cell.strip().casefold() if isinstance(cell, str) else ""
    amount = number_of(word) if typed or word not in YES | NO else None
    if word in YES or amount == 1:
        return True
    return False if word in NO or amount == 0 else None


def by_meaning(names: Sequence[str]) -> Callable[[str], int | None]:
    """Return a function from a text to the number of the name that it stands for, None where it is none.

    The text as it stands comes first; then its value (7 is 7.0, true is True); then what is left without
    capitals, doubled or unusual blanks and other forms of the same letters; then yes and no, where the names
    are just these two; then digits without their leading zeros, where all names have equally many. It is only
    taken for a name that is the only one of its meaning: Paris and PARIS are never one.

    >>> index = by_meaning(["Zürich", "7.0", "Paris", "PARIS"])
    >>> index("zu\u0308rich\u00a0"), index("7"), index("PARIS"), index("paris"), index("Rome")
    (0, 1, 3, None, None)
    >>> by_meaning(["no", "yes"])("True"), by_meaning(["00501", "10001"])("501")
    (1, 0)
    """
    exact = {name: number for number, name in enumerate(names)}
    forms: list[Callable[[str], Hashable]] = [value_of, meaning_of]
    if sorted(map(str, map(flag_of, names))) == ["False", "True"]:
        forms.append(flag_of)
    if len({len(name) for name in names}) == 1 and all(map(str.isdecimal, names)):
        forms.append(lambda text: _whole(text).zfill(len(names[0])))

    @cache
    def alone(number: int) -> dict[Hashable, int]:
        keys = [*map(forms[number], names)]
        counts = Counter(keys)
        return {key: place for place, key in enumerate(keys) if counts[key] == 1}

    def index(text: str) -> int | None:
        found = exact.get(text)
        for number, form in enumerate(forms):
            key = None if found is not None else form(text)
            found = found if key is None else alone(number).get(key)
        return found

    return index


def meaning_of(text: str) -> str | float:
    """Return what a text has in common with others that mean the same: letters, and values of numbers.

    >>> meaning_of(" New\u00a0 YORK"), meaning_of("TRUE"), meaning_of("\uff11.0")
    ('new york', 1.0, 1.0)
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if not folded.isascii():  # what has no width: joiners, a byte order mark, soft hyphens
        folded = "".join(c for c in folded if unicodedata.category(c) != "Cf").translate(MARKS)
    return value_of(" ".join(folded.split()))


def _whole(text: str) -> str:
    """Return the digits of a whole number, whatever its form; any other text as it stands.

    >>> _whole("501.0"), _whole("x")
    ('501', 'x')
    """
    value = value_of(text.strip())
    return str(int(value)) if isinstance(value, float) and value.is_integer() else text


def _names(target: Target, cell: Cell) -> tuple[str, ...]:
    """Return the class names in one distinct cell."""
    if target.exclusive:
        return (_range_of(target, text_of(cell)),)
    if isinstance(cell, str) and cell.strip() in target.none:
        return ()
    return tuple(tag for tag in tags_of(cell, target.separators) if tag not in target.none)


def _range_of(target: Target, text: str) -> str:
    """Return the class of a number where classes are ranges; any other text as it stands."""
    number = number_of(text) if target.edges else None
    if number is None or math.isnan(number):
        return text
    return target.classes[bisect_right(target.edges, number)]


def _index(target: Target, typed: bool) -> Any:
    """Return a function from a class name to its number, or None for a class that is not there.

    Text is compared as it stands, and '7' is never '007'; blanks around it count where they tell classes
    apart. Where the cell or the classes come from typed numbers, equal numbers are equal classes, since a
    missing value alone turns the integers of a data frame into floats.
    """
    exact = {name: number for number, name in enumerate(target.classes)}
    trimmed = {name.strip(): number for name, number in exact.items()}
    trimmed = trimmed if len(trimmed) == len(exact) else {}
    numeric = typed or target.numeric
    by_number = {number_of(name): n for name, n in exact.items() if numeric and PLAIN.fullmatch(name)}

    def index(name: str) -> int | None:
        found = exact.get(name, trimmed.get(name.strip()))
        if found is None and numeric and PLAIN.fullmatch(name):
            return by_number.get(number_of(name))
        return found

    return index


def _encode_flags(target: Target, cells: Sequence[Cells]) -> NDArray[np.int8]:
    """Read a column of 0 and 1 for each class; where one says that there is none, what is unknown is 0."""
    columns = {name: _encode_flag(column) for name, column in zip(target.columns, cells, strict=True)}
    y = np.stack([column for name, column in columns.items() if name not in target.none], axis=1)
    for name in columns.keys() & {*target.none}:
        y[(columns[name] == 1)[:, None] & (y == UNKNOWN)] = 0
    return y


def _single(
    target: Target, flags: NDArray[np.int8], cells: Sequence[Cells], unknown_class: UnknownClass
) -> IntArray:
    """Turn flags (N, C) of which a row has one into the class numbers of `encode`; none is unknown."""
    several = np.flatnonzero((flags == 1).sum(axis=1) > 1)
    if len(several) and unknown_class == "error":
        row, column = int(several[0]), cells[0]
        number = row + 1 if column.rows is None else int(column.rows[row])
        both = " and ".join(f"'{target.classes[place]}'" for place in np.flatnonzero(flags[row] == 1)[:2])
        raise UserError(
            f"{column.source} row {number}: {both} are both 1, and '{target.name}' has one class a row. "
            f"Correct the cells, or leave {shlex.join(['--kind', f'{target.name}={target.kind}'])} out."
        )
    classes = np.where((flags == 1).sum(axis=1) == 1, flags.argmax(axis=1), UNKNOWN)
    return classes[:, None].astype(np.int8) if target.kind == "binary" else classes.astype(np.int32)


def _encode_flag(column: Cells) -> NDArray[np.int8]:
    """Read a column of yes and no (0/1, true/false) into 1, 0 and −1."""
    table = np.full(len(column.values) + 1, UNKNOWN, dtype=np.int8)
    for number in np.unique(column.codes[column.codes >= 0]).tolist():
        value = column.values[number]
        found = flag_of(value, column.typed)
        if found is not None:
            table[number] = found
        else:
            every = shlex.quote(f"--missing={text_of(value).strip()}")
            raise UserError(
                f"{column.where(number)}: '{value}' must be 0 or 1 (or empty for unknown). "
                f"Correct the cell, or read all of its kind as unknown with {every}."
            )
    return table[column.codes]


def possible(target: Target, probabilities: FloatArray) -> NDArray[np.bool_]:
    """Tell which classes, or tags, are possible for each row, by the coverage of its target.

    Its answer always is; of a row with NaN none.

    Shape:
        probabilities: float (N, P). out: bool (N, C).

    >>> pet = Target("pet", "multiclass", ("cat", "dog", "cow"), ("pet",))
    >>> pet = pet.deciding(coverage=Coverage(0.9, 99, (0.2, 0.2, 0.5)))
    >>> possible(pet, np.array([[.5, .25, .25], [.1, .0, .9]])).tolist()
    [[True, True, False], [False, False, True]]
    """
    coverage = target.decision.coverage
    assert coverage is not None, "asked of targets that have one"
    found = marginals(target, probabilities) >= np.asarray(coverage.least)
    answers = decide(target, probabilities)
    if target.exclusive:
        there = np.flatnonzero(answers.reshape(-1) != UNKNOWN)
        found[there, answers.reshape(-1)[there]] = True
        return np.asarray(found)
    return np.asarray(found | (answers == 1))


def unsure(target: Target, probabilities: FloatArray) -> NDArray[np.bool_]:
    """Tell which classes, or tags, a row may have and may not have; bool (N, C).

    Of a single class these are all that are possible, where more than one is.
    """
    coverage, found = target.decision.coverage, possible(target, probabilities)
    assert coverage is not None, "asked of targets that have one"
    if target.exclusive:
        return np.asarray(found & (found.sum(axis=1) > 1)[:, None])
    absent = (marginals(target, probabilities) <= np.asarray(coverage.most)) | (
        decide(target, probabilities) == 0
    )
    return np.asarray(found & absent)
