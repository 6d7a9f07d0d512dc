"""A model as a file of its own: what it says of itself, who reads it, and when it is refused."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from making import QUICK, SIDE, write_csv

import manyhot
from manyhot import bundle, graph
from manyhot.cli import main
from manyhot.data.sources.write import write
from manyhot.errors import UserError

EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_alone.py"
TABLE = {"a": [float(i % 7) for i in range(40)], "x": ["no", "yes"] * 20, "t.sets": ["u", "v", "w", "v"] * 10}


@pytest.fixture(scope="module")
def exported(fitted_tables, tmp_path_factory):
    """A model of a table that was exported; for reading only."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    shutil.copytree(fitted_tables / "model", folder)
    manyhot.load(folder).export()
    return folder


def test_a_model_that_was_exported_answers_as_before(exported, fitted_tables):
    before, after = manyhot.load(fitted_tables / "model"), manyhot.load(exported)
    alone = manyhot.load(exported / "model.onnx")
    assert before.bundle.graph is None
    assert after.bundle.graph is not None
    table = fitted_tables / "table.csv"
    for model in (after, alone):
        assert model.predict(table) == before.predict(table)
        for name, values in before.predict_proba(table).items():
            np.testing.assert_allclose(model.predict_proba(table)[name], values, atol=1e-5)
    assert after.evaluate(table, split="all")["rows"] == alone.evaluate(table, split="all")["rows"]


def test_the_file_says_all_that_an_answer_needs(exported):
    model = onnx.load(exported / "model.onnx")
    found = {item.key: json.loads(item.value) for item in model.metadata_props}
    assert {*found} == {
        f"manyhot.{key}"
        for key in ("format", "version", "fingerprint", "schema", "inputs", "predictor", "config", "card")
    }
    assert found["manyhot.schema"] == json.loads((exported / "schema.json").read_text())
    assert found["manyhot.inputs"] == json.loads((exported / "inputs.json").read_text())
    assert found["manyhot.card"]["rows"]["train"] > 0
    assert found["manyhot.card"]["scores"]["rows"] > 0


def test_the_file_tells_nothing_of_the_machine(exported):
    model = onnx.load(exported / "model.onnx")
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert str(exported.parent).encode() not in (exported / "model.onnx").read_bytes()
    assert b"site-packages" not in (exported / "model.onnx").read_bytes()


def test_any_name_may_be_a_target(tmp_path):
    """Names that the graph has too, and one that the output of sets would have."""
    table = TABLE | {"t": ["u;v", "v", "u;v", "[]"] * 10}
    model = manyhot.fit(table, ["x", "t.sets", "t"], label_sets=10, **QUICK)
    assert model.schema.target("t").structure == "powerset"
    file = model.export(tmp_path / "odd.onnx").path
    assert manyhot.load(file).predict(table) == model.predict(table)


def test_pictures_of_arrays(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (30, SIDE, SIDE), dtype=np.uint8)
    model = manyhot.fit((x, ["a", "b"] * 15), ["label"], **QUICK)
    file = model.export(tmp_path / "pictures.onnx").path
    assert manyhot.load(file).predict(x) == model.predict(x)
    assert manyhot.load(file).predict(x[0]) == {"label": model.predict(x)["label"][:1]}


def test_a_model_goes_to_another_process(exported, fitted_tables):
    for folder in (exported, fitted_tables / "model"):
        model = manyhot.load(folder)
        there = pickle.loads(pickle.dumps(model))
        assert (there.bundle.graph is None) == (model.bundle.graph is None)
        assert there.predict(fitted_tables / "table.csv") == model.predict(fitted_tables / "table.csv")


def test_a_file_of_rows_is_answered_in_pieces(exported, fitted_tables, tmp_path):
    """The key of what is answered already needs no weights, of which a file alone has none."""
    write(manyhot.read(fitted_tables / "table.csv"), tmp_path / "rows.parquet")
    for number, model in enumerate((exported, exported / "model.onnx")):
        out = tmp_path / f"{number}.parquet"
        assert main(["predict", str(model), str(tmp_path / "rows.parquet"), "--out", str(out)]) == 0
        assert (
            manyhot.read(out).column("fruit").to_pylist()
            == manyhot.load(model).predict(fitted_tables / "table.csv")["fruit"]
        )
    before = manyhot.load(fitted_tables / "model").bundle.fingerprint()
    assert manyhot.load(exported).bundle.fingerprint() == before


