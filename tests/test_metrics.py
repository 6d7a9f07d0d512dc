"""Every metric against scikit-learn, the cases with nothing to measure, and the facts of the README."""

import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from manyhot import metrics
from manyhot.errors import UserError
from manyhot.schema import Decision, Target

SEEDS = range(4)
BINARY = Target("b", "binary", ("no", "yes"), ("b",))
CLASSES = Target("m", "multiclass", tuple("abcde"), ("m",))
TAGS = Target("t", "multilabel", tuple("abcdef"), ("t",))


def chances(rng, rows, classes, ties, total=True, dtype=np.float64):
    raw = rng.integers(1, 5, (rows, classes)) / 5 if ties else rng.random((rows, classes))
    return (raw / raw.sum(axis=1, keepdims=True) if total else raw).astype(dtype)


def ece(confidence, right):
    bins = np.minimum((confidence * 15).astype(int), 14)
    parts = [
        np.abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).sum() for b in set(bins)
    ]
    return sum(parts) / len(confidence)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_multiclass(seed, ties, dtype):
    rng = np.random.default_rng(seed)
    y = rng.integers(-1, 4, 90).astype(np.int32)  # class 4 is never given
    p = chances(rng, 90, 5, ties, dtype=dtype)
    got = metrics.scores(CLASSES, y, p)
    y, p = y[y >= 0], p[y >= 0].astype(np.float64)
    answers = p.argmax(1)
    areas = [sk.roc_auc_score(y == c, p[:, c]) for c in range(4)]
    assert got == pytest.approx(
        {
            "accuracy": sk.accuracy_score(y, answers),
            "balanced_accuracy": np.mean([(answers[y == c] == c).mean() for c in range(4)]),
            "macro_f1": sk.f1_score(y, answers, average="macro", zero_division=0),
            "auroc": np.mean(areas),
            "log_loss": sk.log_loss(y, p / p.sum(1, keepdims=True), labels=range(5)),
            "ece": ece(p.max(1), answers == y),
        },
        rel=1e-6,
    )
    whole = chances(rng, 90, 4, ties)
    target = Target("m", "multiclass", tuple("abcd"), ("m",))
    y = np.arange(90, dtype=np.int32) % 4
    got = metrics.scores(target, y, whole)
    assert got["auroc"] == pytest.approx(sk.roc_auc_score(y, whole, multi_class="ovr", average="macro"))
    assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, whole.argmax(1)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_binary(seed, ties, threshold):
    rng = np.random.default_rng(seed)
    target = Target("b", "binary", ("no", "yes"), ("b",), decision=Decision(thresholds=(threshold,)))
    y = rng.integers(-1, 2, (80, 1)).astype(np.int8)
    p = chances(rng, 80, 2, ties)
    got = metrics.scores(target, y, p)
    keep = y[:, 0] >= 0
    y, p = y[keep, 0], p[keep]
    answers = (p[:, 1] >= threshold).astype(int)
    assert got == pytest.approx(
        {
            "accuracy": sk.accuracy_score(y, answers),
            "balanced_accuracy": sk.balanced_accuracy_score(y, answers),
            "macro_f1": sk.f1_score(y, answers, average="macro", zero_division=0),
            "auroc": sk.roc_auc_score(y, p[:, 1]),
            "log_loss": sk.log_loss(y, p),
            "ece": ece(p[np.arange(len(y)), answers], answers == y),
            "precision": sk.precision_score(y, answers),
            "recall": sk.recall_score(y, answers),
            "f1": sk.f1_score(y, answers),
        }
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tags(seed, ties, dtype):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (70, 6)).astype(np.int8)
    y[:3], y[3:5], y[:, 5] = 0, 1, 0  # rows without and with every tag; a tag that no row has
    p = chances(rng, 70, 6, ties, total=False, dtype=dtype)
    p[:, 5] /= 4  # never answered either
    answers = p >= 0.5
    got = metrics.scores(TAGS, y, p)
    p = p.astype(np.float64)
    present = y.any(axis=0)
    assert got == pytest.approx(
        {
            "exact_match": sk.accuracy_score(y, answers),
            "hamming_loss": sk.hamming_loss(y, answers),
            "micro_f1": sk.f1_score(y, answers, average="micro", zero_division=0),
            "macro_f1": sk.f1_score(y, answers, average="macro", zero_division=0),
            "mean_average_precision": sk.average_precision_score(y[:, present], p[:, present]),
            "lrap": sk.label_ranking_average_precision_score(y, p),
            "log_loss": np.mean([sk.log_loss(y[:, c], p[:, c], labels=[0, 1]) for c in range(6)]),
            "ece": np.mean([ece(p[:, c], y[:, c]) for c in range(6)]),
        }
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ties", [False, True])
def test_tags_with_unknown_entries(seed, ties):
    rng = np.random.default_rng(seed)
    y = rng.integers(-1, 2, (70, 6)).astype(np.int8)
    y[:4] = -1  # nothing known: no part of any number
    y[:, 5] = -1
    p = chances(rng, 70, 6, ties, total=False)
    answers = (p >= 0.5).astype(int)
    got = metrics.scores(TAGS, y, p)
    known = y >= 0
    kept = [c for c in range(6) if known[:, c].any()]
    rows = [i for i in range(70) if known[i].any()]
    columns = [(y[known[:, c], c], p[known[:, c], c], answers[known[:, c], c]) for c in kept]
    assert got == pytest.approx(
        {
            "exact_match": np.mean([(y[i] == answers[i])[known[i]].all() for i in rows]),
            "hamming_loss": sk.hamming_loss(y[known], answers[known]),
            "micro_f1": sk.f1_score(y[known], answers[known]),
            "macro_f1": np.mean([sk.f1_score(a, c, zero_division=0) for a, _, c in columns]),
            "mean_average_precision": np.mean([sk.average_precision_score(a, b) for a, b, _ in columns]),
            "lrap": np.mean(
                [
                    sk.label_ranking_average_precision_score(y[i : i + 1, known[i]], p[i : i + 1, known[i]])
                    if known[i].sum() > 1
                    else 1.0
                    for i in rows
                ]
            ),
            "log_loss": sk.log_loss(y[known], p[known]),
            "ece": np.mean([ece(b, a) for a, b, _ in columns]),
        }
    )


def test_nothing_to_measure_is_none():
    unknown = {
        BINARY: (np.full((2, 1), -1, np.int8), np.full((2, 2), 0.5)),
        CLASSES: (np.full(2, -1, np.int32), np.full((2, 5), 0.2)),
        TAGS: (np.full((2, 6), -1, np.int8), np.full((2, 6), 0.5)),
    }
    for target, (y, p) in unknown.items():
        for rows in (0, 2):
            got = metrics.scores(target, y[:rows], p[:rows])
            assert set(got) == set(metrics.names(target))
            assert set(got.values()) == {None}
            whole = metrics.overall([target], {target.name: y[:rows]}, {target.name: p[:rows]})
            assert whole == {"exact_match": None, "loss": None}
            assert len(metrics.per_class(target, y[:rows], p[:rows])) == len(target.classes)
    one_class = metrics.scores(BINARY, np.zeros((3, 1), np.int8), np.full((3, 2), 0.5))
    assert one_class["auroc"] is None
    assert one_class["accuracy"] == 0.0  # 0.5 counts as yes
    no_tags = metrics.scores(TAGS, np.zeros((3, 6), np.int8), np.full((3, 6), 0.1))
    assert no_tags["mean_average_precision"] is None
    assert no_tags["lrap"] == no_tags["exact_match"] == 1.0
    bare = Target("t", "multilabel", (), ("t",))
    assert set(metrics.scores(bare, np.zeros((3, 0), np.int8), np.zeros((3, 0))).values()) == {None}


def test_nan_is_refused():
    with pytest.raises(AssertionError, match="left out"):
        metrics.scores(TAGS, np.zeros((1, 6), np.int8), np.full((1, 6), np.nan))


def test_overall():
    targets = [BINARY, CLASSES, TAGS]
    y = {
        "b": np.array([[1], [-1], [-1], [0]], np.int8),
        "m": np.array([0, 1, -1, -1], np.int32),
        "t": np.array([[1, 0, 0, 0, 0, -1], [-1] * 6, [-1] * 6, [-1] * 6], np.int8),
    }
    p = {
        "b": np.array([[0.1, 0.9]] * 4),
        "m": np.array([[0.8, 0.05, 0.05, 0.05, 0.05]] * 4),
        "t": np.array([[0.9, 0.1, 0.1, 0.1, 0.1, 0.9]] * 4),
    }
    got = metrics.overall(targets, y, p)  # right, wrong by m, left out, wrong by b
    assert got["exact_match"] == pytest.approx(1 / 3)
    assert got["loss"] == pytest.approx(
        sum(metrics.scores(t, y[t.name], p[t.name])["log_loss"] for t in targets)
    )
    y["b"][:] = -1
    assert metrics.overall(targets, y, p)["exact_match"] == pytest.approx(1 / 2)


def test_confusion_and_per_class():
    rng = np.random.default_rng(0)
    y = rng.integers(-1, 5, 200).astype(np.int32)
    p = chances(rng, 200, 5, ties=True)
    keep = y >= 0
    answers = p.argmax(1)
    assert (
        metrics.confusion(CLASSES, y, p) == sk.confusion_matrix(y[keep], answers[keep], labels=range(5))
    ).all()
    rows = metrics.per_class(CLASSES, y, p)
    wanted = sk.precision_recall_fscore_support(y[keep], answers[keep], labels=range(5), zero_division=np.nan)
    for key, values in zip(("precision", "recall", "f1", "support"), wanted):
        assert [row[key] for row in rows] == pytest.approx(list(values))
    assert [row["average_precision"] for row in rows] == pytest.approx(
        [sk.average_precision_score(y[keep] == c, p[keep, c]) for c in range(5)]
    )
    assert [row["predicted"] for row in rows] == np.bincount(answers[keep], minlength=5).tolist()


def test_per_tag():
    rng = np.random.default_rng(0)
    y = rng.integers(-1, 2, (200, 6)).astype(np.int8)
    y[:, 5], y[:, 4] = -1, 0
    p = chances(rng, 200, 6, ties=True, total=False)
    p[:, 4] = 0.1
    rows = metrics.per_class(TAGS, y, p)
    for c in range(4):
        keep = y[:, c] >= 0
        given, answers = y[keep, c], p[keep, c] >= 0.5
        assert rows[c]["average_precision"] == pytest.approx(sk.average_precision_score(given, p[keep, c]))
        assert rows[c]["f1"] == pytest.approx(sk.f1_score(given, answers))
        assert (rows[c]["support"], rows[c]["predicted"]) == (given.sum(), answers.sum())
    for row in rows[4:]:
        assert [row[k] for k in ("support", "precision", "recall", "f1", "average_precision")] == [0] + [
            None
        ] * 4


def test_reliability_bins_equally_many_answers():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 330).astype(np.int32)
    p = chances(rng, 330, 5, ties=False)
    count, confidence, right = metrics.reliability(CLASSES, y, p)
    assert len(count) == 15
    assert count.sum() == 330
    assert np.ptp(count) <= 1
    assert (np.diff(confidence) > 0).all()
    sure, hit = p.max(axis=1), p.argmax(axis=1) == y
    order = np.argsort(sure)[:22]
    assert (confidence[0], right[0]) == pytest.approx((sure[order].mean(), hit[order].mean()))


