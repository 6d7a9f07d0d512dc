"""Every mechanism is part of one ONNX graph that takes any number of rows and answers as the model does."""

import numpy as np
import pytest
from making import features, label_columns
from test_weights import SMALL, photos, state

import manyhot
from manyhot.export import writing
from manyhot.graph import open_graph
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
    "folds of all": {"folds": 3, "members": "network,forest,boosted,linear"},
}


def check(bundle, x, folder):
    """The exported graph gives the same probabilities, for all rows, for fewer and for one."""
    path = folder / "model.onnx"
    writing.write(bundle, path, {})
    graph = open_graph(path)
    assert (graph.schema, graph.inputs) == (bundle.schema, bundle.inputs)
    for count in (len(x), 3, 1):
        found, wanted = graph.probabilities(x[:count]), bundle.probabilities(x[:count])
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


@pytest.mark.parametrize("mechanism", TABLES)
def test_tables(tmp_path, monkeypatch, mechanism):
    columns = features(ROWS) | label_columns("mixed", ROWS)
    table = manyhot.read(columns)
    schema = manyhot.infer(table, ["ripe", "fruit"], tags={"tags": None})
    settings = {"members": "network"} | TABLES[mechanism]
    if "forest" in mechanism or "all" in mechanism:
        monkeypatch.setattr(select, "greedy", lambda target, logits, *_: [1 / len(logits)] * len(logits))
    bundle = manyhot.fit(table, schema, epochs=1, effort="fast", **settings).bundle
    assert len(bundle.predictor.ensemble.members) == len(settings["members"].split(","))
    check(bundle, bundle.inputs.transform(table)[0], tmp_path)


def test_small_colour_pictures_mirrored(tmp_path):
    rng = np.random.default_rng(0)
    data = (rng.integers(0, 255, (40, 12, 12, 3), dtype=np.uint8), ["a", "b"] * 20)
    options = {"mirror": "yes", "views": 2, "precision": "float32"}
    bundle = manyhot.fit(data, ["label"], epochs=1, **options).bundle
    assert bundle.config.backbone == "resnet9"
    check(bundle, data[0][:8], tmp_path)


@pytest.mark.parametrize("views", [1, 5])
def test_small_pictures_in_views(tmp_path, views):
    rng = np.random.default_rng(0)
    data = (rng.integers(0, 255, (40, 12, 12, 1), dtype=np.uint8), ["a", "b"] * 20)
    bundle = manyhot.fit(data, ["label"], epochs=1, views=views, precision="float32").bundle
    check(bundle, data[0][:8], tmp_path)


@pytest.mark.parametrize(
    ("members", "views"), [("network", 1), ("network,pretrained", 2), ("network,pretrained,neighbours", 2)]
)
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
    check(bundle, photos()[0][:8], tmp_path)


def test_groups(tmp_path):
    columns = {"x": [0.0, 0.1, 0.2, 5.1, 5.2, 5.3], "y": [0.0, 0.1, 0.0, 9.1, 9.0, 9.2]}
    bundle = manyhot.cluster(columns, clusters=2).bundle
    check(bundle, bundle.inputs.transform(manyhot.read(columns))[0], tmp_path)
