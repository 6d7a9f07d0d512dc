"""What answers are decided for: the class that is meant, an aim that nothing reaches, rare classes."""

import json

import numpy as np
import pytest

import manyhot
from manyhot.cli import main
from manyhot.data.rows.describe import describe
from manyhot.data.rows.kinds import positive_of
from manyhot.errors import RunError, UserError
from manyhot.schema import Decision, Schema, Target
from manyhot.targets import decide, with_positive, with_unseen_classes
from manyhot.train.calibrate import fit_thresholds

PET = Target("pet", "multiclass", ("cat", "dog", "fish"), ("pet",))
PART = Target("part", "binary", ("defect", "ok"), ("part",), decision=Decision(positive="defect"))
QUICK = {"effort": "fast", "epochs": 4, "threads": 1, "members": "network", "verbose": False}


@pytest.mark.parametrize(
    ("counts", "meant", "since"),
    [
        ({"ok": 90, "defect": 10}, "defect", "rarer"),
        ({"a": 10, "b": 90}, "a", "rarer"),
        ({"no": 10, "yes": 90}, "yes", ""),
        ({"0": 10, "1": 90}, "1", ""),
        ({"True": 90, "False": 10}, "True", ""),
        ({"Positive": 90, "Negative": 10}, "Positive", ""),
        ({"negative": 10, "covid": 90}, "covid", ""),
        ({"f": 40, "m": 60}, "f", "rarer"),  # a letter that is not false
        ({"cat": 48, "dog": 52}, "dog", "equally"),
        ({"cat": 50, "dog": 50}, "dog", "equally"),
    ],
)
def test_the_class_that_is_meant(counts, meant, since):
    found, why = positive_of(counts)
    assert found == meant
    assert since in why
    assert bool(since) == bool(why)
    cells = [name for name, count in counts.items() for _ in range(count)]
    table = manyhot.read({"x": list(range(len(cells))), "y": cells})
    target = manyhot.infer(table, "y").targets[0]
    assert target.positive == meant
    assert ("positive_since" in describe(table, Schema((), (target,)))["targets"][0]) == bool(why)


def test_a_class_is_named_by_value_too_and_else_refused():
    schema = Schema((), (Target("y", "binary", ("0.0", "1.0"), ("y",), numeric=True), PET))
    assert with_positive(schema, {"y": 0}).target("y").positive == "0.0"
    assert with_positive(schema, {"pet": "fish"}).target("pet").positive == "fish"
    assert with_positive(Schema((), (PET,)), "dog").targets[0].positive == "dog"
    with pytest.raises(UserError, match="'pet' has no class 'fisch'"):
        with_positive(schema, {"pet": "fisch"})
    with pytest.raises(UserError, match="no target 'pets'"):
        with_positive(schema, {"pets": "fish"})
    with pytest.raises(UserError, match="must name its target"):
        with_positive(schema, "fish")
    tags = Target("t", "multilabel", ("a", "b"), ("t",))
    with pytest.raises(UserError, match="has tags, each with a threshold of its own"):
        with_positive(Schema((), (tags,)), {"t": "a"})


def test_the_threshold_is_on_the_class_that_is_meant():
    p = np.array([[0.3, 0.7], [0.2, 0.8], [0.1, 0.9]])
    assert decide(PART.deciding(thresholds=(0.2,)), p)[:, 0].tolist() == [0, 0, 1]
    assert decide(PART.deciding(thresholds=(0.2,), positive=""), p)[:, 0].tolist() == [1, 1, 1]
    half = np.array([[0.5, 0.5]])
    assert decide(PART, half).tolist() == [[0]]  # equal to the threshold is yes
    assert decide(PART.deciding(positive=""), half).tolist() == [[1]]  # as models of before had it


def test_one_of_several_classes_is_answered_from_its_threshold_on():
    fish = PET.deciding(positive="fish", thresholds=(0.2,))
    p = np.array([[0.5, 0.3, 0.2], [0.3, 0.6, 0.1], [0.0, 0.1, 0.9]])
    assert decide(fish, p).tolist() == [2, 1, 2]
    each = PET.deciding(thresholds=(0.6, 0.3, 0.1))
    assert decide(each, p).tolist() == [2, 1, 2]
    assert decide(PET, p).tolist() == [0, 1, 2]
    wide = with_unseen_classes(PART.deciding(thresholds=(0.2,)), ["odd"])
    q = np.array([[0.3, 0.7, 0.0], [0.1, 0.9, 0.0]])
    assert decide(wide, q).tolist() == [0, 1]
    assert decide(with_unseen_classes(PART, ["odd"]), np.array([[0.5, 0.5, 0]])).tolist() == [0]


