"""Two models on the same rows: the statistics, the slices, and what a user types."""

import json

import numpy as np
import pytest
from making import QUICK, features, label_columns, status_of, write_csv

import manyhot
from manyhot import metrics
from manyhot.comparing import paired
from manyhot.comparing.paired import Answers, compared_target, holm, sign_test
from manyhot.comparing.slices import FEWEST, Changed, find
from manyhot.data.table import from_python
from manyhot.schema import Target


def answers(y, a, b, classes=("x", "y", "z")):
    return Answers(classes, np.array(y), np.array(a), np.array(b), np.full((len(y), 2), 0.5))


def drawn(seed, rows=300, differ=0.1, worse=0.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    off = (y + 1) % 3
    chance = rng.random(rows)
    a = np.where(chance < 0.1 + differ / 2, off, y)
    b = np.where((chance < 0.1) | (chance > 1 - differ / 2 - worse), off, y)
    return answers(y, a, b)


def test_the_exact_test_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for fixed, broken in ((0, 1), (3, 9), (40, 41), (100, 61), (700, 900)):
        expected = stats.binomtest(fixed, fixed + broken, 0.5).pvalue
        assert sign_test(fixed, broken) == pytest.approx(expected, rel=1e-9)


def test_holm_keeps_the_order_and_never_passes_one():
    assert holm([0.04, 0.01, 0.9]) == pytest.approx([0.08, 0.03, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("tags", [False, True], ids=["classes", "tags"])
def test_scores_are_those_of_metrics(tags):
    rng = np.random.default_rng(1)
    kind = "multilabel" if tags else "multiclass"
    target = Target("t", kind, ("x", "y", "z"), ("t",))
    y = rng.integers(-1, 2, (200, 3)).astype(np.int8) if tags else rng.integers(-1, 3, 200)
    chances = [rng.random((200, 3)) for _ in "ab"]
    a, b = (metrics.decide(target, each) for each in chances)
    losses = np.stack([metrics.row_losses(target, y, each) for each in chances], axis=1)
    found = compared_target(Answers(target.classes, y, a, b, losses), None, 0)
    for model, each in zip("ab", chances, strict=True):
        expected = metrics.scores(target, y, each)
        for name, difference in found.scores.items():
            if not (tags and name == "log_loss"):  # of tags a mean over rows, there one over entries
                assert getattr(difference, model) == pytest.approx(expected[name]), name
        f1 = [line["f1"] for line in metrics.per_class(target, y, each)]
        assert [line["f1"][model] for line in found.classes] == pytest.approx(f1)


def test_the_interval_is_as_wide_as_theory_says():
    found = compared_target(drawn(0, rows=2_000), None, 0)
    share = (found.fixed + found.broken) / found.rows
    assert found.main.error == pytest.approx((share / found.rows) ** 0.5, rel=0.1)
    assert found.main.low < found.main.value < found.main.high


def test_of_equal_models_few_are_called_worse():
    told = [compared_target(drawn(seed), None, 0).surely_worse for seed in range(120)]
    assert np.mean(told) <= 0.09
    told = [compared_target(drawn(seed, worse=0.08), None, 0).surely_worse for seed in range(20)]
    assert np.mean(told) >= 0.9


@pytest.mark.parametrize("broken", range(6))
def test_few_changes_are_no_proof(broken):
    y = np.zeros(400, int)
    b = y.copy()
    b[:broken] = 1
    assert compared_target(answers(y, y, b), None, 0).surely_worse == (broken >= 5)


@pytest.mark.parametrize(("rows", "shown"), [(20, False), (200, False), (1_000, True)])
def test_that_nothing_changed_shows_as_much_as_there_are_rows(rows, shown):
    y = np.zeros(rows, int)
    found = compared_target(answers(y, y, y), None, 0)
    assert found.within(0.01) == shown
    assert not found.surely_worse
    assert not found.surely_better


def test_groups_are_drawn_together():
    found = drawn(3)
    alone, copied = (
        Answers(found.classes, *(np.repeat(each, times, axis=0) for each in arrays))
        for times in (1, 10)
        for arrays in [(found.y, found.a, found.b, found.losses)]
    )
    groups = np.repeat(np.arange(300), 10)
    by_group, wrongly = compared_target(copied, groups, 0), compared_target(copied, None, 0)
    assert by_group.main.error == pytest.approx(compared_target(alone, None, 0).main.error, rel=0.1)
    assert wrongly.main.error < 0.5 * by_group.main.error
    assert by_group.p is None


def test_many_rows_of_tags_are_put_into_units(monkeypatch):
    monkeypatch.setattr(paired, "UNITS", 200)
    rng = np.random.default_rng(0)
    y, a, b = (rng.integers(0, 2, (2_000, 3)).astype(np.int8) for _ in range(3))
    found = paired.units_of_target(answers(y, a, b), None, 0)
    assert found.counts.shape == (200, 21)
    assert found.total[0] == 2_000


def sliced(seed, worse_at=None, rows=1_200):
    rng = np.random.default_rng(seed)
    table = from_python(
        {
            "site": [f"s{i}" for i in rng.integers(0, 5, rows)],
            "age": rng.normal(40, 9, rows),
            "when": [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(rows)],
            "note": [f"text {i}" for i in range(rows)],
            "path": [f"{i}.png" for i in range(rows)],
            "same": ["x"] * rows,
            "few": [["a"]] * rows,
        }
    )
    change = np.where(rng.random(rows) < 0.06, rng.choice([-1, 1], rows), 0).astype(np.int8)
    if worse_at:
        inside = np.array(table.column("site").to_pylist()) == worse_at
        change[inside & (rng.random(rows) < 0.25)] = -1
    right = np.ones(rows, bool)
    return table, Changed(change, right, change >= 0)


def test_a_slice_is_found_and_tested_on_rows_that_had_no_say():
    table, changed = sliced(0, worse_at="s3")
    found, _ = find(table, {}, changed, (), (), (), 0)
    sure = [each for each in found if each.sure]
    assert any(each.name == "site is s3" and each.worse and each.searched for each in sure)
    assert all(each.rows >= FEWEST for each in found)
    assert all(each.rows < 0.65 * len(table) for each in found if each.name == "site is s3")


def test_of_equal_models_few_comparisons_show_a_slice():
    told = [any(each.sure for each in find(*_empty(seed), ("site",), (), (), seed)[0]) for seed in range(60)]
    assert np.mean(told) <= 0.1


def _empty(seed):
    table, changed = sliced(seed)
    return table, {}, changed


@pytest.mark.parametrize(
    ("column", "error"), [("few", "holds lists"), ("path", "holds paths"), ("sit", "no column")]
)
def test_a_column_that_parts_no_rows_is_told(column, error):
    table, changed = sliced(0)
    with pytest.raises(manyhot.UserError, match=error):
        find(table, {}, changed, (column,), (), (), 0)


def test_a_slice_that_was_asked_for_and_is_too_small_is_told():
    table, changed = sliced(0, rows=80)
    _, notes = find(table, {}, changed, ("site",), (), (), 0)
    assert notes == ["'site' has no part of 30 rows, too few to tell of any slice."]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the models a and b, and rows.csv that both were tested by."""
    folder = tmp_path_factory.mktemp("two")
    data = write_csv(folder / "rows.csv", label_columns("mixed", 150, empty=0.1) | features(150))
    table = manyhot.read(data)
    schema = manyhot.infer(table, ["ripe", "fruit"], tags={"tags": None, "flags": ("f1", "f2", "f3")})
    for name, epochs in (("a", 3), ("b", 1)):
        manyhot.fit(table, schema, out=folder / name, verbose=False, test=0.5, **QUICK | {"epochs": epochs})
    return folder


def test_a_model_and_itself_answer_alike(two, capsys):
    status = status_of("compare", two / "a", two / "a", two / "rows.csv", "--json")
    found = json.loads(capsys.readouterr().out)
    assert status == 0
    assert found["rows"] == (manyhot.load(two / "a").seen.parts == "test").sum()  # both kept these back
    assert found["split"] == "test"
    assert not found["fails"]
    assert found["verdict"].startswith("both answer alike")
    assert set(found["targets"]) == {"ripe", "fruit", "tags", "flags"}
    assert found["notes"] == []


def test_the_page_the_changes_and_the_terminal(two, tmp_path, capsys):
    words = [
        two / "a",
        two / "b",
        two / "rows.csv",
        "--out",
        tmp_path / "c.html",
        "--changes",
        tmp_path / "c.csv",
    ]
    assert status_of("compare", *words, "--slice", "origin", "--slice", "fruit") in (0, 1)
    printed = capsys.readouterr().out
    assert "as many such rows show a difference of" in printed
    page = (tmp_path / "c.html").read_text()
    assert "script-src" not in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    changes = manyhot.read(tmp_path / "c.csv")
    assert {"fruit_given", "fruit.a", "fruit.b", "change"} <= {*changes.names}
    words[2] = two / "rows.csv"
    assert status_of("compare", *words) == 2  # the files are there
    assert status_of("compare", *words, "--overwrite", "--margin", "1") == 0


def test_what_was_learned_is_told(two, capsys):
    status_of("compare", two / "a", two / "b", two / "rows.csv", "--split", "all", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 150
    seen = (manyhot.load(two / "a").seen.parts != "test").sum()
    assert sum(f"saw {seen} of these 150 rows" in note for note in found["notes"]) == 2


def test_an_exported_file_is_compared_with_its_model(two, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    manyhot.load(two / "a").export(tmp_path / "a.onnx")
    assert status_of("compare", two / "a", tmp_path / "a.onnx", two / "rows.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["changed"] == {"better": 0, "worse": 0}
    assert any("which rows trained B is not known" in note for note in found["notes"])


def fitted(columns, target, **options):
    table = manyhot.read(columns)
    return manyhot.fit(table, manyhot.infer(table, [target], **options), verbose=False, **QUICK)


def test_other_classes_and_other_targets_are_brought_together():
    rng = np.random.default_rng(0)
    x = rng.normal(size=120)
    a = fitted({"x": x, "y": ["no" if v < 0 else "yes" for v in x]}, "y")
    b = fitted({"x": x, "y": ["no" if v < 0 else "yes" if v < 1 else "maybe" for v in x]}, "y")
    rows = {"x": x, "y": ["no" if v < 0 else "yes" if v < 1 else "never" for v in x]}
    found = manyhot.compare(a, b, rows, verbose=False)
    assert set(found.answers["y"].classes) == {"no", "yes", "never", "maybe"}
    assert any("A does not know 'maybe'" in note for note in found.notes)
    assert found.by_target["y"].scores["accuracy"].a <= 1 - np.mean(x >= 1) + 1e-9
    assert sum("were not in training" in note for note in found.notes) == 1  # both say so
    other = fitted({"x": x, "w": ["p", "q"] * 60}, "w")
    with pytest.raises(manyhot.UserError, match="share no target"):
        manyhot.compare(a, other, rows | {"w": ["p", "q"] * 60}, verbose=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--margin", "2"], "must be a number from 0 to 1"),
        (["--target", "fruits"], "did you mean 'fruit'"),
        (["--slice", "origins"], "did you mean 'origin'"),
        (["--group", "nowhere"], "no column 'nowhere'"),
        (["--split", "folds"], "no rows to judge in split 'folds'"),
        (["--changes", "x.doc"], "must end in one of"),
    ],
)
def test_mistakes_are_told_in_a_line(two, words, said, capsys):
    assert status_of("compare", two / "a", two / "b", two / "rows.csv", *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_rows_that_changed_are_shown_with_their_pictures(fitted_pictures, tmp_path, capsys):
    model = manyhot.load(fitted_pictures / "model", verbose=False)
    found = manyhot.compare(model, model, fitted_pictures / "table.csv", split="all", verbose=False)
    answers = found.answers["fruit"]
    turned = Answers(answers.classes, answers.y, answers.y, (answers.y + 1) % 3, answers.losses)
    rows = np.arange(len(found.table))
    page = found.page()
    from dataclasses import replace

    from manyhot.report.compared import render

    page = replace(
        page,
        answered={"fruit": (turned.a, turned.b)},
        given={"fruit": turned.y},
        worse=rows[:30],
        targets={"fruit": found.targets["fruit"]},
    )
    html = render(page)
    assert html.count("data:image/png") == 24
    assert "the first 24" in html
