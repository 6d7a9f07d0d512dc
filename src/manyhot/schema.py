"""What a table is read as: its inputs and its targets. Data only, JSON and nothing else.

`data.infer` writes a Schema from a table, people edit it, everything after it reads it.
What a *kind* of target and a *structure* of outputs mean is not said here: see `targets`, `priors`,
`model.losses` and `metrics`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sized
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Literal, get_args

from manyhot import notebook
from manyhot.errors import UserError, listed, shortened, suggest

Kind = Literal["binary", "multiclass", "multilabel"]
Structure = Literal["binary", "multiclass", "multilabel", "powerset"]
InputKind = Literal["image", "number", "category", "date", "text"]

OBJECTIVES = ("hamming", "exact_match", "micro_f1", "macro_f1", "balanced_accuracy")
PARAMETRIC_OBJECTIVES = ("precision", "recall", "micro_precision")
OLD_NAMES = {"sets": "label_sets"}  # of a target, in the first format


@dataclass(frozen=True)
class Coverage:
    """Which classes stay possible for a row: the set of these holds the right one as often as was asked for.

    level  the share of new rows whose right class is in their set, or of whose tags none is lacking
    rows   by how many held-out rows it was fitted
    least  a class, or a tag, is possible from this probability on; one number a class
    most   (multilabel) that a row has not a tag is possible up to this probability of it; one number a tag
    """

    level: float
    rows: int
    least: tuple[float, ...]
    most: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise UserError(f"coverage must be above 0 and below 1, got {self.level}.")


@dataclass(frozen=True)
class FarLimits:
    """From where on a row is far from all that training saw; see `model.far`.

    distance  to the tenth nearest training row
    outside   by how many of its ranges a column is outside of it
    rows      by how many rows it was found, of which a hundredth is far
    """

    distance: float
    outside: float
    rows: int


@dataclass(frozen=True)
class Decision:
    """How the probabilities of a target become an answer: what calibration found, and what it aims at.

    objective    what `targets.decide` aims at
    temperature  logits are divided by it before they become probabilities
    thresholds   a probability equal to its threshold counts as yes: one for each tag, or that of the positive
                 class, below which the likeliest other one is answered. One for each of several classes: the
                 class whose probability is the largest multiple of its own wins. () means 0.5 throughout, and
                 of several classes the likeliest
    positive     the class that is meant by yes (one class for each row); "" is the second of two, and of
                 several none
    promised     for each threshold the confidence with which its precision or recall holds for new rows; 0 is
                 none. () where nothing of the kind was aimed at
    coverage     which classes stay possible for a row; None where it was not asked
    """

    objective: str = "hamming"
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    positive: str = ""
    promised: tuple[float, ...] = ()
    coverage: Coverage | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise UserError(f"temperature must be above 0, got {self.temperature}.")
        check_objective(self.objective)


@dataclass(frozen=True)
class Target:
    """One thing to predict about a row. A model predicts a list of these.

    name         what the answers are called
    kind         one of two classes, one of several, or any number of them
    classes      their names, in the order of the logits; for binary the logit is that of the second
    columns      where its cells are: one column, or a 0/1 column for each class
    separators   what stands between the tags of one cell, or around them (multilabel, one column)
    numeric      the classes were numbers in a typed source, so 1, 1.0 and True are one class
    label_sets   (multilabel) the sets of tags that a row can have, where the model answers by whole sets, as
                 a label powerset; () where it answers tag by tag
    decision     how its probabilities become an answer
    none         words that mean no tags, or those of the columns that say so of a row (multilabel)
    edges        where the classes are ranges of numbers: the least number of each class but the first
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    separators: tuple[str, ...] = (";", "|")
    numeric: bool = False
    label_sets: tuple[tuple[str, ...], ...] = ()
    decision: Decision = field(default_factory=Decision)
    none: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        where = f"target '{self.name}'"
        if self.kind not in get_args(Kind):
            raise UserError(f"{where}: kind must be one of {listed(get_args(Kind))}, got '{self.kind}'.")
        if len(set(self.classes)) != len(self.classes):
            raise UserError(f"{where}: classes must differ, got {listed(self.classes)}.")
        if self.kind == "binary" and len(self.classes) != 2:
            raise UserError(f"{where}: a binary target has 2 classes, got {len(self.classes)}.")
        if not self.columns:
            raise UserError(f"{where}: names no column.")
        flags = [column for column in self.columns if column not in self.none]
        if len(self.columns) > 1 and len(flags) != len(self.classes):
            raise UserError(
                f"{where}: several columns are 0 or 1 for a class each, "
                f"got {len(flags)} columns and {len(self.classes)} classes."
            )
        self._check_decision(where)
        if self.edges and (not self.exclusive or len(self.edges) >= len(self.classes)):
            raise UserError(
                f"{where}: edges part the numbers of a target with a class more than there are edges."
            )
        if any(before >= after for before, after in pairwise(self.edges)):
            raise UserError(f"{where}: edges must rise, got {listed(map(str, self.edges))}.")
        strange = sorted({tag for tags in self.label_sets for tag in tags} - set(self.classes))
        if self.label_sets and self.exclusive:
            raise UserError(f"{where}: label_sets are for a multilabel target.")
        if strange:
            raise UserError(f"{where}: label_sets name {listed(strange)}, which are no classes of it.")

    def _check_decision(self, where: str) -> None:
        named, cuts = self.decision.positive, self.decision.thresholds
        if named and not (self.exclusive and named in self.classes):
            raise UserError(f"{where}: positive must be one of its classes, got '{named}'.")
        each = 1 if self.kind == "binary" else len(self.classes)
        if len(cuts) not in (0, each, 1 if self.positive else each):
            raise UserError(f"{where}: thresholds must be {each} numbers, got {len(cuts)}.")
        if len(self.decision.promised) not in (0, len(cuts)):
            raise UserError(f"{where}: promised must be a number for each threshold.")
        sets = self.decision.coverage
        wanted = (len(self.classes), 0 if self.exclusive else len(self.classes))
        if sets is not None and (len(sets.least), len(sets.most)) != wanted:
            raise UserError(f"{where}: coverage must have {wanted[0]} limits for a class each.")
        if len(cuts) > 1 and self.exclusive and min(cuts) <= 0:
            raise UserError(f"{where}: thresholds of several classes must be above 0.")

    @property
    def exclusive(self) -> bool:
        """True when a row has exactly one of the classes, False when it has any number."""
        return self.kind != "multilabel"

    @property
    def positive(self) -> str:
        """The class that precision and recall are of, where a row has one class; "" where none is meant."""
        second = self.classes[1] if self.kind == "binary" else ""
        return self.decision.positive or second

    @property
    def structure(self) -> Structure:
        """What the outputs of a model stand for: the classes of the kind, or whole sets of tags."""
        return "powerset" if self.label_sets else self.kind

    @property
    def in_words(self) -> str:
        """What there is to answer, for people: "no or yes", "3 classes" or "3 tags"."""
        if not self.exclusive:
            return f"{len(self.classes)} tags"
        return " or ".join(self.classes) if len(self.classes) == 2 else f"{len(self.classes)} classes"

    @property
    def outcomes(self) -> int:
        """How many probabilities a row has: one for each set of a label powerset, else for each class."""
        return len(self.label_sets) or len(self.classes)

    def deciding(self, **changes: Any) -> Target:
        """Return the target with some of its decision changed, such as `temperature=1.5`.

        Other thresholds keep no promise of the old ones.
        """
        if "thresholds" in changes:
            changes = {"promised": (), **changes}
        return replace(self, decision=replace(self.decision, **changes))


