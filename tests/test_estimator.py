"""The scikit-learn estimator: scikit-learn's own checks, and the label structures that it adds."""

import warnings
from dataclasses import fields
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import write_pictures
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from manyhot import ManyhotClassifier, UserError
from manyhot.config import FitConfig

FAST = {"epochs": 2}
MIN_CHECKS = 55  # with scikit-learn 1.6; may only rise
BEYOND = {"check_sample_weight_equivalence_on_dense_data": "repeated rows are parted and drawn differently"}


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ManyhotClassifier(effort="fast")
        results = check_estimator(model, expected_failed_checks=BEYOND, on_fail=None, on_skip=None)
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


def test_every_setting_is_a_parameter() -> None:
    names = {field.name for field in fields(FitConfig)}
    model = ManyhotClassifier()
    assert set(model.get_params()) == names | {"random_state", "options", "verbose", "positive"}
    assert {name for name, value in model.get_params().items() if value is not None} == {"effort", "verbose"}
    given = ManyhotClassifier(target_weights={"y": 2.0}, epochs=3).set_params(dropout=0.1)
    assert clone(given).get_params() == given.get_params()
    assert "dropout=0.1" in repr(given)
    assert "learning_rate" in str(signature(ManyhotClassifier))
    with pytest.raises(TypeError, match="did you mean 'epochs'"):
        ManyhotClassifier(epoch=3)
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        model.set_params(epoch=3)


def test_settings_are_obeyed_whoever_gives_them() -> None:
    X, yes = rows()
    model = ManyhotClassifier(effort="fast", members="network", random_state=7, options={"batch_size": 9})
    search = GridSearchCV(model, {"epochs": np.array([1, 2]), "dropout": [np.float32(0.25)]}, cv=2)
    config = search.fit(X, yes).best_estimator_.classifier_.bundle.config
    assert config.epochs == search.best_params_["epochs"]
    assert (config.dropout, config.batch_size, config.seed) == (0.25, 9, 7)
    config = model.set_params(batch_size=5, seed=3, epochs=1).fit(X, yes).classifier_.bundle.config
    assert (config.batch_size, config.seed) == (9, 3)
    with pytest.raises(UserError, match="epochs must be at least 1"):
        model.set_params(epochs=0).fit(X, yes)


def test_classes_may_have_weights() -> None:
    X, yes = rows()
    word = np.where(yes, "up", "down")
    model = ManyhotClassifier(effort="fast", epochs=5)
    weighed, plain = (clone(model).set_params(class_weight=w).fit(X, word) for w in ({"up": 500.0}, None))
    weighed, plain = (found.predict_proba(X)[:, 1] for found in (weighed, plain))
    assert weighed.mean() > plain.mean() + 0.1
    by_row = clone(model).fit(X, word, np.where(yes, 500.0, 1.0))
    assert (by_row.predict_proba(X)[:, 1] == weighed).all()
    with pytest.raises(ValueError, match="class_weight: must be text"):
        clone(model).set_params(class_weight={"up": 2.0}).fit(X, {"word": word})


@pytest.mark.parametrize("form", ["vector", "tags", "columns", "frame"])
def test_rows_may_have_weights(form: str) -> None:
    X, yes = rows()
    weight = np.where(yes, 500.0, 1.0)
    tags = np.column_stack([~yes, yes]).astype(int)
    y = {"tags": tags, "columns": {"yes": yes}}.get(form, yes)
    X = pd.DataFrame({"sample_weight": X[:, 0], "word": "a"}) if form == "frame" else X
    model = ManyhotClassifier(effort="fast", epochs=5)
    plain, weighed = clone(model).fit(X, y), clone(model).fit(X, y, sample_weight=weight.tolist())
    chances = [p["yes"] if form == "columns" else p for p in (m.predict_proba(X) for m in (plain, weighed))]
    assert chances[1][:, 1].mean() > chances[0][:, 1].mean() + 0.1
    assert weighed.score(X, y, sample_weight=weight) > weighed.score(X, y)
    for wrong in (weight[1:], weight[:, None], 2.0):
        with pytest.raises(ValueError, match="sample_weight must be a number for each of 80 rows"):
            clone(model).fit(X, y, sample_weight=wrong)
    with pytest.raises(ValueError, match="a weight must be at least 0"):
        clone(model).fit(X, y, sample_weight=-weight)


@pytest.mark.parametrize("setting", ["weight", "group"])
@pytest.mark.parametrize("form", ["vector", "columns"])
def test_a_column_that_says_what_a_row_is_to_others_is_no_input(setting: str, form: str) -> None:
    X, yes = rows()
    frame = pd.DataFrame({"x": X[:, 0], "word": "a", "w": np.arange(80) % 10 + 1})
    y = {"yes": yes} if form == "columns" else yes
    model = ManyhotClassifier(effort="fast", epochs=1, members="network", **{setting: "w"}).fit(frame, y)
    assert "w" not in [item.name for item in model.classifier_.schema.inputs]
    answers = model.predict(frame)
    assert len(answers["yes"] if form == "columns" else answers) == 80


