"""A step: captured as a graph, in parts where memory is short, in halves; and losses looked at later."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import manyhot
from manyhot.config import FitConfig
from manyhot.data.batches import loader as loaders
from manyhot.data.batches.augment import Augmentation
from manyhot.data.batches.loader import Batch, Loader
from manyhot.data.inputs.features import Feature, TableInputs
from manyhot.errors import RunError
from manyhot.model import inference, optim
from manyhot.model.network import build, snapshot
from manyhot.priors import class_weights
from manyhot.schema import Target
from manyhot.targets import WEIGHT
from manyhot.train import loop
from manyhot.train.distributed import World
from manyhot.train.step import WARM_UP, Captured, Step

TARGETS = (
    Target("b", "binary", ("no", "yes"), ("b",)),
    Target("m", "multiclass", ("p", "q", "r"), ("m",)),
    Target("t", "multilabel", ("u", "v"), ("t",)),
    Target("s", "multilabel", ("u", "v"), ("s",), label_sets=((), ("u",), ("u", "v"))),
)
INPUTS = TableInputs(
    (*(Feature(f"x{i}", "number") for i in range(3)), Feature("c", "category", classes=("k", "l")))
)
CONFIG = FitConfig(backbone="mlp", epochs=2, batch_size=12, learning_rate=3e-3, dropout=0.3)
SMOOTHED = replace(CONFIG, label_smoothing=0.1)


def a_loader(config=CONFIG, **options):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(50, 3)), rng.integers(0, 3, 50)]).astype(np.float32)
    y = {"b": rng.integers(-1, 2, (50, 1)), "m": rng.integers(-1, 3, 50), "t": rng.integers(-1, 2, (50, 2))}
    y |= {"s": rng.integers(-1, 2, (50, 2)), WEIGHT: rng.random(50).astype(np.float32)}
    return Loader(x, y, config.batch_size, 0, **options)


def a_step(config=CONFIG, weights=None, world=loop.ALONE):
    network = build(INPUTS, TARGETS, config).train()
    return Step(network, optim.AdamW(network, config), TARGETS, config, weights or {}, world)


# Captured


class Pretended:
    """Runs what it captured when it is replayed, as a graph does: reading and writing where it did before."""

    def __init__(self, error=None):
        self.warmed, self.captured, self.replayed, self.error = 0, 0, 0, error

    @contextmanager
    def aside(self):
        self.warmed += 1
        yield

    def capture(self, act):
        if self.error:
            raise self.error
        self.captured += 1
        losses = torch.zeros(1 + len(TARGETS))

        def replay():
            self.replayed += 1
            losses.copy_(act())

        return replay, losses


def run(take, count=8, smoothing=lambda step: 0.0, loader=None):
    loader = loader or a_loader()
    found = [
        take(loader.batch(step), step, 1e-3 * (step + 1), smoothing(step)).clone() for step in range(count)
    ]
    network = getattr(take, "step", take).network
    return torch.stack(found), nn.utils.parameters_to_vector(network.parameters()).detach()


def same(first, second):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_captured_step_does_what_a_step_does():
    graphs = Pretended()
    same(run(Captured(a_step(), graphs)), run(a_step()))
    assert (graphs.warmed, graphs.captured, graphs.replayed) == (WARM_UP, 1, 8 - WARM_UP)


def test_what_is_captured_lies_still():
    captured = Captured(a_step(), Pretended())
    loader, places = a_loader(), set()
    for step in range(8):
        captured(loader.batch(step), step, 1e-3, 0.0)
        if step >= WARM_UP:
            places.add(
                (captured.held.x.data_ptr(), captured.held.y["m"].data_ptr(), captured.losses.data_ptr())
            )
            assert torch.equal(captured.held.x, loader.batch(step).x)
    assert len(places) == 1


def test_labels_are_smoothed_less_in_the_same_graph():
    graphs, smoothing, config = Pretended(), lambda step: 0.1 / (step + 1), SMOOTHED
    same(run(Captured(a_step(config), graphs), 20, smoothing), run(a_step(config), 20, smoothing))
    assert (graphs.warmed, graphs.captured) == (WARM_UP, 1)


def test_other_shapes_are_captured_anew():
    graphs = Pretended()
    one, other = Captured(a_step(), graphs), a_step()
    for size in (12, 8):
        loader = a_loader(replace(CONFIG, batch_size=size))
        same(run(one, 8, loader=loader), run(other, 8, loader=loader))
    assert (graphs.warmed, graphs.captured) == (2 * WARM_UP, 2)


def test_what_cannot_be_captured_is_launched_one_by_one(log_lines):
    graphs = Pretended(RuntimeError("operation not permitted when stream is capturing\nmore"))
    found = run(Captured(a_step(), graphs))
    same(found, run(a_step()))
    (line,) = log_lines
    assert line.endswith("captured: operation not permitted when stream is capturing")
    assert graphs.warmed == WARM_UP


def test_mixed_pictures_are_captured_too():
    loader = a_loader()
    plain = [loader.batch(step) for step in range(6)]
    mixed = [
        Batch(b.x, b.y, b.rows, {n: v.roll(1, 0) for n, v in b.y.items()}, torch.rand(12)) for b in plain
    ]
    one, other = a_step(SMOOTHED), Captured(a_step(SMOOTHED), Pretended())
    for step, batch in enumerate(mixed):
        same([one(batch, step, 1e-3, 0.1)], [other(batch, step, 1e-3, 0.1)])


# In parts


class Small(nn.Module):
    """A network on a card that has memory for so many rows."""

    def __init__(self, network, rows):
        super().__init__()
        self.network, self.rows, self.seen = network, rows, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.network(x)


def weighed(loader):
    y = {name: values.numpy() for name, values in loader.y.items()}
    return {t.name: torch.from_numpy(class_weights(t, y[t.name], y[WEIGHT])) for t in TARGETS[:3]}


@pytest.mark.parametrize("mixed", [False, True], ids=["plain", "mixed"])
@pytest.mark.parametrize("rows", [6, 5, 1])
def test_a_batch_in_parts_has_the_gradients_of_the_batch(rows, mixed, log_lines):
    config, loader = replace(CONFIG, dropout=0.0, target_weights={"m": 2.0}), a_loader()
    batch = loader.batch(0)
    if mixed:
        other = {name: values.roll(1, 0) for name, values in batch.y.items()}
        batch = Batch(batch.x, batch.y, batch.rows, other, torch.linspace(0, 1, 12))
    whole, parts = a_step(config, weighed(loader)), a_step(config, weighed(loader))
    parts.network = Small(parts.network, rows)
    same([parts(batch, 0, 1e-3, 0.1)], [whole(batch, 0, 1e-3, 0.1)])
    gradients = [
        torch.cat([p.grad.flatten() for p in step.optimizer.parameters.values()]) for step in (whole, parts)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)
    assert parts.network.seen[-1] <= rows
    parts(batch, 1, 1e-3, 0.1)
    told = [line for line in log_lines if "no memory for 12 rows at a time" in line]
    assert len(told) == 1
    assert "batches of 12 go through it in 2 parts" in told[0]


def test_not_even_one_row():
    step = a_step()
    step.network = Small(step.network, 0)
    with pytest.raises(RunError, match=r"no memory for the network and one row.*'device' cpu"):
        step(a_loader().batch(0), 0, 1e-3, 0.0)


def test_of_several_processes_none_goes_on_alone():
    step = a_step(world=World(0, 2))
    step.network = Small(step.network, 6)
    with pytest.raises(RunError, match=r"12 rows, .*resume=True .*batch_size=6"):
        step(a_loader().batch(0), 0, 1e-3, 0.0)


def test_a_fit_goes_on_in_parts(monkeypatch, log_lines):
    forward = manyhot.model.network.Network.forward

    def short(self, x):
        if self.training and len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, x)

    monkeypatch.setattr(manyhot.model.network.Network, "forward", short)
    data = {"x": np.arange(40.0), "y": ["a", "b"] * 20}
    options = {"effort": "fast", "epochs": 2, "batch_size": 16, "members": "network", "verbose": False}
    assert manyhot.fit(data, ["y"], **options).predict(data)["y"]
    assert sum("no memory for" in line for line in log_lines) == 2


# Answers


@pytest.mark.parametrize("count", [0, 1, 7, 20])
@pytest.mark.parametrize("room", [1, 3, 100])
def test_answers_are_made_of_fewer_rows_where_memory_is_short(count, room):
    made = []

    def act(some):
        rows = list(range(count)[some])
        if len(rows) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        made.extend(rows)
        return rows

    told = [done for _, done in inference.in_memory(act, count, 8)]
    assert made == list(range(count))
    assert told[-1] == count


def test_a_card_without_memory_for_one_row():
    def act(some):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(RunError, match="no memory for the model and one row"):
        list(inference.in_memory(act, 5, 8))


@pytest.mark.parametrize("behind", [0, 2])
@pytest.mark.parametrize("count", [0, 5, 1_300])
def test_answers_fetched_later_are_in_order(monkeypatch, behind, count):
    monkeypatch.setattr(inference, "BATCH", 100)
    monkeypatch.setattr(inference, "behind_of", lambda device: behind)
    x = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    np.testing.assert_array_equal(inference.run(nn.Identity(), x), x)


# In halves


def gradients_of(network, value):
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, value)


@pytest.mark.parametrize("move", [optim.fused, optim.plain])
def test_gradients_that_overflow_move_nothing(monkeypatch, move):
    monkeypatch.setattr(optim, "fastest", lambda device, dtype: move)
    network = nn.Linear(3, 2)
    optimizer, before = optim.AdamW(network, replace(CONFIG, precision="float16")), snapshot(network)
    gradients_of(network, float("inf"))
    optimizer.step(0.1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (optimizer.scale.item(), optimizer.steps.item()) == (optim.SCALE / 2, 0)
    assert all(torch.isfinite(value).all() for value in optimizer.state_dict().values())


@pytest.mark.parametrize("move", [optim.fused, optim.plain])
@pytest.mark.parametrize("value", [1e-3, 10.0], ids=["not clipped", "clipped"])
def test_scaled_gradients_make_the_same_step(monkeypatch, move, value):
    monkeypatch.setattr(optim, "fastest", lambda device, dtype: move)
    moved = []
    for precision in ("float32", "float16"):
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        optimizer = optim.AdamW(network, replace(CONFIG, precision=precision))
        gradients_of(network, value * (1.0 if optimizer.scale is None else optimizer.scale.item()))
        optimizer.step(0.1)
        moved.append(nn.utils.parameters_to_vector(network.parameters()))
    torch.testing.assert_close(*moved)


def test_a_run_in_float16_learns_and_goes_on(tmp_path):
    data = {"x": np.linspace(-1, 1, 80), "y": ["a"] * 40 + ["b"] * 40}
    options = {"epochs": 8, "batch_size": 16, "precision": "float16", "members": "network", "folds": 1}
    whole = manyhot.fit(data, ["y"], out=tmp_path / "a", verbose=False, **options)
    losses = [line["loss"] for line in whole.run.history if line["kind"] == "epoch"]
    assert losses[-1] < losses[0] / 1.5

    def stop(line):
        if line["kind"] == "epoch" and line["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manyhot.fit(data, ["y"], out=tmp_path / "b", on_event=stop, **options)
    manyhot.fit(data, ["y"], out=tmp_path / "b", resume=True, verbose=False, **options)
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


# Losses that are looked at later


def test_losses_that_wait_are_looked_at_when_a_line_is_due():
    losses = loop.Losses(TARGETS, a_loader())
    losses.defers = True
    for step in range(7):
        losses.add(step, torch.full((5,), float(step)))
    assert losses.count == 0
    assert losses.line() == {"loss": 3.0, "losses": dict.fromkeys("bmts", 3.0)}
    assert losses.count == 7
    assert not losses.waiting


def test_a_loss_found_late_is_named_with_its_own_step_and_rows():
    loader = a_loader(numbers=np.arange(100, 150))
    losses = loop.Losses(TARGETS, loader)
    losses.defers = True
    for step in range(7):
        losses.add(step, torch.full((5,), float("nan") if step > 3 else 1.0))
    rows = ", ".join(str(100 + row) for row in loader.rows(4)[:8])
    with pytest.raises(RunError, match=rf"the loss is nan at step 5 \(table rows {rows}, …\)"):
        losses.look()


@pytest.mark.usefixtures("checkpoint_each_epoch")
def test_weights_spoilt_before_a_loss_is_looked_at_are_not_kept(tmp_path, monkeypatch):
    class Late(loop.Losses):
        def __init__(self, *given):
            super().__init__(*given)
            self.defers = True

    step = Step.__call__

    def spoilt(self, batch, number, rate, smoothing):
        return step(self, batch, number, float("nan") if number == 9 else rate, smoothing)

    monkeypatch.setattr(loop, "Losses", Late)
    monkeypatch.setattr(Step, "__call__", spoilt)
    data = {"x": np.arange(80.0), "y": ["a", "b"] * 40}
    options = {"epochs": 4, "batch_size": 16, "validation": 0.2, "folds": 1, "verbose": False}
    with pytest.raises(RunError, match="the loss is nan at step 11"):
        manyhot.fit(data, ["y"], out=tmp_path / "m", **options)
    (*_, newest) = sorted((tmp_path / "m" / "checkpoints").glob("*.safetensors"))
    assert newest.stem == "000000008"


# Rows that a card has no room for


@pytest.mark.parametrize("side", [0, 8])
def test_rows_that_do_not_fit_on_a_card_are_read_ahead(monkeypatch, side):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 255, (50, side, side, 1), dtype=np.uint8) if side else rng.random((50, 3), np.float32)
    y, changes = {"m": np.arange(50) % 3}, Augmentation("photo", mixup=0.5) if side else Augmentation()
    rows = np.arange(10, 50)
    held = Loader(x, {"m": y["m"][rows]}, 8, 0, changes, rows=rows)
    monkeypatch.setattr(loaders, "has_room", lambda device, size: False)
    ahead = Loader(x, {"m": y["m"][rows]}, 8, 0, changes, rows=rows)
    assert isinstance(ahead.x, loaders.Ahead)
    for step in range(12):
        one, other = held.batch(step), ahead.batch(step)
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y["m"], other.y["m"])
