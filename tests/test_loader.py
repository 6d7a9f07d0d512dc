"""The order of rows: each once an epoch, and a function of the seed and the step alone."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyhot.data.batches.augment import Augmentation, augment
from manyhot.data.batches.loader import Loader


def loader(rows, batch_size, seed=0, how="none"):
    x = np.arange(rows, dtype=np.float32)[:, None]
    return Loader(x, {"y": np.arange(rows, dtype=np.int32)}, batch_size, seed, Augmentation(how))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 3))
def test_every_row_comes_once_an_epoch(rows, batch_size, seed):
    order = loader(rows, batch_size, seed)
    steps = -(-3 * rows // order.batch_size)
    line = np.concatenate([order.rows(step) for step in range(steps)])
    for epoch in range(3):
        assert sorted(line[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    assert {len(order.rows(step)) for step in range(steps)} == {min(rows, batch_size)}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.integers(0, 200), max_size=10))
def test_a_step_is_the_same_whatever_came_before(rows, batch_size, before):
    fresh, used = loader(rows, batch_size), loader(rows, batch_size)
    for step in before:
        used.rows(step)
    for step in (0, 7, 33):
        assert (fresh.rows(step) == used.rows(step)).all()


def test_the_seed_decides():
    assert (loader(50, 10, 1).rows(0) != loader(50, 10, 2).rows(0)).any()
    assert (loader(50, 10, 1).rows(0) != loader(50, 10, 1).rows(5)).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 60), st.integers(1, 5))
def test_steps_of_epochs(rows, batch_size, epochs):
    order = loader(rows, batch_size)
    ends = [order.step_after(epoch) for epoch in range(epochs + 1)]
    assert ends[0] == 0
    assert all(later > earlier for earlier, later in pairwise(ends))
    assert abs(ends[-1] - epochs * rows / order.batch_size) <= max(0.5, epochs)


def test_a_batch_holds_x_and_y_of_its_rows():
    batch = loader(30, 8).batch(2)
    assert batch.x[:, 0].tolist() == batch.rows.tolist() == batch.y["y"].tolist()
    assert batch.y["y"].dtype == torch.int64


def test_rows_are_named_as_the_source_numbers_them():
    x = np.zeros((4, 1), np.float32)
    order = Loader(x, {}, 2, 0, numbers=np.array([3, 5, 8, 13]))
    assert order.names(np.array([0, 3])) == [3, 13]
    assert Loader(x, {}, 2, 0).names(np.array([0, 3])) == [1, 4]


@pytest.mark.parametrize("how", ["shift", "warp", "crop", "photo"])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmenting_is_seeded_and_keeps_shape_and_range(how, channels):
    x = torch.randint(0, 256, (6, 8, 9, channels), dtype=torch.uint8)
    first = augment(x, how, torch.Generator().manual_seed(3))
    assert first.shape == x.shape
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 255.01
    assert torch.equal(first, augment(x, how, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, augment(x, how, torch.Generator().manual_seed(4)))
    assert augment(x, "none", torch.Generator()) is x


@pytest.mark.parametrize("how", ["shift", "warp", "crop"])
def test_an_even_picture_stays_even(how):
    x = torch.full((4, 8, 8, 1), 77, dtype=torch.uint8)
    assert torch.allclose(augment(x, how, torch.Generator().manual_seed(0)), torch.tensor(77.0), atol=1e-3)


def test_augmented_batches_repeat_after_a_resume():
    x = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1), dtype=np.uint8)
    first, second = (Loader(x, {}, 5, 1, Augmentation("shift")) for _ in range(2))
    first.batch(0)
    assert torch.equal(first.batch(6).x, second.batch(6).x)
    assert not torch.equal(first.batch(6).x, Loader(x, {}, 5, 2, Augmentation("shift")).batch(6).x)


def test_some_rows_of_x_are_given_out_as_if_they_were_all():
    x, rows = np.random.default_rng(0).random((9, 2), np.float32), np.array([1, 4, 5, 8])
    y = {"y": np.arange(4, dtype=np.int32)}
    some, all_ = Loader(x, y, 3, 0, rows=rows), Loader(x[rows], y, 3, 0)
    for step in range(4):
        assert torch.equal(some.batch(step).x, all_.batch(step).x)
        assert torch.equal(some.batch(step).y["y"], all_.batch(step).y["y"])
