"""The loop: golden numbers, parity with plain PyTorch, the same bits after every kind of stop."""

import json
import logging
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from making import QUICK, features, label_columns, pixels
from torch import nn

import manyhot
from manyhot.config import FitConfig
from manyhot.data.batches.augment import Augmentation
from manyhot.data.batches.loader import Loader
from manyhot.data.inputs.features import Feature, TableInputs
from manyhot.data.inputs.images import images
from manyhot.errors import RunError, UserError
from manyhot.model import optim
from manyhot.model.network import build, snapshot
from manyhot.schema import Target
from manyhot.train import batch_norm, loop, validation
from manyhot.train.step import Step

TARGETS = (
    Target("b", "binary", ("no", "yes"), ("b",)),
    Target("m", "multiclass", ("p", "q", "r"), ("m",)),
    Target("t", "multilabel", ("u", "v"), ("t",)),
)
INPUTS = TableInputs(tuple(Feature(f"x{i}", "number") for i in range(4)))
CONFIG = FitConfig(backbone="mlp", epochs=2, batch_size=16, learning_rate=3e-3, dropout=0.0, threads=1)


def plain_data(rows=80):
    """Sines and parities: the same on every machine, whatever its random numbers."""
    grid = np.arange(rows)[:, None] * np.array([[0.37, 0.61, 0.83, 1.07]])
    x = np.sin(grid).astype(np.float32)
    b = (x[:, :1] > 0.2).astype(np.int8)
    m = (np.arange(rows) % 3).astype(np.int32)
    t = (x[:, 1:3] > 0).astype(np.int8)
    b[::7], m[::5], t[::6, 0] = -1, -1, -1
    return x, {"b": b, "m": m, "t": t}


