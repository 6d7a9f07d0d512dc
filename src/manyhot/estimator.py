"""The classifier as a scikit-learn estimator: arrays in, arrays out.

It makes a table of X and y, and leaves the rest to `fitting.fit`.

Shapes: N rows · D features · C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import Parameter, Signature, signature
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from manyhot.config import APART, FitConfig
from manyhot.data.columns import as_input
from manyhot.data.plain import is_list
from manyhot.data.rows.infer import infer, unlabelled
from manyhot.data.rows.kinds import positive_of
from manyhot.data.sources.pictures import are_pictures
from manyhot.data.sources.read import read
from manyhot.data.table import Table, from_python
from manyhot.errors import UserError, suggest
from manyhot.fitting import fit
from manyhot.schema import Input, Kind, Schema, Target
from manyhot.targets import UNKNOWN, IntArray, decode, encode

SETTINGS = tuple(field.name for field in fields(FitConfig) if field.name != "effort")
CHECKS: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}


class ManyhotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A manyhot classifier with scikit-learn's `fit`, `predict`, `predict_proba` and `score`.

    Args:
        effort: how long to try, "fast", "balanced" or "best".
        random_state: the seed, a RandomState to draw it from, or None for 0.
        options: settings by name too, such as {"epochs": 5}; they go before those given alone.
        verbose: tell on standard error how far a fit is.
        positive: the class that an objective of precision or recall is of, in y's own values, or a dict of
            these by column; None for a word for yes, else the rarer of two.
        settings: every other setting of `config.FitConfig` by its name, such as epochs=5, each a parameter
            for `set_params` and searches; what is None follows from the data. Of a vector y, `class_weight`
            may say how much the rows of each class count: {class: weight}.

    Shape:
        X: (N, D) numbers (NaN for missing), a DataFrame, or pictures (N, H, W[, C]), or a list of these.
        y: (N,) classes, an indicator matrix (N, C) of 0 and 1, a matrix (N, K) of the classes of K
            targets, or a dict or DataFrame of columns, which makes a target of each. A missing value (None,
            NaN in a DataFrame) is unknown. An indicator matrix with a single 1 in each row is one-hot: of
            its C classes a row has one, and the probabilities sum to 1.

    Attributes:
        classes_: the classes; (C,) of y's own values, for an indicator matrix the column numbers, for a
            matrix of classes a list, for several columns a dict of these, or of the names of tags.
        classifier_: the `manyhot.Classifier` underneath, with `save`, `evaluate` and `embed`.

    >>> X = np.repeat(np.eye(3), 20, axis=0)
    >>> model = ManyhotClassifier(effort="fast").fit(X, np.repeat(["a", "b", "c"], 20))
    >>> model.predict(np.eye(3)).tolist()
    ['a', 'b', 'c']
    """

    def __init__(
        self,
        effort: str = "balanced",
        random_state: Any = None,
        options: Mapping[str, Any] | None = None,
        verbose: bool = False,
        positive: Any = None,
        **settings: Any,
    ) -> None:
        strange = [name for name in settings if name not in SETTINGS]
        if strange:
            raise TypeError(f"no setting '{strange[0]}'{suggest(strange[0], SETTINGS)} of ManyhotClassifier")
        self.effort = effort
        self.random_state = random_state
        self.options = options
        self.verbose = verbose
        self.positive = positive
        for name in SETTINGS:
            setattr(self, name, settings.get(name))

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X and labels y, each of which counts as much as `sample_weight` says; (N,).

        Raises:
            ValueError: X, y or sample_weight has a wrong shape, or y has one class only.
        """
        state = self.random_state  # a number is the seed itself, a RandomState draws one
        seed = state or 0 if isinstance(state, int | None) else int(check_random_state(state).randint(2**31))
        options: dict[str, Any] = {"effort": self.effort, "seed": seed}
        options |= {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}
        options |= self.options or {}
        apart = [options[name] for name in APART if options.get(name)]
        self._named = bool(apart)
        in_columns = isinstance(y, Mapping) or hasattr(y, "columns")
        table, schema = (self._columns if in_columns else self._arrays)(X, y, apart)
        if isinstance(options.get("class_weight"), Mapping) and self._form == "vector":
            of_class = compute_sample_weight(options.pop("class_weight"), np.ravel(y))
            sample_weight = of_class if sample_weight is None else of_class * np.asarray(sample_weight)
        if sample_weight is not None:
            if options.get("weight"):
                raise UserError("rows have weights by 'weight' already; leave one of the two out.")
            options["weight"], table = _weighed(table, sample_weight)
        positive = self.positive
        if positive is not None and self._form == "vector":  # whose classes have names of our own
            places = [number for number, value in enumerate(self.classes_) if value == positive]
            if not places:
                raise ValueError(f"positive: y has no class {positive!r}; there are {list(self.classes_)}.")
            positive = schema.targets[0].classes[places[0]]
        self._pictures = table.holds_pictures
        self.classifier_ = fit(table, schema, verbose=self.verbose, positive=positive, **options)
        return self

    def predict(self, X: Any) -> Any:
        """Return answers in the form that y had, in its own values.

        (N,) classes, (N, C) of 0 and 1, (N, K) classes, a dict of (N,), or a DataFrame with the columns of y
        and the index of X; None in columns where a picture cannot be read.
        """
        check_is_fitted(self, "classifier_")
        found = self.classifier_.decide(self._table(X))
        if self._form == "columns":
            cells = {name: column.of(found[column.target.name]) for name, column in self._given.items()}
            return cells if self._frame is None else self._frame(cells, index=getattr(X, "index", None))
        if self._form == "matrix":
            each = [answers.reshape(-1) for answers in found.values()]
            out = np.empty((len(each[0]), len(each)), self._dtype)
            for number, (classes, answers) in enumerate(zip(self.classes_, each, strict=True)):
                out[:, number] = classes[answers]
            return out
        (answers,) = found.values()
        if self._form == "tags":
            return answers.astype(int)
        answers = answers.reshape(len(answers))
        return (
            np.eye(len(self.classes_), dtype=int)[answers]
            if self._form == "one-hot"
            else self.classes_[answers]
        )

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities: (N, C), or of several targets a dict, of a matrix a list of these."""
        check_is_fitted(self, "classifier_")
        probabilities = self.classifier_.predict_proba(self._table(X))
        if self._form == "columns":
            return probabilities
        return [*probabilities.values()] if self._form == "matrix" else next(iter(probabilities.values()))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of rows answered right in all targets (accuracy, or exact match)."""
        if self._form == "columns":
            columns = {str(name): values for name, values in y.items()}
            table, weight = self._table(X).with_columns(columns), None
            if sample_weight is not None:
                weight, table = _weighed(table, sample_weight)
            found = self.classifier_.evaluate(table, split="all", weight=weight)
            return float(found["overall"]["exact_match"])
        if self._form in ("one-hot", "matrix"):
            right = self.predict(X) == np.asarray(y)
            return float(np.average(right.reshape(len(right), -1).all(axis=1), weights=sample_weight))
        return float(super().score(X, y, sample_weight))

    def _arrays(self, X: Any, y: Any, apart: Sequence[str]) -> tuple[Table, Schema]:
        """Make a table of arrays, checked as scikit-learn checks them."""
        if y is None:
            raise ValueError(
                "This ManyhotClassifier estimator requires y to be passed, but the target y is None"
            )
        if self._is_table_or_pictures(X):
            y = np.asarray(y)
        else:
            X, y = validate_data(self, X, y, multi_output=True, **CHECKS)
        mixed = y.dtype == object and y.ndim == 2  # each column of which has a type of its own
        each = [np.array(column.tolist()) for column in y.T] if mixed else [*np.atleast_2d(y.T)]
        kind = "multiclass-multioutput" if mixed else type_of_target(y)
        if kind == "continuous-multioutput":
            raise ValueError(
                "y holds fractions, as of probabilities, and no labels. Give the class of each row, such as "
                "y.argmax(axis=1)."
            )
        for column in each if mixed else [y]:
            check_classification_targets(column)
        table = _table_of(X)
        if len(y) != len(table):
            raise ValueError(f"X has {len(table)} rows and y has {len(y)}.")
        name = _unused("y", table)
        self._form = _form_of(y, kind)
        columns: dict[str, NDArray[Any]]
        match self._form:
            case "tags":
                self.classes_: Any = np.arange(y.shape[1])
                names = tuple(f"{name}{number}" for number in self.classes_)
                targets = [Target(name, "multilabel", names, names)]
                columns = dict(zip(names, np.asarray(y, dtype=int).T, strict=True))
            case "one-hot":
                self.classes_ = np.arange(y.shape[1])
                targets, columns = _of_vectors({name: (self.classes_, np.asarray(y).argmax(axis=1))})
            case "vector":
                self.classes_ = unique_labels(y)
                targets, columns = _of_vectors({name: (self.classes_, np.ravel(y))})
            case "matrix":
                self.classes_, self._dtype = [np.unique(column) for column in each], y.dtype
                pairs = zip(self.classes_, each, strict=True)
                targets, columns = _of_vectors({f"{name}{number}": pair for number, pair in enumerate(pairs)})
        inputs = self._inputs(table, isinstance(X, np.ndarray), apart)
        return table.with_columns(columns), Schema(inputs, tuple(targets))

    def _columns(self, X: Any, y: Any, apart: Sequence[str]) -> tuple[Table, Schema]:
        """Make a table of X and several label columns."""
        self._form = "columns"
        columns = {str(name): values for name, values in y.items()}
        table = _table_of(X if self._is_table_or_pictures(X) else validate_data(self, X, **CHECKS))
        clash = sorted(set(columns) & set(table.names))
        if clash:
            raise UserError(f"the column '{clash[0]}' is both in X and in y; rename one.")
        table = table.with_columns(columns)
        schema = infer(table, list(columns), ignore=apart)
        self._frame = type(y) if hasattr(y, "iloc") else None
        self._given = {
            name: _given(target, values, table, schema, self._frame is not None)
            for target, (name, values) in zip(schema.targets, y.items(), strict=True)
        }
        self.classes_ = {given.target.name: np.asarray(given.classes) for given in self._given.values()}
        return table, schema

    def _table(self, X: Any) -> Table:
        if self._pictures:
            return self.classifier_.rows_of(X)
        if not self._is_table_or_pictures(X):
            X = validate_data(self, X, reset=False, **CHECKS)
        return _table_of(X)

    def _inputs(self, table: Table, numbers: bool, apart: Sequence[str]) -> tuple[Input, ...]:
        if table.holds_pictures:
            return unlabelled(table).inputs
        names = [name for name in table.names if name not in apart]
        return tuple(Input(name, "number") if numbers else as_input(table, name) for name in names)

    def _is_table_or_pictures(self, X: Any) -> bool:
        """Tell data frames with text, and pictures, from the arrays that scikit-learn can check.

        A frame in which a setting names a column is never one of these, which have no names.
        """
        if hasattr(X, "iloc") and hasattr(X, "dtypes"):
            return self._named or not all(getattr(kind, "kind", "O") in "biuf" for kind in X.dtypes)
        if are_pictures(X):
            return True
        return isinstance(X, np.ndarray) and X.ndim in (3, 4) and X.dtype != object and min(X.shape[1:3]) > 1

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


def _form_of(y: NDArray[Any], kind: str) -> str:
    """Return what an array of labels, of a kind that scikit-learn finds, is; see `ManyhotClassifier`."""
    if kind == "multilabel-indicator":
        return "one-hot" if (np.asarray(y).sum(axis=1) == 1).all() else "tags"
    return "matrix" if y.ndim == 2 and y.shape[1] > 1 else "vector"


def _of_vectors(
    given: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
) -> tuple[list[Target], dict[str, NDArray[Any]]]:
    """Make a target and a column of cells for each name, from its classes (C,) and the rows' (N,)."""
    targets: list[Target] = []
    columns: dict[str, NDArray[Any]] = {}
    for name, (classes, y) in given.items():
        if len(classes) < 2 or len(np.unique(y)) < 2:
            where = "y" if len(given) == 1 else f"column {len(targets)} of y"
            raise ValueError(f"{where} has only one class, {y[0]!r}; there is nothing to tell apart.")
        names = tuple(f"class {number}" for number in range(len(classes)))
        kind: Kind = "binary" if len(names) == 2 else "multiclass"
        codes, target = np.searchsorted(classes, y), Target(name, kind, names, (name,))
        if kind == "binary":
            texts = [str(value) for value in classes]
            meant, _ = positive_of(dict(zip(texts, np.bincount(codes).tolist(), strict=True)))
            target = target.deciding(positive=names[texts.index(meant)])
        targets.append(target)
        columns[name] = np.array(names)[codes]
    return targets, columns


