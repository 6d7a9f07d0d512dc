"""The scikit-learn estimator: scikit-learn's own checks, and the label structures that it adds."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from manyhot import ManyhotClassifier

FAST = {"epochs": 2}
MIN_CHECKS = 55  # with scikit-learn 1.6; may only rise


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(ManyhotClassifier(effort="fast"), on_fail=None, on_skip=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    passed = [r for r in results if r["status"] == "passed"]
    with capsys.disabled():
        skipped = [r["check_name"] for r in results if r["status"] == "skipped"]
        print(f"\ncheck_estimator: {len(passed)} checks passed, skipped: {', '.join(skipped)}")
    assert not failed
    assert len(passed) >= MIN_CHECKS


def rows(count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(count, 3))
    return X, X[:, 0] > 0


def test_indicator_matrix_comes_back_as_one() -> None:
    X, yes = rows()
    y = np.column_stack([yes, ~yes, X[:, 1] > 0]).astype(int)
    model = ManyhotClassifier(effort="fast").fit(X, y)
    assert model.predict(X).shape == y.shape
    assert set(np.unique(model.predict(X))) <= {0, 1}
    assert model.predict_proba(X).shape == y.shape
    assert model.score(X, y) > 0.6


def test_columns_of_mixed_kinds_with_unknown_cells() -> None:
    X, yes = rows()
    sign = np.where(yes, "plus", "minus").astype(object)
    sign[::7] = None
    y = pd.DataFrame({"sign": sign, "tags": [["a"] if v else ["a", "b"] for v in yes]})
    model = ManyhotClassifier(effort="fast").fit(X, y)
    answers = model.predict(X)
    assert set(answers) == {"sign", "tags"}
    assert set(answers["sign"]) <= {"plus", "minus"}
    assert model.predict_proba(X)["sign"].shape == (80, 2)
    assert 0 <= model.score(X, y) <= 1
    assert model.classes_["tags"].tolist() == ["a", "b"]


def test_pictures_and_data_frames_with_text() -> None:
    _, yes = rows()
    pictures = np.repeat(np.where(yes, 0, 255).astype(np.uint8)[:, None], 64, axis=1).reshape(-1, 8, 8)
    model = ManyhotClassifier(options=FAST).fit(pictures, yes)
    assert model.predict(pictures).dtype == bool
    frame = pd.DataFrame({"word": np.where(yes, "up", "down"), "n": np.arange(80.0)})
    model = ManyhotClassifier(effort="fast").fit(frame, yes)
    assert model.score(frame, yes) > 0.9


def test_works_in_scikit_learns_tools() -> None:
    X, yes = rows()
    assert cross_val_score(ManyhotClassifier(effort="fast"), X, yes, cv=2).mean() > 0.6


def test_column_in_both_is_refused() -> None:
    X, yes = rows()
    with pytest.raises(ValueError, match="both in X and in y"):
        ManyhotClassifier().fit(pd.DataFrame({"a": X[:, 0], "b": "x"}), {"a": yes})


def test_a_column_of_x_may_be_called_y() -> None:
    _, yes = rows()
    frame = pd.DataFrame(
        {"y": np.random.default_rng(0).permutation(["up", "down"] * 40), "x": np.arange(80.0)}
    )
    model = ManyhotClassifier(options=FAST).fit(frame, yes)
    assert [column.name for column in model.classifier_.schema.inputs] == ["y", "x"]
    assert model.classifier_.schema.targets[0].name == "_y"
    assert model.predict(frame).shape == (80,)


def test_columns_called_as_those_of_an_array_may_hold_text() -> None:
    _, yes = rows()
    frame = pd.DataFrame({"x1": np.where(yes, "up", "down"), "x2": np.arange(80.0)})
    assert ManyhotClassifier(effort="fast").fit(frame, yes).score(frame, yes) > 0.9


def test_labels_in_columns_without_names_are_scored() -> None:
    X, yes = rows()
    labels = pd.DataFrame({0: yes, 1: ~yes})
    assert ManyhotClassifier(options=FAST).fit(X, labels).score(X, labels) >= 0
