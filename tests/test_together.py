"""Who answers along with a network: rows that look alike, by hand, and where they stay."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_weights import SMALL, photos, state, tuned

import manyhot
from manyhot import bundle, predict
from manyhot.config import FitConfig
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.model.losses import votes
from manyhot.model.neighbours import PRIOR, Neighbours
from manyhot.model.network import build
from manyhot.schema import Target
from manyhot.targets import sets_in
from manyhot.train import together

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


def test_a_softmax_of_neighbours_is_the_share_of_each_class():
    y = np.array([0, 0, 1, 1, 1, -1])
    logits = only(neighbours(PET, np.ones((6, 2)), y)(torch.ones(1, 2)))
    shares = torch.softmax(logits, dim=1)[0].numpy()
    met = np.array([2, 3, 0]) / 6 + PRIOR * np.array([3, 4, 1]) / 7
    assert shares == pytest.approx(met / met.sum(), abs=1e-3)


def test_a_softmax_of_neighbours_that_have_sets_is_the_share_of_each_set():
    y = np.array([[1, 1, 0]] * 3 + [[0, 0, 0]] + [[-1, -1, -1]])
    target = replace(TAGS, sets=sets_in(TAGS, y))
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
def test_neighbours_answer_with_the_heads_and_are_saved_with_them(views):
    inputs = ImageInputs("image", (32, 32), 3, (0.5,) * 3, (0.2,) * 3)
    config = FitConfig(backbone=SMALL, weights="none", views=views)
    model = build(inputs, (PET, TAGS), config).eval()
    x = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    alone = model(x)
    model.remember()
    said = []
    for network, label in (
        (model, 0),
        (model.before, 1),
    ):  # all rows say the same
        of_each = {"pet": votes(PET, np.full(4, label)), "tags": votes(TAGS, np.full((4, 3), label))}
        given = {name: torch.from_numpy(np.stack(of_target)) for name, of_target in of_each.items()}
        with torch.no_grad():
            features = network.embed(x)
        network.neighbours = Neighbours(features, given, 0.1)
        said.append(network.neighbours(features))
    found = model(x)
    for name in found:
        of_rows = (said[0][name] + said[1][name]) / 4
        of_rows = of_rows if views == 1 else of_rows[:, None]
        assert torch.allclose(found[name], alone[name] / 2 + of_rows, atol=1e-4)
    with model.seeing(views):
        assert torch.equal(model(x)["tags"], alone["tags"])
    again = build(inputs, (PET, TAGS), config).eval()
    again.restore(model.state_dict())
    again.restore(model.state_dict())  # in place of all that it has
    assert all(torch.equal(again(x)[name], found[name]) for name in found)


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
    model = tuned(path, tell=told.append)
    assert (model.bundle.model.neighbours is not None) == stay
    assert (bundle.ALIKE.format(rows=model.run.counts["train"]) in model.run.notes) == stay
    model.save(tmp_path / "m")
    again = manyhot.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(photos())["label"], model.predict_proba(photos())["label"])
    assert ("answer along, those" in (tmp_path / "m" / "README.md").read_text()) == stay
    assert [line["kind"] for line in told].count("features") >= 2


def test_neighbours_are_the_training_rows_alone(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    answer(monkeypatch, 5)
    model = tuned(path)
    rows = np.array(model.rows.column("split").to_pylist()) == "train"
    kept = model.bundle.model.neighbours
    x, _ = model.bundle.inputs.transform(manyhot.read(photos()))
    features = torch.from_numpy(predict.features(model.bundle.model, x))
    wanted = torch.nn.functional.normalize(features, dim=1)[rows]
    assert torch.allclose(kept.rows.float(), wanted, atol=1e-3)
    assert kept.votes0[0].sum() + kept.votes0[1].sum() >= rows.sum()


def test_rows_answer_along_with_heads_of_a_frozen_backbone(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    answer(monkeypatch, 5)
    told = []
    model = tuned(path, freeze=True, heads_first=False, tell=told.append)
    kept = model.bundle.model.neighbours
    x, _ = model.bundle.inputs.transform(manyhot.read(photos()))
    rows = np.array(model.rows.column("split").to_pylist()) == "train"
    features = torch.from_numpy(predict.features(model.bundle.model, x))[rows]
    assert torch.allclose(kept.rows.float(), torch.nn.functional.normalize(features, dim=1), atol=1e-3)
    done = [line["done"] for line in told if line["kind"] == "features"]
    assert done == sorted(set(done))  # every picture passed through the backbone once


def test_many_rows_and_classes_weighed_alike_have_no_neighbours(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    assert tuned(path, class_weight="balanced").bundle.model.neighbours is None
    monkeypatch.setattr(together, "MAX_ROWS", 5)
    assert tuned(path).bundle.model.neighbours is None