def test_new_thresholds_take_the_graph_with_them(exported, fitted_tables, tmp_path, capsys):
    folder = shutil.copytree(exported, tmp_path / "model")
    tuned = [
        "tune",
        str(folder),
        str(fitted_tables / "table.csv"),
        "--objective",
        "macro_f1",
        "--split",
        "all",
    ]
    assert main(tuned) == 0
    assert f"its model.onnx is gone, since it had the old thresholds: manyhot export {folder}" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert not (folder / "model.onnx").exists()
    assert manyhot.load(folder).bundle.graph is None
    assert main(["export", str(folder), "--json"]) == 0
    assert manyhot.load(folder).bundle.graph.schema == manyhot.load(folder).schema


def test_a_changed_graph_is_refused(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(UserError, match=r"model\.onnx was changed since"):
        manyhot.load(folder)
    with pytest.raises(UserError, match="delete it, and export the model again"):
        manyhot.load(folder)


def test_without_its_graph_a_folder_answers_by_its_weights(exported, fitted_tables, tmp_path):
    folder, table = shutil.copytree(exported, tmp_path / "model"), fitted_tables / "table.csv"
    wanted = manyhot.load(folder).predict_proba(table)
    (folder / "model.onnx").unlink()
    model = manyhot.load(folder)
    assert model.bundle.graph is None
    for name, values in model.predict_proba(table).items():
        np.testing.assert_allclose(values, wanted[name], atol=1e-4)
    assert main(["export", str(folder), "--json"]) == 0
    assert manyhot.load(folder).bundle.graph is not None


@pytest.mark.parametrize("moment", ["replace", "write_json"])
def test_an_export_that_is_killed_leaves_a_model_that_answers(
    exported, fitted_tables, tmp_path, monkeypatch, moment
):
    folder = shutil.copytree(exported, tmp_path / "model")
    left = folder / ".model.onnx.killed.part"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))

    def replaced(*_):
        raise KeyboardInterrupt

    def export(path):
        path.write_bytes(b"another")
        if moment == "replace":
            monkeypatch.setattr(Path, "replace", replaced)
        else:
            original = bundle.write_json
            after = iter([original])
            monkeypatch.setattr(bundle, "write_json", lambda *a: next(after, replaced)(*a))

    with pytest.raises(KeyboardInterrupt):
        bundle.add_graph(folder, export)
    monkeypatch.undo()
    assert not [*folder.glob("*.part"), *folder.glob(".*.part")]
    manyhot.load(folder).predict(fitted_tables / "table.csv")


def foreign(path):
    """Another program's graph."""
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 1]) for name in "xy")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y]), ir_version=10), path)


