"""Judging: which rows, which classes, and what is said of rows that training saw."""

import json

import numpy as np
import pytest
from making import QUICK

import manyhot
from manyhot.errors import UserError
from manyhot.targets import decide, decode

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
    rows, names = (fitted.seen.rows.tolist(), fitted.seen.parts.tolist())
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
    judged = again.judge(columns, tuned.tuning.after.split)
    assert (decide(again.schema.targets[0], judged.probabilities["t"])[judged.y["t"] == 1] == 1).all()
    assert (tmp_path / "m" / "history.jsonl").is_file()


def tagged(rows=ROWS, seed=0, **changes):
    columns = data(rows, seed)
    del columns["y"]
    return {**columns, "t": ["p;q" if x > 0.8 else "q" if x > 0.5 else "[]" for x in columns["x"]], **changes}


def tuned_on(model, columns, *split, **options):
    """The rows that a model is tuned on, and what they are called."""
    after = model.tune(columns, "macro_f1", *split, **options).tuning.after
    return after.split, after.table.rows.tolist()


@pytest.mark.parametrize("folds", [1, 3])
def test_tuning_leaves_training_and_test_rows_alone(tmp_path, log_lines, folds):
    columns = tagged()
    held = {"folds": folds} if folds > 1 else {"validation": 0.2}
    fitted = manyhot.fit(columns, ["t"], out=tmp_path / "m", test=0.3, **held, **QUICK)
    parts = split_of(fitted)
    wanted = ("folds", "train") if folds > 1 else ("val", "val")
    mine = [row for row, name in parts.items() if name == wanted[1]]
    for model in (fitted, manyhot.load(tmp_path / "m")):
        assert tuned_on(model, columns) == (wanted[0], mine)
        assert tuned_on(model, {name: cells[::-1] for name, cells in columns.items()})[0] == wanted[0]
        assert model.tune(columns, "macro_f1").tuning.own
    assert not log_lines
    test = [row for row, name in parts.items() if name == "test"]
    assert tuned_on(fitted, columns, "test") == ("test", test)
    assert any(
        "27 of these 27 rows are test rows, which judge the tuned model no more" in x for x in log_lines
    )
    tuned_on(fitted, columns, "train")
    assert any("rows trained the model, which is surer of them" in line for line in log_lines)


def test_rows_out_of_fold_are_judged_as_fit_judged_them(tmp_path):
    columns = tagged(b=["yes" if i % 4 else "no" for i in range(ROWS)])
    fitted = manyhot.fit(columns, ["t", "b"], out=tmp_path / "m", test=0.2, folds=3, **QUICK)
    again = manyhot.load(tmp_path / "m").judge(columns, "folds")
    assert again.table.rows.tolist() == fitted.run.judged.table.rows.tolist()
    for name, chances in fitted.run.judged.probabilities.items():
        np.testing.assert_allclose(again.probabilities[name], chances, atol=1e-6)
        assert (
            np.abs(again.probabilities[name] - fitted.judge(columns, "train").probabilities[name]).max() > 0
        )


def test_rows_that_equal_others_are_told_apart_by_their_number(log_lines):
    few = data(b=["yes" if i % 7 < 4 else "no" for i in range(ROWS)], x=[i % 2 for i in range(ROWS)])
    del few["y"]
    fitted = manyhot.fit(few, ["b"], test=0.2, validation=0.2, **QUICK)
    parts = split_of(fitted)
    judged = fitted.judge(few)
    assert judged.table.rows.tolist() == [row for row, name in parts.items() if name == "test"]
    assert tuned_on(fitted, few)[1] == [row for row, name in parts.items() if name == "val"]
    turned = fitted.judge({name: cells[::-1] for name, cells in few.items()})
    assert (turned.split, len(turned.table)) == ("test", len(judged.table))
    assert not log_lines


def test_tuning_on_another_table_takes_what_the_model_has_not_seen(tmp_path):
    columns = tagged()
    fitted = manyhot.fit(columns, ["t"], test=0.3, validation=0.2, **QUICK)
    other = tagged(40, seed=7)
    assert tuned_on(fitted, other) == ("all", [*range(1, 41)])
    mixed = {name: [*cells, *columns[name][:10]] for name, cells in other.items()}
    parts = split_of(fitted)
    new = [*range(1, 41), *(40 + row for row in range(1, 11) if parts[row] == "val")]
    assert tuned_on(fitted, mixed) == ("new", new)
    assert not fitted.tune(mixed, "macro_f1").tuning.own
    assert tuned_on(fitted, {**other, "split": ["train", "test"] * 20}) == ("new", [*range(1, 41, 2)])
    learned = [row - 1 for row, name in parts.items() if name in ("train", "test")]
    with pytest.raises(UserError, match="all of its rows train the model or are kept back to test it; give"):
        fitted.tune({name: [cells[i] for i in learned] for name, cells in columns.items()}, "macro_f1")


def test_tuning_takes_val_rows_where_there_are_some():
    columns = tagged(split=parts(("train", "val", "test")))
    fitted = manyhot.fit(columns, ["t"], **QUICK)
    assert tuned_on(fitted, columns) == ("val", [*range(2, ROWS + 1, 3)])
    assert tuned_on(fitted, columns, "test") == ("test", [*range(3, ROWS + 1, 3)])
    plain = tagged(split=parts(("train", "train", "test")))
    fitted = manyhot.fit(plain, ["t"], validation=0.2, folds=1, **QUICK)
    assert tuned_on(fitted, plain) == (
        "val",
        [row for row, name in split_of(fitted).items() if name == "val"],
    )


