"""Which columns a model needs: of models that read what is said here."""

import numpy as np
import pytest
from making import QUICK, features, label_columns

import manyhot
from manyhot.importance import COLUMNS, ROWS, importance
from manyhot.judge import explained
from manyhot.schema import Target
from manyhot.targets import WEIGHT

TAME = Target("tame", "binary", ("no", "yes"), ("tame",))


def rows(count=300, width=3, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return x, {"tame": (x[:, :1] > 0).astype(np.int8)}


def reads(*places):
    """A model that reads the sum of some columns; it keeps what it was asked."""
    asked = []

    def probabilities(positions, x):
        asked.append((positions, x))
        yes = 1 / (1 + np.exp(-4 * x[:, list(places)].sum(axis=1)))
        return {"tame": np.stack([1 - yes, yes], axis=1)}

    return probabilities, asked


def test_a_column_that_is_read_matters_and_another_does_not():
    (x, y), (model, asked) = rows(), reads(0)
    found = importance(model, x, {"read": [0], "not": [1], "nor": [2]}, [TAME], y)["tame"]
    assert next(iter(found)) == "read"
    rise, error = found["read"]
    assert rise > 5 * error > 0
    assert found["not"] == found["nor"] == (0.0, 0.0)
    assert len(asked) == 4
    for (positions, seen), place in zip(asked[1:], (0, 1, 2), strict=True):
        assert sorted(seen[:, place]) == sorted(x[positions, place])
        assert np.delete(seen, place, 1) == pytest.approx(np.delete(x[positions], place, 1))


def test_places_of_one_column_are_shuffled_together():
    (x, y), (model, asked) = rows(), reads(0)
    importance(model, x, {"date": [0, 2], "other": [1]}, [TAME], y)
    positions, seen = asked[1]
    pairs = {tuple(pair) for pair in x[positions][:, [0, 2]].tolist()}
    assert {tuple(pair) for pair in seen[:, [0, 2]].tolist()} == pairs


def test_few_passes_take_the_columns_that_go_with_the_labels():
    (x, y), (model, asked) = rows(5_000, 150), reads(140)
    y = {"tame": (x[:, 140:141] > 0).astype(np.int8)}
    x[:, 7] = np.nan
    columns = {f"c{place}": [place] for place in range(150)}
    found = importance(model, x, columns, [TAME], y, passes=1)["tame"]
    assert len(found) == COLUMNS[0]
    assert next(iter(found)) == "c140"
    assert len(asked[0][0]) == ROWS[0]
    assert len(importance(model, x, columns, [TAME], y)["tame"]) == COLUMNS[1]
    assert len(importance(reads(0)[0], x, {"a": [0]}, [TAME], y, passes=10**9)["tame"]) == 1


def test_the_same_seed_shuffles_alike():
    x, y = rows()
    columns = {"a": [0], "b": [1]}
    first, again, other = (importance(reads(0)[0], x, columns, [TAME], y, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_rows_count_as_they_weigh_and_unknown_ones_do_not():
    x, y = rows(200)
    y["tame"][:100] = -1
    y[WEIGHT] = np.where(np.arange(200) < 150, 1.0, 1e-9).astype(np.float32)
    some = importance(reads(0)[0], x, {"a": [0]}, [TAME], y)["tame"]["a"]
    y[WEIGHT] = np.where(np.arange(200) < 150, 3.0, 3e-9).astype(np.float32)
    assert importance(reads(0)[0], x, {"a": [0]}, [TAME], y)["tame"]["a"] == pytest.approx(some)
    y["tame"][:] = -1
    assert importance(reads(0)[0], x, {"a": [0]}, [TAME], y)["tame"]["a"] == (0.0, 0.0)


def test_pictures_have_no_columns():
    assert importance(reads(0)[0], np.zeros((2, 4, 4, 1), np.uint8), {}, [TAME], {}) == {}


def test_fit_and_report_tell_of_each_column():
    told = label_columns("multiclass", 90)
    data = features(90) | told | {"day": [f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(90)]}
    data["same"] = told["fruit"]  # says the answer
    schema = manyhot.infer(data, ["fruit"], kinds={"same": "category"})  # else a copy is left out
    fitted = manyhot.fit(data, schema, **QUICK | {"epochs": 8})
    names = {"width", "weight", "origin", "day", "same"}
    assert set(fitted.run.judged.importance["fruit"]) == names
    strange = data | {"fruit": ["kiwi", *data["fruit"][1:]]}  # a class that the model does not know
    judged = explained(fitted.bundle, fitted.judge(strange, "all"))
    assert set(judged.importance["fruit"]) == names
    assert judged.importance["fruit"]["same"][0] > judged.importance["fruit"]["width"][0]
