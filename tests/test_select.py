"""Who answers beside a network: rows that look alike, by hand, and where they stay."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_weights import SMALL, photos, state, tuned

import manyhot
from manyhot.config import FitConfig
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.ensemble import HOLDS_ROWS, Ensemble, equally
from manyhot.model import inference
from manyhot.model.neighbours import PRIOR, FoldedNeighbours, Neighbours
from manyhot.model.network import build
from manyhot.model.predictor import Predictor
from manyhot.model.predictor import build as rebuilt
from manyhot.priors import votes
from manyhot.schema import Target
from manyhot.targets import sets_in
from manyhot.train import select

BOTH = ("network", "pretrained")

TAGS = Target("tags", "multilabel", ("a", "b", "c"), ("tags",))
PET = Target("pet", "multiclass", ("cat", "dog", "fish"), ("pet",))
TAME = Target("tame", "binary", ("no", "yes"), ("tame",))


def neighbours(target, features, y, temperature=0.1):
    of_target = torch.from_numpy(np.stack(votes(target, y)))
    rows = torch.nn.functional.normalize(torch.as_tensor(features, dtype=torch.float32))
    return Neighbours(rows, {target.name: of_target}, temperature)


def only(logits):
    """Return the logits of the only target."""
    (values,) = logits.values()
    return values


def test_rows_weigh_as_the_softmax_of_their_cosines():
    rng = np.random.default_rng(0)
    features, asked = rng.random((30, 4)).astype(np.float32), rng.random((7, 4)).astype(np.float32)
    y = rng.integers(0, 2, (30, 3))
    logits = only(neighbours(TAGS, features, y)(torch.from_numpy(asked)))
    length = [np.linalg.norm(each, axis=1, keepdims=True) for each in (asked, features)]
    weights = np.exp((asked / length[0]) @ (features / length[1]).T / 0.1)
    weights /= weights.sum(axis=1, keepdims=True)
    yes = weights @ y + PRIOR * (y.sum(axis=0) + 1) / 31
    no = weights @ (1 - y) + PRIOR * ((1 - y).sum(axis=0) + 1) / 31
    assert logits.numpy() == pytest.approx(np.log(yes / no), abs=0.02)  # the rows are kept in half precision


def test_no_neighbour_answers_for_rows_of_its_fold():
    rng = np.random.default_rng(0)
    features, y, fold = rng.random((30, 4)), rng.integers(0, 3, 30), np.arange(30) % 3
    keys = torch.nn.functional.normalize(torch.as_tensor(features, dtype=torch.float32))
    of_target = torch.from_numpy(np.stack(votes(PET, y)))
    both = FoldedNeighbours(keys, {"pet": of_target}, torch.from_numpy(fold.astype(np.int8)), 0.1)
    asked = torch.as_tensor(rng.random((7, 4)), dtype=torch.float32)
    logits = both(asked)["pet"]
    assert logits.shape == (7, 3, 3)
    for number in range(3):
        there = fold != number
        alone = only(neighbours(PET, features[there], y[there])(asked))
        assert torch.allclose(logits[:, number], alone, atol=0.1)  # but for how often each class is met
    changed = y.copy()
    changed[fold == 1] = (changed[fold == 1] + 1) % 3
    other = FoldedNeighbours(keys, {"pet": torch.from_numpy(np.stack(votes(PET, changed)))}, both.fold, 0.1)
    gone = other(asked)["pet"][:, 1]
    shift = (gone - logits[:, 1]).abs().max()
    assert shift < (other(asked)["pet"][:, 0] - logits[:, 0]).abs().max() / 5


def test_a_softmax_of_neighbours_is_the_share_of_each_class():
    y = np.array([0, 0, 1, 1, 1, -1])
    logits = only(neighbours(PET, np.ones((6, 2)), y)(torch.ones(1, 2)))
    shares = torch.softmax(logits, dim=1)[0].numpy()
    met = np.array([2, 3, 0]) / 6 + PRIOR * np.array([3, 4, 1]) / 7
    assert shares == pytest.approx(met / met.sum(), abs=1e-3)


def test_a_softmax_of_neighbours_that_have_sets_is_the_share_of_each_set():
    y = np.array([[1, 1, 0]] * 3 + [[0, 0, 0]] + [[-1, -1, -1]])
    target = replace(TAGS, label_sets=sets_in(TAGS, y))
    logits = only(neighbours(target, np.ones((5, 2)), y)(torch.ones(1, 2)))
    shares = torch.softmax(logits, dim=1)[0].numpy()
    met = np.array([1, 3]) / 5 + PRIOR * np.array([2, 4]) / 6
    assert shares == pytest.approx(met / met.sum(), abs=1e-3)


@pytest.mark.parametrize(
    ("target", "y"),
    [(TAGS, np.array([[1, 0, -1]] * 4)), (PET, np.zeros(4, int)), (TAME, np.array([[1], [1], [1], [-1]]))],
)
def test_what_no_neighbour_knows_is_answered_with_finite_logits(target, y):
    for labels in (y, np.full_like(y, -1)):
        logits = only(neighbours(target, np.eye(4), labels, 0.01)(torch.eye(4)[3:]))
        assert torch.isfinite(logits).all()


def test_unknown_cells_say_nothing():
    features = np.eye(3) + 0.2
    known = neighbours(TAME, features, np.array([[1], [0], [-1]]), 0.01)
    alike = only(known(torch.from_numpy(features[2:]).float()))
    frequencies = np.array([2, 2]) / 4
    assert alike.item() == pytest.approx(np.log(frequencies[0] / frequencies[1]), abs=0.05)


@pytest.mark.parametrize("views", [1, 2])
def test_members_answer_with_their_weighted_mean_and_are_saved_with_it(views):
    inputs = ImageInputs("image", (32, 32), 3, (0.5,) * 3, (0.2,) * 3)
    config = FitConfig(backbone=SMALL, weights="none", views=views)
    networks = {
        name: build(inputs, (PET, TAGS), replace(config, seed=n)).eval() for n, name in enumerate(BOTH)
    }
    x = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    modules, declared = [], []
    for label, (name, network) in enumerate(networks.items()):  # all rows say the same
        of_each = {"pet": votes(PET, np.full(4, label)), "tags": votes(TAGS, np.full((4, 3), label))}
        values = {target: torch.from_numpy(np.stack(said)) for target, said in of_each.items()}
        with torch.no_grad():
            keys = torch.nn.functional.normalize(network.features(x))
        modules += [network.heads, Neighbours(keys, values, 0.1)]
        declared += [("heads", name, 0), ("neighbours", name, 4)]
    ensemble = Ensemble(equally(declared, ["pet", "tags"]), views, mirrored=True, pooled="probabilities")
    encoders = {name: network.backbone for name, network in networks.items()}
    predictor = Predictor(ensemble, networks["network"].stem, encoders, modules).eval()
    with torch.no_grad():
        found = predictor(x)
        each = [
            module(networks[who].features(x)) for (_, who, _), module in zip(declared, modules, strict=True)
        ]
    for name in ("pet", "tags"):
        as_it_is = found[name] if views == 1 else found[name][:, 0]
        assert torch.allclose(as_it_is, sum(logits[name] for logits in each) / 4, atol=1e-4)
        assert found[name].ndim == (2 if views == 1 else 3)
    again = rebuilt(
        Ensemble.from_json(ensemble.to_json()), inputs, (PET, TAGS), config, predictor.state_dict()
    )
    with torch.no_grad():
        assert all(torch.equal(again(x)[name], found[name]) for name in found)


def neighbours_of(classifier):
    return [member for member in classifier.bundle.predictor.members if isinstance(member, Neighbours)]


def answer(monkeypatch, surer):
    """Let neighbours be surer than they are, or of the opposite."""
    forward = Neighbours.forward

    def answered(self, x):
        return {name: surer * logits for name, logits in forward(self, x).items()}

    monkeypatch.setattr(Neighbours, "forward", answered)


@pytest.mark.parametrize(("surer", "stay"), [(5, True), (-1, False)])
def test_neighbours_stay_where_held_out_rows_are_answered_better(tmp_path, monkeypatch, surer, stay):
    path, _ = state(tmp_path)
    answer(monkeypatch, surer)
    told = []
    model = tuned(path, on_event=told.append)
    assert bool(neighbours_of(model)) == stay
    assert (HOLDS_ROWS.format(rows=model.run.counts["train"]) in model.run.notes) == stay
    model.save(tmp_path / "m")
    again = manyhot.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(photos())["label"], model.predict_proba(photos())["label"])
    assert ("photos that look most alike" in (tmp_path / "m" / "README.md").read_text()) == stay
    assert [line["kind"] for line in told].count("features") >= 2


def test_neighbours_are_the_training_rows_alone(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    answer(monkeypatch, 5)
    model = tuned(path)
    rows = model.seen.parts == "train"
    kept = neighbours_of(model)[0]
    x, _ = model.bundle.inputs.transform(manyhot.read(photos()))
    features = torch.from_numpy(inference.features(model.bundle.predictor, x))
    wanted = torch.nn.functional.normalize(features, dim=1)[rows]
    assert torch.allclose(kept.keys.float(), wanted, atol=1e-3)
    assert kept.values0[0].sum() + kept.values0[1].sum() >= rows.sum()


def test_rows_answer_along_with_heads_of_a_frozen_backbone(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    answer(monkeypatch, 5)
    told = []
    model = tuned(path, freeze=True, folds=5, linear_probe=False, on_event=told.append)
    kept = neighbours_of(model)[0]
    x, _ = model.bundle.inputs.transform(manyhot.read(photos()))
    assert set(model.seen.parts) == {"train"}  # each row teaches, and each judges
    features = torch.from_numpy(inference.features(model.bundle.predictor, x))
    assert torch.allclose(kept.keys.float(), torch.nn.functional.normalize(features, dim=1), atol=1e-3)
    judging = next(n for n, line in enumerate(told) if line.get("name") == "select ensemble")
    done = [line["done"] for line in told[:judging] if line["kind"] == "features"]
    assert done == sorted(set(done))  # every picture passed through the backbone once


def test_many_rows_have_no_neighbours(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    answer(monkeypatch, 5)
    assert not neighbours_of(tuned(path, members="network,pretrained"))
    monkeypatch.setattr(select, "MAX_ROWS", 5)
    assert not neighbours_of(tuned(path))


def test_weights_without_training_rows_hold_none(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    answer(monkeypatch, 5)
    for members, held in (("network,pretrained,neighbours", True), ("network", False)):
        tuned(path, members=members, out=tmp_path / members)
        declared = json.loads((tmp_path / members / "predictor.json").read_text())["members"]
        assert any(member["rows"] for member in declared) is held
