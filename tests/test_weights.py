"""Pretrained weights and networks of timm's: where they come from, what fits, what is named, heads alone."""

import time

import numpy as np
import pytest
import timm
import torch
from making import QUICK
from safetensors.torch import save_file

import manyhot
from manyhot.config import FitConfig
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.ensemble import SEVERAL_ENCODERS
from manyhot.errors import UserError
from manyhot.model import backbones
from manyhot.model.backbones import weights
from manyhot.model.network import build
from manyhot.schema import Target
from manyhot.train import linear_probe, prepare, run, select

SMALL = "test_resnet"  # the smallest ones that timm has
PET = (Target("pet", "multiclass", ("cat", "dog"), ("pet",)),)


EFFICIENT = "test_efficientnet"  # whose batch norms hold their activation


def network(channels=3, **options):
    inputs = ImageInputs("image", (32, 32), channels, (0.5,) * channels, (0.2,) * channels)
    return build(inputs, PET, FitConfig(**{"backbone": SMALL, **options}))


def state(folder, change=None, name=SMALL):
    """Weights of a network with a classifier of 1,000 classes, as timm gives them."""
    torch.manual_seed(7)
    tensors = {key: value.clone() for key, value in timm.create_model(name).state_dict().items()}
    path = folder / "weights.safetensors"
    save_file(change(tensors) if change else tensors, path)
    return path, tensors


def photos(rows=40, side=32):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 120, (rows, side, side, 3), dtype=np.uint8)
    x[::2, : side // 2] += 100
    return x, ["up" if i % 2 == 0 else "down" for i in range(rows)]


def test_weights_of_a_file_are_taken_without_their_classifier(tmp_path, log_lines):
    path, tensors = state(tmp_path)
    model = network(weights=str(path))
    own = model.backbone.layers.state_dict()
    assert all(torch.equal(own[name], tensors[name]) for name in own)
    assert log_lines == []


def test_every_key_that_does_not_fit_is_named(tmp_path, log_lines):
    def change(tensors):
        gone = {name: value for name, value in tensors.items() if name != "bn1.weight"}
        return gone | {"odd.weight": torch.zeros(3), "conv1.2.weight": torch.zeros(2, 2)}

    path, _ = state(tmp_path, change)
    network(weights=str(path))
    assert len(log_lines) == 1
    for name in ("bn1.weight", "odd.weight"):
        assert name in log_lines[0]


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="made for another backbone"):
        network(weights=str(tmp_path / "w.safetensors"))
    (tmp_path / "w.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(UserError, match="not a safetensors file"):
        network(weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(UserError, match="no such file"):
        network(weights=str(tmp_path / "none.safetensors"))


def test_weights_that_do_not_fit_name_the_backbone_that_they_fit(tmp_path):
    path = state(tmp_path)[0].rename(tmp_path / f"{SMALL}.of_ours.safetensors")
    with pytest.raises(UserError, match=rf"another backbone.*; they fit '{SMALL}'"):
        network(weights=str(path), backbone=EFFICIENT)


def test_weights_of_a_deeper_network_fit_no_shallower_one(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "USUAL", (EFFICIENT, SMALL))
    assert weights._fitting(state(tmp_path)[0]) == SMALL
    path, _ = state(tmp_path, lambda tensors: {**tensors, "layer9.weight": torch.zeros(1)})
    assert weights._fitting(path) == ""


def test_a_missing_file_of_weights_is_refused_before_any_picture_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "open_rows", lambda *given: pytest.fail("read pictures"))
    with pytest.raises(UserError, match="no such file"):
        manyhot.fit(photos(), ["label"], backbone=SMALL, weights=str(tmp_path / "none.safetensors"), **QUICK)


@pytest.mark.parametrize(
    ("file", "backbone", "options"),
    [
        ("efficientnet_tf2_same", EFFICIENT, {"pad_type": "same"}),
        ("tf-efficientnet", EFFICIENT, {"pad_type": "same"}),
        ("samesize_netf", EFFICIENT, {}),
        ("resnet_same", SMALL, {}),  # which has no such option
        ("tf_efficientnet_lite0", "tf_efficientnet_lite0", {}),  # which pads so by itself
    ],
)
def test_the_name_of_a_file_tells_how_its_network_pads(tmp_path, log_lines, file, backbone, options):
    path = tmp_path / f"{file}.safetensors"
    path.touch()
    assert dict(backbones.find_weights(backbone, str(path)).options) == options
    assert ["pad_type=same" in line for line in log_lines] == [True] * len(options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MobileNet_V2", "timm calls it 'mobilenetv2_100'"),
        ("vit_b_16", "timm calls it 'vit_base_patch16_224'"),
        ("mobilenetv2_10", "did you mean .*'mobilenetv2_100'"),
        ("qqqqq", r"no backbone 'qqqqq'; there are 'mlp'"),
    ],
)
def test_a_backbone_that_is_not_timms_is_refused_with_one_that_is(name, message):
    with pytest.raises(UserError, match=message):
        backbones.find_weights(name, "auto")


