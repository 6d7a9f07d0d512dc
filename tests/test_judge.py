"""Judging: which rows, which classes, and what is said of rows that training saw."""

import numpy as np
import pytest
from making import QUICK

import manyhot
from manyhot.errors import UserError
from manyhot.targets import decide

ROWS = 90


def data(rows=ROWS, seed=0, **changes):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.random(rows).round(6).tolist(),
        "y": [("a", "b", "c")[i % 3] for i in range(rows)],
        **changes,
    }


def parts(names, rows=ROWS):
    return [names[i % len(names)] for i in range(rows)]


def split_of(fitted):
    rows, names = (fitted.rows.column(name).to_pylist() for name in ("row", "split"))
    return dict(zip([int(row) for row in rows], names, strict=True))


def test_a_split_column_is_obeyed(log_lines):
    split = parts(("train", "train", "VAL", "test", "Train"))
    columns = data(split=split)
    fitted = manyhot.fit(columns, ["y"], **QUICK)
    assert [i.name for i in fitted.schema.inputs] == ["x"]
    found = split_of(fitted)
    assert found == {i + 1: name.lower() for i, name in enumerate(split) if name != "test"}
    assert fitted.run.counts == {"train": 54, "val": 18, "test": 0, "unreadable": 0}
    judged = fitted.judge(columns)
    assert judged.split == "test"
    assert judged.table.rows.tolist() == [i + 1 for i, name in enumerate(split) if name == "test"]
    assert not any("seen in training" in line for line in log_lines)
    for name, rows in (("val", 18), ("train", 54), ("all", 90)):
        assert fitted.evaluate(columns, name)["rows"] == rows
        assert any("were seen in training" in line for line in log_lines)


