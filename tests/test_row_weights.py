"""Rows that count more or less than others: one of weight 2 is as good as two, one of weight 0 as none."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from making import QUICK, features, label_columns, write_csv

import manyhot
from manyhot import metrics, priors
from manyhot.cli import main
from manyhot.data.batches.loader import Loader
from manyhot.ensemble import NETWORK
from manyhot.judge import document
from manyhot.model import losses
from manyhot.model.inference import features as features_of
from manyhot.model.inference import run
from manyhot.model.network import build
from manyhot.model.stems import build_stem
from manyhot.predict import from_logits
from manyhot.schema import Target
from manyhot.targets import WEIGHT, probabilities
from manyhot.train import logistic, trees
from manyhot.train.calibrate import fit_temperatures, fit_thresholds
from manyhot.train.loop import ALONE, _class_weights
from manyhot.train.prepare import prepare
from manyhot.train.select import Selection, greedy
from manyhot.train.validation import Validation

ROWS = 90
TARGETS = (
    Target("b", "binary", ("no", "yes"), ("b",)),
    Target("m", "multiclass", tuple("abcd"), ("m",)),
    Target("t", "multilabel", tuple("abc"), ("t",)),
    Target("s", "multilabel", tuple("abc"), ("s",), label_sets=((), ("a",), ("a", "b"), ("b", "c"))),
)


def twice(seed=0):
    """Labels of weighted rows, and of the same rows repeated that often, each with logits for them."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, ROWS)
    y = {
        "b": rng.integers(-1, 2, (ROWS, 1)).astype(np.int8),
        "m": rng.integers(-1, 4, ROWS).astype(np.int32),
        "t": rng.integers(-1, 2, (ROWS, 3)).astype(np.int8),
        "s": np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [-1, -1, -1]], np.int8)[
            rng.integers(0, 5, ROWS)
        ],
    }
    raw = {t.name: rng.normal(0, 3, (ROWS, w)).astype(np.float32) for t, w in zip(TARGETS, (1, 4, 3, 4))}
    again = {name: values.repeat(counts, axis=0) for name, values in y.items()}
    return (
        ({**y, WEIGHT: counts.astype(np.float32)}, raw),
        (again, {name: values.repeat(counts, axis=0) for name, values in raw.items()}),
    )


def as_tensors(labels):
    return {name: torch.from_numpy(v if name == WEIGHT else v.astype(np.int64)) for name, v in labels.items()}


@pytest.mark.parametrize("seed", range(3))
def test_scores(seed):
    found, wanted = (document(TARGETS, y, from_logits(TARGETS, raw)) | {"rows": 0} for y, raw in twice(seed))
    assert found["overall"] == pytest.approx(wanted["overall"], rel=1e-5)
    for target in TARGETS:
        assert found["targets"][target.name] == pytest.approx(wanted["targets"][target.name], rel=1e-5)


def test_scores_of_ties_and_of_one_class_alone():
    target, weight = TARGETS[0], np.array([3.0, 1.0, 2.0])
    even = np.full((3, 2), 0.5)
    assert metrics.scores(target, np.array([[1], [0], [1]]), even, weight)["auroc"] == 0.5
    assert metrics.scores(target, np.array([[1], [1], [1]]), even, weight / 7)["auroc"] is None


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("tag_loss", ["cross_entropy", "focal"])
def test_losses(mixed, tag_loss):
    values = []
    for y, raw in twice():
        labels, share = as_tensors(y), torch.full((len(y["m"]),), 0.75)
        partner = {**labels, "m": (labels["m"] + 1).clamp(max=3)}
        logits = {name: torch.from_numpy(v).requires_grad_() for name, v in raw.items()}
        mix = (partner, share) if mixed else None
        value, each = losses.total(TARGETS, logits, labels, 0.1, mixed=mix, tag_loss=tag_loss)
        values.append([value.item(), *(v.item() for v in each.values())])
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_what_is_known_before_an_input_is_seen():
    (y, _), (again, _) = twice()
    for target in TARGETS:
        for of in (priors.log_odds, priors.class_weights):
            found, wanted = of(target, y[target.name], y[WEIGHT]), of(target, again[target.name])
            assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("folds", [1, 3])
def test_class_weights_of_all_that_members_know(folds):
    config = manyhot.config.FitConfig(class_weight="balanced", folds=folds)
    found = []
    for y, _ in twice():
        y = {n: v if n == WEIGHT or folds == 1 else v[:, None].repeat(folds, 1) for n, v in y.items()}
        found.append(_class_weights(Loader(np.zeros((len(y["m"]), 1)), y, 8, 0), TARGETS, config))
    for target in TARGETS:
        assert found[0][target.name] == pytest.approx(found[1][target.name], rel=1e-5)