@pytest.mark.parametrize("kind", ["none", "text", "empty", "foreign", "cut", "newer", "lying"])
def test_what_is_no_graph_of_ours_is_refused(exported, tmp_path, capsys, kind):
    path = tmp_path / "odd.onnx"
    data = (exported / "model.onnx").read_bytes()
    if kind == "foreign":
        foreign(path)
    elif kind in ("newer", "lying"):
        model = onnx.load_from_string(data)
        found = {item.key: item.value for item in model.metadata_props}
        change = {"newer": {"manyhot.format": "99"}, "lying": {"manyhot.schema": '{"inputs": []}'}}[kind]
        onnx.helper.set_model_props(model, found | change)
        onnx.save(model, path)
    elif kind != "none":
        path.write_bytes({"text": b"hello", "empty": b"", "cut": data[: len(data) // 2]}[kind])
    assert main(["predict", str(path), str(write_csv(tmp_path / "t.csv", {"a": ["1"]}))]) == 2
    said = capsys.readouterr().err.strip()
    assert str(path) in said
    assert "Traceback" not in said
    assert "\n" not in said
    assert len(said) < 300


def test_a_file_alone_names_the_folder_it_came_from(exported, fitted_tables, capsys):
    file, table = str(exported / "model.onnx"), str(fitted_tables / "table.csv")
    for words in (["export", file], ["tune", file, table, "--objective", "macro_f1", "--split", "all"]):
        assert main(words) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.endswith("is an exported file, which only answers; name the folder it came from.")


def test_a_file_alone_does_not_know_what_trained_it(exported, fitted_tables, capsys):
    note = "which rows trained this model is not known"
    for model in (exported / "model.onnx", exported):
        assert main(["evaluate", str(model), str(fitted_tables / "table.csv")]) == 0
        assert (note in capsys.readouterr().err) == (model != exported)


def lie(exported, path, key, change):
    """A graph whose metadata was changed by hand."""
    model = onnx.load(exported / "model.onnx")
    found = {item.key: item.value for item in model.metadata_props}
    document = json.loads(found[f"manyhot.{key}"])
    change(document)
    onnx.helper.set_model_props(model, found | {f"manyhot.{key}": json.dumps(document)})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("inputs", lambda inputs: inputs["features"].pop()),
        ("inputs", lambda inputs: inputs["features"][0].update(kind=["number"])),
        ("inputs", lambda inputs: inputs["features"][0].update(kind="colour")),
        ("inputs", lambda inputs: inputs["features"][0].update(scale=[])),
        ("inputs", lambda inputs: inputs["features"][-1].update(classes=["a", None])),
        ("inputs", lambda inputs: inputs["features"].insert(0, None)),
        ("schema", lambda schema: schema["targets"][1]["classes"].pop()),
        ("schema", lambda schema: schema["targets"][1].update(name="other")),
        ("predictor", lambda predictor: predictor.update(views=float("inf"))),
    ],
)
def test_metadata_that_lie_are_refused_on_opening(exported, tmp_path, key, change):
    lie(exported, tmp_path / "odd.onnx", key, change)
    with pytest.raises(UserError) as refused:
        manyhot.load(tmp_path / "odd.onnx")
    assert "\n" not in refused.value.typed


def test_a_graph_that_gives_what_it_does_not_declare_is_refused(exported, fitted_tables, tmp_path):
    """Which onnxruntime does not see."""
    model = onnx.load(exported / "model.onnx")
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if each == name else each for each in node.output]
    model.graph.node.append(onnx.helper.make_node("Compress", ["before", "kept"], [name], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([True, False]), "kept"))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(UserError, match="not of the shape"):
        manyhot.load(tmp_path / "odd.onnx").predict(fitted_tables / "table.csv")


def test_an_operator_whose_name_is_no_text_is_refused_in_silence(exported, tmp_path, capsys):
    data = (exported / "model.onnx").read_bytes()
    (tmp_path / "odd.onnx").write_bytes(data.replace(b"Sigmoid", b"S\xff\xffmoid"))
    with pytest.raises(UserError, match="onnxruntime cannot run it"):
        manyhot.load(tmp_path / "odd.onnx")
    assert capsys.readouterr().out == ""