def test_reliability_keeps_equal_answers_together_and_rare_tags_apart():
    tags = Target("t", "multilabel", ("a", "b"), ("t",))
    y = np.tile(np.array([[1, 0], [0, 0]], np.int8), (50, 1))
    p = np.tile([0.5, 0.001], (100, 1))
    count, confidence, right = metrics.reliability(tags, y, p)
    assert count.tolist() == [100, 100]
    assert confidence == pytest.approx([0.001, 0.5])
    assert right.tolist() == [0, 0.5]


def test_facts():
    def softmax(logits):
        e = np.exp(np.asarray(logits, dtype=float))
        return e / e.sum(axis=1, keepdims=True)

    three = Target("m", "multiclass", ("0", "1", "2"), ("m",))

    def loss(y, logits):
        return metrics.scores(three, np.array(y, np.int32), softmax(logits))["log_loss"]

    assert loss([0], [[0.2, 0.1, -0.1]]) == pytest.approx(0.97292, abs=5e-6)
    right = [[0.1, 0.2, 0.9], [1.1, 0.1, 0.2], [0.2, 2.1, 0.1]]
    wrong = [[0.8, 0.2, 0.3], [0.2, 0.3, 0.5], [0.2, 0.2, 0.5]]
    assert loss([2, 0, 1], right) == pytest.approx(0.4966, abs=5e-5)
    assert loss([2, 0, 1], wrong) == pytest.approx(1.2389, abs=5e-5)
    tags = Target("t", "multilabel", ("a", "b", "c"), ("t",))
    p = np.array([[0.6293, 0.1712, 0.6457], [0.5994, 0.8830, 0.1837]])
    y = np.array([[1, 0, 0], [0, 0, 1]], np.int8)
    whole = metrics.scores(tags, y, p)["log_loss"]
    assert whole == pytest.approx(1.0739, abs=5e-5)
    parts = [
        metrics.scores(Target("t", "multilabel", ("a",), ("t",)), y[:, [c]], p[:, [c]])["log_loss"]
        for c in range(3)
    ]
    assert np.mean(parts) == pytest.approx(whole)


