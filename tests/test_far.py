"""Rows far from all that training saw, and what stays possible: alike wherever a model answers."""

import json

import numpy as np
import pytest
from making import features
from serving import application, ask

import manyhot
from manyhot.data.table import from_python
from manyhot.ensemble import FAR
from manyhot.export import writing
from manyhot.graph import open_graph
from manyhot.model.far import spread
from manyhot.predict import far_rows, predict
from manyhot.serve import rows as serving
from manyhot.serve.served import Served

QUICK = {"effort": "fast", "epochs": 2, "members": "network,linear", "verbose": False}
KINDS = np.array(["oak", "elm", "ash"])


def trees(rng, rows):
    kind = rng.integers(0, 3, rows)
    columns = {
        "height": rng.normal(size=rows) + kind,
        "width": rng.normal(size=rows),
        "soil": rng.choice(["sand", "clay"], rows),
    }
    return columns | {"kind": KINDS[kind], "marks": np.where(columns["width"] > 0, "a;b", "a")}


@pytest.fixture(scope="module")
def model():
    table = from_python(trees(np.random.default_rng(0), 500))
    return manyhot.fit(table, manyhot.infer(table, ["kind"], tags="marks"), coverage=0.9, **QUICK)


def far(model, columns):
    bundle = model.bundle
    return far_rows(bundle.schema, predict(bundle, from_python(columns)).probabilities)


def test_about_one_new_row_in_a_hundred_is_far(model):
    assert far(model, trees(np.random.default_rng(1), 4_000)).mean() < 0.02


@pytest.mark.parametrize(
    "change", [{"height": 90.0}, {"width": -70.0}, {"soil": "moon"}], ids=["above", "below", "unseen"]
)
def test_what_training_never_saw_is_far(model, change):
    columns = trees(np.random.default_rng(2), 50)
    columns |= {name: np.full(50, value, object) for name, value in change.items()}
    assert far(model, columns).mean() > 0.95


def test_rows_unlike_training_are_told(model, log_lines):
    columns = trees(np.random.default_rng(2), 50)
    model.predict(columns)
    assert not any("unlike" in line for line in log_lines)
    model.predict({**columns, "height": np.full(50, 1e6)})
    assert any(
        "50 of 50 rows (100%) are unlike all that the model learned from" in line for line in log_lines
    )


def test_noise_is_far_from_pictures():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = rng.integers(0, 40, (300, 10, 10, 1)).astype(np.uint8)
    x[y == 0, :5] += 150
    x[y == 1, :, :5] += 150
    found = manyhot.fit((x[:260], KINDS[y[:260]]), epochs=3, validation=0.4, verbose=False)
    limits, seen = found.schema.far, lambda pixels: predict(found.bundle, manyhot.read(pixels))
    assert limits.rows >= 100
    noise = rng.integers(0, 256, (100, 10, 10, 1)).astype(np.uint8)
    assert far_rows(found.schema, seen(noise).probabilities).mean() > 0.9
    assert far_rows(found.schema, seen(x[260:]).probabilities).mean() < 0.1


def test_few_rows_tell_nothing():
    table = from_python(features(40) | {"y": ["a", "b"] * 20})
    assert manyhot.fit(table, ["y"], **QUICK).schema.far is None


def test_a_bent_number_is_spread_again():
    import torch

    from manyhot.data.inputs.features import _squash

    z = np.array([-40.0, -1.5, 0.0, 0.3, 5.0])
    found = spread(torch.from_numpy(_squash(z)))
    np.testing.assert_allclose(found, z, rtol=1e-3)