@dataclass(frozen=True)
class _Given:
    """The classes of one column of y as its cells had them: (C,) values, or names of tags.

    in_lists  the cells were lists of tags
    """

    target: Target
    classes: Any
    in_lists: bool

    def of(self, answers: IntArray) -> Any:
        """Return answers, as `targets.decide` gives them, as cells; (N,), None where there is none."""
        blank = (answers.reshape(len(answers), -1) == UNKNOWN).all(axis=1)
        if self.in_lists:
            return _objects([list(self.classes[row == 1]) for row in answers], blank)
        if not self.target.exclusive:
            return _objects(decode(self.target, answers), blank)
        cells = self.classes[answers.reshape(len(answers))]
        return _objects(list(cells), blank) if blank.any() else cells


def _given(target: Target, values: Any, table: Table, schema: Schema, in_frame: bool) -> _Given:
    """Find what the cells of a column of y had for each class of its target."""
    (name,) = target.columns
    in_lists = is_list(table.column(name).type)
    if in_lists:
        tags = {str(tag): tag for cell in table.column(name).to_pylist() for tag in cell or ()}
        return _Given(target, _objects([tags.get(tag, tag) for tag in target.classes]), in_lists)
    if not target.exclusive:
        return _Given(target, np.array(target.classes), in_lists)
    y = encode(target, [table.cells(name, schema.missing)]).reshape(len(table))
    first = np.array([(y == number).argmax() for number in range(len(target.classes))])
    cells = values.array if in_frame else np.asarray(values)  # an array of pandas keeps its type
    return _Given(target, cells[first], in_lists)