@dataclass(frozen=True)
class Notation:
    """How people wrote the numbers of a column, or its dates: 1.234,50 €, (1,234.50), 31/12/2024.

    `data.numbers` and `data.dates` read them.

    decimal    what stands before the fraction
    thousands  what may stand between groups of digits
    affix      what stands before or behind each number, such as a currency or %
    first      which comes first in a date, the "day" or the "month"; "" where that is plain
    """

    decimal: str = "."
    thousands: str = ","
    affix: str = ""
    first: str = ""

    def __post_init__(self) -> None:
        if self.first not in ("", "day", "month"):
            raise UserError(f"notation: first must be day or month, got '{self.first}'.")
        if self.decimal not in (".", ",") or self.thousands not in (".", ",", " ", "'"):
            raise UserError(
                "notation: decimal must be . or , and thousands one of . , ' and a blank, "
                f"got '{self.decimal}' and '{self.thousands}'."
            )
        if self.decimal == self.thousands:
            raise UserError(f"notation: decimal and thousands must differ, both are '{self.decimal}'.")


@dataclass(frozen=True)
class Levels:
    """How pictures of more than 8 bits, or with transparent parts, become pictures of 8 bits without.

    whole   which of their levels become 0 and 255, where these are whole numbers; () is 0 and 65,535
    real    the same of floats; () is 0 and 1, or 0 and 255 in a picture that has more than 1
    ground  the grey that transparent parts lie on, 255 being white
    """

    whole: tuple[float, ...] = ()
    real: tuple[float, ...] = ()
    ground: int = 255

    def __post_init__(self) -> None:
        for ends in (self.whole, self.real):
            if ends and not (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf):
                raise UserError(f"levels: must be two numbers that rise, got {listed(map(str, ends))}.")
        if not 0 <= self.ground <= 255:
            raise UserError(f"levels: ground must be from 0 to 255, got {self.ground}.")