def test_the_graph_the_folder_and_the_server_say_the_same(model, tmp_path):
    columns = trees(np.random.default_rng(3), 200)
    columns["height"][:5] = 1e3
    table = from_python({name: cells for name, cells in columns.items() if name not in ("kind", "marks")})
    model.save(tmp_path / "m")
    writing.write(model.bundle, tmp_path / "model.onnx", {})
    graph, wanted = open_graph(tmp_path / "model.onnx"), model.answers(table)
    assert {"kind_set", "kind_unsure", "marks_set", "marks_unsure"} <= {*wanted.names}
    for other in (manyhot.load(tmp_path / "m"), manyhot.load(tmp_path / "model.onnx")):
        found = other.answers(table)
        for name in wanted.names:
            if name.endswith(("_set", "_unsure")) or name in ("kind", "marks"):
                assert found.column(name).to_pylist() == wanted.column(name).to_pylist(), name
    served = Served("m", graph, graph, "f")
    given = [
        dict(zip(table.names, cells, strict=True)) for cells in zip(*map(table_cells(table), table.names))
    ]
    lines = serving.answers(served.schema, *served.answers(given, False), len(given))
    json.dumps(lines)
    for line, of_kind, doubt in zip(
        lines, wanted.column("kind_set").to_pylist(), wanted.column("kind_unsure").to_pylist(), strict=True
    ):
        answer = line["answers"]["kind"]
        assert answer["answer"] in answer["set"]
        assert (";".join(answer["set"]), answer["unsure"] or None) == (of_kind, doubt)
    assert all("far from" in line["answers"]["marks"]["unsure"] for line in lines[:5])
    assert FAR not in lines[0]["answers"]
    # and by the Open Inference Protocol, as JSON and as bytes
    tensors = [
        {
            "name": i.name,
            "shape": [200],
            "datatype": "FP64" if i.kind == "number" else "BYTES",
            "data": table.column(i.name).to_pylist(),
        }
        for i in served.schema.inputs
    ]
    with application(served) as app:
        assert [each["name"] for each in ask(app, "GET", "/v2/models/m").json["outputs"]] == [
            *("kind", "marks", "kind.answer", "marks.answer"),
            *("kind_set", "kind_unsure", "marks_set", "marks_unsure"),
        ]
        reply = ask(app, "POST", "/v2/models/m/infer", {"inputs": tensors})
        packed = ask(
            app,
            "POST",
            "/v2/models/m/infer",
            {"inputs": tensors, "outputs": [{"name": "kind_set", "parameters": {"binary_data": True}}]},
        )
    outputs = {each["name"]: each for each in reply.json["outputs"]}
    for target in served.schema.targets:
        sets = outputs[f"{target.name}_set"]
        assert (sets["datatype"], sets["shape"]) == ("BOOL", [200, len(target.classes)])
        for row, line in zip(np.reshape(sets["data"], sets["shape"]), lines, strict=True):
            assert [target.classes[c] for c in np.flatnonzero(row)] == line["answers"][target.name]["set"]
        doubts = outputs[f"{target.name}_unsure"]
        assert doubts["data"] == [line["answers"][target.name]["unsure"] for line in lines]
    sets = outputs["kind_set"]["data"]
    assert packed.body.endswith(np.array(sets, bool).tobytes())


def table_cells(table):
    return lambda name: table.column(name).to_pylist()


def test_sets_hold_the_right_class_of_new_rows(model):
    judged = model.judge(from_python(trees(np.random.default_rng(4), 3_000)), "all")
    for name in ("kind", "marks"):
        found = judged.details()["coverage"][name]
        assert found["level"] == 0.9
        assert found["covered"] > 0.85
        assert found["size"] >= 1


def test_tuning_adds_and_removes_what_is_possible(model):
    table = from_python(trees(np.random.default_rng(5), 400))
    without = model.tune(table, coverage=0, split="all")
    assert all(target.decision.coverage is None for target in without.schema.targets)
    wider = without.tune(table, "macro_f1", coverage=0.99, split="all", targets=["marks"])
    assert wider.schema.target("marks").decision.coverage.level == 0.99
    assert wider.schema.target("marks").decision.objective == "macro_f1"
    assert wider.schema.target("kind").decision.coverage is None


def test_rows_that_were_chosen_promise_nothing(model, log_lines):
    columns = trees(np.random.default_rng(6), 100)
    columns["suggested"] = np.where(np.arange(100) < 60, "unsure", "random")
    tuned = model.tune(from_python(columns), coverage=0.8, split="all")
    assert tuned.schema.targets[0].decision.coverage.rows == 40
    assert any("60 of 100 rows promise nothing of new ones" in line for line in log_lines)
    with pytest.raises(ValueError, match="no row can promise anything of new ones"):
        model.tune(from_python(columns | {"suggested": ["unsure"] * 100}), coverage=0.8, split="all")


@pytest.mark.parametrize("share", [1, -0.1, 2])
def test_a_coverage_is_a_share(model, share):
    with pytest.raises(ValueError, match="must be at least 0 and below 1"):
        model.tune(from_python(trees(np.random.default_rng(5), 40)), coverage=share)