def test_what_others_call_a_backbone_is_one_of_timms():
    from manyhot.model.backbones.timm import ELSEWHERE

    known = timm.list_models()
    assert {*ELSEWHERE.values()} <= {*known}
    assert not {*ELSEWHERE} & {*known}


def test_grey_pictures_take_the_sum_of_the_colours(tmp_path, log_lines):
    path, tensors = state(tmp_path)
    name = timm.get_pretrained_cfg(SMALL).first_conv
    model = network(channels=1, weights=str(path))
    taken = model.backbone.layers.state_dict()[f"{name}.weight"]
    assert torch.allclose(taken, tensors[f"{name}.weight"].sum(dim=1, keepdim=True))
    assert log_lines == []


def test_options_go_to_timm():
    model = network(backbone_options={"output_stride": "8"})
    assert model.backbone.num_features == network().backbone.num_features
    with pytest.raises(UserError, match="no_such_option"):
        network(backbone_options={"no_such_option": "1"})


# Where "auto" weights come from


@pytest.fixture
def hub(monkeypatch):
    """The hub's client, none of whose calls reach a network; what they do can be set."""
    import huggingface_hub as client

    def refuse(*args, **more):
        raise ConnectionError("no route\nand more")

    monkeypatch.setattr(client, "try_to_load_from_cache", lambda *place: None)
    monkeypatch.setattr(client, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(client, "hf_hub_download", refuse)
    return client


def test_a_file_in_the_cache_needs_no_network(hub, monkeypatch):
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *place: f"cached/{place[0]}/{place[1]}")
    assert weights.find("resnet34").startswith("cached/timm/resnet34.")
    assert weights.find("resnet34").endswith(".safetensors")


def test_a_hub_that_answers_is_downloaded_from(hub, monkeypatch):
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *args, **more: None)
    monkeypatch.setattr(hub, "hf_hub_download", lambda *place: "fresh.safetensors")
    assert weights.find("resnet34") == "fresh.safetensors"


def test_without_an_answer_one_line_says_so(hub, log_lines):
    assert weights.find("resnet34") == "none"
    assert len(log_lines) == 1
    assert "no route" in log_lines[0]
    assert "\n" not in log_lines[0]
    assert any(word in log_lines[0] for word in ("--weights FILE", 'weights="FILE"'))


def test_a_silent_hub_is_waited_for_so_long_and_no_longer(hub, monkeypatch, log_lines):
    monkeypatch.setattr(weights, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *args, **more: time.sleep(5))
    start = time.perf_counter()
    assert weights.find("resnet34") == "none"
    assert time.perf_counter() - start < 4
    assert "not within 0.2 seconds" in log_lines[0]


def test_what_came_of_auto_is_recorded(hub, tmp_path):
    model = manyhot.fit(photos(), ["label"], backbone=SMALL, **QUICK)
    assert model.bundle.config.weights == "none"
    assert (
        model.bundle.config.learning_rate
        == manyhot.fit(
            photos(), ["label"], backbone=SMALL, weights="none", **QUICK
        ).bundle.config.learning_rate
    )
    assert backbones.pixels(FitConfig(backbone=SMALL, weights="none")) is None