def test_temperatures():
    found, wanted = (fit_temperatures(TARGETS, raw, y) for y, raw in twice())
    for one, other in zip(found, wanted, strict=True):
        assert one.decision.temperature == pytest.approx(other.decision.temperature, abs=2e-4)
        assert one.decision.temperature != 1


@pytest.mark.parametrize("objective", ["micro_f1", "macro_f1", "exact_match", "precision=0.6", "recall=0.6"])
def test_thresholds(objective):
    (y, raw), (again, _) = twice()
    weight = y[WEIGHT]
    differ = 0
    for target in TARGETS:
        target = target.deciding(objective=objective)
        chances = probabilities(target, raw[target.name])
        found = fit_thresholds(target, chances, y[target.name], weight)
        repeated = chances.repeat(weight.astype(int), axis=0)
        assert found == fit_thresholds(target, repeated, again[target.name])
        differ += found != fit_thresholds(target, chances, y[target.name])
    assert differ


def test_ensemble_selection():
    (y, raw), (again, same) = twice()
    name, rng = "m", np.random.default_rng(1)
    other = rng.normal(0, 3, raw[name].shape).astype(np.float32)
    weight = y[WEIGHT]
    found = greedy(TARGETS[1], [raw[name], other], y[name], weight)
    repeated = other.repeat(weight.astype(int), axis=0)
    assert found == pytest.approx(greedy(TARGETS[1], [same[name], repeated], again[name]), abs=0.02)


