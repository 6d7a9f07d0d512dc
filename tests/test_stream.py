"""Pictures that do not fit into memory give the same model, and memory does not grow."""

import multiprocessing
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from making import QUICK, write_csv, write_pictures, write_table

import manyhot
from manyhot.data.batches.augment import Augmentation
from manyhot.data.batches.loader import Loader
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.inputs.images.stream import Ahead, Pictures
from manyhot.errors import RunError

TINY = 1e-7  # GB


def numbered(row):
    return np.full((2, 2, 1), row, np.uint8)


def pictures(rows=20):
    return Pictures(numbered, np.arange(rows), (2, 2, 1))


def test_pictures_stand_for_an_array():
    some = pictures()
    assert some.shape == (20, 2, 2, 1)
    assert some.size == 80
    assert np.asarray(some[3:6])[:, 0, 0, 0].tolist() == [3, 4, 5]
    assert np.asarray(some[np.array([7, 1])])[:, 0, 0, 0].tolist() == [7, 1]
    assert some.decoded(np.array([2, 9]))[:, 0, 0, 0].tolist() == [2, 9]


def test_a_picture_that_went_away_is_named(tmp_path):
    names = write_pictures(tmp_path, 3)
    table = manyhot.read(write_csv(tmp_path / "t.csv", {"image": names}))
    streamed = ImageInputs("image", (8, 8), 1).read(table, memory=TINY).x
    (tmp_path / names[1]).unlink()
    with pytest.raises(RunError, match=r"001\.png.*no such file"):
        np.asarray(streamed)


def test_any_step_can_be_asked_for():
    ahead = Ahead(pictures(), lambda step: np.array([step % 20, (step + 1) % 20]))
    for step in (0, 1, 2, 9, 10, 3, 4, 50):
        assert ahead.step(step)[:, 0, 0, 0].tolist() == [step % 20, (step + 1) % 20]


def test_few_steps_are_decoded_ahead():
    read = []

    def slowly(row):
        read.append(row)
        return numbered(row)

    ahead = Ahead(Pictures(slowly, np.arange(200), (2, 2, 1)), lambda step: np.array([step]))
    ahead.step(0)
    time.sleep(0.2)
    assert len(read) <= ahead.threads + 4


@pytest.mark.parametrize("how", ["none", "shift", "photo"])
def test_batches_are_those_of_pictures_in_memory(how):
    y = {"y": np.arange(20, dtype=np.int32)}
    held = Loader(np.asarray(pictures()), y, 6, 3, Augmentation(how))
    streamed = Loader(pictures(), y, 6, 3, Augmentation(how))
    assert len(streamed) == 20
    for step in (0, 1, 2, 7):
        a, b = held.batch(step), streamed.batch(step)
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y["y"], b.y["y"])


def test_the_model_is_the_same_bit_for_bit(tmp_path):
    path = write_table(tmp_path, "mixed", 60, image=True)
    both = [
        manyhot.fit(path, ["fruit", "ripe"], **{**QUICK, "epochs": 2, "memory": memory})
        for memory in (1.0, TINY)
    ]
    weights = [model.bundle.predictor.state_dict() for model in both]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert both[0].run.judged.scores == both[1].run.judged.scores


def fit_here(path, memory, answers):
    model = manyhot.fit(path, ["fruit"], **{**QUICK, "memory": memory})
    answers.put(model.run.judged.scores["rows"])


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_every_way_to_start_a_process(tmp_path, method):
    """A process that has trained starts another that does; a fork has none of its parent's threads."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    path = write_table(tmp_path, "mixed", 60, image=True)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(600, 600) @ torch.randn(600, 600)  # starts OpenMP's threads
        context = multiprocessing.get_context(method)
        for memory in (1.0, TINY):
            answers = context.Queue()
            child = context.Process(target=fit_here, args=(path, memory, answers))
            child.start()
            assert answers.get(timeout=120) > 0
            child.join(60)
            assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)


MEASURED = """
import sys
import manyhot
peaks = []
def tell(line):
    if line["kind"] == "epoch":
        now = [int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")][0]
        peaks.append(now / 1024)
options = {"epochs": 8, "patience": 0, "memory": float(sys.argv[2]), "backbone": "cnn"}
manyhot.fit(sys.argv[1], ["fruit"], on_event=tell, **options)
print(peaks[2], max(peaks[3:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("memory", [1.0, TINY], ids=["held", "streamed"])
def test_memory_is_flat_over_epochs(tmp_path, memory):
    path = write_table(tmp_path, "mixed", 240, image=True)
    words = [sys.executable, "-c", MEASURED, str(path), str(memory)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    third, most = map(float, done.stdout.split())
    assert most < third + 12, f"{third:.0f} MB after 3 epochs, {most:.0f} MB after 8"


def test_an_unreadable_picture_stops_no_prediction(tmp_path, monkeypatch):
    path = write_table(tmp_path, "multiclass", 30, image=True)
    model = manyhot.fit(path, ["fruit"], **QUICK)
    whole = model.predict_proba(path)["fruit"]
    next(tmp_path.rglob("007.png")).write_bytes(b"")
    held = model.answers(path)
    monkeypatch.setattr("manyhot.data.inputs.images.images.half_of_memory", lambda: TINY)
    streamed = model.answers(path)
    chances = model.predict_proba(path)["fruit"]
    assert np.isnan(chances[7]).all()
    assert np.allclose(np.delete(chances, 7, 0), np.delete(whole, 7, 0), atol=1e-5)
    for name in held.names:
        assert held.column(name).to_pylist() == streamed.column(name).to_pylist()
    assert streamed.column("error").to_pylist()[7] == "empty file"
    assert np.isnan(model.embed(path)[7]).all()
    trained = manyhot.fit(path, ["fruit"], **{**QUICK, "memory": TINY})
    assert trained.run.counts["unreadable"] == 1