def test_higher_is_better():
    assert metrics.higher_is_better("mean_average_precision")
    assert not metrics.higher_is_better("ece")
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        metrics.higher_is_better("acuracy")


def test_no_torch():
    code = "import sys, manyhot.metrics; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_fast(kind):
    rng = np.random.default_rng(0)
    target = Target("t", kind, tuple(map(str, range(100))), ("t",))
    p = rng.random((10_000, 100)).astype(np.float32)
    y = rng.integers(0, 100, 10_000) if kind == "multiclass" else (p > rng.random(p.shape)).astype(np.int8)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        metrics.scores(target, y, p)
        seconds.append(time.perf_counter() - start)
    print(min(seconds))
    assert min(seconds) < 0.5  # about 0.05 on an idle core; machines that are busy are slower


def test_confused_pairs():
    names = tuple(map(str, range(70)))
    target = Target("m", "multiclass", names, ("m",))
    pairs = metrics.confused(target, np.array([3, 3, 3, 5, -1], np.int32), np.eye(70)[[4, 4, 3, 6, 1]])
    assert [(pair["given"], pair["answered"], pair["rows"]) for pair in pairs] == [
        ("3", "4", 2),
        ("5", "6", 1),
    ]
    assert pairs[0]["share"] == pytest.approx(2 / 3)
    tags = Target("t", "multilabel", ("a", "b", "c"), ("t",))
    y = np.array([[1, 0, 0], [1, 0, -1], [1, 1, 0]])
    pairs = metrics.confused(tags, y, np.array([[0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.9]]))
    assert [(pair["given"], pair["answered"], pair["rows"]) for pair in pairs] == [
        ("a", "b", 1),
        ("a", "c", 1),
    ]
    assert metrics.confused(Target("t", "multilabel", (), ("t",)), np.zeros((2, 0)), np.zeros((2, 0))) == []


