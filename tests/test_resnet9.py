"""The small residual network: what colour pictures up to 64 pixels are learned by, of any size."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

import manyhot
from manyhot.config import FitConfig
from manyhot.errors import UserError
from manyhot.model.backbones import build_backbone
from manyhot.resolve import resolve
from manyhot.schema import Input, Schema, Target

TARGET = Target("y", "multiclass", ("a", "b", "c"), ("y",))
TAGS = Target("t", "multilabel", ("a", "b", "c"), ("t",))
CONFIG = FitConfig(backbone="resnet9")


def schema(side=32, channels=3, target=TARGET):
    return Schema((Input("a", "image", (side, side, channels)),), (target,))


@pytest.mark.parametrize("side", [1, 4, 8, 20, 33, 64])
def test_pictures_of_any_side_learn(side):
    backbone = build_backbone((3, side, side), CONFIG)
    features = backbone(torch.randn(2, 3, side, side))
    assert features.shape == (2, backbone.num_features)
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_a_network_takes_smaller_pictures_while_they_grow():
    backbone = build_backbone((3, 32, 32), CONFIG).eval()
    assert backbone(torch.randn(2, 3, 24, 24)).shape == backbone(torch.randn(2, 3, 32, 32)).shape


def test_it_is_not_for_tables():
    with pytest.raises(UserError, match="'resnet9' takes pictures"):
        manyhot.fit({"a": [1, 2, 3] * 20, "y": ["u", "v", "w"] * 20}, "y", backbone="resnet9")


@pytest.mark.parametrize(
    ("backbone", "grows"), [("resnet9", True), ("cnn", False), ("vit_tiny_patch16_224", False)]
)
def test_pictures_grow_only_where_a_backbone_takes_several_sizes(backbone, grows):
    config = FitConfig(backbone=backbone, first_size=16, size=32, weights="none")
    with nullcontext() if grows else pytest.raises(UserError, match=r"first_size=16: .* one size"):
        build_backbone((3, 32, 32), config)


def test_colour_is_learned_by_it_and_grey_as_before():
    colour, grey = resolve({}, schema(), 10_000), resolve({}, schema(channels=1), 10_000)
    assert (colour.backbone, colour.augment, colour.mirror, colour.patience) == ("resnet9", "move", "auto", 0)
    assert (grey.backbone, grey.augment, grey.mirror, grey.patience) == ("cnn", "shift", "no", 15)
    assert (colour.mixup, grey.mixup) == (0.3, 0.0)
    by_name = resolve({"backbone": "cnn"}, schema(), 10_000)
    assert (by_name.augment, by_name.mirror, by_name.first_size) == ("shift", "no", 0)
    assert resolve({}, schema(target=TAGS), 10_000).label_smoothing == 0 < colour.label_smoothing


def test_many_pictures_are_still_seen_often():
    seen = {rows: resolve({}, schema(), rows).epochs for rows in (500, 10_000, 1_000_000)}
    assert seen[500] == 60 > seen[10_000] > seen[1_000_000] == 12


def test_it_learns_and_is_saved(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 120, (120, 12, 12, 3), dtype=np.uint8)
    x[::2, 3:6, :, 1] = 250
    data = (x, {"label": ["line", "none"] * 60})
    model = manyhot.fit(data, ["label"], out=tmp_path / "m", effort="fast", threads=1)
    assert model.bundle.config.backbone == "resnet9"
    assert model.evaluate(data)["targets"]["label"]["accuracy"] > 0.9
    again = manyhot.load(tmp_path / "m").predict_proba(data)["label"]
    assert (again == model.predict_proba(data)["label"]).all()