def doubtful(weight=9, rows=400, **options):
    """Equal rows with either label, those of `yes` counting more."""
    cells = {
        "x": [str(i // 2 % 4) for i in range(rows)],
        "y": ["no" if i % 2 else "yes" for i in range(rows)],
        "w": [1 if i % 2 else weight for i in range(rows)],
    }
    table = manyhot.read(cells)
    schema = manyhot.infer(table, ["y"], ignore=["w"], kinds={"x": "number"})
    return prepare(table, schema, QUICK | {"folds": 1, "weight": "w"} | options)


@pytest.mark.parametrize("learn", [trees.grow, trees.boost, logistic.regress])
def test_members_of_tables_learn_as_often_as_a_row_counts(learn):
    ready = doubtful()
    columns = run(build_stem(ready.inputs, ready.config.piecewise), ready.x)
    member = learn(ready, columns)
    with torch.no_grad():
        found = member(torch.from_numpy(columns))["y"].numpy()
    (target,) = ready.schema.targets
    chances = probabilities(target, found.reshape(len(columns), -1, 1))[:, 1]
    assert chances == pytest.approx(np.full(len(columns), 0.9), abs=0.03)


@pytest.mark.parametrize(
    "options", [{"members": "network"}, {}, {"folds": 3}, {"backbone": "tabm"}, {"class_weight": "balanced"}]
)
def test_a_fit_answers_by_what_rows_count(options):
    cells = doubtful().rows.table
    schema = manyhot.infer(cells, ["y"], ignore=["w"], kinds={"x": "number"})
    settings = {"effort": "fast", "epochs": 10, "threads": 1, "weight": "w"} | options
    chances = manyhot.fit(cells, schema, **settings).predict_proba(cells)["y"][:, 1]
    assert chances.mean() == pytest.approx(0.9, abs=0.06)


@torch.no_grad()
def test_neighbours_vote_as_often_as_they_count():
    pictures = np.random.default_rng(0).integers(0, 255, (4, 1, 8, 8), dtype=np.uint8).repeat(50, axis=1)
    table = manyhot.read((pictures.reshape(-1, 8, 8), {"y": ["no", "yes"] * 100, "w": [1, 9] * 100}))
    ready = prepare(table, manyhot.infer(table, ["y"]), QUICK | {"folds": 1, "weight": "w"})
    network = build(ready.inputs, ready.schema.targets, ready.config)
    selection = Selection(ready, {NETWORK: network}, ALONE, lambda done, rows: None)
    raw = selection._neighbours(NETWORK)(torch.from_numpy(features_of(network, ready.x)))["y"].numpy()
    chances = probabilities(ready.schema.targets[0], raw)[:, 1]
    assert chances == pytest.approx(np.full(len(chances), 0.9), abs=0.03)


def test_the_best_epoch_is_that_of_what_counts():
    ready = doubtful()
    rows = ready.held_out()
    y = ready.labels(rows)
    judging = Validation(ready.x[rows], y)
    even = replace(judging, y={name: values for name, values in y.items() if name != WEIGHT})
    network = build(ready.inputs, ready.schema.targets, ready.config)
    targets = tuple(t.deciding(temperature=1.0) for t in ready.schema.targets)
    assert judging.judge(network, targets)["overall"] != even.judge(network, targets)["overall"]
    every = judging.losses(network, targets, ready.config)
    assert every.max() / every.min() > 5


@pytest.mark.parametrize("options", [{}, {"folds": 2}, {"members": "network,forest,linear"}])
def test_a_row_of_weight_0_is_as_none(tmp_path, options):
    cells = features(ROWS) | label_columns("mixed", ROWS)
    weight = [0 if i % 4 == 1 else 1 + i % 3 for i in range(ROWS)]
    keep = [i for i in range(ROWS) if weight[i]]
    some = {name: [values[i] for i in keep] for name, values in cells.items()}
    schema = manyhot.infer(manyhot.read(some), ["ripe", "fruit"], tags={"tags": None})
    settings = QUICK | {"epochs": 2, "weight": "w"} | options
    found = manyhot.fit(cells | {"w": weight}, schema, out=tmp_path / "a", **settings)
    manyhot.fit(some | {"w": [weight[i] for i in keep]}, schema, out=tmp_path / "b", **settings)
    for name in ("weights.safetensors", "schema.json", "predictor.json", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    note = f"left out, since their weight is 0: {ROWS - len(keep)} of {ROWS} rows."
    assert note in found.run.notes
    scores = found.evaluate(cells | {"w": weight}, split="all", weight="w")
    assert scores == found.evaluate(some | {"w": [weight[i] for i in keep]}, split="all", weight="w")
    assert scores["rows"] == len(keep)


@pytest.mark.parametrize("weight", [2.5, 1e308, 1e-320])
def test_equal_weights_are_none(tmp_path, weight):
    cells = features(ROWS) | label_columns("mixed", ROWS) | {"w": [weight] * ROWS}
    schema = manyhot.infer(manyhot.read(cells), ["ripe", "fruit"], tags={"tags": None}, ignore=["w"])
    for name, more in (("a", {"weight": "w"}), ("b", {})):
        manyhot.fit(cells, schema, out=tmp_path / name, **QUICK, **more)
    for name in ("weights.safetensors", "schema.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([1, -0.5], "row 2, column 'w': a weight must be at least 0, and is -0.5. Correct the cell"),
        ([1, ""], "row 2, column 'w': a weight must be at least 0, and is empty"),
        ([1, "nan"], "row 2, column 'w': a weight must be at least 0, and is empty"),
        ([1, "inf"], "row 2, column 'w': a weight must be at least 0, and is inf"),
        ([1, "much"], "row 2, column 'w': a weight must be at least 0, and is 'much'. Correct the cell"),
        ([0, 0], "all weights in column 'w' are zero, so that no row counts."),
    ],
)
def test_weights_that_are_none(capsys, fitted_tables, tmp_path, cells, what):
    bad = write_csv(tmp_path / "bad.csv", features(60) | label_columns("mixed", 60) | {"w": cells * 30})
    out = str(tmp_path / "m")
    for words in (
        ["fit", bad, "--target", "ripe", "--weight", "w", "--out", out],
        ["evaluate", fitted_tables / "model", bad, "--weight", "w"],
    ):
        assert main([str(word) for word in words]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("manyhot: ")
        assert what in line


def test_a_weight_is_the_name_of_a_column():
    cells = features(ROWS) | label_columns("binary", ROWS)
    with pytest.raises(manyhot.UserError, match="weight: must be text"):
        manyhot.fit(cells, "ripe", weight=np.ones(ROWS))
    with pytest.raises(manyhot.UserError, match="holds lists, and a row has one weight"):
        manyhot.fit(cells | {"w": [["a"], ["b"]] * (ROWS // 2)}, "ripe", weight="w")


def test_a_weight_is_no_input_and_no_target(capsys, tmp_path):
    cells = features(60) | label_columns("binary", 60) | {"w": [1, 2] * 30}
    path = write_csv(tmp_path / "t.csv", cells)
    schema = tmp_path / "schema.json"
    assert main(["inspect", str(path), "--target", "ripe", "--write-schema", str(schema)]) == 0
    assert "w" in [item["name"] for item in json.loads(schema.read_text())["inputs"]]
    fit = ["fit", str(path), "--weight", "w", "--out", str(tmp_path / "m")]
    for more in (["--schema", str(schema)], ["--target", "w"]):
        assert main([*fit, *more]) == 2
        assert "column 'w' is to weigh the rows, but is in the schema too" in capsys.readouterr().err
    assert main([*fit, "--target", "ripe", "--epochs", "1", "--members", "network"]) == 0
    assert "--weight w" in capsys.readouterr().out
    assert "w" not in [item.name for item in manyhot.load(tmp_path / "m").schema.inputs]
    assert main(["inspect", str(path), "--target", "ripe", "--weight", "w", "--json"]) == 0
    assert "w" in json.loads(capsys.readouterr().out)["unused"]
    assert main(["evaluate", str(tmp_path / "m"), str(path), "--weight", "w"]) == 0
    assert "by the weights in 'w'" in capsys.readouterr().out