def test_weights_are_cut_with_the_rows_that_they_weigh() -> None:
    X, yes = rows()
    search = GridSearchCV(ManyhotClassifier(effort="fast", members="network"), {"epochs": [1, 2]}, cv=2)
    assert search.fit(X, yes, sample_weight=np.arange(80.0)).best_params_["epochs"] in (1, 2)
    with pytest.raises(ValueError, match="leave one of the two out"):
        ManyhotClassifier(weight="w").fit(X, yes, sample_weight=np.ones(80))


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


def test_answers_have_the_values_the_columns_and_the_index_that_y_had() -> None:
    X, yes = rows()
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(80) + 100)
    y = pd.DataFrame(
        {
            "number": yes.astype(int),
            "truth": yes,
            3: pd.Categorical(np.where(yes, "up", "down")),
            "gaps": pd.array([None if i % 9 == 0 else int(v) for i, v in enumerate(yes)], dtype="Int64"),
            "lists": [[1] if v else [1, 2] for v in yes],
            "texts": ["p" if v else "p;q" for v in yes],
        },
        index=frame.index,
    )
    model = ManyhotClassifier(effort="fast", epochs=5, members="network").fit(frame, y)
    answers = model.predict(frame[:7])
    assert [*answers.columns] == [*y.columns]
    assert [*answers.index] == [*range(100, 107)]
    assert answers.dtypes[:4].equals(y.dtypes[:4])
    assert (model.predict(frame)["number"] == y["number"]).mean() > 0.8
    assert {tuple(cell) for cell in model.predict(frame)["lists"]} <= {(), (1,), (2,), (1, 2)}
    assert {*model.predict(frame)["texts"]} <= {"[]", "p", "q", "p;q"}
    assert model.classes_["number"].tolist() == [0, 1]
    alike = model.fit(frame, pd.DataFrame({"lists": [[1, 2] if v else [2, 1] for v in yes], "truth": yes}))
    assert alike.predict(frame)["lists"].tolist() == [[1, 2]] * 80
    given = model.fit(X, {"number": yes.astype(np.int8), "word": ["u" if v else "d" for v in yes]}).predict(X)
    assert given["number"].dtype == np.int8
    assert {*given["word"]} <= {"u", "d"}


def test_a_picture_that_cannot_be_read_has_no_answer_in_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = write_pictures(tmp_path, 40)
    y = pd.DataFrame({"n": [0, 1] * 20})
    model = ManyhotClassifier(options=FAST, members="network").fit(pd.DataFrame({"image": names}), y)
    Path(names[1]).write_bytes(b"gone")
    answers = model.predict(pd.DataFrame({"image": names[:3]}))["n"]
    assert answers[1] is None
    assert answers[0] in (0, 1)


def test_one_hot_labels_are_one_of_several_classes() -> None:
    X, yes = rows()
    y = np.eye(3)[np.where(yes, 2, X[:, 1] > 0)]
    model = ManyhotClassifier(effort="fast", epochs=5, members="network").fit(X, y)
    assert [target.kind for target in model.classifier_.schema.targets] == ["multiclass"]
    assert np.allclose(model.predict_proba(X).sum(axis=1), 1)
    answers = model.predict(X)
    assert (answers.shape, set(answers.sum(axis=1))) == (y.shape, {1})
    assert model.score(X, y) == (answers == y).all(axis=1).mean()
    assert model.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"holds fractions.*argmax"):
        clone(model).fit(X, np.full((80, 3), 1 / 3))


@pytest.mark.parametrize("kind", [int, np.int8, float, str, object])
def test_a_matrix_of_classes_comes_back_as_one(kind: type) -> None:
    X, yes = rows()
    y = np.column_stack([np.where(yes, 3, 7), np.digitize(X[:, 1], [-0.5, 0.5])]).astype(kind)
    model = ManyhotClassifier(effort="fast", epochs=3, members="network").fit(X, y)
    answers = model.predict(X)
    assert (answers.dtype, answers.shape) == (y.dtype, y.shape)
    assert (answers == y).mean() > 0.5
    assert model.score(X, y) == (answers == y).all(axis=1).mean()
    assert [proba.shape for proba in model.predict_proba(X)] == [(80, 2), (80, 3)]
    assert [classes.tolist() for classes in model.classes_] == [np.unique(column).tolist() for column in y.T]
    assert model.classes_[0].dtype == (int if kind is object else y.dtype)
    with pytest.raises(ValueError, match="column 1 of y has only one class"):
        clone(model).fit(X, np.column_stack([y[:, 0], y[:1, 1].repeat(80)]))


def test_pictures_of_several_sizes_and_one_picture() -> None:
    pictures = [np.full((6 + n % 3, 8, 3), 200 * (n % 2), np.uint8) for n in range(40)]
    y = np.arange(40) % 2 == 1
    model = ManyhotClassifier(options=FAST).fit(pictures, y)
    assert model.predict(pictures[:3]).shape == (3,)
    assert model.predict(pictures[1]).dtype == bool
    same = np.stack(pictures[::3])
    model = ManyhotClassifier(options=FAST).fit(same, y[::3])
    assert (model.predict(same[0]).shape, model.predict(same[:2]).shape) == ((1,), (2,))
