"""Tags answered by whole sets: from the rows of training to the loss, the decision and the bundle."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import QUICK

import manyhot
from manyhot import metrics
from manyhot.errors import UserError
from manyhot.model import losses
from manyhot.model.backbones.base import Backbone
from manyhot.model.network import PowersetHead
from manyhot.schema import Input, Schema, Target
from manyhot.targets import decide, marginals, num_outputs, probabilities, set_table, sets_in
from manyhot.train.calibrate import fit_thresholds

TAGS = Target("t", "multilabel", ("a", "b", "c"), ("t",), label_sets=((), ("a",), ("a", "b"), ("c",)))
ALL = replace(TAGS, label_sets=tuple(s for n in range(4) for s in itertools.combinations("abc", n)))


def test_the_sets_of_rows_that_are_known_whole():
    y = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 1], [-1, 1, 1]])
    assert sets_in(TAGS, y) == (("c",), ("a", "b"))
    assert set_table(TAGS).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert num_outputs(TAGS) == 4


@pytest.mark.parametrize(
    ("kind", "sets"), [("multilabel", (("a", "z"),)), ("multiclass", (("a",),))], ids=["strange", "exclusive"]
)
def test_sets_that_make_no_sense(kind, sets):
    with pytest.raises(UserError, match="sets"):
        Target("t", kind, ("a", "b", "c"), ("t",), label_sets=sets)


def test_a_schema_with_sets_comes_back():
    schema = Schema((Input("x", "number"),), (TAGS,))
    assert Schema.from_json(schema.to_json()) == schema
    lists = {**schema.to_json(), "targets": [{**schema.to_json()["targets"][0], "label_sets": [[], ["a"]]}]}
    assert Schema.from_json(lists).targets[0].label_sets == ((), ("a",))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3),
    st.lists(st.integers(-1, 1), min_size=3, max_size=3),
)
def test_over_all_sets_with_logits_added_up_it_is_tag_by_tag(each, y):
    """A softmax over all sets whose logits are the sums of their tags' is a sigmoid for each tag."""
    alone = torch.tensor([each])
    together = alone @ torch.from_numpy(set_table(ALL)).float().T
    plain = replace(ALL, label_sets=())
    found = marginals(ALL, probabilities(ALL, together.numpy()))
    assert np.allclose(found, probabilities(plain, alone.numpy()), atol=1e-5)
    known = sum(value >= 0 for value in y)
    tagwise = losses.loss(plain, alone, torch.tensor([y])).item() * known
    assert losses.loss(ALL, together, torch.tensor([y])).item() == pytest.approx(tagwise, abs=1e-4)


def test_the_loss_of_a_row_is_that_of_all_sets_that_agree():
    logits = torch.tensor([[0.5, 1.0, -1.0, 2.0]])
    chances = torch.softmax(logits, 1)[0]
    given_a = losses.loss(TAGS, logits, torch.tensor([[1, -1, -1]]))
    assert given_a.item() == pytest.approx(-torch.log(chances[1] + chances[2]).item())
    whole = losses.loss(TAGS, logits, torch.tensor([[1, 1, 0]]))
    assert whole.item() == pytest.approx(-torch.log(chances[2]).item())


@pytest.mark.parametrize("y", [[-1, -1, -1], [0, 1, 1]], ids=["nothing known", "no set agrees"])
def test_rows_that_teach_nothing_leave_no_trace(y):
    logits = torch.tensor([[0.5, 1.0, -1.0, 2.0], [0.1, 0.2, 0.3, 0.4]], requires_grad=True)
    loss = losses.loss(TAGS, logits, torch.tensor([y, [1, 0, 0]]))
    loss.backward()
    assert (logits.grad[0] == 0).all()
    assert loss.item() == pytest.approx(losses.loss(TAGS, logits[1:], torch.tensor([[1, 0, 0]])).item())
    nothing = losses.loss(TAGS, torch.full((1, 4), torch.inf), torch.tensor([y]))
    assert nothing.item() == 0


def test_smoothing_is_torchs_over_sets():
    logits = torch.tensor([[0.5, 1.0, -1.0, 2.0]])
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([2]), label_smoothing=0.1)
    assert losses.loss(TAGS, logits, torch.tensor([[1, 1, 0]]), 0.1).item() == pytest.approx(wanted.item())


def test_only_exact_match_answers_with_the_likeliest_set():
    chances = np.array([[0.3, 0.0, 0.28, 0.42], [0.1, 0.4, 0.35, 0.15]])
    exact = TAGS.deciding(objective="exact_match")
    assert decide(exact, chances).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert marginals(TAGS, chances).tolist() == [[0.28, 0.28, 0.42], [0.75, 0.35, 0.15]]
    assert decide(TAGS, chances).tolist() == [[0, 0, 0], [1, 0, 0]]  # 0.5 on each tag
    assert decide(exact, np.full((1, 4), np.nan)).tolist() == [[-1, -1, -1]]


def test_scores_read_the_tags_probabilities():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(4), 50)
    y = set_table(TAGS)[rng.integers(0, 4, 50)]
    plain = replace(TAGS, label_sets=())
    assert metrics.scores(TAGS, y, chances) == metrics.scores(plain, y, marginals(TAGS, chances))
    exact = metrics.scores(TAGS.deciding(objective="exact_match"), y, chances)
    assert exact["exact_match"] == (set_table(TAGS)[chances.argmax(1)] == y).all(1).mean()


