"""What a model answers before it has learned: frequencies, and of counts naive Bayes' logarithms."""

import numpy as np
import pytest
from making import QUICK

import manyhot
from manyhot import predict
from manyhot.model.losses import naive_bayes
from manyhot.model.network import build
from manyhot.targets import decide
from manyhot.train.begin import begin_at_frequencies
from manyhot.train.prepare import prepare

WORDS = np.array([[8, 1, 1, 1], [1, 8, 1, 1], [1, 1, 8, 8]])  # of each topic, on average


def texts(rows=90, seed=0):
    """Counts of four words, which follow from the topic."""
    rng = np.random.default_rng(seed)
    topic = np.arange(rows) % 3
    counts = rng.poisson(WORDS[topic])
    return {f"w{i}": column for i, column in enumerate(counts.T)} | {"topic": [f"t{n}" for n in topic]}


def begun(columns, **options):
    """What is prepared, and a model of it that has learned nothing yet."""
    table = manyhot.read(columns)
    prepared = prepare(table, manyhot.infer(table, ["topic"]), QUICK | {"backbone": "mlp"} | options)
    model = build(prepared.inputs, prepared.schema.targets, prepared.config)
    begin_at_frequencies(prepared, model)
    return prepared, model


@pytest.mark.parametrize("folds", [1, 3])
def test_counts_are_answered_before_anything_is_learned(folds):
    prepared, model = begun(texts(), folds=folds)
    target = prepared.schema.targets[0]
    new = texts(seed=1)
    x, _ = prepared.inputs.transform(manyhot.read(new))
    answers = decide(target, predict.run(model, (target,), x)["topic"])
    assert (np.array(target.classes)[answers] == new["topic"]).mean() > 0.9


def test_a_fold_knows_nothing_of_its_own_rows():
    prepared, model = begun(texts(), folds=3)
    others = prepared.fold != 0
    counts = np.stack([prepared.table.numbers(f"w{i}", ()) for i in range(4)], axis=1)[others]
    wanted = naive_bayes(prepared.schema.targets[0], counts, prepared.y["topic"][others])
    found = model.offsets[0].weight[0].numpy()
    share = found[0, 0] / wanted[0, 0]
    assert 0 < share <= 1 + 1e-6
    assert found[:-1] == pytest.approx(share * wanted[:-1], abs=1e-5)
    assert found[-1] == pytest.approx(wanted[-1], abs=1e-5)


def test_whole_numbers_that_say_nothing_of_the_class_add_nothing():
    rng = np.random.default_rng(0)
    columns = texts() | {f"w{i}": rng.integers(0, 100_000, 90) for i in range(4)}  # salaries, say
    _, model = begun(columns)
    assert not model.offsets


@pytest.mark.parametrize("other", [[0.5] * 90, [-1] * 90, [None] + [1] * 89])
def test_only_whole_numbers_from_0_on_are_counts(other):
    _, model = begun(texts() | {"w1": [*other[:45], *range(45)]})
    assert not model.offsets


def test_what_was_begun_is_in_the_bundle(tmp_path):
    columns = texts()
    classifier = manyhot.fit(columns, "topic", out=tmp_path / "m", **QUICK)
    again = manyhot.load(tmp_path / "m")
    assert (again.bundle.model.offsets[0].weight != 0).any()
    assert (again.predict_proba(columns)["topic"] == classifier.predict_proba(columns)["topic"]).all()
    assert (np.array(again.predict(texts(seed=2))["topic"]) == columns["topic"]).mean() > 0.9
