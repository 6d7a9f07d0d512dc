"""Batch norms fused into convolutions: the same answers, the original untouched, where it is right."""

import pytest
import torch
from test_weights import EFFICIENT, PET, SMALL, state
from torch import nn

from manyhot.config import FitConfig
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.model.backbones.base import Backbone
from manyhot.model.backbones.fusion import conv_bn_pairs, fused
from manyhot.model.network import build


def network(backbone, **options):
    """A network whose batch norms have seen something."""
    inputs = ImageInputs("image", (32, 32), 3, (0.5,) * 3, (0.2,) * 3)
    model = build(inputs, PET, FitConfig(backbone=backbone, **options))
    for norm in norms(model):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 2)
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.2)
    return model.eval()


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def answers(model):
    pictures = torch.randint(0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    return model(pictures.to(torch.uint8))["pet"]


@pytest.mark.parametrize("backbone", [SMALL, EFFICIENT])
def test_a_fused_network_answers_the_same_without_batch_norms(backbone):
    model = network(backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy = fused(model)
    assert norms(model)
    assert not norms(copy)
    assert torch.allclose(answers(copy), answers(model), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert fused(copy) is copy


def test_a_network_without_such_batch_norms_is_itself():
    inputs = ImageInputs("image", (28, 28), 1, (0.5,), (0.2,))
    model = build(inputs, PET, FitConfig(backbone="cnn"))
    assert norms(model)
    assert fused(model) is model


def test_what_is_frozen_is_fused_and_the_rest_learns_in_the_model(tmp_path):
    path, _ = state(tmp_path, name=EFFICIENT)
    model = network(EFFICIENT, weights=str(path), frozen_stages=2)
    learner = fused(model, frozen=True)
    assert 0 < len(norms(learner)) < len(norms(model))
    assert torch.allclose(answers(learner), answers(model), atol=1e-5)
    learner.train()
    learner(torch.zeros(4, 32, 32, 3, dtype=torch.uint8))["pet"].sum().backward()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in learning)
    seen = {id(norm.running_mean) for norm in norms(model)}
    assert all(id(norm.running_mean) in seen for norm in norms(learner))


class Forked(nn.Module):
    """A convolution whose output goes past its batch norm too, and one whose output does not."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        wide = self.first(x)
        return self.last(self.second(self.norm(wide) + wide)).mean((2, 3))


class Shared(nn.Module):
    """A batch norm after two convolutions, and a convolution that is run twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.again, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        both = self.norm(self.one(x)) + self.norm(self.two(x))
        return (self.last(self.again(both)) + self.again(both)).mean((2, 3))


@pytest.mark.parametrize(("layers", "right"), [(Forked(), [("second", "last")]), (Shared(), [])])
def test_only_what_one_batch_norm_alone_reads_is_fused(layers, right):
    x = torch.randn(2, 3, 8, 8)
    backbone = Backbone(layers, 4).eval()
    features, backbone.pairs = conv_bn_pairs(backbone, x)
    assert list(backbone.pairs) == [(f"layers.{one}", f"layers.{other}") for one, other in right]
    assert torch.equal(features, backbone(x))
    for norm in norms(backbone):
        norm.running_mean.normal_()
    assert torch.allclose(fused(backbone)(x), backbone(x), atol=1e-5)
