"""Every mechanism is part of one graph that takes any number of rows and answers as the predictor does."""

import numpy as np
import pytest
import torch
from making import features, label_columns
from test_weights import SMALL, photos, state

import manyhot
from manyhot.train import select

ROWS = 60
TABLES = {  # mechanism → settings of a fit of a table
    "heads": {"folds": 1, "label_sets": 0},
    "powerset": {"folds": 1, "label_sets": 8},
    "folds": {"folds": 3},
    "pieces": {"folds": 1, "piecewise": True},
    "linear": {"folds": 1, "backbone": "linear"},
    "tabm": {"folds": 1, "backbone": "tabm", "tabm_members": 4},
    "folds of tabm": {"folds": 3, "backbone": "tabm", "tabm_members": 4},
    "forest, linear": {"folds": 1, "validation": 0.5, "members": "network,forest,linear"},
    "folds of all": {"folds": 3, "members": "network,forest,linear"},
}


def exported(predictor, x):
    """The graph of a predictor, exported at the shape of x with any number of rows."""
    rows = torch.export.Dim("rows", min=1, max=1 << 20)
    return torch.export.export(predictor.eval(), (x,), dynamic_shapes=({0: rows},)).module()


def check(predictor, x):
    """The same logits, bit for bit, for as many rows as were exported, for fewer and for one."""
    x = torch.from_numpy(np.asarray(x))
    with torch.no_grad():
        graph = exported(predictor, x[:4])
        for count in (len(x), 3, 1):
            found, wanted = graph(x[:count]), predictor(x[:count])
            assert found.keys() == wanted.keys()
            for name in wanted:
                assert (found[name] - wanted[name]).abs().max() == 0, name


@pytest.mark.parametrize("mechanism", TABLES)
def test_tables(monkeypatch, mechanism):
    columns = features(ROWS) | label_columns("mixed", ROWS)
    table = manyhot.read(columns)
    schema = manyhot.infer(table, ["ripe", "fruit"], tags={"tags": None})
    settings = {"members": "network"} | TABLES[mechanism]
    if "forest" in mechanism or "all" in mechanism:
        monkeypatch.setattr(select, "greedy", lambda target, logits, *_: [1 / len(logits)] * len(logits))
    bundle = manyhot.fit(table, schema, epochs=1, effort="fast", **settings).bundle
    assert len(bundle.predictor.ensemble.members) == len(settings["members"].split(","))
    check(bundle.predictor, bundle.inputs.transform(table)[0])


def test_small_colour_pictures_mirrored():
    rng = np.random.default_rng(0)
    data = (rng.integers(0, 255, (40, 12, 12, 3), dtype=np.uint8), ["a", "b"] * 20)
    options = {"mirror": "yes", "views": 2, "precision": "float32"}
    bundle = manyhot.fit(data, ["label"], epochs=1, **options).bundle
    assert bundle.config.backbone == "resnet9"
    check(bundle.predictor, data[0][:8])


@pytest.mark.parametrize("views", [1, 5])
def test_small_pictures_in_views(views):
    rng = np.random.default_rng(0)
    data = (rng.integers(0, 255, (40, 12, 12, 1), dtype=np.uint8), ["a", "b"] * 20)
    bundle = manyhot.fit(data, ["label"], epochs=1, views=views, precision="float32").bundle
    check(bundle.predictor, data[0][:8])


@pytest.mark.parametrize("members", ["network", "network,pretrained", "network,pretrained,neighbours"])
@pytest.mark.parametrize("views", [1, 2])
def test_photos_with_all_members(tmp_path, monkeypatch, members, views):
    from manyhot.train.select import Selection

    # Each candidate stays, whether or not it helps these few pictures.
    values = iter(range(1_000))
    monkeypatch.setattr(Selection, "score", lambda self, predictor: float(next(values)))
    path, _ = state(tmp_path)
    options = {"epochs": 1, "effort": "fast", "linear_probe": True, "views": views, "members": members}
    bundle = manyhot.fit(photos(), ["label"], backbone=SMALL, weights=str(path), **options).bundle
    kinds = {member.kind for member in bundle.predictor.ensemble.members}
    assert kinds == ({"heads", "neighbours"} if "neighbours" in members else {"heads"})
    assert len(bundle.predictor.ensemble.encoders) == (1 if members == "network" else 2)
    check(bundle.predictor, bundle.inputs.transform(manyhot.read(photos()))[0][:8])


def test_groups():
    columns = {"x": [0.0, 0.1, 0.2, 5.1, 5.2, 5.3], "y": [0.0, 0.1, 0.0, 9.1, 9.0, 9.2]}
    bundle = manyhot.cluster(columns, clusters=2).bundle
    check(bundle.predictor, bundle.inputs.transform(manyhot.read(columns))[0])
