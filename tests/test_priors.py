"""How often classes are met: weights, log odds and votes, by hand."""

import numpy as np
import pytest

from manyhot.priors import class_weights, log_odds
from manyhot.schema import Target
from manyhot.targets import probabilities

ONE = Target("m", "multiclass", ("a", "b", "c"), ("m",))
MANY = Target("t", "multilabel", ("a", "b", "c"), ("t",))
BINARY = Target("b", "binary", ("no", "yes"), ("b",))


def test_class_weights_let_all_classes_count_alike():
    y = np.array([0] * 80 + [1] * 15 + [2] * 5 + [-1] * 10, np.int32)
    weights = class_weights(ONE, y)
    assert weights.dtype == np.float32
    assert np.allclose(weights * [80, 15, 5], 100 / 3)
    tags = np.array([[1, 0, -1]] * 10 + [[0, 0, 1]] * 30, np.int8)
    weights = class_weights(MANY, tags)
    assert weights.shape == (2, 3)
    assert np.allclose(weights[0, 0] * 30, weights[1, 0] * 10)
    assert weights[:, 1].tolist() == [0.5, 1]
    assert weights[:, 2].tolist() == [1, 0.5]
    assert class_weights(ONE, np.array([0, 0, -1])).tolist() == [1, 1, 1]
    assert class_weights(BINARY, np.array([[-1]], np.int8)).tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("target", "y", "wanted"),
    [
        (BINARY, [[1], [1], [0], [-1]], [2 / 5, 3 / 5]),
        (ONE, [0, 0, 2, -1], [3 / 6, 1 / 6, 2 / 6]),
        (MANY, [[1, 0, -1], [1, 0, 0], [-1, 0, 1], [-1, -1, -1]], [3 / 4, 1 / 5, 2 / 4]),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_log_odds_answer_as_the_known_cells_do(target, y, wanted):
    chances = probabilities(target, log_odds(target, np.array(y))[None])
    assert chances[0].tolist() == pytest.approx(wanted, abs=1e-6)
