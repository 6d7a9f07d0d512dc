"""Settings: what is given stays, what is not follows from the data, and nonsense is refused in a line."""

import json
import math
from dataclasses import replace

import pytest

from manyhot import machine
from manyhot.config import CHOICES, FitConfig, parse_options
from manyhot.errors import UserError
from manyhot.machine import half_of_memory, num_cores
from manyhot.resolve import Pretrained, resolve
from manyhot.schema import Input, Schema, Target

TARGET = Target("y", "multiclass", ("a", "b", "c"), ("y",))
TABLE = Schema((Input("a", "number"),), (TARGET,))
SMALL = Schema((Input("a", "image", (28, 28, 1)),), (TARGET,))
PHOTO = Schema((Input("a", "image", (300, 400, 3)),), (TARGET,))


def refused(options, schema=TABLE) -> str:
    with pytest.raises(UserError) as caught:
        resolve(options, schema, 100)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_given_stays():
    given = {
        **{"effort": "fast", "backbone": "linear", "epochs": 7, "batch_size": 3, "learning_rate": 0.5},
        **{"dropout": 0.25, "validation": 0.33, "seed": 9, "precision": "float32", "threads": 1},
        **{"target_weights": {"y": 2.0}, "monitor": "y/accuracy", "label_smoothing": 0.1, "test": 0.2},
    }
    for schema in (TABLE, SMALL, PHOTO):
        config = resolve(given, schema, 100)
        assert {name: getattr(config, name) for name in given} == given


@pytest.mark.parametrize("effort", CHOICES["effort"])
@pytest.mark.parametrize("rows", [1, 10, 500, 5_000, 1_000_000])
@pytest.mark.parametrize("schema", [TABLE, SMALL, PHOTO], ids=["table", "small", "photo"])
def test_every_number_follows_for_any_number_of_rows(schema, rows, effort):
    config = resolve({"effort": effort}, schema, rows)
    assert config.epochs >= 1
    assert config.batch_size >= 1
    assert 0 < config.validation < 1
    assert config.threads == num_cores()
    assert (config.size > 0) == (schema is PHOTO)
    assert config == resolve({"effort": effort}, schema, rows)


def test_rows_are_held_out_until_their_scores_are_exact():
    held = [rows * resolve({}, TABLE, rows).validation for rows in (1_000, 10_000, 1_000_000, 100_000_000)]
    assert held == [200, 1_000, 50_000, 200_000]


def test_more_effort_is_never_less_training():
    for schema in (TABLE, SMALL, PHOTO):
        epochs = [resolve({"effort": effort}, schema, 3_000).epochs for effort in CHOICES["effort"]]
        assert epochs == sorted(epochs)


def test_kinds_of_backbones():
    assert [resolve({}, schema, 100).backbone for schema in (TABLE, SMALL)] == ["mlp", "cnn"]
    assert resolve({}, PHOTO, 100).backbone not in ("mlp", "cnn")
    assert resolve({"size": 32}, PHOTO, 100).backbone == "resnet9"
    assert not resolve({}, TABLE, 100).channels_last