def test_pretrained_weights_are_given_the_pixels_they_expect(tmp_path):
    path, _ = state(tmp_path)
    model = manyhot.fit(photos(), ["label"], backbone=SMALL, weights=str(path), **QUICK)
    known = timm.get_pretrained_cfg(SMALL)
    assert model.bundle.inputs.mean == tuple(known.mean)
    assert model.bundle.inputs.std == tuple(known.std)


def test_a_model_needs_its_weights_file_no_more(tmp_path):
    path, _ = state(tmp_path)
    data = photos()
    model = manyhot.fit(data, ["label"], backbone=SMALL, weights=str(path), out=tmp_path / "m", **QUICK)
    path.unlink()
    again = manyhot.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(data)["label"], model.predict_proba(data)["label"])


@pytest.mark.parametrize(
    ("name", "stages", "still"),
    [
        (SMALL, 0, ()),
        (SMALL, 1, ("conv1", "bn1")),
        (SMALL, 2, ("conv1", "bn1", "layer1")),
        (EFFICIENT, 2, ("conv_stem", "bn1", "blocks.0", "blocks.1")),
    ],
)
def test_the_first_stages_of_pretrained_weights_stay_and_all_others_learn(tmp_path, name, stages, still):
    """Batch norms keep their statistics too, also where those of the others are taken anew at the end."""
    path, tensors = state(tmp_path, name=name)
    options = {**QUICK, "frozen_stages": stages, "linear_probe": False, "size": 96, "batch_size": 8}
    model = manyhot.fit(photos(side=96), ["label"], backbone=name, weights=str(path), **options)
    own = model.bundle.predictor.encoders["network"].layers.state_dict()
    kept = {key for key, value in own.items() if torch.equal(value, tensors[key])}
    assert kept == {key for key in own if key.startswith(tuple(f"{part}." for part in still))}


def test_stages_of_a_network_that_starts_from_nothing_learn():
    model = network(weights="none", frozen_stages=2)
    assert all(parameter.requires_grad for parameter in model.parameters())


# Heads alone


def test_a_frozen_backbone_stays_as_it_was_and_the_heads_learn(tmp_path):
    path, tensors = state(tmp_path)
    options = {**QUICK, "epochs": 30, "learning_rate": 0.02, "patience": 0, "freeze": True}
    model = manyhot.fit(photos(), ["label"], backbone=SMALL, weights=str(path), **options)
    own = model.bundle.predictor.encoders["network"].layers.state_dict()
    assert all(torch.equal(own[name], tensors[name]) for name in own)
    assert model.bundle.inputs.size == timm.get_pretrained_cfg(SMALL).input_size[1:]  # not 32 pixels
    assert model.evaluate(photos())["targets"]["label"]["accuracy"] > 0.8
    model.save(tmp_path / "m")
    again = manyhot.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(photos())["label"], model.predict_proba(photos())["label"])


def test_frozen_pictures_are_no_training_batch_to_show(tmp_path):
    path, _ = state(tmp_path)
    runs = (
        manyhot.fit(photos(), ["label"], backbone=SMALL, weights=str(path), freeze=freeze, **QUICK).run
        for freeze in (True, False)
    )
    assert [each.preview is None for each in runs] == [True, False]


def test_freezing_needs_a_backbone_that_has_learned():
    with pytest.raises(UserError, match=r"freeze: backbone 'resnet9' starts from nothing"):
        manyhot.fit(photos(), ["label"], freeze=True, backbone="resnet9", **QUICK)
    with pytest.raises(UserError, match=rf"freeze: backbone '{SMALL}' has no pretrained weights here"):
        manyhot.fit(photos(), ["label"], freeze=True, backbone=SMALL, weights="none", **QUICK)


