"""Whether pictures may be mirrored is found on held-out rows, saved, and found again after a stop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_train import StopError, bits, stopping_at

import manyhot
from manyhot.config import FitConfig
from manyhot.errors import UserError
from manyhot.train import mirror
from manyhot.train.run import stages, try_mirrored

SIDE, ROWS = 16, 240
OPTIONS = {"effort": "fast", "epochs": 2, "threads": 1, "batch_size": 32}


def pictures(signs):
    """Colour pictures of arrows that point left or right, or of bars that lie or stand."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)
    for row in range(ROWS):
        place = rng.integers(2, 11)
        if signs:  # bright on one side of a line, dark on the other
            x[row, 4:12, (2 if row % 2 else 9) : (7 if row % 2 else 14)] += 150
        elif row % 2:
            x[row, place : place + 3, 2:14] += 150
        else:
            x[row, 2:14, place : place + 3] += 150
    return x, {"label": [("one", "two")[row % 2] for row in range(ROWS)]}


@pytest.mark.parametrize("signs", [True, False])
def test_things_are_mirrored_and_signs_are_not(tmp_path, signs):
    model = manyhot.fit(pictures(signs), ["label"], out=tmp_path / "m", **OPTIONS)
    config, ensemble = model.bundle.config, model.bundle.predictor.ensemble
    assert config.mirror == ("no" if signs else "yes")
    assert ensemble.mirrored is not signs
    assert config.views == 6
    assert ensemble.views in (1, 6)  # as held-out rows want it
    again = manyhot.load(tmp_path / "m")
    assert again.bundle.config == config
    x = torch.from_numpy(pictures(signs)[0])
    assert torch.equal(again.bundle.predictor(x)["label"], model.bundle.predictor(x)["label"])


def test_a_run_that_goes_on_finds_the_same(tmp_path):
    whole = manyhot.fit(pictures(False), ["label"], **OPTIONS)
    with pytest.raises(StopError):
        manyhot.fit(pictures(False), ["label"], out=tmp_path / "m", on_event=stopping_at(1), **OPTIONS)
    resumed = manyhot.fit(pictures(False), ["label"], out=tmp_path / "m", resume=True, **OPTIONS)
    assert bits(resumed) == bits(whole)
    assert resumed.bundle.config == whole.bundle.config


def test_nothing_is_tried_where_the_answer_is_given():
    assert try_mirrored in stages(FitConfig(mirror="auto"))
    for answer in ("yes", "no"):
        assert try_mirrored not in stages(FitConfig(mirror=answer))
    model = manyhot.fit(pictures(True), ["label"], **OPTIONS, mirror="yes")
    assert model.bundle.predictor.ensemble.mirrored


def test_where_nothing_was_learned_nothing_is_mirrored():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8)
    model = manyhot.fit((noise, ["u", "v"] * 30), ["label"], **OPTIONS)
    assert model.bundle.config.mirror == "no"


def test_the_trial_is_of_as_many_steps_whatever_the_rows():
    for rows in (100, 1_000, 10_000):
        config = mirror.of_trial(FitConfig(mixup=0.5, patience=3), rows)
        assert config.epochs * rows / config.batch_size == pytest.approx(mirror.TRIAL_STEPS, rel=0.2)
        assert config == replace(config, mixup=0.0, patience=0, mirror="no", first_size=0)


def test_tables_are_not_mirrored():
    with pytest.raises(UserError, match="only pictures are mirrored"):
        manyhot.fit({"a": [1, 2, 3] * 20, "y": ["u", "v", "w"] * 20}, "y", mirror="yes")
