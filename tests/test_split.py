"""The split: every class and tag of every target in its share, groups and duplicates whole, seeded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import QUICK

import manyhot
from manyhot.data.inputs.images import paths
from manyhot.data.rows.split import PARTS, TEST, TRAIN, VAL, split
from manyhot.schema import Target
from manyhot.targets import dense

BINARY = Target("b", "binary", ("no", "yes"), ("b",))
ONE = Target("m", "multiclass", tuple("abcde"), ("m",))
MANY = Target("t", "multilabel", tuple("pqrs"), ("t",))
TARGETS = (BINARY, ONE, MANY)


def labels(rows, seed=0, unknown=0.2):
    rng = np.random.default_rng(seed)
    one = rng.choice(5, rows, p=[0.5, 0.25, 0.15, 0.07, 0.03]).astype(np.int32)
    many = (rng.random((rows, 4)) < [0.6, 0.3, 0.1, 0.03]).astype(np.int8)
    binary = (rng.random((rows, 1)) < 0.3).astype(np.int8)
    for y in (one, many, binary):
        y[rng.random(rows) < unknown] = -1
    return {"b": binary, "m": one, "t": many}


def shares(y, part, fractions):
    """How far each class and each kind of unknown is from its share, in rows, in each part."""
    for target in TARGETS:
        rows = dense(target, y[target.name])
        columns = [*np.nan_to_num(rows).T, np.isnan(rows).all(axis=1)]
        for column in columns:
            for number, fraction in enumerate(fractions):
                yield target.name, abs(column[part == number].sum() - fraction * column.sum())


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("rows", [97, 400])
def test_one_target_is_split_to_within_two_rows(target, rows):
    y = labels(rows)
    part = split([target], y, [0.7, 0.2, 0.1], seed=1)
    assert max(off for name, off in shares(y, part, [0.7, 0.2, 0.1]) if name == target.name) <= 2


@pytest.mark.parametrize("seed", range(4))
def test_several_targets_at_once(seed):
    y = labels(600, seed)
    part = split(TARGETS, y, [0.8, 0.2], seed)
    assert abs((part == VAL).sum() - 120) <= 2
    found = [off for _, off in shares(y, part, [0.8, 0.2])]
    chance = np.random.default_rng(seed).permutation(part)
    by_chance = [off for _, off in shares(y, chance, [0.8, 0.2])]
    assert max(found) <= 2
    assert np.mean(found) <= 1
    assert np.mean(found) < np.mean(by_chance) / 2


@pytest.mark.parametrize(("fractions", "rows"), [((0.8, 0.2), [72, 18]), ((0.2,) * 5, [18] * 5)])
def test_classes_of_two_rows_each_still_leave_every_part_its_share(fractions, rows):
    target = Target("y", "multiclass", tuple(map(str, range(45))), ("y",))
    parts = split([target], {"y": np.arange(90, dtype=np.int32) % 45}, fractions, seed=0)
    assert np.bincount(parts).tolist() == rows


def test_rare_classes_reach_training():
    y = {"m": np.array([0] * 50 + [1, 2, 3, 4], np.int32)}
    part = split([ONE], y, [0.8, 0.2], seed=0)
    assert len(part) == 54
    two = split([ONE], {"m": np.array([0] * 48 + [1, 1, 2, 2, 3, 3], np.int32)}, [0.5, 0.5], seed=0)
    assert all(set(two[i : i + 2]) == {0, 1} for i in (48, 50, 52))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 5), st.sampled_from([(0.8, 0.2), (0.6, 0.2, 0.2), (1.0,)]))
def test_every_row_has_a_part_and_the_seed_decides(rows, seed, fractions):
    y = labels(rows, seed)
    part = split(TARGETS, y, fractions, seed)
    assert part.shape == (rows,)
    assert part.dtype == np.int8
    assert set(part) <= set(range(len(fractions)))
    assert (part == split(TARGETS, y, fractions, seed)).all()
    for number, fraction in enumerate(fractions):
        assert abs((part == number).sum() - fraction * rows) <= 4  # the odd rows of several labels add up


def test_another_seed_is_another_split():
    y = labels(200)
    assert (split(TARGETS, y, [0.8, 0.2], 0) != split(TARGETS, y, [0.8, 0.2], 1)).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3))
def test_groups_stay_whole(rows, groups, seed):
    rng = np.random.default_rng(seed)
    keys = [rng.integers(0, groups, rows), rng.integers(0, groups * 4, rows)]
    part = split(TARGETS, labels(rows, seed), [0.7, 0.3], seed, keys)
    for key in keys:
        for value in np.unique(key):
            assert len(set(part[key == value])) == 1


def test_groups_of_many_sizes_are_shared_out_fairly():
    rng = np.random.default_rng(0)
    key = np.repeat(np.arange(120), rng.integers(1, 9, 120))
    y = labels(len(key))
    part = split(TARGETS, y, [0.8, 0.2], 0, [key])
    assert abs((part == VAL).mean() - 0.2) < 0.03


def test_nothing_known_and_no_tags():
    empty = {
        "b": np.full((30, 1), -1, np.int8),
        "m": np.full(30, -1, np.int32),
        "t": np.zeros((30, 4), np.int8),
    }
    part = split(TARGETS, empty, [0.8, 0.2], 0)
    assert (part == VAL).sum() == 6


def test_a_larger_one():
    rng = np.random.default_rng(0)
    target = Target("t", "multilabel", tuple(map(str, range(20))), ("t",))
    y = (rng.random((200_000, 20)) < 0.2).astype(np.int8)
    part = split([target], {"t": y}, [0.9, 0.1], 0)
    off = [abs((y[part == VAL] == 1)[:, c].sum() - 0.1 * (y[:, c] == 1).sum()) for c in range(20)]
    assert abs((part == VAL).sum() - 20_000) <= 2
    assert max(off) <= 10


# Through `fit`: what the split leaves in split.csv


def rows_of(fitted):
    return dict(zip(fitted.seen.rows.tolist(), fitted.seen.parts.tolist(), strict=True))


def data(rows=90, **changes):
    rng = np.random.default_rng(0)
    return {
        "x": rng.random(rows).round(6).tolist(),
        "z": [i % 7 for i in range(rows)],
        "y": ["a" if i % 3 else "b" for i in range(rows)],
        **changes,
    }


def test_exact_duplicates_stay_on_one_side_and_are_told(log_lines):
    columns = data()
    for name in ("x", "z"):
        columns[name] = [columns[name][i % 30] for i in range(90)]
    fitted = manyhot.fit(columns, ["y"], test=0.2, **QUICK)
    where = rows_of(fitted)
    for i in range(1, 31):
        assert where[i] == where[i + 30] == where[i + 60]
    assert set(where.values()) == set(PARTS)
    assert any("90 rows are exact duplicates" in note for note in fitted.run.notes)


def test_duplicates_that_contradict_each_other_are_told():
    columns = data()
    columns["x"][:2], columns["z"][:2], columns["y"][:2] = [0.5, 0.5], [1, 1], ["a", "b"]
    notes = manyhot.fit(columns, ["y"], **QUICK).run.notes
    assert any("target 'y': 1 set of equal rows with different labels" in note for note in notes)


def test_a_group_is_no_feature_and_stays_whole():
    columns = data(patient=[f"p{i % 15}" for i in range(90)])
    fitted = manyhot.fit(columns, ["y"], group="patient", test=0.2, **QUICK)
    assert [column.name for column in fitted.schema.inputs] == ["x", "z"]
    where = rows_of(fitted)
    for patient in range(15):
        assert len({where[i + 1] for i in range(90) if i % 15 == patient}) == 1


def test_rows_without_a_group_are_each_their_own():
    columns = data(patient=[None] * 60 + ["p"] * 30)
    where = rows_of(manyhot.fit(columns, ["y"], group="patient", **QUICK))
    assert len({where[i] for i in range(61, 91)}) == 1
    assert {where[i] for i in range(1, 61)} == {"train", "val"}


def test_fractions():
    fitted = manyhot.fit(data(), ["y"], test=0.3, validation=0.2, **QUICK)
    assert fitted.run.counts == {"train": 45, "val": 18, "test": 27, "unreadable": 0}
    assert (TRAIN, VAL, TEST) == (0, 1, 2)


def test_how_far_many_rows_are_dealt_is_told(monkeypatch):
    told, y = [], {"y": np.array([[0], [1], [1]] * 40)}
    target = Target("y", "binary", ("a", "b"), ("y",))
    for block, together in ((200, ()), (100, ()), (100, [np.arange(120) // 2])):
        monkeypatch.setattr(paths, "BLOCK", block)
        split([target], y, [0.8, 0.2], 0, together, lambda *far: told.append(far))
        told.append(block)
    assert told == [200, (60, 120), (120, 120), 100, (40, 120), (80, 120), (120, 120), 100]