def test_heads_answer_as_before_where_they_read_features_unscaled():
    for sets in ((), ((), ("cat",), ("cat", "dog"))):
        target = Target(
            "pet", "multilabel" if sets else "multiclass", ("cat", "dog"), ("pet",), label_sets=sets
        )
        inputs = ImageInputs("image", (32, 32), 3, (0.5,) * 3, (0.2,) * 3)
        model = build(inputs, (target,), FitConfig(backbone=SMALL, weights="none")).eval()
        rng = np.random.default_rng(0)
        mean, deviation = (rng.random(model.backbone.num_features, np.float32) + 0.5 for _ in range(2))
        features = torch.randn(5, model.backbone.num_features)
        scaled = (features - torch.from_numpy(mean)) / torch.from_numpy(deviation)
        before = model.heads[0](scaled)
        linear_probe._unscale(model.heads, mean, deviation)
        assert torch.allclose(model.heads[0](features), before, atol=1e-5)


def tuned(path, **options):
    """A run that moves nothing, so that what is known is what the heads learned alone."""
    still = {"learning_rate": 1e-9, "patience": 0, "frozen_stages": 9, "linear_probe": True}
    options = {**QUICK, **still, **options}
    return manyhot.fit(photos(), ["label"], backbone=SMALL, weights=str(path), **options)


def test_heads_learn_alone_before_the_backbone_learns_with_them(tmp_path):
    path, _ = state(tmp_path)
    first, at_once = (tuned(path, linear_probe=first) for first in (True, False))
    accuracy, before = (
        model.evaluate(photos())["targets"]["label"]["accuracy"] for model in (first, at_once)
    )
    assert accuracy > 0.9
    assert before < 0.8


def test_heads_that_learned_alone_do_not_learn_alone_again_after_a_stop(tmp_path, monkeypatch):
    path, _ = state(tmp_path)
    options = {"learning_rate": 1e-3, "epochs": 2, "frozen_stages": 1}
    whole = tuned(path, **options)

    def stop(line):
        if line["kind"] == "epoch" and line["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(path, **options, out=tmp_path / "m", on_event=stop)
    monkeypatch.setattr(run, "heads_on_features", lambda *given: pytest.fail("learned alone again"))
    resumed = tuned(path, **options, out=tmp_path / "m", resume=True)
    own, other = (m.bundle.predictor.state_dict() for m in (whole, resumed))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


# What a network was before it was tuned


@pytest.mark.parametrize(("surer", "stays"), [(5, True), (-1, False)])
def test_the_pretrained_network_stays_where_held_out_rows_are_answered_better(
    tmp_path, monkeypatch, surer, stays
):
    path, _ = state(tmp_path)

    class Surer(select.Selection):
        def _with_pretrained(self, members):
            for parameter in self.networks["pretrained"].heads.parameters():
                parameter.mul_(surer)
            return super()._with_pretrained(members)

    monkeypatch.setattr(run, "Selection", Surer)
    model = tuned(path, members="network,pretrained")
    assert model.run.notes == [SEVERAL_ENCODERS] * stays
    assert ("pretrained" in model.bundle.predictor.ensemble.encoders) == stays
    assert any(".pretrained." in name for name in model.bundle.predictor.state_dict()) == stays
    model.save(tmp_path / "m")
    again = manyhot.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(photos())["label"], model.predict_proba(photos())["label"])
    assert ("Answers are averaged over two networks" in (tmp_path / "m" / "README.md").read_text()) == stays


@pytest.mark.parametrize(
    ("members", "most"),
    [
        ("network", {"network"}),
        ("network,neighbours", {"network"}),
        ("network, pretrained", {"network", "pretrained"}),
    ],
)
def test_who_may_take_part_is_a_setting(tmp_path, members, most):
    path, _ = state(tmp_path)
    ensemble = tuned(path, members=members).bundle.predictor.ensemble
    assert set(ensemble.encoders) <= most
    assert all(m.kind == "heads" for m in ensemble.members) or "neighbours" in members


@pytest.mark.parametrize("members", ["", "neighbours", "network,woods", "network,,pretrained"])
def test_members_that_are_none(members):
    with pytest.raises(UserError, match=r"members must be .network., or it and others of"):
        manyhot.fit(photos(), ["label"], **QUICK | {"members": members})


def test_heads_first_needs_a_backbone_that_has_learned():
    with pytest.raises(UserError, match=r"linear_probe: backbone 'mlp' starts from nothing"):
        manyhot.fit({"a": list(range(60)), "y": ["u", "v"] * 30}, ["y"], linear_probe=True, **QUICK)