def test_precision_recall_and_f1_by_weights_are_scikit_learns():
    rng = np.random.default_rng(4)
    weight = rng.random(80).astype(np.float32) + 0.1
    y, p = rng.integers(0, 2, (80, 1)), rng.random((80, 1))
    p, answers = np.hstack([1 - p, p]), (p >= 0.5).astype(int)
    wanted = sk.precision_recall_fscore_support(y, answers, average="binary", sample_weight=weight)[:3]
    names = ("precision", "recall", "f1")
    for got in (metrics.scores(BINARY, y, p, weight), metrics.of_yes(BINARY, y, p, weight)):
        assert [got[name] for name in names] == pytest.approx(wanted)
    last = metrics.per_class(BINARY, y, p, weight)[1]
    assert [last[name] for name in names] == pytest.approx(wanted)
    area = sk.average_precision_score(y, p[:, 1], sample_weight=weight)
    assert last["average_precision"] == pytest.approx(area)
    assert last["support"] == y.sum()
    y, p = rng.integers(0, 2, (80, 6)), rng.random((80, 6))
    wanted = sk.precision_recall_fscore_support(y, p >= 0.5, average="micro", sample_weight=weight)[:3]
    assert [metrics.of_yes(TAGS, y, p, weight)[name] for name in names] == pytest.approx(wanted)


