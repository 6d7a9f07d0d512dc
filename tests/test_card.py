"""A card: settings that follow from a pretended one, and what runs on a real one, where there is one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import manyhot
from manyhot import machine
from manyhot.clustering import embed
from manyhot.config import CHOICES, FitConfig
from manyhot.errors import UserError
from manyhot.machine import Device
from manyhot.model.backbones import build_backbone
from manyhot.resolve import estimate, resolve
from manyhot.schema import Input, Schema, Target
from manyhot.train import warm_start

TARGET = Target("y", "multiclass", ("a", "b", "c"), ("y",))
TABLE = Schema((Input("a", "number"),), (TARGET,))
GREY = Schema((Input("a", "image", (28, 28, 1)),), (TARGET,))
COLOUR = Schema((Input("a", "image", (32, 32, 3)),), (TARGET,))
PHOTO = Schema((Input("a", "image", (300, 400, 3)),), (TARGET,))
EVERY = {"table": TABLE, "grey": GREY, "colour": COLOUR, "photo": PHOTO}
H200 = Device("cuda", "NVIDIA H200", 150.0, ("bfloat16", "float16"), tf32=True)
T4 = Device("cuda", "Tesla T4", 15.6, ("float16",))
OLD = Device("cuda", "GeForce GTX 1050", 2.1)
CPU = Device("cpu")


def resolved(schema, rows, device, **options):
    return resolve({"device": device.kind, **options}, schema, rows, device=device)


@pytest.mark.parametrize(
    ("device", "pictures", "table"),
    [
        (H200, "bfloat16", "tf32"),
        (T4, "float16", "float32"),
        (OLD, "float32", "float32"),
        (Device("mps"), "float32", "float32"),
        (CPU, "float32", "float32"),
    ],
    ids=["H200", "T4", "old", "mps", "cpu"],
)
def test_numbers_are_those_that_a_device_multiplies_fast(device, pictures, table):
    found = {name: resolved(schema, 5_000, device).precision for name, schema in EVERY.items()}
    assert found == {"table": table, "grey": pictures, "colour": pictures, "photo": pictures}


def test_a_processor_that_multiplies_halves_uses_them_for_dense_networks(monkeypatch):
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    found = {name: resolve({}, schema, 5_000).precision for name, schema in EVERY.items()}
    assert found == {"table": "float32", "grey": "bfloat16", "colour": "bfloat16", "photo": "float32"}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("rows", [10, 2_000, 60_000, 3_000_000])
@pytest.mark.parametrize("effort", CHOICES["effort"])
def test_a_card_learns_at_least_as_long_and_from_as_large_pictures(name, rows, effort):
    alone, card = (resolved(EVERY[name], rows, device, effort=effort) for device in (CPU, H200))
    steps = [rows * config.epochs / config.batch_size for config in (alone, card)]
    assert card.epochs >= alone.epochs
    assert card.size >= alone.size
    assert card.batch_size >= alone.batch_size
    if name == "table":
        assert steps[1] == pytest.approx(steps[0])
    if card.batch_size > alone.batch_size:  # the rate follows the batch, by its square root and the width
        width = int(card.backbone_options.get("width", 1))
        wanted = alone.learning_rate * (card.batch_size / alone.batch_size) ** 0.5 / width
        assert card.learning_rate == pytest.approx(wanted, rel=0.03)


def test_few_rows_of_a_table_are_learned_as_on_a_processor():
    alone, card = (resolved(TABLE, 3_000, device) for device in (CPU, H200))
    assert replace(card, precision=alone.precision, device="cpu") == alone


@pytest.mark.parametrize(
    ("before", "card", "after"),
    [
        (("cuda", "bfloat16"), H200, "bfloat16"),
        (("cuda", "bfloat16"), T4, "float16"),
        (("cuda", "float32"), H200, "float32"),
        (("cuda", "tf32"), OLD, "float32"),
        (("cpu", "float32"), H200, "bfloat16"),
        (("cuda", "bfloat16"), CPU, "float32"),
        (("cpu", "bfloat16"), CPU, "bfloat16"),
    ],
    ids=["same", "older", "asked for", "oldest", "to a card", "from a card", "processor"],
)
def test_who_goes_on_elsewhere_learns_in_numbers_that_are_there(monkeypatch, before, card, after):
    monkeypatch.setattr(warm_start, "described", lambda asked: card)
    config = FitConfig(backbone="cnn", device=before[0], precision=before[1])
    start = warm_start.Start(SimpleNamespace(config=config, schema=GREY), None, "m")
    assert start.settings({"device": card.kind}, GREY, 100).precision == after


def test_groups_are_found_with_the_settings_of_a_card(monkeypatch):
    monkeypatch.setattr(embed, "described", lambda asked: H200)
    found = {
        name: embed._configured({}, replace(EVERY[name], targets=()), 5_000) for name in ("table", "grey")
    }
    assert {name: config.precision for name, config in found.items()} == {"table": "tf32", "grey": "bfloat16"}


def test_photos_fill_no_small_memory():
    batches = [resolved(PHOTO, 20_000, device).batch_size for device in (H200, T4, OLD)]
    assert batches == sorted(batches, reverse=True)
    assert batches[0] == 128
    assert batches[-1] <= 16


def test_what_is_given_stays_on_a_card():
    given = {"epochs": 7, "batch_size": 32, "learning_rate": 0.5, "precision": "float32", "size": 96}
    config = resolved(PHOTO, 20_000, H200, **given)
    assert {name: getattr(config, name) for name in given} == given
    kept = resolved(COLOUR, 20_000, H200, backbone_options={"width": "1"})
    assert kept.backbone_options == {"width": "1"}


def test_the_first_line_names_the_card():
    config = resolved(COLOUR, 10_000, H200)
    line = estimate(config, 9_500, 3072, H200)
    assert line.endswith(
        "steps if all epochs are run, with batches, rate and numbers for a card: NVIDIA H200, 150 GB"
    )
    assert line.startswith(f"{round(9_500 * config.epochs / config.batch_size):,} steps")
    assert "on 2 cores" in estimate(config, 9_500, 3072, CPU)
    assert estimate(config, 9_500, 3072, Device("mps")).endswith(": mps")


def test_the_width_of_a_residual_network():
    networks = [
        build_backbone((3, 32, 32), FitConfig(backbone="resnet9", backbone_options=options))
        for options in ({}, {"width": "1"}, {"width": "2"})
    ]
    assert [network.num_features for network in networks] == [256, 256, 512]


@pytest.mark.parametrize("options", [{"width": "0"}, {"width": "wide"}, {"with": "2"}])
def test_another_width_is_refused(options):
    with pytest.raises(UserError, match=r"has one option, backbone_options\.width"):
        build_backbone((3, 32, 32), FitConfig(backbone="resnet9", backbone_options=options))


# What a real card does

FIT = """import logging, sys
import numpy as np, torch, manyhot
from manyhot import machine
logging.getLogger("manyhot").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("manyhot").setLevel(logging.INFO)
rng = np.random.default_rng(0)
x = rng.integers(0, 120, (200, 32, 32, 3), dtype=np.uint8)
y = [("a", "b", "c")[i % 3] for i in range(200)]
for i in range(200):
    x[i, (i % 3) * 8 : (i % 3) * 8 + 6] = 250