@dataclass(frozen=True)
class Input:
    """One column that the model reads.

    name      the column
    kind      what its cells are
    shape     (H, W, C) for images, () otherwise
    notation  how its numbers or dates are written, where not as Python writes them
    missing   the words that mean an empty cell in this column, beside those of the schema
    levels    how its pictures become such of 8 bits, where this is not the usual way
    """

    name: str
    kind: InputKind
    shape: tuple[int, ...] = ()
    notation: Notation | None = None
    missing: tuple[str, ...] = ()
    levels: Levels | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(InputKind):
            kinds = listed(get_args(InputKind))
            raise UserError(f"input '{self.name}': kind must be one of {kinds}, got '{self.kind}'.")
        if self.kind == "image" and not (len(self.shape) == 3 and min(self.shape) > 0):
            raise UserError(
                f"input '{self.name}': shape must be (height, width, channels), got {self.shape}."
            )


@dataclass(frozen=True)
class Schema:
    """The inputs and targets of a table, the words that mean an empty cell in it, and which rows are far."""

    inputs: tuple[Input, ...]
    targets: tuple[Target, ...]
    missing: tuple[str, ...] = ()
    far: FarLimits | None = None

    def __post_init__(self) -> None:
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise UserError(f"targets must have different names, got {listed(names)}.")
        if self.is_image and len(self.inputs) > 1:
            raise UserError(
                f"one image column at a time can be read, got {listed(i.name for i in self.inputs)}."
            )

    @property
    def is_image(self) -> bool:
        """True when the rows are pictures, False when they are rows of a table."""
        return any(input.kind == "image" for input in self.inputs)

    def __repr__(self) -> str:
        kinds = Counter(column.kind for column in self.inputs)
        return notebook.lines(
            f"Schema: {_count(self.inputs, 'input')}, {_count(self.targets, 'target')}",
            f"from {notebook.names(column.name for column in self.inputs)} "
            f"({', '.join(f'{kind} {count}' for kind, count in kinds.items())})",
            f"to {notebook.names(f'{target.name} ({target.in_words})' for target in self.targets)}",
        )

    def _repr_html_(self) -> str:
        targets = [(target.name, target.kind, ", ".join(target.classes)) for target in self.targets]
        inputs = [
            (column.name, column.kind, column.notation or "") for column in self.inputs[: notebook.ROWS]
        ]
        more = len(self.inputs) - len(inputs)
        title = f"{len(self.inputs)} inputs" + (f", the last {more} not shown" if more else "")
        return notebook.grid("targets", ("name", "kind", "classes"), targets) + notebook.grid(
            title, ("name", "kind", "notation"), inputs
        )

    def target(self, name: str) -> Target:
        """Return the target called `name`; raise UserError with a suggestion when there is none."""
        for target in self.targets:
            if target.name == name:
                return target
        names = [target.name for target in self.targets]
        raise UserError(f"no target '{name}'{suggest(name, names)}; there are {listed(names)}.")

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and lists that `from_json` reads back unchanged."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Schema:
        """Read what `to_json` gave, perhaps edited by hand.

        Raises:
            UserError: a key is unknown or missing, or a value is of the wrong type.
        """
        document = checked(cls, data, "schema")
        for key, kind in (("inputs", Input), ("targets", Target)):
            if not isinstance(document.get(key), (list, tuple)):
                raise UserError(f"schema: '{key}' must be a list.")
            document[key] = tuple(_read(kind, item, f"schema {key}") for item in document[key])
        document["missing"] = tuple(document.get("missing", ()))
        if document.get("far") is not None:
            document["far"] = FarLimits(**checked(FarLimits, document["far"], "schema far"))
        return cls(**document)


