"""Bundles of the first format, which an earlier manyhot wrote, answer as they did then.

`tests/bundles` has two of them, each with the answers of then; their rows are made by benchmarks/golden.py.
What else that format could say is written here in its words, from a bundle of today.
"""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_weights import photos, state, tuned

import manyhot
from manyhot import files
from manyhot.bundle import CHECKED
from manyhot.errors import UserError
from manyhot.train.select import Selection

HERE = Path(__file__).parent
CLOSE = 1e-4  # between processors; on one and the same machine it is 2e-7


def golden():
    spec = importlib.util.spec_from_file_location("golden", HERE.parent / "benchmarks" / "golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["small_pictures", "sets"])
def test_a_bundle_of_the_first_format_answers_as_it_did(name):
    made = golden()
    data = made.small_pictures() if name == "small_pictures" else made.mixed_table(empty=0.05)
    found = made.answers(manyhot.load(HERE / "bundles" / name), manyhot.read(data))
    for key, wanted in np.load(HERE / "bundles" / f"{name}.npz").items():
        if key.startswith("p/"):
            assert np.abs(found[key] - wanted).max() < CLOSE
        else:
            assert (found[key] == wanted).mean() > 0.99  # a probability of nearly 0.5 may fall either way


def test_tuning_a_bundle_of_the_first_format_leaves_a_whole_one(tmp_path):
    folder = shutil.copytree(HERE / "bundles" / "sets", tmp_path / "m")
    table = manyhot.read(golden().mixed_table(empty=0.05))
    tuned_one = manyhot.load(folder).tune(table, "micro_f1")
    tuned_one.update(folder)
    again = manyhot.load(folder)
    assert again.schema == tuned_one.schema
    assert again.schema.targets[0].decision.objective == "micro_f1"


def as_it_was(self, predictor):
    """Answer by the mean of probabilities, as models of the first format do."""
    predictor.ensemble = replace(predictor.ensemble, pooled="probabilities")
    return predictor


def in_the_first_format(folder):
    """Write a bundle as the first format had it: the ensemble told by the names of its tensors alone."""
    declared = json.loads((folder / "predictor.json").read_text())
    starts = {"network": "", "pretrained": "before."}
    tensors = {}
    for name, value in load_file(folder / "weights.safetensors").items():
        first, second, rest = name.split(".", 2)
        if first == "encoders":
            tensors[f"{starts[second]}backbone.{rest}"] = value
        else:
            member = declared["members"][int(second)]
            rest = rest.replace("keys", "rows").replace("values", "votes")
            tensors[f"{starts[member['encoder']]}{member['kind']}.{rest}"] = value
    save_file(tensors, folder / "weights.safetensors")
    schema = json.loads((folder / "schema.json").read_text())
    for target in schema["targets"]:
        target |= target.pop("decision") | {"sets": target.pop("label_sets")}
        for key in ("positive", "promised", "coverage"):
            del target[key]
    (folder / "schema.json").write_text(json.dumps(schema))
    config = json.loads((folder / "config.json").read_text())
    config["heads_first"], config["members"] = config.pop("linear_probe"), config.pop("tabm_members")
    config["mixing"], config["erasing"] = config.pop("mixup"), config.pop("random_erasing")
    config["sets"] = config.pop("label_sets")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "predictor.json").unlink()
    sign(folder)


def sign(folder):
    checksums = {name: files.checksum(folder / name) for name in CHECKED[1]}
    manifest = {"format": 1, "manyhot": "0.1.0", "checksums": checksums}
    (folder / "manyhot.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("views", [1, 2])
def test_a_first_format_of_several_members_answers_the_same(tmp_path, monkeypatch, views, log_lines):
    values = iter(range(1_000))
    monkeypatch.setattr(Selection, "score", lambda self, predictor: float(next(values)))
    monkeypatch.setattr(Selection, "_in_views", as_it_was)
    path, _ = state(tmp_path)
    model = tuned(path, out=tmp_path / "m", views=views)
    assert len(model.bundle.predictor.ensemble.members) == 4
    in_the_first_format(tmp_path / "m")
    again = manyhot.load(tmp_path / "m")
    assert again.bundle.predictor.ensemble.to_json()["views"] == views
    found, wanted = (m.predict_proba(photos())["label"] for m in (again, model))
    assert np.abs(found - wanted).max() < 1e-6
    assert not any("is called" in line for line in log_lines)  # nobody gave these settings


def test_what_answers_by_counts_is_refused_in_a_line(tmp_path):
    folder = shutil.copytree(HERE / "bundles" / "sets", tmp_path / "m")
    tensors = load_file(folder / "weights.safetensors")
    save_file(
        {**tensors, "offsets.0.weight": np.zeros((1, 2, 3), np.float32)}, folder / "weights.safetensors"
    )
    sign(folder)
    with pytest.raises(UserError, match=r"naive Bayes of counts too, .* train it again"):
        manyhot.load(folder)
