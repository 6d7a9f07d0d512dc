"""Decisions fitted on held-out rows: better than 0.5 at what they aim at; probabilities made honest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyhot import metrics
from manyhot.schema import Decision, Target
from manyhot.targets import decide, probabilities
from manyhot.train import calibrate
from manyhot.train.calibrate import fit_temperature


def fit_thresholds(*rows):
    return calibrate.fit_thresholds(*rows).target


def case(kind, rows=300, classes=4, seed=0, unknown=0.1):
    """Labels, and probabilities that lean to no, so that 0.5 is a poor threshold."""
    rng = np.random.default_rng(seed)
    if kind == "binary":
        y = (rng.random((rows, 1)) < 0.2).astype(np.int8)
    else:
        y = (rng.random((rows, classes)) < [0.5, 0.3, 0.2, 0.05]).astype(np.int8)
    score = 1 / (1 + np.exp(-(2.0 * y - 2.0 + rng.normal(0, 1, y.shape))))
    y[rng.random(y.shape) < unknown] = -1
    if kind == "binary":
        return y, np.concatenate([1 - score, score], axis=1)
    return y, score


def target(kind, objective):
    if kind == "binary":
        return Target("y", "binary", ("no", "yes"), ("y",), decision=Decision(objective=objective))
    return Target("y", "multilabel", tuple("abcd"), ("y",), decision=Decision(objective=objective))


@pytest.mark.parametrize("objective", ["exact_match", "micro_f1", "macro_f1"])
@pytest.mark.parametrize("seed", range(3))
def test_tags_do_better_than_at_a_half(objective, seed):
    y, p = case("multilabel", seed=seed)
    plain = target("multilabel", objective)
    fitted = fit_thresholds(plain, p, y)
    before, after = (metrics.scores(t, y, p)[objective] for t in (plain, fitted))
    assert after > before
    assert len(fitted.decision.thresholds) == 4


@pytest.mark.parametrize("seed", range(3))
def test_binary_does_better_than_at_a_half(seed):
    y, p = case("binary", seed=seed)
    plain = target("binary", "macro_f1")
    fitted = fit_thresholds(plain, p, y)
    assert metrics.scores(fitted, y, p)["macro_f1"] > metrics.scores(plain, y, p)["macro_f1"]
    assert fit_thresholds(target("binary", "exact_match"), p, y).decision.thresholds == ()


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
@pytest.mark.parametrize("name", ["precision", "recall"])
@pytest.mark.parametrize("level", [0.3, 0.6, 0.8])
def test_a_level_is_reached_where_it_can_be(kind, name, level):
    y, p = case(kind)
    fitted = fit_thresholds(target(kind, f"{name}={level}"), p, y)
    rows = metrics.per_class(fitted, y, p)
    for row in rows[1:] if kind == "binary" else rows:
        reachable = name == "recall" or best_precision(row["name"], y, p, kind) >= level
        assert not reachable or row[name] >= level


def best_precision(name, y, p, kind):
    column = 1 if kind == "binary" else "abcd".index(name)
    scores, given = p[:, column], y[:, 0 if kind == "binary" else column]
    known = given >= 0
    order = np.argsort(-scores[known])
    hits = np.cumsum(given[known][order] == 1)
    least = min(calibrate.FEWEST, hits[-1])  # the surest row alone is right by chance
    return (hits / np.arange(1, known.sum() + 1))[least - 1 :].max()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(0, 99), st.sampled_from([1e-8, 1e-3, 1.0]))
def test_full_recall_is_always_reached(rows, seed, scale):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (rows, 1)).astype(np.int8)
    y[0] = 1
    yes = (rng.random(rows) * scale).astype(np.float32)
    p = np.stack([1 - yes, yes], axis=1)
    fitted = fit_thresholds(target("binary", "recall=1"), p, y)
    assert (decide(fitted, p)[y == 1] == 1).all()
    # and no higher recall than that is bought with a needless yes
    lowest = yes[y[:, 0] == 1].min()
    assert not (decide(fitted, p)[:, 0][yes < lowest * (1 - 1e-6)] == 1).any()


def test_recall_costs_as_little_precision_as_possible():
    y = np.array([[1], [1], [0], [1], [0], [0]], np.int8)
    yes = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    fitted = fit_thresholds(target("binary", "recall=1"), np.stack([1 - yes, yes], axis=1), y)
    assert 0.2 < fitted.decision.thresholds[0] <= 0.6


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_hamming_is_a_half_and_several_classes_need_none(kind):
    y, p = case(kind)
    assert fit_thresholds(target(kind, "hamming"), p, y).decision.thresholds == ()
    one = Target(
        "m",
        "multiclass",
        tuple("abcd"),
        ("m",),
        decision=Decision(objective="macro_f1", thresholds=(0.1,) * 4),
    )
    assert fit_thresholds(one, np.full((8, 4), 0.25), np.zeros(8, np.int32)).decision.thresholds == ()


@pytest.mark.parametrize("objective", ["exact_match", "micro_f1", "macro_f1", "precision=0.9", "recall=0.9"])
def test_a_tag_without_a_yes_or_without_a_label_stays_at_a_half(objective):
    y, p = case("multilabel")
    y[:, 2], y[:, 3] = 0, -1
    fitted = fit_thresholds(target("multilabel", objective), p, y)
    if objective in ("macro_f1", "precision=0.9", "recall=0.9"):
        assert fitted.decision.thresholds[2:] == (0.5, 0.5)
    nothing = fit_thresholds(target("multilabel", objective), p, np.full_like(y, -1))
    assert set(nothing.decision.thresholds) == {0.5}


def test_thresholds_are_in_range():
    y, p = case("multilabel")
    for objective in ("micro_f1", "macro_f1", "precision=1", "recall=1"):
        cuts = fit_thresholds(target("multilabel", objective), p.astype(np.float32), y).decision.thresholds
        assert all(isinstance(cut, float) and 0 <= cut <= 1 for cut in cuts)


# Temperature


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("wrong", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_logits_that_are_too_sure(kind, wrong):
    rng = np.random.default_rng(0)
    width = 1 if kind == "binary" else 4
    logits = rng.normal(0, 2, (6_000, width))
    if kind == "multiclass":
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        y = (p.cumsum(axis=1) < rng.random((6_000, 1))).sum(axis=1).astype(np.int32)
        plain = Target("y", kind, tuple("abcd"), ("y",))
    else:
        y = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
        classes = ("no", "yes") if kind == "binary" else tuple("abcd")
        plain = Target("y", kind, classes, ("y",))
    y[:500] = -1
    scaled = (logits * wrong).astype(np.float32)
    fitted = fit_temperature(plain, scaled, y)
    assert fitted.decision.temperature == pytest.approx(wrong, rel=0.1)
    before, after = (probabilities(t, scaled) for t in (plain, fitted))
    scores = [metrics.scores(plain, y, p) for p in (before, after)]
    assert scores[1]["log_loss"] <= scores[0]["log_loss"] + 1e-6
    if wrong != 1:
        assert scores[1]["ece"] < scores[0]["ece"]


def test_few_rows_and_no_errors_ask_for_nothing_extreme():
    one = Target("m", "multiclass", tuple("abc"), ("m",))
    assert fit_temperature(one, np.eye(3, dtype=np.float32), np.arange(3)).decision.temperature == 1
    sure = np.tile(np.eye(3, dtype=np.float32) * 9, (20, 1))
    assert 0.24 < fit_temperature(one, sure, np.tile(np.arange(3), 20)).decision.temperature < 8.1
    unknown = np.full(60, -1)
    assert fit_temperature(one, sure, unknown) == one


def test_a_few_faultless_rows_do_not_ask_for_certainty():
    """Fitted alone they would, at the bound; with many rows the prior does not matter."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60).astype(np.int32)
    sure = np.where(np.arange(3) == y[:, None], 6.0, 0.0).astype(np.float32)
    plain = Target("m", "multiclass", ("a", "b", "c"), ("m",))
    assert 0.8 < fit_temperature(plain, sure, y).decision.temperature <= 1.0
    many = rng.integers(0, 3, 20_000).astype(np.int32)
    logits = (3.0 * (np.arange(3) == many[:, None]) + rng.normal(0, 1, (20_000, 3))).astype(np.float32)
    cold = fit_temperature(plain, 4 * logits, many).decision.temperature
    assert cold == pytest.approx(4 * fit_temperature(plain, logits, many).decision.temperature, rel=0.05)