pictures = manyhot.read((x, y))
table = manyhot.read({"w": rng.normal(size=400), "v": np.arange(400) % 4, "y": np.arange(400) % 4 > 1})
def fit(data, target, **options):
    options = {"effort": "fast", "members": "network", "verbose": False, **options}
    return manyhot.fit(data, manyhot.infer(data, [target]), **options)
def weights(classifier):
    return [value.cpu().numpy() for value in classifier.bundle.predictor.state_dict().values()]
def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
"""


def test_a_card_learns_in_captured_steps(on_card):
    code = """
fit(pictures, "label", device="cuda", epochs=4, augment="photo", mixup=0.3, first_size=16, mirror="auto")
fit(table, "y", device="cuda", epochs=4, backbone="tabm", folds=3)
print(fit(table, "y", device="cuda", epochs=12).evaluate(table)["overall"]["exact_match"] > 0.9)
"""
    printed = on_card(FIT + code)
    assert printed.splitlines()[-1] == "True"
    assert "cannot be captured" not in printed


def test_a_model_of_a_card_answers_alike_on_a_processor(on_card, tmp_path):
    code = f"""
model = fit(pictures, "label", device="cuda", epochs=4, out={str(tmp_path / "m")!r})
np.save({str(tmp_path / "p.npy")!r}, model.predict_proba(pictures)["label"])
np.savez({str(tmp_path / "x.npz")!r}, x=x)
"""
    on_card(FIT + code)
    there = np.load(tmp_path / "p.npy")
    here = manyhot.load(tmp_path / "m").predict_proba(np.load(tmp_path / "x.npz")["x"])["label"]
    np.testing.assert_allclose(here, there, atol=5e-3)


@pytest.mark.parametrize("data", ["table, 'y'", "pictures, 'label'"])
def test_the_same_bits_where_they_are_asked_for(on_card, data):
    code = f"print(same(*[fit({data}, device='cuda', epochs=3, deterministic=True) for _ in range(2)]))"
    assert on_card(FIT + code).splitlines()[-1] == "True"


def test_a_card_with_little_memory_goes_on(on_card):
    code = """
torch.cuda.set_per_process_memory_fraction(4e8 / torch.cuda.get_device_properties(0).total_memory)
model = fit(pictures, "label", device="cuda", epochs=1, batch_size=128, size=64, precision="float32",
            backbone="resnet50", weights="none", augment="none")
print(len(model.predict(pictures)["label"]))
"""
    printed = on_card(FIT + code)
    assert "no memory for" in printed
    assert printed.splitlines()[-1] == "200"