def test_thresholds_are_for_tags_and_not_for_sets():
    rng = np.random.default_rng(0)
    chances, y = rng.dirichlet(np.ones(4), 200), set_table(TAGS)[rng.integers(0, 4, 200)]
    assert fit_thresholds(TAGS.deciding(objective="exact_match"), chances, y).target.decision.thresholds == ()
    assert (
        len(fit_thresholds(TAGS.deciding(objective="micro_f1"), chances, y).target.decision.thresholds) == 3
    )


def tagged(rows=200):
    """Two numbers; tags a and b go together on the right, c is alone on the left."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    tags = ["a;b" if row[0] > 0 else "c" if row[1] > 0 else "[]" for row in x]
    return manyhot.read({"x0": x[:, 0], "x1": x[:, 1], "tags": tags})


def fitted(table, **options):
    schema = manyhot.infer(table, targets=["tags"])
    return manyhot.fit(table, schema, **{**QUICK, **options})


def test_few_sets_are_found_kept_and_answered(tmp_path):
    table = tagged()
    model = fitted(table, epochs=20, objective="exact_match", out=tmp_path / "m")
    assert {frozenset(tags) for tags in model.schema.targets[0].label_sets} == {
        frozenset(),
        frozenset("c"),
        frozenset("ab"),
    }
    again = manyhot.load(tmp_path / "m")
    assert again.schema == model.schema
    assert set(model.predict(table)["tags"]) <= {"a;b", "c", "[]"}
    chances = again.predict_proba(table)["tags"]
    assert chances.shape == (200, 3)
    assert np.allclose(chances[:, 0], chances[:, 1], atol=1e-6)  # a and b always come together
    answers = again.answers(table)
    assert {"tags", "tags.a", "tags.b", "tags.c"} <= set(answers.names)
    assert again.evaluate(table)["overall"]["exact_match"] > 0.9
    tuned = again.tune(table, "micro_f1")
    assert len(tuned.schema.targets[0].decision.thresholds) == 3


@pytest.mark.parametrize(
    "options",
    [{"label_sets": 0}, {"label_sets": 2}, {"class_weight": "balanced"}, {"tag_loss": "focal"}],
    ids=["off", "too many", "weights", "loss"],
)
def test_when_tags_are_answered_one_by_one(options):
    assert fitted(tagged(), **options).schema.targets[0].label_sets == ()


@pytest.mark.parametrize("options", [{"class_weight": "balanced"}, {"tag_loss": "focal"}])
def test_sets_are_not_asked_for_with_what_is_of_tags_one_by_one(options):
    with pytest.raises(UserError, match="not for tags one by one"):
        fitted(tagged(), label_sets=8, **options)


def test_a_tag_that_only_partly_known_rows_have_is_learned():
    """It is in no set of the rows that are known whole, so sets could never answer it."""
    rows = 100
    flags = {tag: [float(i % 2 == number) for i in range(rows)] for number, tag in enumerate("ab")}
    flags["c"] = [0.0 if i < 60 else float(i % 3 == 0) for i in range(rows)]
    flags["a"] = [None if i >= 60 else value for i, value in enumerate(flags["a"])]
    table = manyhot.read({"x0": list(range(rows)), **flags})
    model = manyhot.fit(table, manyhot.infer(table, tags={"tags": ["a", "b", "c"]}), **QUICK)
    assert model.schema.targets[0].label_sets == ()
    assert model.predict_proba(table)["tags"][:, 2].min() > 0


def test_mostly_unknown_rows_do_not_say_which_sets_there_are():
    table = tagged()
    values = table.column("tags").to_pylist()
    flags = {tag: [None if i % 3 else float(tag in v) for i, v in enumerate(values)] for tag in "abc"}
    flags["a"] = [float("a" in v) for v in values]
    table = manyhot.read(
        {"x0": table.column("x0").to_pylist(), "x1": table.column("x1").to_pylist(), **flags}
    )
    schema = manyhot.infer(table, tags={"tags": ["a", "b", "c"]})
    assert manyhot.fit(table, schema, **QUICK).schema.targets[0].label_sets == ()


def test_rows_of_classes_that_training_never_saw_are_judged():
    model = fitted(tagged(), epochs=10)
    other = manyhot.read({"x0": [1.0, -1.0], "x1": [0.0, 1.0], "tags": ["a;b;new", "c"]})
    scores = model.evaluate(other, split="all")
    assert scores["overall"]["exact_match"] == 0.5


@pytest.mark.parametrize("members", [1, 3])
def test_the_logit_of_a_set_is_that_of_its_tags_and_of_its_own(members):
    torch.manual_seed(0)
    layer = PowersetHead(TAGS, Backbone(torch.nn.Identity(), 4, members))
    features = torch.randn(5, 4) if members == 1 else torch.randn(5, members, 4)
    tags, own = layer.tags(features), layer.sets(features)
    found = layer(features)
    assert torch.allclose(found[..., 0], own[..., 0], atol=1e-6)
    assert torch.allclose(found[..., 2], tags[..., 0] + tags[..., 1] + own[..., 2], atol=1e-6)
    assert torch.allclose(found[..., 3], tags[..., 2] + own[..., 3], atol=1e-6)
    assert "table" not in layer.state_dict()  # it follows from the target
