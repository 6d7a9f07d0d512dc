"""Networks of members: each is trained without its fold, and judged by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making import QUICK

import manyhot
from manyhot.config import FitConfig
from manyhot.data.batches.loader import Loader
from manyhot.data.inputs.features import Feature, TableInputs, table_inputs
from manyhot.errors import UserError
from manyhot.model import inference, losses
from manyhot.model.dropout import Dropout
from manyhot.model.members import MemberLinear, linear
from manyhot.model.network import Network, build
from manyhot.model.predictor import Predictor, views
from manyhot.predict import out_of_fold
from manyhot.schema import Target
from manyhot.targets import UNKNOWN
from manyhot.train.prepare import prepare

PET = Target("pet", "multiclass", ("cat", "dog", "cow"), ("pet",))
INPUTS = TableInputs((Feature("x0", "number"), Feature("x1", "number")))


def table(rows=120):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    return manyhot.read(
        {
            "x0": x[:, 0],
            "x1": x[:, 1],
            "pet": np.where(x[:, 0] > 0, "cat", "dog"),
            "tags": np.where(x[:, 1] > 0, "a;b", "c"),
        }
    )


def test_each_member_is_a_linear_layer_of_its_own():
    torch.manual_seed(0)
    layer, x = MemberLinear(3, 4, 2), torch.randn(5, 4)
    for member in range(3):
        wanted = x @ layer.weight[member] + layer.bias[member]
        assert torch.allclose(layer(x)[:, member], wanted, atol=1e-6)
    each = torch.randn(5, 3, 4)
    assert torch.allclose(layer(each)[:, 1], each[:, 1] @ layer.weight[1] + layer.bias[1], atol=1e-6)
    assert isinstance(linear(1, 4, 2), torch.nn.Linear)


def test_a_network_of_members_gives_logits_of_each():
    model = build(INPUTS, [PET], FitConfig(folds=3))
    logits = model(torch.randn(5, 2))["pet"]
    assert logits.shape == (5, 3, 3)
    assert model.features(torch.randn(5, 2)).shape == (5, 3, 256)


def test_a_member_learns_nothing_of_its_own_fold():
    options = {**QUICK, "folds": 3}
    ready = prepare(table(), manyhot.infer(table(), targets=["pet", "tags"]), options)
    rows = ready.of_part(0)
    assert len(rows) == 120
    assert sorted(set(ready.rows.fold.tolist())) == [0, 1, 2]
    loader = Loader(ready.x, ready.labels(rows), 8, 0, rows=rows, members=3, fold=ready.fold_of(rows))
    taught = {name: values.numpy() for name, values in loader.labels(torch.from_numpy(rows)).items()}
    assert taught["pet"].shape == (120, 3, 1)
    assert taught["tags"].shape == (120, 3, 3)
    for member in range(3):
        mine = ready.rows.fold == member
        assert (taught["pet"][mine, member] == UNKNOWN).all()
        assert (taught["pet"][~mine, member] == ready.rows.y["pet"][~mine]).all()
        assert (taught["tags"][mine, member] == UNKNOWN).all()
    model = build(ready.inputs, ready.schema.targets, ready.config)
    y = {name: torch.from_numpy(values.astype(np.int64)) for name, values in taught.items()}
    total, _ = losses.total(ready.schema.targets, model(torch.from_numpy(ready.x)), y)
    mine = np.flatnonzero(ready.rows.fold == 0)
    alone = {name: values[mine] for name, values in y.items()}
    model.zero_grad()
    losses.total(ready.schema.targets, model(torch.from_numpy(ready.x[mine])), alone)[0].backward()
    assert (model.heads[0].weight.grad[0] == 0).all()
    assert (model.heads[0].weight.grad[1] != 0).any()
    assert torch.isfinite(total)


def test_a_row_is_judged_by_the_member_that_never_saw_it():
    raw = {"pet": np.arange(24, dtype=np.float32).reshape(4, 3, 2)}
    found = out_of_fold(raw, np.array([2, 0, 1, 2], np.int8), 3, 3)["pet"]
    assert found.tolist() == [[raw["pet"][i, m].tolist()] for i, m in enumerate([2, 0, 1, 2])]
    views = np.stack([raw["pet"], raw["pet"] + 100], axis=1).reshape(4, 6, 2)  # those of a view together
    found = out_of_fold({"pet": views}, np.array([2, 0, 1, 2], np.int8), 3, 3)["pet"]
    assert found[1].tolist() == [raw["pet"][1, 0].tolist(), (raw["pet"][1, 0] + 100).tolist()]
    assert out_of_fold(raw, None, 3, 3) is raw


def test_a_folded_table_is_judged_by_rows_that_no_member_saw(tmp_path):
    targets = ["pet", "tags"]
    folded = manyhot.fit(table(), targets, out=tmp_path / "m", effort="best", epochs=3)
    assert folded.bundle.config.folds == 10
    assert folded.run.counts["train"] == 120
    assert len(folded.run.judged.table) == 120
    split = manyhot.read(tmp_path / "m" / "split.csv")
    assert sorted(set(split.column("fold").to_pylist())) == [str(fold) for fold in range(10)]
    again = manyhot.load(tmp_path / "m")
    for name in targets:
        assert (again.predict_proba(table())[name] == folded.predict_proba(table())[name]).all()
    assert manyhot.fit(table(), targets, epochs=1, effort="fast").bundle.config.folds == 1
    held = manyhot.fit(table(), targets, effort="best", epochs=1, validation=0.3)
    assert held.bundle.config.folds == 1
    assert len(held.run.judged.table) == 36


def test_given_validation_rows_come_before_folds():
    given = table().with_columns({"split": ["train"] * 90 + ["val"] * 30})
    model = manyhot.fit(given, ["pet"], effort="best", epochs=1)
    assert model.bundle.config.folds == 1
    assert len(model.run.judged.table) == 30


def test_what_is_judged_was_not_learned():
    """Labels drawn at random cannot be known, however well the training rows are learned by heart."""
    rng = np.random.default_rng(1)
    rows = {"x0": rng.normal(size=200), "x1": rng.normal(size=200), "y": rng.choice(["a", "b"], 200)}
    model = manyhot.fit(rows, ["y"], effort="best", epochs=60, weight_decay=0.0, patience=0)
    assert abs(model.run.judged.scores["targets"]["y"]["accuracy"] - 0.5) < 0.12


def test_one_group_alone_cannot_be_judged():
    rows = table().with_columns({"who": ["me"] * 120})
    with pytest.raises(UserError, match="no val rows"):
        manyhot.fit(rows, ["pet"], effort="best", group="who", epochs=1)


def test_folds_are_for_tables():
    with pytest.raises(UserError, match="folds are for tables"):
        manyhot.fit((np.zeros((9, 8, 8), np.uint8), ["a", "b", "c"] * 3), ["label"], folds=3)


def test_networks_without_members_stand_side_by_side():
    model = manyhot.fit(table(), ["pet"], backbone="linear", folds=3, epochs=20, weight_decay=0.0)
    assert model.bundle.predictor.encoders["network"].members == 3
    assert model.evaluate(table())["targets"]["pet"]["accuracy"] > 0.7


def test_pictures_are_judged_in_views_and_trained_in_one():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (40, 8, 8, 1), dtype=np.uint8)
    x[::2, :4] = 0
    data = (x, np.where(np.arange(40) % 2, "a", "b"))
    predictor = manyhot.fit(data, epochs=1, views=5).bundle.predictor
    predictor.ensemble = replace(predictor.ensemble, views=5)  # of so few rows one alone may be chosen
    pooled = predictor(torch.from_numpy(x))["label"]
    predictor.ensemble = replace(predictor.ensemble, pooled="probabilities")
    several = predictor(torch.from_numpy(x))["label"]
    assert several.shape == (40, 5, 1)
    assert torch.allclose(pooled, several.mean(1), atol=1e-5)
    network = Network(predictor.stem, predictor.encoders["network"], predictor.members[0])
    assert torch.allclose(network(torch.from_numpy(x))["label"], several[:, 0], atol=1e-5)


@pytest.mark.parametrize("seen", [1, 5])
def test_held_out_pictures_are_answered_once_and_as_new_ones_are(seen, monkeypatch):
    asked, logits = [], inference.logits

    def counted(model, x, progress=None):
        asked.append(len(x) if isinstance(model, Predictor) else 0)
        return logits(model, x, progress)

    monkeypatch.setattr(inference, "logits", counted)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (60, 8, 8, 1), dtype=np.uint8)
    x[::2, :4] = 0
    model = manyhot.fit((x, np.where(np.arange(60) % 2, "a", "b")), epochs=1, views=seen, validation=0.4)
    judged = model.run.judged
    assert [each for each in asked if each] == [len(judged.table)]
    again = model.predict_proba(judged.table)["label"]
    assert np.allclose(judged.probabilities["label"], again, atol=1e-6)


def test_a_view_is_the_picture_moved_by_a_pixel():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    moved = views(x, 5, False)
    assert torch.equal(moved[0], x)
    assert torch.equal(moved[1][..., 1:], x[..., :-1])
    assert torch.equal(moved[2][..., :-1], x[..., 1:])
    assert torch.equal(moved[3][..., 1:, :], x[..., :-1, :])
    assert torch.equal(moved[4][..., :-1, :], x[..., 1:, :])


def test_mirrored_pictures_are_moved_to_corners_too():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    moved = views(x, 6, True)
    assert torch.equal(moved[0], x)
    assert torch.equal(moved[2][..., 1:, 1:], x[..., :-1, :-1])
    assert torch.equal(moved[4][..., :-1, :-1], x[..., 1:, 1:])
    assert all(torch.equal(other, each.flip(3)) for each, other in zip(moved[::2], moved[1::2], strict=True))
    assert len(views(x, 2, True)) == 2


@pytest.mark.parametrize("views", [0, 7])
def test_how_many_views_there_can_be(views):
    with pytest.raises(UserError, match="views"):
        manyhot.fit((np.zeros((9, 8, 8), np.uint8), ["a", "b", "c"] * 3), views=views)


def test_tabm_has_members_that_share_rows_and_weights(tmp_path):
    options = {"backbone": "tabm", "epochs": 12, "batch_size": 16}
    model = manyhot.fit(table(), ["pet", "tags"], out=tmp_path / "m", **options)
    network, config = model.bundle.predictor, model.bundle.config
    assert config.tabm_members == network.encoders["network"].members == 16
    assert config.piecewise
    assert model.evaluate(table())["overall"]["exact_match"] > 0.8
    again = manyhot.load(tmp_path / "m")
    for name in ("pet", "tags"):
        assert (again.predict_proba(table())[name] == model.predict_proba(table())[name]).all()
    with torch.no_grad():
        logits = network(torch.randn(5, 2))["pet"]
    assert logits.shape == (5, 16, 1)
    assert len({round(value, 5) for value in logits[0, :, 0].tolist()}) == 16


def test_folds_of_tabm_are_judged_by_the_members_that_did_not_see_them():
    raw = {"pet": np.arange(4 * 6 * 1).reshape(4, 6, 1).astype(np.float32)}  # 3 folds of 2 members
    found = out_of_fold(raw, np.array([2, 0, 1, 2], np.int8), 3, 6)["pet"]
    assert found[:, :, 0].tolist() == [[4, 5], [6, 7], [14, 15], [22, 23]]
    model = manyhot.fit(table(), ["pet"], backbone="tabm", tabm_members=4, folds=3, epochs=2)
    assert model.bundle.predictor.encoders["network"].members == 12
    assert len(model.run.judged.table) == 120


def test_tabm_is_for_tables_with_members():
    with pytest.raises(UserError, match=r"tabm_members=1 with backbone .tabm.: .tabm. has 2 at least"):
        manyhot.fit(table(), ["pet"], backbone="tabm", tabm_members=1)
    with pytest.raises(UserError, match=r"tabm_members=3 with backbone .mlp."):
        manyhot.fit(table(), ["pet"], tabm_members=3)
    with pytest.raises(UserError, match="for tables"):
        manyhot.fit((np.zeros((9, 8, 8), np.uint8), ["a", "b", "c"] * 3), ["label"], backbone="tabm")


def test_dropout_keeps_its_share_and_the_mean():
    layer, x = Dropout(0.25), torch.ones(400, 500, requires_grad=True)
    torch.manual_seed(0)
    out = layer(x)
    assert sorted(set(out.flatten().tolist())) == [0, pytest.approx(4 / 3)]
    assert out.mean().item() == pytest.approx(1, abs=0.01)  # 200,000 draws: 8 deviations
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    torch.manual_seed(0)
    assert torch.equal(layer(x), out)
    assert layer.eval()(x) is x
    assert Dropout(0)(x) is x
    assert layer.train()(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("folds", [1, 3])
def test_a_perceptron_of_texts_begins_as_one_of_the_other_columns_alone(folds):
    cells = {"n": [i / 7 for i in range(40)], "said": ["good or bad", "one or two"] * 20, "y": [*"ab"] * 20}
    table = manyhot.read(cells)
    schema = manyhot.infer(table, ["y"], kinds={"said": "text"})
    inputs = table_inputs(schema, table, np.arange(40))
    config = FitConfig(backbone="mlp", folds=folds, dropout=0.0)
    network = build(inputs, schema.targets, config)
    x = torch.from_numpy(inputs.transform(table)[0])
    words = torch.tensor([feature.is_word for feature in inputs.features])
    assert words.sum() == 5
    assert torch.equal(network(x)["y"], network(torch.where(words, 0.0, x))["y"])
    first = network.backbone.layers[1].weight.abs().max().item()
    assert 0.5 < first <= 2**-0.5 + 1e-6  # drawn for two inputs: the number, and how long a text is
    network(x)["y"].sum().backward()
    learns = network.backbone.layers[1].weight.grad.abs()
    assert learns.max() > 0
    assert (learns > 0).any(dim=-1 if folds > 1 else 0).reshape(-1, 7).all()