def _objects(cells: Sequence[Any], blank: NDArray[np.bool_] | None = None) -> NDArray[np.object_]:
    """Put cells of any kind into an array, None where they are blank."""
    out = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):  # at once, lists of one length would be taken for a matrix
        out[row] = cell
    if blank is not None:
        out[blank] = None
    return out


def _with_settings(init: Callable[..., None]) -> Signature:
    """Return a signature in which each setting is a parameter of its own, as scikit-learn reads them."""
    *own, _ = signature(init).parameters.values()
    return Signature([*own, *(Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in SETTINGS)])


ManyhotClassifier.__init__.__doc__ = FitConfig.__doc__
ManyhotClassifier.__init__.__signature__ = _with_settings(ManyhotClassifier.__init__)  # type: ignore[attr-defined]


def _unused(name: str, table: Table) -> str:
    """Return a name with which no column of a table begins."""
    while any(column.startswith(name) for column in table.names):
        name = f"_{name}"
    return name


def _weighed(table: Table, sample_weight: Any) -> tuple[str, Table]:
    """Add a column with the weights of the rows; return what it is called, and the table."""
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (len(table),):
        raise ValueError(f"sample_weight must be a number for each of {len(table)} rows, got {weight.shape}.")
    name = _unused("sample_weight", table)
    return name, table.with_columns({name: weight})


def _table_of(X: Any) -> Table:
    """Make a table of a data frame, of pictures, or of the columns of an array."""
    if isinstance(X, np.ndarray) and X.ndim == 2:
        return from_python({f"x{number}": column for number, column in enumerate(X.T)}, "X")
    return read(X) if are_pictures(X) else from_python(X, "X")