def test_photos_follow_from_the_weights_the_device_and_the_backbone():
    tuned, fresh = resolve({}, PHOTO, 6_000), resolve({"weights": "none"}, PHOTO, 6_000)
    assert tuned.backbone == fresh.backbone == "mobilenetv2_100"
    assert tuned.epochs < fresh.epochs
    assert tuned.learning_rate < fresh.learning_rate
    assert tuned.linear_probe
    assert not fresh.linear_probe
    assert not resolve({"backbone": "cnn"}, PHOTO, 6_000).linear_probe
    assert 0 < tuned.first_size < tuned.size
    few = resolve({"weights": "none"}, PHOTO, 400)
    assert replace(few, weights="auto") == resolve({"size": 64}, PHOTO, 400)
    assert few.backbone == "resnet9"
    assert resolve({"weights": "none", "size": 96}, PHOTO, 400).backbone == tuned.backbone
    assert resolve({"weights": "none", "backbone": "resnet18"}, PHOTO, 400).size == fresh.size
    assert resolve({"device": "cuda"}, PHOTO, 6_000).backbone == "resnet50"
    assert resolve({}, PHOTO, 1_000_000).backbone == "mobilenetv3_small_100"
    assert resolve({"backbone": "vit_tiny_patch16_224"}, PHOTO, 6_000).first_size == 0
    assert resolve({"size": 80}, PHOTO, 6_000).first_size == 80
    frozen = resolve({"freeze": True}, PHOTO, 6_000)
    assert frozen.freeze
    assert frozen.size == 224 > tuned.size  # of the weights
    assert resolve({"freeze": True, "size": 96}, PHOTO, 6_000).size == 96
    assert resolve({"freeze": True}, SMALL, 6_000).size == 224
    with pytest.raises(UserError, match="freeze: backbone 'mobilenetv2_100' has no pretrained weights"):
        resolve({"freeze": True, "weights": "none"}, PHOTO, 6_000)
    assert frozen.learning_rate > tuned.learning_rate
    assert frozen.mixup == 0
    assert frozen.folds == 1
    assert resolve({"freeze": True}, PHOTO, 900).folds == 5  # each row teaches, and each judges
    assert resolve({"freeze": True, "effort": "fast"}, PHOTO, 900).folds == 1


def test_weights_bring_the_options_that_they_want():
    def find(backbone, asked):
        return Pretrained("file", 99, {"pad_type": "same", "other": "1"})

    given = {"freeze": True, "backbone_options": {"other": "2"}}
    found = resolve(given, PHOTO, 6_000, find)
    assert (found.weights, found.size) == ("file", 99)
    assert found.backbone_options == {"pad_type": "same", "other": "2"}


def test_rare_tags_of_photos_are_not_smoothed():
    tags = replace(PHOTO, targets=(*PHOTO.targets, Target("t", "multilabel", ("a", "b"), ("t",))))
    assert resolve({}, PHOTO, 6_000).label_smoothing > 0
    assert resolve({}, tags, 6_000).label_smoothing == 0


@pytest.mark.parametrize(
    ("old", "name", "value"),
    [
        ({"heads_first": "true"}, "linear_probe", True),
        ({"mixing": 0.25}, "mixup", 0.25),
        ({"erasing": "0.5"}, "random_erasing", 0.5),
        ({"sets": 8}, "label_sets", 8),
        ({"members": 4}, "tabm_members", 4),
        ({"members": "4"}, "tabm_members", 4),
    ],
)
def test_settings_of_the_release_before_are_read_with_a_note(old, name, value, log_lines):
    assert parse_options(old) == {name: value}
    assert len(log_lines) == 1
    assert f"is called '{name}' now" in log_lines[0]


def test_pictures_have_no_folds():
    assert resolve({"effort": "best"}, SMALL, 60_000).folds == 1
    with pytest.raises(UserError, match="folds are for tables"):
        resolve({"folds": 3}, SMALL, 60_000)


@pytest.mark.parametrize(
    ("effort", "rows", "folds"),
    [
        *(("fast", 500, 1), ("balanced", 49, 1), ("balanced", 50, 5), ("balanced", 5_000, 1)),
        *(("best", 49, 1), ("best", 50, 10), ("best", 4_999, 10), ("best", 5_000, 1)),
    ],
)
def test_small_tables_are_folded(effort, rows, folds):
    assert resolve({"effort": effort}, TABLE, rows).folds == folds


def test_wide_small_tables_are_seen_in_pieces():
    wide = Schema(tuple(Input(f"c{i}", "number") for i in range(20)), TABLE.targets)
    assert resolve({}, wide, 1_000).piecewise
    assert resolve({}, wide, 1_000).dropout > resolve({}, TABLE, 1_000).dropout
    for schema, options, rows in ((TABLE, {}, 1_000), (wide, {}, 5_000), (wide, {"piecewise": False}, 1_000)):
        assert not resolve(options, schema, rows).piecewise


def test_json_and_back():
    for schema in (TABLE, SMALL, PHOTO):
        config = resolve({"target_weights": {"y": 2}}, schema, 100)
        assert FitConfig.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False))) == config
        assert resolve(config.to_json(), schema, 7) == config