def test_a_graph_only_answers(exported, fitted_tables):
    alone = manyhot.load(exported / "model.onnx")
    for asked in (alone.embed, lambda table: alone.judge(table, split="folds")):
        with pytest.raises(UserError):
            asked(fitted_tables / "table.csv")
    assert "Classifier of" in repr(alone)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "model.txt"], "ends in .onnx"),
        (["--out", "there.onnx"], "exists already"),
        (["--format", "tflite"], "tflite"),
    ],
)
def test_an_export_that_cannot_be_is_refused(exported, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_bytes(b"mine")
    try:
        status = main(["export", str(exported), *words])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err
    assert said in error
    assert "making its graph" not in error
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_labelled_rows_are_for_int8_alone(exported, fitted_tables, tmp_path):
    with pytest.raises(UserError, match="which was not asked for"):
        manyhot.load(exported).export(tmp_path / "x.onnx", data=fitted_tables / "table.csv")


def test_the_cache_holds_a_copy_that_is_quicker(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    first = graph.open_graph(exported / "model.onnx")
    (copy,) = (tmp_path / "cache" / "graphs").iterdir()
    x = np.zeros((2, first.session.get_inputs()[0].shape[1]), np.float32)
    wanted = first.probabilities(x)
    for damage in (b"", b"rubbish"):
        second = graph.open_graph(exported / "model.onnx").probabilities(x)
        assert all(np.array_equal(second[name], wanted[name]) for name in wanted)
        copy.write_bytes(damage)
    graph.open_graph(exported / "model.onnx")
    assert copy.read_bytes() != damage  # made again
    assert [*copy.parent.iterdir()] == [copy]


def test_a_cache_that_cannot_be_written_costs_time_and_no_answer(exported, tmp_path, monkeypatch):
    (tmp_path / "cache").write_bytes(b"a file")
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    graph.open_graph(exported / "model.onnx")
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "full"))

    def full(path, write, sync=True):
        write(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(graph.files, "write_with", full)
    graph.open_graph(exported / "model.onnx")


def test_a_page_with_onnxruntime_alone_does(exported, fitted_tables):
    """The example answers as we do, gaps and unseen categories included."""
    table, model = fitted_tables / "table.csv", manyhot.load(exported)
    done = subprocess.run(
        [sys.executable, EXAMPLE, exported / "model.onnx", table], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = model.predict(table)
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    for name in ("ripe", "fruit"):
        for row, chances in enumerate(model.predict_proba(table)[name]):
            best = model.schema.target(name).classes[chances.argmax()]
            assert lines[f"row {row}, {name}"] == f"{best} ({chances.max():.3f})"
    for name in ("tags", "flags"):
        for row, answer in enumerate(answers[name]):
            assert lines[f"row {row}, {name}"] == answer


@pytest.mark.parametrize("objective", ["precision=0.6", "exact_match"])
def test_that_page_decides_as_the_model_was_tuned(fitted_tables, tmp_path, objective):
    table = fitted_tables / "table.csv"
    model = manyhot.load(fitted_tables / "model").tune(table, objective, "all")
    file = model.export(tmp_path / "tuned.onnx").path
    done = subprocess.run([sys.executable, EXAMPLE, file, table], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    for name, answers in model.predict(table).items():
        for row, answer in enumerate(answers):
            assert lines[f"row {row}, {name}"].split(" (")[0] == answer


def test_int8_is_judged_by_pictures_held_out(fitted_pictures, tmp_path, capsys):
    words = ["export", str(fitted_pictures / "model"), "--precision", "int8", "--json"]
    data = ["--data", str(fitted_pictures / "table.csv")]
    out = tmp_path / "small.onnx"
    assert main([*words, *data, "--out", str(out), "--tolerance", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == out.stat().st_size
    assert {*said["log_loss"]} == {"ripe", "fruit", "tags", "flags"}
    types = {each.data_type for each in onnx.load(out).graph.initializer}
    assert onnx.TensorProto.INT8 in types
    before, after = manyhot.load(fitted_pictures / "model"), manyhot.load(out)
    assert before.bundle.fingerprint() != after.bundle.fingerprint()
    table = fitted_pictures / "table.csv"
    apart = [np.abs(before.predict_proba(table)[n] - v).max() for n, v in after.predict_proba(table).items()]
    assert 0 < max(apart) < 0.3


@pytest.mark.parametrize(
    ("pictures", "words", "said"),
    [
        (True, ["--data", "DATA", "--tolerance", "-1"], "more than -1; nothing was written"),
        (True, [], "labelled pictures"),
        (False, ["--data", "DATA"], "is for networks with convolutions"),
    ],
)
def test_int8_that_costs_too_much_is_refused(
    fitted_pictures, fitted_tables, tmp_path, capsys, pictures, words, said
):
    folder = fitted_pictures if pictures else fitted_tables
    words = [str(folder / "table.csv") if word == "DATA" else word for word in words]
    out = tmp_path / "small.onnx"
    assert main(["export", str(folder / "model"), "--precision", "int8", "--out", str(out), *words]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