def _read(kind: type[Any], item: object, where: str) -> Any:
    """Read one input or target, of a schema of today or of the first format."""
    if kind is Input and isinstance(item, dict):
        parts: dict[str, type[Any]] = {"notation": Notation, "levels": Levels}
        item = {
            key: parts[key](**checked(parts[key], value, f"{where} {key}"))
            if key in parts and isinstance(value, dict)
            else value
            for key, value in item.items()
        }
    if kind is Target and isinstance(item, dict):
        item = {OLD_NAMES.get(key, key): value for key, value in item.items()}
        flat = {key: item.pop(key) for key in ("objective", "temperature", "thresholds") if key in item}
        given = item.get("decision", {})
        whole = {**given, **flat} if isinstance(given, dict) else given
        decision = checked(Decision, whole, f"{where} decision")
        try:
            sets: Any = decision.pop("coverage", None)
            coverage = None if sets is None else Coverage(**checked(Coverage, sets, f"{where} coverage"))
            item["decision"] = Decision(**decision, coverage=coverage)
        except UserError as error:
            raise UserError(f"target '{item.get('name')}': {error.typed}") from None
    return kind(**checked(kind, item, where))


def _count(items: Sized, what: str) -> str:
    return f"{len(items):,} {what}" + ("" if len(items) == 1 else "s")


def check_objective(objective: str) -> tuple[str, float | None]:
    """Split 'precision=0.9' into its name and number; raise UserError when it is no objective.

    >>> check_objective("recall=0.8")
    ('recall', 0.8)
    """
    name, equals, number = str(objective).partition("=")
    if name in OBJECTIVES and not equals:
        return name, None
    if name in PARAMETRIC_OBJECTIVES and equals:
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if 0 < value <= 1:
            return name, value
        raise UserError(f"objective '{objective}': {name} must be a number above 0 and at most 1.")
    every = [*OBJECTIVES, *(f"{name}=P" for name in PARAMETRIC_OBJECTIVES)]
    raise UserError(
        f"objective must be one of {listed(every)}, got '{objective}'{suggest(objective, every)}."
    )


def checked(kind: type[Any], data: object, where: str) -> dict[str, Any]:
    """Check the keys and the types of one JSON object against a dataclass; lists become tuples."""
    if not isinstance(data, dict):
        raise UserError(f"{where}: must be an object, got {type(data).__name__}.")
    known = {item.name: str(item.type) for item in fields(kind)}
    for key in data:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'{suggest(str(key), known)}.")
    found: dict[str, Any] = {}
    for key, value in data.items():
        if not _fits(value, known[key]):
            raise UserError(f"{where}: '{key}' must be {known[key]}, got {shortened(repr(value))}.")
        found[key] = _tuples(value)
    needed = [item.name for item in fields(kind) if item.default is item.default_factory is MISSING]
    if not {*needed} <= {*found}:
        needed = [name for name in needed if name not in found]
        raise UserError(f"{where}: lacks {listed(needed)}.")
    return found


def _tuples(value: Any) -> Any:
    """Make tuples of lists, inside of each other too."""
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def _fits(value: object, annotation: str) -> bool:
    """Tell whether a JSON value can stand for a field with this annotation."""
    if annotation.startswith("tuple["):
        inner = annotation[len("tuple[") : -len(", ...]")]
        return isinstance(value, (list, tuple)) and all(_fits(item, inner) for item in value)
    match annotation:
        case "str" | "Kind" | "InputKind":
            return isinstance(value, str)
        case "Decision":
            return isinstance(value, Decision)
        case "Levels":
            return isinstance(value, Levels)
        case "Levels | None":
            return value is None or isinstance(value, Levels)
        case "Notation | None":
            return value is None or isinstance(value, Notation)
        case "FarLimits | None" | "Coverage | None":
            return value is None or isinstance(value, dict)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            return isinstance(value, dict)