def test_tuning_is_for_targets_that_have_thresholds_and_labels():
    columns = tagged(y=data()["y"], b=["yes" if i % 4 else "no" for i in range(ROWS)])
    fitted = manyhot.fit(columns, ["t", "y", "b"], **QUICK)
    tuned = fitted.tune(columns, "recall=0.9", targets=["b"])
    assert [t.decision.objective for t in tuned.schema.targets] == ["hamming", "hamming", "recall=0.9"]
    assert tuned.tuning.targets == ("b",)
    found = tuned.tuning.details()
    assert found["targets"]["b"]["after"]["recall"] >= 0.9
    assert found["targets"]["b"]["after"]["thresholds"] == list(tuned.schema.target("b").decision.thresholds)
    assert tuned.tuning.after.scores["targets"]["b"]["recall"] == found["targets"]["b"]["after"]["recall"]
    assert fitted.tune(columns, "recall=0.9").tuning.targets == ("t", "b")
    with pytest.raises(UserError, match="'y': recall is of one class, and there are several; name the one"):
        fitted.tune(columns, "recall=0.9", targets=["y", "b"])
    with pytest.raises(UserError, match="no target 'c'"):
        fitted.tune(columns, "recall=0.9", targets=["c"])
    blank = {**tagged(20, seed=3), "y": ["a"] * 20, "b": [None] * 20}
    with pytest.raises(
        UserError, match="no label of 'b' is known in these 20 rows; give other rows, or name"
    ):
        fitted.tune(blank, "recall=0.9")
    assert fitted.tune(blank, "recall=0.9", targets=["t"]).tuning.targets == ("t",)


def test_a_row_of_weight_two_tunes_as_two_rows():
    columns = tagged(b=["yes" if x > 0.6 else "no" for x in data()["x"]])
    fitted = manyhot.fit(columns, ["t", "b"], **QUICK)
    rng = np.random.default_rng(1)
    other = tagged(40, seed=5, b=rng.choice(["yes", "no"], 40).tolist(), w=rng.choice([0, 1, 3], 40).tolist())
    again = {
        name: [cell for cell, w in zip(cells, other["w"]) for _ in range(w)] for name, cells in other.items()
    }
    for objective in ("macro_f1", "recall=0.7", "exact_match"):
        first, second = (
            fitted.tune(rows, objective, weight=weight, confidence=0).tuning
            for rows, weight in ((other, "w"), (again, None))
        )
        assert first.after.schema.targets == second.after.schema.targets
        one, two = (tuning.details()["targets"]["b"]["after"] for tuning in (first, second))
        assert [one[name] for name in ("precision", "recall", "f1")] == pytest.approx(
            [two[name] for name in ("precision", "recall", "f1")]
        )


def test_a_tuned_model_is_written_with_its_report(tmp_path):
    columns = tagged(200)
    folder = tmp_path / "m"
    fitted = manyhot.fit(columns, ["t"], out=folder, **QUICK)
    before = {name: (folder / name).read_bytes() for name in ("report.html", "metrics.json", "history.jsonl")}
    tuned = manyhot.load(folder).tune(columns, "recall=1")
    tuned.update(folder)
    record, old = json.loads((folder / "metrics.json").read_text()), json.loads(before["metrics.json"])
    assert record == {**old, **tuned.tuning.after.scores, "baselines": record["baselines"]}
    assert record["importance"] == old["importance"]
    assert record["baselines"]["t"]["constant"]["log_loss"] == old["baselines"]["t"]["constant"]["log_loss"]
    assert (folder / "metrics.json").read_bytes() != before["metrics.json"]
    assert (folder / "history.jsonl").read_bytes() == before["history.jsonl"]
    page = (folder / "report.html").read_text()
    assert page.encode() != before["report.html"]
    assert "There is no record of the training" not in page
    answers = manyhot.read(folder / "validation.parquet")
    assert answers.column("t").to_pylist() == decode(
        tuned.schema.targets[0], decide(tuned.schema.targets[0], tuned.tuning.after.probabilities["t"])
    )
    kept = (folder / "metrics.json").read_bytes()
    manyhot.load(folder).tune(tagged(30, seed=4), "macro_f1").update(folder)
    assert (
        folder / "metrics.json"
    ).read_bytes() == kept  # of the rows that fit held out, which these are not
    most = {name: cells[: len(cells) * 3 // 4] for name, cells in columns.items()}
    some = manyhot.load(folder).tune(most, "macro_f1")
    assert (some.tuning.after.split, some.tuning.own) == (tuned.tuning.after.split, False)
    lighter = manyhot.load(folder).tune({**columns, "w": [0, 1] * 100}, "macro_f1", weight="w")
    assert not lighter.tuning.own
    fitted.tune(columns, "recall=1").save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "metrics.json").read_text()) == record


def test_a_split_column_and_a_test_fraction_are_refused_together():
    data = {"a": list(range(60)), "y": ["u", "v"] * 30, "split": ["train"] * 40 + ["test"] * 20}
    with pytest.raises(manyhot.UserError, match="leave 'test' out"):
        manyhot.fit(data, "y", test=0.2)


def test_a_test_row_that_equals_a_training_row_is_left_alone():
    columns = tagged(split=parts(("train", "train", "test")), x=[(i // 3) / 30 for i in range(ROWS)])
    fitted = manyhot.fit(columns, ["t"], folds=3, **QUICK)
    split, rows = tuned_on(fitted, columns)
    assert (split, rows) == ("folds", [row for row in range(1, ROWS + 1) if row % 3])