def rare(rows=600, share=0.1, seed=0):
    """Rows of three classes, the last of which is rare, and told apart in part."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, rows, p=[0.6, 0.4 - share, share])
    logits = rng.normal(0, 1, (rows, 3)) + 1.5 * np.eye(3)[y] + np.log([0.6, 0.4 - share, share])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y.astype(np.int32), p


def test_recall_of_one_of_several_classes_is_reached():
    y, p = rare()
    fish = PET.deciding(positive="fish", objective="recall=0.9")
    found = fit_thresholds(fish, p, y).target
    yes = decide(found, p) == 2
    assert yes[y == 2].mean() >= 0.9
    assert (decide(found, p) == decide(PET, p))[~yes & (p.argmax(axis=1) != 2)].all()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_balanced_accuracy_finds_rare_classes(kind):
    y, p = rare()
    target = PET
    if kind == "binary":
        target, y, p = PART, (y != 2)[:, None].astype(np.int8), np.stack([p[:, 2], 1 - p[:, 2]], axis=1)
    if kind == "multilabel":
        target, y = (
            Target("t", "multilabel", tuple("abc"), ("t",)),
            (y[:, None] == np.arange(3)).astype(np.int8),
        )
    found = fit_thresholds(target.deciding(objective="balanced_accuracy"), p, y).target

    def balanced(target):
        answers = decide(target, p)
        if kind == "multiclass":
            return np.mean([(answers == c)[y == c].mean() for c in range(3)])
        each = [[(answers == v)[:, c][y[:, c] == v].mean() for v in (0, 1)] for c in range(y.shape[1])]
        return np.mean(each)

    assert balanced(found) > balanced(target) + 0.05


def test_a_precision_that_nothing_reaches_is_told_with_what_can_be_had():
    rng = np.random.default_rng(0)
    y, yes = (rng.random((400, 1)) < 0.3).astype(np.int8), rng.random(400)
    target = Target("y", "binary", ("no", "yes"), ("y",)).deciding(objective="precision=0.95")
    p = np.stack([1 - yes, yes], axis=1)
    found = fit_thresholds(target, p, y)
    (short,) = found.short
    assert not found.reached
    assert found.target == target
    order = np.argsort(-yes)
    hits = y[order, 0].cumsum()
    precision = hits / np.arange(1, 401)
    assert short.best == pytest.approx(precision[9:].max())
    assert short.recall == pytest.approx(hits[9 + precision[9:].argmax()] / y.sum())
    assert f"the highest on these rows is {short.best:.3f}, with a recall of" in str(short)


def test_tags_that_reach_a_precision_are_set_and_others_keep_their_threshold():
    rng = np.random.default_rng(0)
    y = (rng.random((300, 2)) < 0.3).astype(np.int8)
    p = np.stack([np.where(y[:, 0], 0.4, 0.1) + 0.1 * rng.random(300), rng.random(300)], axis=1)
    tags = Target("t", "multilabel", ("a", "b"), ("t",)).deciding(
        objective="precision=0.9", thresholds=(0.5, 0.7)
    )
    found = fit_thresholds(tags, p, y)
    assert found.reached
    assert [short.name for short in found.short] == ["b"]
    assert found.target.decision.thresholds[0] < 0.45
    assert found.target.decision.thresholds[1] == 0.7


@pytest.fixture
def run(capsys):
    """Run a command; give its status, standard output and standard error."""

    def call(*words):
        status = main([*map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A table of parts, few of them defect, their kinds, and luck, which nothing tells; and a model of it."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    x, z = rng.normal(size=(2, 400)).round(3)
    lines = ["x,z,part,kind,luck"]
    for a, b in zip(x, z, strict=True):
        part = "defect" if a + 0.5 * rng.normal() > 1.3 else "ok"
        kind = "crack" if a > 1.2 else "dent" if b > 0 else "none"
        lines.append(f"{a},{b},{part},{kind},{'yes' if rng.random() < 0.3 else 'no'}")
    path = folder / "parts.csv"
    path.write_text("\n".join(lines))
    schema = manyhot.infer(manyhot.read(path), ["part", "kind", "luck"])
    manyhot.fit(manyhot.read(path), schema, out=folder / "model", **QUICK)
    return path, folder / "model"


def test_fit_and_inspect_say_which_class_is_meant(run, parts):
    status, out, _ = run("inspect", parts[0], "--target", "part")
    assert status == 0
    assert "'part': 'defect' is the positive class, the rarer one; --positive part=ok means the other" in out
    _, out, _ = run("inspect", parts[0], "--target", "part", "--positive", "part=ok")
    assert "is the positive class" not in out
    _, out, _ = run("inspect", parts[0], "--target", "luck", "--json")
    (target,) = json.loads(out)["targets"]
    assert target["positive"] == "yes"
    assert "positive_since" not in target
    status, out, _ = run("inspect", parts[0], "--target", "kind", "--positive", "kind=crack", "--json")
    assert status == 0
    assert json.loads(out)["targets"][0]["positive"] == "crack"  # one of three


def test_tune_finds_the_class_that_is_meant(run, parts):
    path, model = parts
    status, out, _ = run(
        "tune", model, path, "--split", "all", "--objective", "recall=0.9", "--confidence", "0", "--json"
    )
    assert status == 0
    found = json.loads(out)["targets"]
    assert {*found} == {"part", "luck"}  # of several classes none is meant
    assert found["part"]["after"]["recall"] >= 0.9
    held = manyhot.read(model / "validation.parquet")  # what trained promises nothing and is left out
    given = held.column("part").to_pylist()
    answers = manyhot.load(model).predict(held)["part"]
    hits = [answer == "defect" for answer, label in zip(answers, given, strict=True) if label == "defect"]
    assert np.mean(hits) >= 0.9


def test_tune_aims_at_one_of_several_classes_and_else_says_how(run, parts):
    path, model = parts
    words = [
        "tune",
        model,
        path,
        "--split",
        "all",
        "--objective",
        "recall=1",
        "--target",
        "kind",
        "--confidence",
        "0",
    ]
    status, _, err = run(*words)
    assert status == 2
    assert "name the one meant, such as --positive kind=none." in err
    status, _, err = run(*words, "--positive", "kind=crack")
    assert status == 0
    assert "kind: the answer is 'crack' from a probability of" in err
    held = manyhot.read(model / "validation.parquet")
    scores = manyhot.load(model).evaluate(held, split="all")["targets"]["kind"]
    assert scores["recall"] == 1.0


def test_tune_changes_nothing_where_nothing_is_reached(run, parts):
    path, model = parts
    before = (model / "schema.json").read_bytes()
    words = ["tune", model, path, "--split", "all", "--target", "luck", "--objective"]
    status, out, err = run(*words, "precision=0.99")
    assert status == 1
    assert out == ""
    assert (
        "no threshold reaches a precision of 0.99 for 'yes' of 'luck': the highest on these rows is 0." in err
    )
    assert "Nothing was changed" in err
    assert (model / "schema.json").read_bytes() == before
    with pytest.raises(RunError, match="Nothing was changed"):
        manyhot.load(model).tune(path, "precision=0.99", "all", targets=["luck"])


def test_fit_answers_as_without_an_aim_where_nothing_reaches_it(parts, log_lines):
    model = manyhot.fit(parts[0], ["luck"], objective="precision=0.99", **QUICK)
    assert model.schema.targets[0].decision.objective == "hamming"
    assert any("no threshold reaches a precision of 0.99 for 'yes' of 'luck'" in line for line in log_lines)


def test_an_aim_that_no_target_can_have_is_refused_before_training(parts):
    with pytest.raises(UserError, match="recall is of one class, and there are several"):
        manyhot.fit(parts[0], ["kind"], objective="recall=0.9", **QUICK)
    with pytest.raises(UserError, match="no threshold serves macro_f1 of several classes"):
        manyhot.fit(parts[0], ["kind"], objective="macro_f1", **QUICK)


@pytest.mark.parametrize("name", ["part", "kind"])
def test_class_weights_leave_probabilities_true_and_answer_rare_classes(parts, name):
    table = manyhot.read(parts[0])
    quick = QUICK | {"epochs": 30, "objective": "balanced_accuracy"} | {"class_weight": "balanced"}
    schema = manyhot.infer(table, [name], ignore=[c for c in ("part", "kind", "luck") if c != name])
    model = manyhot.fit(table, schema, **quick)
    target = model.schema.targets[0]
    cells = table.column(name).to_pylist()
    given = [cells.count(each) / len(cells) for each in target.classes]
    assert model.predict_proba(table)[name].mean(axis=0) == pytest.approx(given, abs=0.05)
    rarest = target.classes[int(np.argmin(given))]
    answers = model.predict(table)[name]
    assert np.mean([a == rarest for a, cell in zip(answers, cells, strict=True) if cell == rarest]) > 0.8


def test_class_weights_aim_at_balanced_accuracy_unless_told_otherwise(parts):
    table = manyhot.read(parts[0])
    quick = QUICK | {"epochs": 1, "class_weight": "balanced"}
    model = manyhot.fit(table, ["part"], **quick)
    assert model.schema.targets[0].decision.objective == "balanced_accuracy"
    assert any("answers aim at 'balanced_accuracy'" in note for note in model.run.notes)
    other = manyhot.fit(table, ["part"], objective="hamming", **quick)
    assert other.schema.targets[0].decision.thresholds == ()


def test_the_estimator_knows_the_class_that_is_meant():
    x = np.random.default_rng(0).normal(size=(120, 2))
    y = np.where(x[:, 0] > 1, 7, 5)
    quick = {key: value for key, value in QUICK.items() if key != "verbose"} | {"objective": "recall=1"}
    model = manyhot.ManyhotClassifier(**quick).fit(x, y)
    assert model.classifier_.schema.targets[0].positive == "class 1"
    other = manyhot.ManyhotClassifier(positive=5, **quick).fit(x, y)
    assert other.classifier_.schema.targets[0].positive == "class 0"
    assert other.classes_.tolist() == [5, 7]
    with pytest.raises(ValueError, match="y has no class 6"):
        manyhot.ManyhotClassifier(positive=6, **quick).fit(x, y)