def test_nothing_answered_yes_has_no_precision():
    found = metrics.scores(BINARY, np.array([[1], [0]]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert (found["precision"], found["recall"], found["f1"]) == (None, 0.0, 0.0)


def test_intervals_are_wilsons_over_known_rows():
    # By hand: of 0 in 10 the interval begins at 0 and ends at z² / (10 + z²).
    assert metrics.interval(np.zeros(10, bool)) == pytest.approx([0, 3.8415 / 13.8415], abs=1e-5)
    assert metrics.interval(np.zeros(0, bool)) is None
    right = np.array([True] * 30 + [False] * 10)
    alone, equal = metrics.interval(right), metrics.interval(right, np.full(40, 7.0))
    assert alone == pytest.approx(equal)
    uneven = metrics.interval(right, np.where(np.arange(40) % 2, 1.9, 0.1))
    assert uneven[1] - uneven[0] > 1.2 * (alone[1] - alone[0])  # as of about half as many rows
    y = np.array([[1], [1], [0], [-1]])
    found = metrics.intervals(BINARY, y, np.array([[0.2, 0.8], [0.9, 0.1], [0.3, 0.7], [0.1, 0.9]]))
    for name, hits in (("accuracy", [1, 0, 0]), ("precision", [1, 0]), ("recall", [1, 0])):
        assert found[name] == metrics.interval(np.array(hits, bool))
    tags = metrics.intervals(
        TAGS, np.array([[1, 0, 0, 0, 0, -1]]), np.array([[0.9, 0.1, 0.1, 0.1, 0.1, 0.9]])
    )
    assert tags == {"exact_match": metrics.interval(np.array([True]))}


@pytest.mark.parametrize("rows", [1, 40, 3_000])
def test_the_floor_of_ece_is_the_mean_that_chance_makes(rows):
    rng = np.random.default_rng(rows)
    coarse = Target("t", "multiclass", ("a", "b", "c"), ("t",))
    p = np.tile([0.7, 0.2, 0.1], (rows, 1))
    drawn = [metrics.scores(coarse, rng.choice(3, rows, p=p[0]), p)["ece"] for _ in range(400)]
    assert metrics.ece_floor(coarse, np.zeros(rows, int), p) == pytest.approx(np.mean(drawn), rel=0.12)


def test_the_floor_of_ece_passes_over_what_is_unknown():
    tags = Target("t", "multilabel", ("a", "b"), ("t",))
    y, p = np.array([[1, -1], [0, -1]]), np.full((2, 2), 0.5)
    assert metrics.ece_floor(tags, y, p) == pytest.approx(0.25)  # of two coins 0, 1 or 2 fall right
    assert metrics.ece_floor(tags, np.full((2, 2), -1), p) is None