def flat_weights(model):
    """Weights that need no random numbers."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + number
            parameter.copy_((torch.sin(values) * 0.1).reshape(parameter.shape).float())
    return model


def steps(count, config=CONFIG, dtype=torch.float32):
    x, y = plain_data()
    model = flat_weights(build(INPUTS, TARGETS, config)).to(dtype)
    loader = Loader(x, y, config.batch_size, config.seed)
    optimizer = optim.AdamW(model, config)
    found, take = [], Step(model, optimizer, TARGETS, config, {}, loop.ALONE)
    for step in range(count):
        value, *_ = take(loader.batch(step), step, optim.rate(step, count, config), 0.0)
        found.append(value.item())
    return found


GOLDEN = (2.57518, 2.57778, 2.45828, 2.52213, 2.46086, 2.39525, 2.40563, 2.46223, 2.33922, 2.55188)


def test_golden_losses_of_ten_steps():
    """A change of the code that moves these numbers changes what people get from their data."""
    assert steps(10) == pytest.approx(GOLDEN, abs=1e-4)


def test_parity_with_a_page_of_plain_pytorch():
    x, y = plain_data()
    backbone = nn.Sequential(nn.Linear(4, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU())
    heads = nn.ModuleList([nn.Linear(256, 1), nn.Linear(256, 3), nn.Linear(256, 2)])
    network = flat_weights(nn.ModuleList([backbone, heads]))
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=3e-3)
    order = np.concatenate([np.random.default_rng((0, epoch)).permutation(80) for epoch in range(2)])

    losses = []
    for step in range(10):
        rows = order[step * 16 : step * 16 + 16]
        rate = (
            3e-3 * (step + 1) / 2
            if step < 2
            else 3e-3 * (0.001 + 0.999 * (1 + math.cos(math.pi * (step - 2) / 8)) / 2)
        )
        for group in adamw.param_groups:
            group["lr"] = rate
        features_ = backbone(torch.from_numpy(x[rows]))
        binary, multiclass, tags = (head(features_) for head in heads)
        b, m, t = (torch.from_numpy(y[name][rows].astype(np.int64)) for name in "bmt")
        bce = nn.functional.binary_cross_entropy_with_logits
        value = bce(binary[b >= 0], b[b >= 0].float())
        value = value + nn.functional.cross_entropy(multiclass, m, ignore_index=-1)
        value = value + bce(tags[t >= 0], t[t >= 0].float())
        adamw.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adamw.step()
        losses.append(value.item())
    assert steps(10) == pytest.approx(losses, abs=1e-5)


def test_a_loss_that_makes_little_of_easy_tags_is_judged_by_their_order():
    scores = {
        "targets": {
            "b": {"log_loss": 0.5},
            "t": {"log_loss": 0.3, "mean_average_precision": 0.9},
            "none known": {"log_loss": None, "mean_average_precision": None},
        }
    }
    assert validation.weighted_loss(scores, CONFIG) == pytest.approx(0.8)
    for name in ("focal", "asymmetric"):
        assert validation.weighted_loss(scores, replace(CONFIG, tag_loss=name)) == pytest.approx(0.6)


def test_the_rate_rises_and_falls():
    rates = [optim.rate(step, 100, CONFIG) for step in range(100)]
    top = rates.index(max(rates))
    assert max(rates) == CONFIG.learning_rate
    assert 19 <= top <= 20
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 0.01 * CONFIG.learning_rate
    assert all(optim.rate(step, 1, CONFIG) > 0 for step in range(3))


def test_biases_are_not_decayed():
    optimizer = optim.AdamW(build(INPUTS, TARGETS, CONFIG), CONFIG)
    decays = {name: decay for decay, names in optimizer.groups.items() for name in names}
    for name, parameter in optimizer.parameters.items():
        assert decays[name] == (CONFIG.weight_decay if parameter.ndim > 1 else 0.0)


def test_the_compiler_of_torch_is_not_imported():
    code = (
        "import sys, numpy as np, manyhot; rng = np.random.default_rng(0); "
        "manyhot.fit({'a': rng.normal(size=60), 'y': ['u', 'v'] * 30}, 'y', epochs=1); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


# Through `fit`

ROWS = 60
COLUMNS = {**features(ROWS), **label_columns("mixed", ROWS, empty=0.2)}
SCHEMA = {"targets": ["ripe", "fruit"], "tags": {"tags": None}}
OPTIONS = {**QUICK, "epochs": 4, "learning_rate": 0.01, "patience": 0, "label_smoothing": 0.2}


def fit(**options):
    table = manyhot.read(COLUMNS)
    return manyhot.fit(table, manyhot.infer(table, **SCHEMA), **(OPTIONS | options))


def bits(classifier):
    return {name: value.numpy().tobytes() for name, value in classifier.bundle.predictor.state_dict().items()}


def picture_fit(**options):
    rng = np.random.default_rng(0)
    data = (rng.integers(0, 255, (ROWS, 8, 8), dtype=np.uint8), [("a", "b")[i % 2] for i in range(ROWS)])
    return manyhot.fit(data, ["label"], **(OPTIONS | {"dropout": 0.2} | options))


def photo_fit(**options):
    changes = {"augment": "photo", "mixup": 0.5, "random_erasing": 0.5}
    return picture_fit(**(changes | {"views": 2} | options))


@pytest.mark.parametrize("better", [True, False])
def test_batch_norms_are_recalibrated_on_pictures_as_they_are(monkeypatch, better):
    """Their statistics are those of the training pictures unchanged, and go only if that judges no better."""
    torch.manual_seed(0)
    pixels = images.ImageInputs("i", (8, 8), 1, (0.5,), (0.25,))
    config = FitConfig(backbone="cnn", views=5)
    model = build(pixels, TARGETS[:1], config)
    x = torch.randint(0, 256, (64, 8, 8, 1), dtype=torch.uint8)
    rows = Loader(x.numpy(), {"b": np.zeros((64, 1), np.int8)}, 16, 0, Augmentation("shift", mixup=0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr(batch_norm, "monitored", lambda scores, config, otherwise: otherwise + (better or -1))
    held = validation.Validation(x.numpy(), {"b": np.zeros((64, 1), np.int8)})
    batch_norm.recalibrate(model, rows, held, TARGETS[:1], config, loop.ALONE, 0.0)
    first = model.backbone.layers[:2](model.stem(x))
    norm = model.backbone.layers[2]
    assert torch.allclose(norm.running_mean, first.mean(dim=(0, 2, 3)), atol=1e-5) is better
    assert norm.momentum == 0.1
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert bool(moved) is better
    assert all("running" in name or "tracked" in name for name in moved)


def test_a_network_without_batch_norms_is_not_judged_again():
    x, y = plain_data()
    network = build(INPUTS, TARGETS, CONFIG)
    batch_norm.recalibrate(network, Loader(x, y, 16, 0), None, TARGETS, CONFIG, loop.ALONE, 0.0)


def test_labels_are_smoothed_no_more_than_answers_are_wrong(monkeypatch):
    used, told, step = [], [], Step.__call__

    def watched(self, batch, number, rate, smoothing):
        used.append((len(told), smoothing))
        return step(self, batch, number, rate, smoothing)

    monkeypatch.setattr(Step, "__call__", watched)
    x = np.linspace(-1, 1, 200)
    data = {"x": x.tolist(), "sign": ["up" if value > 0 else "down" for value in x]}
    options = {"epochs": 6, "label_smoothing": 0.3, "learning_rate": 0.02, "seed": 0}
    manyhot.fit(
        data,
        ["sign"],
        on_event=lambda line: told.append(line) if line["kind"] == "epoch" else None,
        **options,
    )
    wrong = [1.0] + [1 - line["validation"]["overall"]["exact_match"] for line in told]
    assert all(smoothing == pytest.approx(min(0.3, wrong[epochs])) for epochs, smoothing in used)
    assert used[0][1] == 0.3 > used[-1][1]


def untimed(history):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in history]


@pytest.mark.parametrize("how", [fit, picture_fit, photo_fit])
def test_the_same_seed_gives_the_same_bits(how):
    first, second, other = how(seed=3), how(seed=3), how(seed=4)
    assert bits(first) == bits(second)
    assert bits(first) != bits(other)
    assert untimed(first.run.history) == untimed(second.run.history)
    assert first.schema == second.schema


class StopError(Exception):
    """Stands for a kill in the middle of a run."""


def stopping_at(epoch):
    def tell(line):
        if line["kind"] == "epoch" and line["epoch"] == epoch:
            raise StopError

    return tell


@pytest.mark.parametrize("how", [fit, picture_fit, photo_fit])
@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path, how, epoch):
    whole = how(out=tmp_path / "whole")
    with pytest.raises(StopError):
        how(out=tmp_path / "part", on_event=stopping_at(epoch))
    with pytest.raises(UserError, match=r"not finished|no manyhot.json"):
        manyhot.load(tmp_path / "part")
    told = []
    resumed = how(out=tmp_path / "part", resume=True, on_event=told.append)
    assert bits(resumed) == bits(whole)
    assert resumed.schema == whole.schema
    assert untimed(resumed.run.history) == untimed(whole.run.history)
    learned = [line for line in told if line["kind"] not in ("stage", "features")]
    assert untimed(learned) == untimed(whole.run.history)
    lines = (tmp_path / "part" / "history.jsonl").read_text().splitlines()
    assert untimed(map(json.loads, lines)) == untimed(whole.run.history)
    assert not (tmp_path / "part" / "checkpoints").exists()


def test_resuming_what_is_finished_or_not_begun(tmp_path):
    done = fit(out=tmp_path / "m")
    again = fit(out=tmp_path / "m", resume=True, on_event=lambda line: pytest.fail("trained again"))
    assert bits(again) == bits(done)
    fresh = fit(out=tmp_path / "new", resume=True)
    assert bits(fresh) == bits(done)


def stopped(folder, epoch=3):
    with pytest.raises(StopError):
        fit(out=folder, on_event=stopping_at(epoch))
    return sorted((folder / "checkpoints").glob("*.*"))


@pytest.mark.usefixtures("checkpoint_each_epoch")
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, log_lines, suffix, damage):
    whole = fit()
    found = stopped(tmp_path / "m")
    assert len(found) == 4
    newest = [path for path in found if path.suffix == suffix][-1]
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        place = data.index(b'"step": ') + 8 if suffix == ".json" else len(data) - 9
        data[place] ^= 1
    if damage == "gone":
        newest.unlink()
    else:
        newest.write_bytes(bytes(data[: {"cut": len(data) // 2, "empty": 0}.get(damage, len(data))]))
    resumed = fit(out=tmp_path / "m", resume=True)
    assert bits(resumed) == bits(whole)
    said = [line for line in log_lines if "damaged" in line and "checkpoint before" in line]
    assert len(said) == (0 if (damage, suffix) == ("gone", ".json") else 1)


@pytest.mark.usefixtures("checkpoint_each_epoch")
def test_all_checkpoints_damaged_starts_afresh(tmp_path, log_lines):
    whole = fit()
    for path in stopped(tmp_path / "m"):
        path.write_bytes(b"x")
    assert bits(fit(out=tmp_path / "m", resume=True)) == bits(whole)
    assert sum("damaged" in line for line in log_lines) == 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 0.5}, {"class_weight": "balanced"}])
def test_a_checkpoint_of_another_run_is_refused_and_stays(tmp_path, change):
    stopped(tmp_path / "m")
    before = {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"run with other data or settings; .*overwrite=True"):
        fit(out=tmp_path / "m", resume=True, **change)
    assert before == {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert bits(fit(out=tmp_path / "m", overwrite=True)) == bits(fit())


# Failures


def spoil(monkeypatch, at_step, value=float("nan")):
    original = Step.__call__

    def spoilt(self, batch, number, rate, smoothing):
        losses = original(self, batch, number, rate, smoothing)
        if number == at_step:
            with torch.no_grad():
                next(iter(self.network.parameters())).fill_(value)
            losses = losses * value
        return losses

    monkeypatch.setattr(Step, "__call__", spoilt)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_names_its_rows(tmp_path, monkeypatch, value):
    spoil(monkeypatch, at_step=7, value=value)
    with pytest.raises(RunError, match=r"the loss is (nan|inf) at step 8 \(table rows \d+, .*learning_rate"):
        fit(out=tmp_path / "m")
    assert not (tmp_path / "m" / "manyhot.json").exists()
    from safetensors.numpy import load_file

    kept = list((tmp_path / "m" / "checkpoints").glob("*.safetensors"))
    assert kept
    for path in kept:
        assert all(np.isfinite(values).all() for values in load_file(path).values())


def test_the_rows_named_are_those_of_the_source(monkeypatch):
    spoil(monkeypatch, at_step=0)
    split = ["test"] * 20 + ["train", "val"] * 20
    table = manyhot.read({**COLUMNS, "split": split})
    with pytest.raises(RunError) as caught:
        manyhot.fit(table, manyhot.infer(table, **SCHEMA), **OPTIONS)
    rows = str(caught.value).split("table rows ")[1].split(", …")[0]
    assert all(int(row) > 20 and int(row) % 2 == 1 for row in rows.split(", "))


def test_weights_spoilt_by_the_last_step_are_not_kept(monkeypatch):
    with pytest.raises(RunError, match=r"no longer finite.*learning_rate"):
        fit(learning_rate=1e30, batch_size=1000)


# What is kept, and what is written down


STALLING = {"epochs": 60, "patience": 3, "learning_rate": 0.05}


def epochs_of(run):
    return [line for line in run.history if line["kind"] == "epoch"]


def stall_of(epochs, patience=3):
    """The epoch after which patience ran out."""
    best = 0
    for line in epochs:
        best = line["epoch"] if line["best"] else best
        if line["epoch"] - best >= patience:
            return line["epoch"]
    return None


def test_early_stopping_keeps_the_best(monkeypatch):
    monkeypatch.setattr(loop, "within_two_standard_errors", lambda best, *rest: False)
    epochs = epochs_of(fit(**STALLING).run)
    best = [line["epoch"] for line in epochs if line["best"]][-1]
    assert len(epochs) < 60
    losses = [line["validation"]["overall"]["loss"] for line in epochs]
    assert min(losses) == losses[best - 1]


def test_the_rate_comes_down_before_a_run_is_stopped():
    epochs = epochs_of(fit(**STALLING).run)
    stall = stall_of(epochs)
    assert epochs[-1]["epoch"] == stall + max(2, round(stall / 5))
    rates = [line["learning_rate"] for line in epochs[stall - 1 :]]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.2 * STALLING["learning_rate"]
    assert rates[-1] < 0.2 * rates[0]


@pytest.mark.parametrize("after", [-1, 0, 1])
def test_a_run_that_stopped_in_its_cooldown_ends_in_the_same_bits(tmp_path, after):
    whole = fit(**STALLING)
    epoch = stall_of(epochs_of(whole.run)) + after
    with pytest.raises(StopError):
        fit(out=tmp_path / "m", on_event=stopping_at(epoch), **STALLING)
    resumed = fit(out=tmp_path / "m", resume=True, **STALLING)
    assert bits(resumed) == bits(whole)
    assert untimed(resumed.run.history) == untimed(whole.run.history)


def test_a_cooldown_falls_in_a_line_and_never_rises_above_the_cycle():
    rates = [optim.cooldown(step, 40, 50, 100, CONFIG) for step in range(40, 50)]
    before = optim.rate(39, 100, CONFIG)
    assert rates == pytest.approx([before * left / 11 for left in range(10, 0, -1)])
    late = [optim.cooldown(step, 90, 100, 100, CONFIG) for step in range(90, 100)]
    assert all(rate <= optim.rate(step, 100, CONFIG) for step, rate in zip(range(90, 100), late))


@pytest.mark.parametrize(
    ("late", "config", "kept"),
    [
        ([0.1, 0.4, 0.2, 0.3], {}, True),
        ([0.1, 0.1, 0.2, 0.2], {}, True),
        ([0.3, 0.4, 0.3, 0.4], {}, False),
        ([0.1, 0.4, 0.2, 0.3], {"monitor": "b/accuracy"}, False),
        ([0.1, 0.4, 0.2, 0.3], {"tag_loss": "focal"}, False),
    ],
)
def test_an_epoch_that_is_better_by_chance_is_no_better_than_the_last(late, config, kept):
    model = build(INPUTS, TARGETS, CONFIG)
    best, now = snapshot(model), [value.detach().clone() for value in model.parameters()]

    class Held:
        def losses(self, model, targets, config):
            is_now = all(map(torch.equal, model.parameters(), now))
            return np.array(late if is_now else [0.2, 0.2, 0.2, 0.2])

    with torch.no_grad():
        for value in now:
            value += 1
        for parameter, value in zip(model.parameters(), now, strict=True):
            parameter.copy_(value)
    assert (
        validation.within_two_standard_errors(best, model, Held(), TARGETS, replace(CONFIG, **config)) is kept
    )
    assert all(map(torch.equal, model.parameters(), now))


@pytest.mark.parametrize("as_good", [True, False])
def test_the_last_epoch_is_kept_where_it_is_as_good(monkeypatch, as_good):
    asked = []
    monkeypatch.setattr(loop, "within_two_standard_errors", lambda best, *rest: asked.append(best) or as_good)
    run = fit(epochs=12, learning_rate=0.05, patience=0).run
    kept = [line["epoch"] for line in run.history if line.get("best")]
    assert len(asked) == 1
    assert (kept[-1] == 12) is as_good
    fit(**STALLING)
    assert len(asked) == 2  # after a cooldown too


def test_losses_of_held_out_rows_count_each_target_by_its_weight():
    x, y = plain_data()
    held = validation.Validation(x, y)
    model = flat_weights(build(INPUTS, TARGETS, CONFIG))
    whole = held.losses(model, TARGETS, CONFIG)
    assert whole.shape == (80,)
    alone = [held.losses(model, (target,), CONFIG) for target in TARGETS]
    assert whole == pytest.approx(sum(alone))
    assert (alone[0][::7] == 0).all()
    config = replace(CONFIG, target_weights={"m": 3.0, "t": 0.0})
    assert held.losses(model, TARGETS, config) == pytest.approx(alone[0] + 3 * alone[1])


@pytest.mark.parametrize("monitor", ["fruit/accuracy", "tags/hamming_loss", "ripe/log_loss"])
def test_the_monitor_chooses_the_epoch(monitor):
    run = fit(epochs=8, monitor=monitor, learning_rate=0.03).run
    target, metric = monitor.split("/")
    epochs = [line for line in run.history if line["kind"] == "epoch"]
    values = [line["validation"]["targets"][target][metric] for line in epochs]
    best = [line["epoch"] for line in epochs if line["best"]][-1]
    wanted = max(values) if metric == "accuracy" else min(values)
    assert values[best - 1] == wanted
    assert best == values.index(wanted) + 1


def test_a_target_with_a_slash_in_its_name_can_be_monitored():
    columns = {"x": list(range(60)), "in/out": ["in", "out"] * 30}
    run = manyhot.fit(columns, ["in/out"], monitor="in/out/accuracy", epochs=2, threads=1).run
    assert any(line.get("best") for line in run.history)


def test_epochs_are_judged_by_one_view(monkeypatch):
    seen = []
    real = validation.logits
    monkeypatch.setattr(validation, "logits", lambda network, x: seen.append(network) or real(network, x))
    table = manyhot.Table({}, pixels=pixels(60)).with_columns({"y": ["a", "b"] * 30})
    model = manyhot.fit(table, ["y"], epochs=2, threads=1)
    assert {type(network).__name__ for network in seen} == {"Network"}
    assert model.bundle.predictor.ensemble.views > 1


@pytest.mark.parametrize("monitor", ["fruit/accurcy", "fruit/hamming_loss", "tags/accuracy", "fruit/loss"])
def test_a_monitor_that_is_no_score_of_the_target(tmp_path, monitor):
    with pytest.raises(UserError, match=f"has no score '{monitor.split('/')[1]}'"):
        fit(out=tmp_path / "m", monitor=monitor)
    assert not (tmp_path / "m").exists()


def test_nothing_known_in_the_held_out_rows_keeps_the_latest_epoch():
    split = ["train", "val"] * 30
    fruit = [cell if part == "train" else None for cell, part in zip(COLUMNS["fruit"], split, strict=True)]
    run = manyhot.fit({**features(ROWS), "fruit": fruit, "split": split}, ["fruit"], **OPTIONS).run
    assert [line["best"] for line in run.history] == [True] * 4
    assert set(run.judged.scores["targets"]["fruit"].values()) == {None}


def test_lines_of_the_history():
    run = fit(epochs=2, batch_size=1).run
    steps_ = [line for line in run.history if line["kind"] == "step"]
    epochs = [line for line in run.history if line["kind"] == "epoch"]
    base = ["kind", "epoch", "step", "loss", "losses", "learning_rate", "seconds"]
    assert steps_
    assert all(list(line) == base for line in steps_)
    assert all(list(line) == [*base, "validation", "best"] for line in epochs)
    assert [line["epoch"] for line in epochs] == [1, 2]
    for line in run.history:
        assert set(line["losses"]) == {"ripe", "fruit", "tags"}
        assert line["loss"] == pytest.approx(sum(line["losses"].values()), rel=1e-5)
        json.dumps(line, allow_nan=False)
    assert set(epochs[0]["validation"]) == {"rows", "targets", "overall"}
    seconds = [line["seconds"] for line in run.history]
    assert seconds == sorted(seconds)


def test_rows_with_no_label_at_all_train_nothing():
    """A row of which nothing is known must not move the weights by its own."""
    columns = {name: list(cells) for name, cells in COLUMNS.items()}
    columns["fruit"] = [None] * 60
    with pytest.raises(UserError, match="all labels are unknown"):
        manyhot.fit(columns, ["fruit"], **OPTIONS)


def test_class_weights_and_target_weights_train(tmp_path):
    run = fit(class_weight="balanced", target_weights={"tags": 0.0}).run
    for line in run.history:
        assert line["loss"] == pytest.approx(line["losses"]["ripe"] + line["losses"]["fruit"], rel=1e-5)


def test_bfloat16_trains_and_answers_in_float32():
    fitted = picture_fit(precision="bfloat16", epochs=1)
    assert all(value.dtype != torch.bfloat16 for value in fitted.bundle.predictor.state_dict().values())
    assert fitted.predict_proba(images.np.zeros((2, 8, 8), np.uint8))["label"].dtype == np.float32


def test_a_fit_learns():
    x = np.random.default_rng(0).normal(size=(200, 2))
    y = ["in" if a * b > 0 else "out" for a, b in x]
    fitted = manyhot.fit({"a": x[:, 0], "b": x[:, 1], "y": y}, ["y"], **(OPTIONS | {"epochs": 40}))
    assert fitted.run.judged.scores["targets"]["y"]["accuracy"] > 0.85


def test_training_is_silent(capsys):
    logging.getLogger("manyhot").handlers.clear()
    fit(epochs=1)
    found = capsys.readouterr()
    assert found.out == ""
