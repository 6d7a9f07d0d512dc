"""The classifier as a scikit-learn estimator: arrays in, arrays out.

It makes a table of X and y, and leaves the rest to `classifier.fit`.

Shapes: N rows · D features · C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from manyhot.classifier import fit
from manyhot.data.columns import as_input
from manyhot.data.rows.infer import infer
from manyhot.data.table import Table, from_python
from manyhot.errors import UserError
from manyhot.schema import Input, Kind, Schema, Target

CHECKS: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}


class ManyhotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A manyhot classifier with scikit-learn's `fit`, `predict`, `predict_proba` and `score`.

    Args:
        effort: how long to try, "fast", "balanced" or "best".
        random_state: the seed, a RandomState to draw it from, or None for 0.
        options: more settings of FitConfig by name, such as {"epochs": 5}.

    Shape:
        X: (N, D) numbers (NaN for missing), a DataFrame, or pictures (N, H, W[, C]).
        y: (N,) classes, an indicator matrix (N, C) of 0 and 1, or a dict or DataFrame of columns,
            which makes a target of each. A missing value (None, NaN in a DataFrame) is unknown.

    Attributes:
        classes_: the classes; (C,) of y's own values, for tags the column numbers, for several
            columns a dict of names.
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
    ) -> None:
        self.effort = effort
        self.random_state = random_state
        self.options = options

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X and labels y.

        Raises:
            ValueError: X or y has a wrong shape, or y has one class only.
        """
        if isinstance(y, Mapping) or hasattr(y, "columns"):
            table, schema = self._columns(X, y)
        else:
            table, schema = self._arrays(X, y)
        state = self.random_state  # a number is the seed itself, a RandomState draws one
        seed = state or 0 if isinstance(state, int | None) else int(check_random_state(state).randint(2**31))
        options: dict[str, Any] = {"effort": self.effort, "seed": seed}
        self.classifier_ = fit(table, schema, **(options | dict(self.options or {})))
        return self

    def predict(self, X: Any) -> Any:
        """Return answers in the form that y had: (N,) classes, (N, C) of 0 and 1, or a dict of (N,)."""
        check_is_fitted(self, "classifier_")
        if self._form == "columns":
            return self.classifier_.predict(self._table(X))
        (answers,) = self.classifier_.decide(self._table(X)).values()
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
            found = self.classifier_.evaluate(self._table(X).with_columns(columns), split="all")
            return float(found["overall"]["exact_match"])
        return float(super().score(X, y, sample_weight))

    def _arrays(self, X: Any, y: Any) -> tuple[Table, Schema]:
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
        name = "y"
        while any(column.startswith(name) for column in table.names):
            name = f"_{name}"
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
        return table.with_columns(columns), Schema(self._inputs(table, isinstance(X, np.ndarray)), (target,))

    def _columns(self, X: Any, y: Any) -> tuple[Table, Schema]:
        """Make a table of X and several label columns."""
        self._form = "columns"
        columns = {str(name): values for name, values in y.items()}
        table = _table_of(X if self._is_table_or_pictures(X) else validate_data(self, X, **CHECKS))
        clash = sorted(set(columns) & set(table.names))
        if clash:
            raise UserError(f"the column '{clash[0]}' is both in X and in y; rename one.")
        table = table.with_columns(columns)
        schema = infer(table, list(columns))
        self.classes_ = {target.name: np.array(target.classes) for target in schema.targets}
        return table, schema

    def _table(self, X: Any) -> Table:
        if not self._is_table_or_pictures(X):
            X = validate_data(self, X, reset=False, **CHECKS)
        return _table_of(X)

    def _inputs(self, table: Table, numbers: bool) -> tuple[Input, ...]:
        if table.pixels is not None:
            return (Input("pixels", "image", table.pixels.shape[1:]),)
        return tuple(Input(n, "number") if numbers else as_input(table, n) for n in table.names)

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


def _table_of(X: Any) -> Table:
    """Make a table of a data frame, of pictures, or of the columns of an array."""
    if isinstance(X, np.ndarray) and X.ndim == 2:
        return from_python({f"x{number}": column for number, column in enumerate(X.T)}, "X")
    return from_python(X, "X")