@pytest.mark.parametrize(
    ("options", "parsed"),
    [
        ({"epochs": "3"}, {"epochs": 3}),
        ({"epochs": "3.0"}, {"epochs": 3}),
        ({"epochs": 3.0}, {"epochs": 3}),
        ({"learning_rate": "1e-3"}, {"learning_rate": 0.001}),
        ({"channels_last": "Yes"}, {"channels_last": True}),
        ({"channels_last": False}, {"channels_last": False}),
        ({"target_weights": '{"y": 2}'}, {"target_weights": {"y": 2.0}}),
        ({"target_weights.y": "2", "target_weights.z": 1}, {"target_weights": {"y": 2.0, "z": 1.0}}),
        ({"target_weights": {"y": 1}, "target_weights.z": 3}, {"target_weights": {"y": 1.0, "z": 3.0}}),
        ({"backbone_options.pad_type": "same"}, {"backbone_options": {"pad_type": "same"}}),
        ({"backbone_options": '{"drop_path_rate": "0.1"}'}, {"backbone_options": {"drop_path_rate": "0.1"}}),
        ({"target_weights.a.b": 1}, {"target_weights": {"a.b": 1.0}}),
        ({}, {}),
    ],
)
def test_parse_options(options, parsed):
    assert parse_options(options) == parsed


def test_options_that_are_given_are_not_changed():
    given = {"target_weights": {"y": 1.0}, "target_weights.z": 3}
    parse_options(given)
    assert given == {"target_weights": {"y": 1.0}, "target_weights.z": 3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs: must be a whole number, got 'many'"),
        ({"epochs": 2.5}, "whole number"),
        ({"epochs": True}, "whole number"),
        ({"epochs": None}, "whole number"),
        ({"epochs": "inf"}, "whole number"),
        ({"epochs": "nan"}, "whole number"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs.x": 2}, "'epochs' is one value"),
        ({"learning_rate": "nan"}, "must be a number"),
        ({"learning_rate": math.inf}, "must be a number"),
        ({"learning_rate": 0}, "above 0"),
        ({"learning_rate": -1}, "above 0"),
        ({"clip": 0}, "above 0"),
        ({"dropout": 1}, "below 1"),
        ({"dropout": -0.1}, "at least 0"),
        ({"validation": 1}, "below 1"),
        ({"validation": 0.6, "test": 0.5}, "leave no rows"),
        ({"batch_size": 0}, "at least 1"),
        ({"threads": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"seed": 10**20}, "seed must be"),
        ({"channels_last": "perhaps"}, "true or false"),
        ({"backbone": 3}, "must be text"),
        ({"effort": "fastt"}, "did you mean 'fast'"),
        ({"class_weight": "balancd"}, "did you mean 'balanced'"),
        ({"device": "gpu"}, "device must be one of"),
        ({"precision": "float8"}, "precision must be one of"),
        ({"objective": "f1"}, "objective must be one of"),
        ({"monitor": "accuracy"}, "must be 'loss' or TARGET/METRIC"),
        ({"monitor": "/loss"}, "must be 'loss' or TARGET/METRIC"),
        ({"monitor": "z/accuracy"}, "no target 'z'"),
        ({"target_weights": {"z": 1}}, "no target 'z'"),
        ({"target_weights": {"y": "x"}}, "must be a number"),
        ({"backbone_options": "pad_type=same"}, "set by name, as in backbone_options.NAME=VALUE"),
        ({"target_weights": {"y": -1}}, "must be at least 0"),
        ({"target_weights": "[]"}, "target_weights"),
        ({"target_weights": "{"}, "target_weights"),
        ({"target_weights": 3}, "target_weights"),
        ([], "must be an object"),
    ],
)
def test_nonsense_is_refused_in_a_line(options, words):
    assert words in refused(options)


@pytest.mark.parametrize(
    ("said", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", 8), ("", 8)],
)
def test_the_limits_of_a_container_are_seen(said, cores, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    if said:
        (tmp_path / "cpu.max").write_text(f"{said}\n")
        (tmp_path / "memory.max").write_text("1000000000\n")
        assert half_of_memory() == 0.5
    assert num_cores() == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert num_cores() == 5
