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
from manyhot.data.columns import as_input, is_list
from manyhot.data.inputs.images.levels import held_input
from manyhot.data.rows.infer import infer
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
        settings: every other setting of `config.FitConfig` by its name, such as epochs=5, each a parameter
            for `set_params` and searches; what is None follows from the data. Of a vector y, `class_weight`
            may say how much the rows of each class count: {class: weight}.

    Shape:
        X: (N, D) numbers (NaN for missing), a DataFrame, or pictures (N, H, W[, C]).
        y: (N,) classes, an indicator matrix (N, C) of 0 and 1, or a dict or DataFrame of columns,
            which makes a target of each. A missing value (None, NaN in a DataFrame) is unknown.

    Attributes:
        classes_: the classes; (C,) of y's own values, for tags the column numbers, for several
            columns a dict of the one or the names of the other.
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
        **settings: Any,
    ) -> None:
        strange = [name for name in settings if name not in SETTINGS]
        if strange:
            raise TypeError(f"no setting '{strange[0]}'{suggest(strange[0], SETTINGS)} of ManyhotClassifier")
        self.effort = effort
        self.random_state = random_state
        self.options = options
        self.verbose = verbose
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
        in_columns = isinstance(y, Mapping) or hasattr(y, "columns")
        table, schema = (self._columns if in_columns else self._arrays)(X, y, apart)
        if isinstance(options.get("class_weight"), Mapping) and self._form == "vector":
            of_class = compute_sample_weight(options.pop("class_weight"), np.ravel(y))
            sample_weight = of_class if sample_weight is None else of_class * np.asarray(sample_weight)
        if sample_weight is not None:
            if options.get("weight"):
                raise UserError("rows have weights by 'weight' already; leave one of the two out.")
            options["weight"], table = _weighed(table, sample_weight)
        self.classifier_ = fit(table, schema, verbose=self.verbose, **options)
        return self

    def predict(self, X: Any) -> Any:
        """Return answers in the form that y had, in its own values.

        (N,) classes, (N, C) of 0 and 1, a dict of (N,), or a DataFrame with the columns of y and the index
        of X; None in columns where a picture cannot be read.
        """
        check_is_fitted(self, "classifier_")
        found = self.classifier_.decide(self._table(X))
        if self._form == "columns":
            cells = {name: column.of(found[column.target.name]) for name, column in self._given.items()}
            return cells if self._frame is None else self._frame(cells, index=getattr(X, "index", None))
        (answers,) = found.values()
        if self._form == "tags":
            return answers.astype(int)
        return self.classes_[answers.reshape(len(answers))]

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities: (N, C), or a dict of these where y had several columns."""
        check_is_fitted(self, "classifier_")
        probabilities = self.classifier_.predict_proba(self._table(X))
        return probabilities if self._form == "columns" else next(iter(probabilities.values()))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of rows answered right in all targets (accuracy, or exact match)."""
        if self._form == "columns":
            columns = {str(name): values for name, values in y.items()}
            table, weight = self._table(X).with_columns(columns), None
            if sample_weight is not None:
                weight, table = _weighed(table, sample_weight)
            found = self.classifier_.evaluate(table, split="all", weight=weight)
            return float(found["overall"]["exact_match"])
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
        check_classification_targets(y)
        table = _table_of(X)
        if len(y) != len(table):
            raise ValueError(f"X has {len(table)} rows and y has {len(y)}.")
        name = _unused("y", table)
        tags = type_of_target(y) == "multilabel-indicator"
        self._form = "tags" if tags else "vector"
        self.classes_ = np.arange(y.shape[1]) if tags else unique_labels(y)
        if tags:
            names = tuple(f"{name}{number}" for number in self.classes_)
            target = Target(name, "multilabel", names, names)
            columns = dict(zip(names, np.asarray(y, dtype=int).T, strict=True))
        else:
            if len(self.classes_) < 2:
                raise ValueError(
                    f"y has only one class, {self.classes_[0]!r}; there is nothing to tell apart."
                )
            y = np.ravel(y)
            names = tuple(f"class {number}" for number in range(len(self.classes_)))
            kind: Kind = "binary" if len(names) == 2 else "multiclass"
            target = Target(name, kind, names, (name,))
            columns = {name: np.array(names)[np.searchsorted(self.classes_, y)]}
        inputs = self._inputs(table, isinstance(X, np.ndarray), apart)
        return table.with_columns(columns), Schema(inputs, (target,))

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
        if not self._is_table_or_pictures(X):
            X = validate_data(self, X, reset=False, **CHECKS)
        return _table_of(X)

    def _inputs(self, table: Table, numbers: bool, apart: Sequence[str]) -> tuple[Input, ...]:
        if table.pixels is not None:
            return (held_input(table),)
        names = [name for name in table.names if name not in apart]
        return tuple(Input(name, "number") if numbers else as_input(table, name) for name in names)

    @staticmethod
    def _is_table_or_pictures(X: Any) -> bool:
        """Tell data frames with text, and pictures, from the arrays that scikit-learn can check."""
        if hasattr(X, "iloc") and hasattr(X, "dtypes"):
            return not all(getattr(kind, "kind", "O") in "biuf" for kind in X.dtypes)
        return isinstance(X, np.ndarray) and X.ndim in (3, 4) and X.dtype != object and min(X.shape[1:3]) > 1

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


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
    return from_python(X, "X")