def test_test_rows_are_never_read():
    """What stands in test rows changes nothing: not the classes, not the scale of a number."""
    split = parts(("train", "val", "test"))
    plain = data(split=split)
    odd = data(split=split)
    for i in range(2, ROWS, 3):
        odd["x"][i], odd["y"][i] = 1e9, "only here"
    first, second = (manyhot.fit(columns, ["y"], **QUICK) for columns in (plain, odd))
    assert first.schema == second.schema
    assert first.bundle.inputs == second.bundle.inputs
    weights = [fitted.bundle.predictor.state_dict() for fitted in (first, second)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_without_val_rows_some_are_cut_from_train():
    fitted = manyhot.fit(data(split=parts(("train", "test"))), ["y"], **QUICK)
    assert fitted.run.counts["train"] + fitted.run.counts["val"] == 45
    assert fitted.run.counts["val"] > 0
    assert all(row % 2 == 1 for row in split_of(fitted))


def test_rows_kept_back_are_judged_also_after_loading(tmp_path, log_lines):
    columns = data()
    fitted = manyhot.fit(columns, ["y"], out=tmp_path / "m", test=0.3, **QUICK)
    kept = [row for row, name in split_of(fitted).items() if name == "test"]
    assert len(kept) == 27
    for model in (fitted, manyhot.load(tmp_path / "m")):
        judged = model.judge(columns)
        assert judged.split == "test"
        assert judged.table.rows.tolist() == kept
        assert model.evaluate(columns, "all")["rows"] == ROWS
        assert model.evaluate(columns, "val")["rows"] == fitted.run.counts["val"]
    assert any("63 of these 90 rows were seen in training" in line for line in log_lines)


def test_another_table_is_judged_whole(log_lines):
    fitted = manyhot.fit(data(), ["y"], test=0.3, **QUICK)
    judged = fitted.judge(data(40, seed=9))
    assert (judged.split, judged.scores["rows"]) == ("all", 40)
    assert not any("seen in training" in line for line in log_lines)
    some = data()
    some = {name: cells[:10] for name, cells in some.items()}
    fitted.judge(some, "all")
    assert any("of these 10 rows were seen in training" in line for line in log_lines)


def test_rows_are_known_again_in_another_order_and_without_other_columns():
    fitted = manyhot.fit(data(extra=["q"] * ROWS), ["y"], test=0.3, **QUICK)
    columns = data()
    turned = {name: cells[::-1] for name, cells in columns.items()}
    first, second = fitted.judge(columns), fitted.judge(turned)
    assert sorted(first.table.column("x").to_pylist()) == sorted(second.table.column("x").to_pylist())
    assert second.split == "test"


@pytest.mark.parametrize("name", ["tset", "val"])
def test_a_split_without_rows_is_refused(name):
    columns = data(split=parts(("train", "train", "test")))
    fitted = manyhot.fit(columns, ["y"], **QUICK)
    with pytest.raises(UserError, match=f'no rows to judge in split .{name}.; pass split="all"'):
        fitted.evaluate({key: cells[2::3] for key, cells in columns.items()}, name)


def test_a_class_that_only_judged_rows_have_counts_as_wrong(log_lines):
    fitted = manyhot.fit(data(), ["y"], **QUICK)
    new = data(30, seed=5)
    new["y"] = ["new"] * 10 + new["y"][10:]
    judged = fitted.judge(new)
    target = judged.schema.target("y")
    assert target.classes == ("a", "b", "c", "new")
    answers = decide(target, judged.probabilities["y"])
    assert judged.scores["targets"]["y"]["accuracy"] == pytest.approx((answers == judged.y["y"]).mean())
    assert not (answers[:10] == judged.y["y"][:10]).any()
    assert judged.scores["overall"]["exact_match"] <= 20 / 30
    assert any("target 'y': 'new' were not in training and count as wrong" in line for line in log_lines)


def test_or_is_passed_over_where_asked(log_lines):
    fitted = manyhot.fit(data(), ["y"], **QUICK)
    new = data(30, seed=5)
    new["y"] = ["new"] * 10 + new["y"][10:]
    judged = fitted.judge(new, unknown_class="missing")
    rest = fitted.judge({name: cells[10:] for name, cells in new.items()})
    assert judged.scores["targets"] == rest.scores["targets"]
    assert judged.scores["rows"] == 30
    assert any("passed over" in line for line in log_lines)


def test_a_new_class_of_a_binary_target_and_a_new_tag():
    columns = data()
    columns["b"] = ["yes" if i % 2 else "no" for i in range(ROWS)]
    columns["t"] = ["p;q" if i % 2 else "[]" for i in range(ROWS)]
    fitted = manyhot.fit(columns, ["b", "t"], **QUICK)
    new = {**data(20, seed=3), "b": ["perhaps"] * 20, "t": ["p;r"] * 20}
    scores = fitted.evaluate(new)
    assert scores["targets"]["b"]["accuracy"] == 0
    assert scores["targets"]["t"]["exact_match"] == 0
    assert scores["overall"]["exact_match"] == 0
    assert scores["targets"]["b"]["log_loss"] > 30  # the probability of what cannot be answered is 0


def test_labels_that_are_unknown_or_not_there():
    fitted = manyhot.fit(data(), ["y"], **QUICK)
    scores = fitted.evaluate(data(10, y=[None] * 10))
    assert scores["rows"] == 10
    assert set(scores["targets"]["y"].values()) == {None}
    assert scores["overall"] == {"exact_match": None, "loss": None}
    with pytest.raises(UserError, match="lacks 'y', the labels of target 'y'"):
        fitted.evaluate({"x": [0.5]})


def test_tuning_serves_the_objective_and_leaves_the_probabilities(tmp_path):
    columns = data(200)
    columns["t"] = ["p;q" if x > 0.8 else "q" if x > 0.5 else "[]" for x in columns["x"]]
    del columns["y"]
    fitted = manyhot.fit(columns, ["t"], out=tmp_path / "m", **QUICK)
    tuned = fitted.tune(columns, "recall=1")
    assert fitted.predict_proba(columns)["t"].tobytes() == tuned.predict_proba(columns)["t"].tobytes()
    tuned.update(tmp_path / "m")
    again = manyhot.load(tmp_path / "m")
    assert again.schema == tuned.schema
    assert again.schema.targets[0].decision.objective == "recall=1"
    judged = again.judge(columns, "all")
    assert (decide(again.schema.targets[0], judged.probabilities["t"])[judged.y["t"] == 1] == 1).all()
    assert (tmp_path / "m" / "history.jsonl").is_file()


def test_tuning_takes_val_rows_where_there_are_some(monkeypatch):
    columns = data(split=parts(("train", "val", "test")))
    fitted = manyhot.fit(columns, ["y"], **QUICK)
    asked = []
    original = type(fitted).judge
    monkeypatch.setattr(
        type(fitted),
        "judge",
        lambda self, t, part, *rest: asked.append(part) or original(self, t, part, *rest),
    )
    fitted.tune(columns, "macro_f1")
    fitted.tune(data(), "macro_f1")
    fitted.tune(columns, "macro_f1", "test")
    assert asked == ["val", "all", "test"]


def test_a_split_column_and_a_test_fraction_are_refused_together():
    data = {"a": list(range(60)), "y": ["u", "v"] * 30, "split": ["train"] * 40 + ["test"] * 20}
    with pytest.raises(manyhot.UserError, match="leave 'test' out"):
        manyhot.fit(data, "y", test=0.2)
