"""Losses against the numbers of textbooks and of torch; unknown entries leave no trace."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from manyhot.model.losses import loss, total
from manyhot.priors import class_weights
from manyhot.schema import Target
from manyhot.targets import decide

ONE = Target("m", "multiclass", ("a", "b", "c"), ("m",))
MANY = Target("t", "multilabel", ("a", "b", "c"), ("t",))
BINARY = Target("b", "binary", ("no", "yes"), ("b",))


def logit(p):
    p = torch.tensor(p, dtype=torch.float64)
    return torch.log(p / (1 - p))


# Facts that the README and the docs state


def test_cross_entropy_is_log_softmax_and_negative_log_likelihood():
    logits, y = torch.tensor([[0.2, 0.1, -0.1]]), torch.tensor([0])
    assert loss(ONE, logits, y).item() == pytest.approx(0.97292, abs=5e-6)
    assert loss(ONE, logits, y) == F.nll_loss(F.log_softmax(logits, dim=1), y)


@pytest.mark.parametrize(
    ("logits", "value"),
    [
        ([[0.1, 0.2, 0.9], [1.1, 0.1, 0.2], [0.2, 2.1, 0.1]], 0.4966),
        ([[0.8, 0.2, 0.3], [0.2, 0.3, 0.5], [0.2, 0.2, 0.5]], 1.2389),
    ],
)
def test_cross_entropy_of_good_and_bad_logits(logits, value):
    assert loss(ONE, torch.tensor(logits), torch.tensor([2, 0, 1])).item() == pytest.approx(value, abs=5e-5)


def test_binary_cross_entropy_of_three_tags():
    y = torch.tensor([[0, 0, 1]])
    assert loss(MANY, logit([[0.2, 0.6, 0.8]]), y).item() == pytest.approx(0.4542, abs=5e-5)
    assert -(np.log(0.8) + np.log(0.4) + np.log(0.8)) / 3 == pytest.approx(0.4542, abs=5e-5)
    assert decide(MANY, np.array([[0.2, 0.6, 0.8]])).tolist() != y.tolist()


def test_a_probability_at_the_threshold_is_a_yes_in_the_exact_match():
    answers = decide(MANY, np.array([[0.2, 0.5, 0.8], [0.4, 0.7, 0.1]]))
    right = (answers == np.array([[0, 0, 1], [0, 1, 0]])).all(axis=1)
    assert right.tolist() == [False, True]


def test_mean_of_two_rows_is_the_mean_of_the_tags():
    logits = logit([[0.6293, 0.1712, 0.6457], [0.5994, 0.8830, 0.1837]])
    y = torch.tensor([[1, 0, 0], [0, 0, 1]])
    assert loss(MANY, logits, y).item() == pytest.approx(1.0739, abs=5e-5)
    each = F.binary_cross_entropy(torch.sigmoid(logits), y.double(), reduction="none").mean(dim=0)
    assert each.mean().item() == pytest.approx(1.0739, abs=5e-5)


def test_logits_are_the_ones_to_train_with():
    logits, y = torch.tensor([[0.3, -1.2, 2.0]]), torch.tensor([[1, 0, 1]])
    assert loss(MANY, logits, y).item() == pytest.approx(
        F.binary_cross_entropy(torch.sigmoid(logits), y.float()).item()
    )
    far = torch.tensor([[-500.0, 500.0, 0.0]], requires_grad=True)
    value = loss(MANY, far, torch.tensor([[1, 0, 1]]))
    value.backward()
    assert value.item() == pytest.approx(1000.693 / 3, rel=1e-5)
    assert torch.isfinite(far.grad).all()


def test_class_numbers_carry_no_order():
    logits = torch.tensor([[3.0, 0.0, 0.0]])
    assert loss(ONE, logits, torch.tensor([1])) == loss(ONE, logits, torch.tensor([2]))


# Unknown entries


def random_case(target, rows=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    width = 1 if target.kind == "binary" else 3
    logits = torch.randn(rows, width, generator=generator)
    if target.kind == "multiclass":
        return logits, torch.randint(0, 3, (rows,), generator=generator)
    return logits, torch.randint(0, 2, (rows, width), generator=generator)


@pytest.mark.parametrize("odd", [0.0, 1e30, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("target", [ONE, MANY, BINARY], ids=lambda target: target.kind)
def test_an_unknown_entry_leaves_no_trace(target, odd, weighted):
    logits, y = random_case(target)
    rows = torch.arange(12) % 3 == 1
    y[rows] = -1
    weight = None
    if weighted:
        weight = torch.tensor([1.0, 2.0, 3.0]) if target is ONE else torch.rand(2, logits.shape[1]) + 0.5
    bad = logits.clone()
    bad[rows] = odd
    bad.requires_grad_()
    clean = logits[~rows].clone().requires_grad_()
    value, wanted = loss(target, bad, y, 0.1, weight), loss(target, clean, y[~rows], 0.1, weight)
    value.backward()
    wanted.backward()
    assert value.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert (bad.grad[rows] == 0).all()
    assert torch.allclose(bad.grad[~rows], clean.grad)


def test_an_unknown_tag_beside_known_ones():
    logits = torch.tensor([[0.3, float("inf"), -2.0], [1.0, 2.0, float("nan")]], requires_grad=True)
    value = loss(MANY, logits, torch.tensor([[1, -1, 0], [0, 1, -1]]))
    value.backward()
    known = torch.tensor([0.3, -2.0, 1.0, 2.0])
    wanted = F.binary_cross_entropy_with_logits(known, torch.tensor([1.0, 0, 0, 1]))
    assert value.item() == pytest.approx(wanted.item())
    assert logits.grad[0, 1] == 0
    assert logits.grad[1, 2] == 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("target", [ONE, MANY, BINARY], ids=lambda target: target.kind)
def test_nothing_known_is_no_loss_and_no_gradient(target):
    logits, y = random_case(target)
    logits.requires_grad_()
    value = loss(target, logits, torch.full_like(y, -1))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


def test_a_whole_target_unknown_leaves_the_others_alone():
    logits = {"m": random_case(ONE)[0].requires_grad_(), "t": random_case(MANY)[0].requires_grad_()}
    y = {"m": random_case(ONE)[1], "t": torch.full((12, 3), -1)}
    value, each = total([ONE, MANY], logits, y)
    value.backward()
    assert each["t"].item() == 0
    assert value == each["m"] == loss(ONE, logits["m"], y["m"])
    assert (logits["t"].grad == 0).all()
    assert (logits["m"].grad != 0).any()


def test_a_batch_of_which_nothing_is_known():
    shared = torch.nn.Linear(4, 3)
    x = torch.ones(5, 4)
    logits = {"m": shared(x), "t": shared(x)}
    value, _ = total([ONE, MANY], logits, {"m": torch.full((5,), -1), "t": torch.full((5, 3), -1)})
    value.backward()
    assert value.item() == 0
    assert all((p.grad == 0).all() for p in shared.parameters())


def test_the_mean_is_over_known_entries_only():
    logits, y = random_case(MANY)
    half = y.clone()
    half[:6] = -1
    assert loss(MANY, logits, half).item() == pytest.approx(loss(MANY, logits[6:], y[6:]).item())


# Smoothing and weights


def test_smoothing_is_torchs():
    logits, y = random_case(ONE)
    assert loss(ONE, logits, y, 0.2).item() == pytest.approx(
        F.cross_entropy(logits, y, label_smoothing=0.2).item()
    )
    logits, y = random_case(MANY)
    wanted = F.binary_cross_entropy_with_logits(logits, y * 0.8 + 0.1)
    assert loss(MANY, logits, y, 0.2).item() == pytest.approx(wanted.item())


def test_weights_are_torchs():
    logits, y = random_case(ONE)
    weight = torch.tensor([0.5, 2.0, 1.0])
    assert loss(ONE, logits, y, 0.0, weight).item() == pytest.approx(
        F.cross_entropy(logits + weight.log(), y, weight=weight).item()
    )
    logits, y = random_case(BINARY)
    weight = torch.tensor([[1.0], [3.0]])
    each = F.binary_cross_entropy_with_logits(logits + np.log(3), y.float(), reduction="none")
    amount = torch.where(y == 1, 3.0, 1.0)
    wanted = (each * amount).sum() / amount.sum()
    assert loss(BINARY, logits, y, 0.0, weight).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_the_loss_by_classes_is_least_where_probabilities_are_how_often_classes_are_met(kind):
    target = MIXED[kind]
    y = {
        "binary": np.array([[0]] * 9 + [[1]], np.int8),
        "multiclass": np.array([0] * 7 + [1] * 2 + [2]),
        "multilabel": np.array([[1, 0, 0]] * 9 + [[0, 1, 1]], np.int8),
    }[kind]
    weight = torch.from_numpy(class_weights(target, y))
    own = torch.from_numpy(odds_of(target, y)).requires_grad_()
    value = loss(target, own.expand(len(y), -1), torch.from_numpy(y).long(), 0.0, weight)
    value.backward()
    assert own.grad.abs().max() < 1e-6


def odds_of(target, y):
    """The logits of how often each class is met."""
    if target.kind == "multiclass":
        return np.log(np.bincount(y) / len(y)).astype(np.float32)
    share = y.mean(axis=0)
    return np.log(share / (1 - share)).astype(np.float32)


def test_targets_can_be_weighed_against_each_other():
    logits = {"m": random_case(ONE)[0], "t": random_case(MANY)[0]}
    y = {"m": random_case(ONE)[1], "t": random_case(MANY)[1]}
    value, each = total([ONE, MANY], logits, y, target_weights={"t": 0.25})
    assert value.item() == pytest.approx((each["m"] + 0.25 * each["t"]).item())


# Mixed rows, and tags whose easy entries count less

MIXED = {
    "binary": Target("y", "binary", ("no", "yes"), ("y",)),
    "multiclass": Target("y", "multiclass", ("a", "b", "c"), ("y",)),
    "multilabel": Target("y", "multilabel", ("a", "b", "c"), ("y",)),
    "label_sets": Target("y", "multilabel", ("a", "b"), ("y",), label_sets=((), ("a",), ("a", "b"))),
}


@pytest.mark.parametrize("kind", MIXED)
def test_a_mixed_row_has_the_loss_of_both_labels_by_their_shares(kind):
    target = MIXED[kind]
    torch.manual_seed(0)
    width = {"binary": 1, "multiclass": 3, "multilabel": 3, "label_sets": 3}[kind]
    shape = {"binary": (6, 1), "multiclass": (6,), "multilabel": (6, 3), "label_sets": (6, 2)}[kind]
    logits, own = torch.randn(6, width), torch.rand(6)
    y, other = torch.randint(0, 2, shape), torch.randint(0, 2, shape)
    if kind == "label_sets":
        y, other = torch.ones(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    found, _ = total([target], {"y": logits}, {"y": y}, mixed=({"y": other}, own))
    each = [
        own[i] * loss(target, logits[i : i + 1], y[i : i + 1])
        + (1 - own[i]) * loss(target, logits[i : i + 1], other[i : i + 1])
        for i in range(6)
    ]
    assert found.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)
    alone, _ = total([target], {"y": logits}, {"y": y}, mixed=({"y": other}, torch.ones(6)))
    assert alone.item() == pytest.approx(loss(target, logits, y).item(), rel=1e-5)


@pytest.mark.parametrize("kind", MIXED)
def test_what_is_mixed_in_and_unknown_counts_nothing(kind):
    target = MIXED[kind]
    shape = {"binary": (4, 1), "multiclass": (4,), "multilabel": (4, 3), "label_sets": (4, 2)}[kind]
    width = {"binary": 1, "multiclass": 3, "multilabel": 3, "label_sets": 3}[kind]
    logits = torch.randn(4, width, requires_grad=True)
    y, unknown = torch.zeros(shape, dtype=torch.int64), torch.full(shape, -1)
    found, _ = total([target], {"y": logits}, {"y": y}, mixed=({"y": unknown}, torch.full((4,), 0.3)))
    assert found.item() == pytest.approx(loss(target, logits, y).item(), rel=1e-5)
    nothing, _ = total([target], {"y": logits}, {"y": unknown}, mixed=({"y": unknown}, torch.full((4,), 0.3)))
    assert nothing.item() == 0
    nothing.backward()
    assert (logits.grad == 0).all()


def test_focal_and_asymmetric_losses_of_tags():
    target = MIXED["multilabel"]
    logits, y = torch.tensor([[2.0, -1.0, -6.0]]), torch.tensor([[1, 0, 0]])
    p = torch.sigmoid(logits)[0]
    plain = -torch.stack([p[0].log(), (1 - p[1]).log(), (1 - p[2]).log()])
    focal, _ = total([target], {"y": logits}, {"y": y}, tag_loss="focal")
    assert focal.item() == pytest.approx((plain * torch.stack([1 - p[0], p[1], p[2]]) ** 2).mean().item())
    asymmetric, _ = total([target], {"y": logits}, {"y": y}, tag_loss="asymmetric")
    kept = torch.stack([torch.tensor(1.0), (p[1] - 0.05) ** 4, torch.tensor(0.0)])
    assert asymmetric.item() == pytest.approx((plain * kept).mean().item())
    for name in ("focal", "asymmetric"):  # a target with one class a row keeps its loss
        same, _ = total([MIXED["binary"]], {"y": logits[:, :1]}, {"y": y[:, :1]}, tag_loss=name)
        assert same.item() == pytest.approx(-p[0].log().item())
