"""Members beside the network of a table: they answer as scikit-learn's, weighed by what they are worth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from making import QUICK as PLAIN
from making import features, label_columns
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

import manyhot
from manyhot.data.rows import split
from manyhot.ensemble import CANDIDATES
from manyhot.model.forest import DOUBT, BoostedTrees
from manyhot.schema import Target
from manyhot.targets import marginals, probabilities
from manyhot.train import logistic, trees
from manyhot.train.examples import examples
from manyhot.train.prepare import prepare
from manyhot.train.select import greedy

QUICK = PLAIN | {"members": ",".join(CANDIDATES)}
PET = Target("pet", "multiclass", ("cat", "dog", "cow"), ("pet",))


def prepared(kind="mixed", rows=90, **options):
    table = manyhot.read(features(rows) | label_columns(kind, rows, empty=options.pop("empty", 0.0)))
    schema = manyhot.infer(table, ["ripe", "fruit"], tags={"tags": None, "flags": ("f1", "f2", "f3")})
    return prepare(table, schema, QUICK | {"folds": 1} | options)


def columns_of(ready):
    from manyhot.model.inference import run
    from manyhot.model.stems import build_stem

    return run(build_stem(ready.inputs, ready.config.piecewise), ready.x)


@pytest.mark.parametrize("label_sets", [0, 8])
def test_a_forest_of_arrays_answers_as_scikit_learns(label_sets):
    ready = prepared(label_sets=label_sets)
    columns, train = columns_of(ready), ready.of_part(split.TRAIN)
    found = trees.grow(ready, columns)(torch.from_numpy(columns))
    for target in ready.schema.targets:
        y = ready.labels(train)[target.name]
        theirs = ExtraTreesClassifier(trees.TREES, n_jobs=1, random_state=ready.config.seed)
        wanted = theirs.fit(columns[train], y.ravel() if target.exclusive else y).predict_proba(columns)
        if isinstance(wanted, list):
            wanted = np.stack([chances[:, 1] for chances in wanted], axis=1)
        ours = probabilities(target, found[target.name].numpy())
        if target.structure == "powerset":  # its trees are grown by tags, and their leaves tell sets
            few = DOUBT / len(target.label_sets) * len(target.label_sets)
            assert np.abs(marginals(target, ours) - wanted).max() < 1.1 * few
            continue
        doubt = 2 if target.structure in ("binary", "multilabel") else wanted.shape[1]
        assert np.abs(ours - (wanted * (1 - DOUBT) + DOUBT / doubt)).max() < 1e-5


@pytest.mark.parametrize("folds", [1, 3])
def test_boosted_trees_of_arrays_answer_as_scikit_learns(folds):
    ready = prepared(folds=folds)
    columns, train = columns_of(ready), ready.of_part(split.TRAIN)
    boosted = trees.boost(ready, columns)
    assert set(boosted.numbers) == {"ripe", "fruit"}  # not tags
    found = boosted(torch.from_numpy(columns))
    for name, width in (("ripe", 1), ("fruit", 3)):
        logits = found[name].reshape(len(columns), folds, width)
        for fold in range(folds):
            rows = train if folds == 1 else train[ready.fold_of(train) != fold]
            rounds = min(100, trees.BOOSTED // (folds * width))
            theirs = HistGradientBoostingClassifier(
                max_iter=rounds,
                learning_rate=10 / rounds,
                max_leaf_nodes=15,
                max_bins=63,
                early_stopping=False,
            ).fit(columns[rows], ready.labels(rows)[name].ravel())
            wanted = theirs.decision_function(columns).reshape(len(columns), width)
            assert np.abs(logits[:, fold].numpy() - wanted).max() < 1e-4


def test_boosted_trees_know_no_class_that_a_fold_lacks():
    columns = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    config = prepared().config
    for classes in ([0, 2], [0, 1, 3]):
        y = np.resize(classes, 60)
        grown, start = trees._boosted(columns, 4, config, np.arange(60), y)
        arrays = trees._joined(grown, 1) | {"start": torch.from_numpy(start[None])}
        target = Target("pet", "multiclass", ("a", "b", "c", "d"), ("pet",))
        logits = BoostedTrees(target, arrays)(torch.from_numpy(columns))[:, 0].numpy()
        chances = probabilities(target, logits)
        absent = [c for c in range(4) if c not in classes]
        assert chances[:, absent].max() < 0.01
        wanted = HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, max_bins=63, early_stopping=False
        ).fit(columns, y)
        assert np.abs(chances[:, classes] - wanted.predict_proba(columns)).max() < 0.01


@pytest.mark.parametrize("folds", [1, 3])
def test_linear_heads_answer_as_logistic_regression(folds):
    from sklearn.linear_model import LogisticRegression

    ready = prepared(folds=folds)
    columns, train = columns_of(ready), ready.of_part(split.TRAIN)
    heads = logistic.regress(ready, columns)
    logits = heads(torch.from_numpy(columns))["fruit"].reshape(len(columns), -1, 3)
    for fold in range(folds):
        rows = train if folds == 1 else train[ready.fold_of(train) != fold]
        theirs = LogisticRegression(max_iter=300).fit(columns[rows], ready.labels(rows)["fruit"])
        ours = torch.softmax(logits[:, fold], 1).numpy()
        assert np.abs(ours - theirs.predict_proba(columns)).max() < 1e-4


def test_unknown_rows_teach_nothing():
    ready = prepared(empty=0.3)
    for target, ((rows, y, _),) in examples(ready):
        given = ready.labels(rows)[target.name]
        assert (given != -1).all()
        assert len(rows) == len(y) < len(ready.of_part(split.TRAIN))


def test_a_target_of_few_known_rows_has_no_trees_and_is_answered():
    ready = prepared(empty=0.85)
    forest = trees.grow(ready, columns_of(ready))
    assert not forest.trees
    assert all((logits == 0).all() for logits in forest(torch.zeros(3, 5)).values())


def said(y, sure, rng):
    """Logits that are right but for noise, the surer the less."""
    return (np.eye(3)[y] * sure + rng.normal(size=(len(y), 3))).astype(np.float32)


def test_the_better_member_counts_more_and_a_useless_one_not_at_all():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    weights = greedy(PET, [said(y, 2.0, rng), said(y, 3.0, rng), said(y, 0.0, rng)], y)
    assert weights[1] > weights[0] > 0
    assert weights[2] == 0


def test_few_rows_draw_the_weights_together():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 2_000)
    logits = [said(y, 2.0, rng), said(y, 3.0, rng)]
    many, few = (np.array(greedy(PET, [values[:n] for values in logits], y[:n])) for n in (2_000, 40))
    assert many[1] > many[0]
    shares = [weights.min() / weights.sum() for weights in (many, few)]
    assert shares[1] >= 0.25 or few.min() == 0  # half of it is equal, unless one was never picked
    assert greedy(PET, [values[:20] for values in logits], y[:20]) == [1.0, 0.0]


@pytest.mark.parametrize("folds", [1, 3])
def test_baselines_are_judged_by_rows_that_they_did_not_learn(folds):
    rng = np.random.default_rng(0)
    data = {"x": rng.random(200), "z": rng.random(200), "y": [*"ab"] * 100}  # nothing tells which
    beside = manyhot.fit(data, "y", **QUICK | {"folds": folds}).run.judged.baselines["y"]
    assert beside["forest"]["accuracy"] < 0.75
    assert beside["forest"]["log_loss"] > 0.6


def test_who_answers_is_declared_saved_and_refused(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    data = {f"x{i}": x[:, i] for i in range(4)} | {"y": np.where((x[:, 0] > 0) ^ (x[:, 1] > 0), "a", "b")}
    model = manyhot.fit(data, "y", out=tmp_path / "m", **QUICK | {"folds": 3})
    declared = json.loads((tmp_path / "m" / "predictor.json").read_text())["members"]
    assert "forest" in {member["kind"] for member in declared}  # one epoch of a network knows nothing
    assert any("forest" in note for note in model.run.notes)
    assert model.run.judged.scores["targets"]["y"]["accuracy"] > 0.8
    found = json.loads((tmp_path / "m" / "metrics.json").read_text())
    beside = found["baselines"]["y"]
    assert [*beside] == ["constant", "forest", "logistic regression"]
    assert [*beside["forest"]] == [*found["targets"]["y"]]
    assert (
        beside["forest"]["accuracy"] > 0.8 > 0.65 > beside["logistic regression"]["accuracy"]
    )  # no line parts them
    assert found["training"] == {"y": {name: list(data["y"]).count(name) for name in "ab"}}
    assert [*found["importance"]["y"]][:2] in (["x0", "x1"], ["x1", "x0"])
    again = manyhot.load(tmp_path / "m")
    assert (again.predict_proba(data)["y"] == model.predict_proba(data)["y"]).all()
    alone = manyhot.fit(data, "y", **QUICK | {"folds": 3, "members": "network"})
    assert [member.kind for member in alone.bundle.predictor.ensemble.members] == ["heads"]
    assert (replace(alone.bundle.config, members=model.bundle.config.members)) == model.bundle.config


def test_of_many_rows_some_teach(monkeypatch):
    monkeypatch.setattr("manyhot.train.examples.MOST", 30)
    ready = prepared()
    for _, ((rows, y, _),) in examples(ready):
        assert len(rows) == len(y) == 30
        assert set(rows) <= {*ready.of_part(split.TRAIN)}


def test_what_has_not_converged_says_nothing():
    rng = np.random.default_rng(0)
    logistic._fitted(rng.normal(size=(200, 50)).astype(np.float32) * 1e4, rng.integers(0, 5, 200), None)
