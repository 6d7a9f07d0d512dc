"""What belongs to the caller stays as it was: random numbers, threads, filters of warnings."""

import random
import warnings

import numpy as np
import pytest
import torch

import manyhot

COLUMNS = {"x": np.arange(60) % 17, "y": np.array(["p", "n", "n"] * 20)}
FIT = {"effort": "fast", "epochs": 1, "dropout": 0.5, "members": "network", "verbose": False, "threads": 1}


def state():
    return (
        random.getstate(),
        [str(part) for part in np.random.get_state()],
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        [*warnings.filters],
        np.geterr(),
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    model = manyhot.fit(COLUMNS, "y", **FIT)
    model.save(tmp_path_factory.mktemp("model") / "m")
    return model, str(tmp_path_factory.getbasetemp() / "model0" / "m")


CALLS = {
    "fit": lambda model, folder: manyhot.fit(COLUMNS, "y", **FIT),
    "fit pictures": lambda model, folder: manyhot.fit((PICTURES, [0, 1] * 6), epochs=1, verbose=False),
    "cluster": lambda model, folder: manyhot.cluster({"x": COLUMNS["x"]}, clusters=2, verbose=False).page(),
    "cluster pictures": lambda model, folder: manyhot.cluster(PICTURES, clusters=2, epochs=1, verbose=False),
    "load": lambda model, folder: manyhot.load(folder).predict(COLUMNS),
    "predict": lambda model, folder: model.predict_proba(COLUMNS),
    "evaluate": lambda model, folder: model.evaluate(COLUMNS, split="all"),
    "tune": lambda model, folder: model.tune(COLUMNS, "macro_f1", split="all"),
    "embed": lambda model, folder: model.embed(COLUMNS),
}
PICTURES = np.repeat(np.arange(12, dtype=np.uint8) * 20, 64).reshape(12, 8, 8)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_what_belongs_to_the_caller(fitted, name):
    CALLS[name](*fitted)  # libraries are loaded
    torch.set_num_threads(2)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = state()
    CALLS[name](*fitted)
    assert state() == before


def test_what_is_learned_follows_from_the_seed_alone(fitted):
    found = []
    for seed in (1, 2):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        found.append(manyhot.fit(COLUMNS, "y", **FIT).predict_proba(COLUMNS)["y"])
    assert (found[0] == found[1]).all()
    assert (manyhot.fit(COLUMNS, "y", seed=1, **FIT).predict_proba(COLUMNS)["y"] != found[0]).any()
