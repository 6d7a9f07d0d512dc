"""A model's folder: no pickle, and whatever was changed, is missing or is no model is refused."""

import ast
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open

import manyhot
from manyhot import bundle, files
from manyhot.errors import UserError

SOURCES = sorted(Path(manyhot.__file__).parent.rglob("*.py"))
PIPED = {"scale/engines.py", "searching/search.py"}  # tell processes of their own, by a pipe of nobody else's
UNSAFE = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}


def refused(folder) -> str:
    with pytest.raises(UserError) as caught:
        manyhot.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sign(folder):
    """Make the checksums right again, as somebody who edits on purpose would."""
    manifest = json.loads((folder / "manyhot.json").read_text())
    manifest["checksums"] = {
        name: files.checksum(folder / name) for name in bundle.CHECKED[manifest["format"]]
    }
    (folder / "manyhot.json").write_text(json.dumps(manifest))


def edit(folder, name, change):
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_pickle_anywhere(path):
    told = {"pickle"} if path.relative_to(SOURCES[0].parent).as_posix() in PIPED else set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & (UNSAFE - told)
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNSAFE
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            assert not (owner == "torch" and node.attr in ("load", "save", "hub", "jit"))
            assert not (owner == "np" and node.attr in ("load", "save", "savez"))
        elif isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec")


def test_the_weights_are_safetensors(fitted_tables):
    with safe_open(fitted_tables / "model" / "weights.safetensors", framework="np") as file:
        assert len(list(file.keys())) > 4


def test_nothing_temporary_is_left(fitted_tables):
    names = [path.name for path in (fitted_tables / "model").rglob("*")]
    assert not [name for name in names if name.startswith(".")]
    assert "checkpoints" not in names


@pytest.mark.parametrize("name", [*bundle.CHECKED[2]])
def test_a_flipped_bit_is_found(model, name):
    data = bytearray((model / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model / name).write_bytes(data)
    assert f"{name} was changed since the model was saved" in refused(model)


@pytest.mark.parametrize("name", [*bundle.CHECKED[2]])
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    assert f"{name} is missing" in refused(model)


def test_a_cut_off_file_is_found(model):
    data = (model / "weights.safetensors").read_bytes()
    (model / "weights.safetensors").write_bytes(data[: len(data) // 2])
    assert "was changed" in refused(model)


def test_an_edited_schema_is_found(model):
    edit(model, "schema.json", lambda d: d["targets"][0].update(classes=["yes", "no"]))
    assert "schema.json was changed" in refused(model)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("schema.json", lambda d: d["targets"][1]["classes"].append("new")),
        ("schema.json", lambda d: d["targets"].pop()),
        ("schema.json", lambda d: d["targets"][1].update(kind="magic")),
        ("schema.json", lambda d: d["targets"][1].update(thresholds=[1])),
        ("schema.json", lambda d: d.update(targets={})),
        ("schema.json", lambda d: d.update(inputs=None)),
        ("config.json", lambda d: d.update(backbone="cnn")),
        ("config.json", lambda d: d.update(backbone="nosuch")),
        ("config.json", lambda d: d.update(backbone=["mlp"])),
        ("config.json", lambda d: d.update(epochs=-1)),
        ("config.json", lambda d: d.update(odd=1)),
        ("predictor.json", lambda d: d.pop("members")),
        ("predictor.json", lambda d: d.update(members=[])),
        ("predictor.json", lambda d: d["members"][0].update(kind="magic")),
        ("predictor.json", lambda d: d["members"][0].update(kind="neighbours")),
        ("predictor.json", lambda d: d["members"][0].update(encoder="other")),
        ("predictor.json", lambda d: d["members"][0].update(weights={})),
        ("predictor.json", lambda d: d["members"][0].update(weights=3)),
        ("predictor.json", lambda d: d.update(views="many")),
        ("inputs.json", lambda d: d.update(kind="image")),
        ("inputs.json", lambda d: d.update(features=[])),
        ("inputs.json", lambda d: d["features"].pop()),
        ("inputs.json", lambda d: d["features"][2].update(classes=3)),
        ("inputs.json", lambda d: d["features"][2].update(classes=["only"])),
        ("manyhot.json", lambda d: d.update(checksums=[])),
        ("manyhot.json", lambda d: d.update(checksums={})),
        ("manyhot.json", lambda d: d.pop("format")),
    ],
)
def test_an_edit_with_right_checksums_is_refused_in_a_line(model, name, change):
    edit(model, name, change)
    if name != "manyhot.json":
        sign(model)
    refused(model)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}     ' + b"\0" * 4,
        b"\x80\x04\x95",  # how a pickle begins
    ],
)
def test_weights_that_lie_are_refused(model, content):
    (model / "weights.safetensors").write_bytes(content)
    sign(model)
    refused(model)


@pytest.mark.parametrize("name", ["manyhot.json", "schema.json", "config.json", "inputs.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b"\xff\xfe", b"[" * 99_999])
def test_json_that_is_not_what_it_should_be(model, name, content):
    (model / name).write_bytes(content)
    if name != "manyhot.json":
        sign(model)
    refused(model)


def test_a_newer_format_says_so(model):
    edit(model, "manyhot.json", lambda d: d.update(format=99, manyhot="9.9"))
    message = refused(model)
    assert "format 99" in message
    assert "manyhot 9.9" in message


def test_what_is_no_model(tmp_path):
    (tmp_path / "model").mkdir()
    assert "is not a manyhot model: it has no manyhot.json" in refused(tmp_path / "model")
    assert "did you mean 'model'" in refused(tmp_path / "modle")
    (tmp_path / "file").write_text("x")
    assert "is not a manyhot model" in refused(tmp_path / "file")


def test_an_unfinished_run_says_how_to_go_on(model):
    (model / "manyhot.json").unlink()
    (model / "checkpoints").mkdir()
    message = refused(model)
    assert "was not finished" in message
    assert "go on with resume=True" in message


def test_a_list_of_rows_that_is_damaged(model):
    (model / "split.csv").write_text("row,split,hash\n1,train,not hexadecimal\n")
    assert "split.csv" in refused(model)


def test_a_model_without_its_extra_files_still_answers(model, fitted_tables):
    wanted = manyhot.load(fitted_tables / "model").predict(fitted_tables / "table.csv")
    for name in (
        "split.csv",
        "history.jsonl",
        "validation.parquet",
        "report.html",
        "README.md",
        "metrics.json",
    ):
        (model / name).unlink()
    assert manyhot.load(model).predict(fitted_tables / "table.csv") == wanted


def test_a_model_may_be_moved(model, tmp_path, fitted_tables):
    shutil.move(model, tmp_path / "elsewhere")
    first = manyhot.load(fitted_tables / "model").predict_proba(fitted_tables / "table.csv")
    second = manyhot.load(tmp_path / "elsewhere").predict_proba(fitted_tables / "table.csv")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_saving_again(model, tmp_path, fitted_tables):
    classifier = manyhot.load(model)
    with pytest.raises(UserError, match="exists already"):
        classifier.save(model)
    classifier.save(tmp_path / "new")
    classifier.save(tmp_path / "new", overwrite=True)
    assert manyhot.load(tmp_path / "new").schema == classifier.schema
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(UserError, match="not written by manyhot"):
        classifier.save(tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "a.png").exists()


def test_the_model_card_says_what_it_is(fitted_tables):
    card = (fitted_tables / "model" / "README.md").read_text()
    for word in ("ripe", "fruit", "tags", "flags", "apple, pear, plum", "manyhot predict"):
        assert word in card


@pytest.mark.parametrize(("folder", "kind"), [("fitted_tables", "tabular"), ("fitted_pictures", "image")])
def test_the_model_card_is_read_by_hubs(folder, kind, request):
    from huggingface_hub import ModelCard

    folder = request.getfixturevalue(folder) / "model"
    card = ModelCard.load(folder / "README.md")  # raises where `model-index` lacks what a hub wants
    assert card.text.lstrip().startswith("# Classifier for ripe, fruit, tags, flags\n")
    assert (card.data.library_name, card.data.pipeline_tag) == ("manyhot", f"{kind}-classification")
    assert card.data.license is None  # which only the owner knows
    assert card.data.tags == ["manyhot", "binary", "multiclass", "multilabel"]
    scores = json.loads((folder / "metrics.json").read_text())["targets"]
    assert {each.metric_name: each.metric_value for each in card.data.eval_results} == {
        f"{metric} of {name}": pytest.approx(scores[name][metric], abs=1e-4)
        for name, metric in [
            ("ripe", "accuracy"),
            ("fruit", "accuracy"),
            ("tags", "micro_f1"),
            ("flags", "micro_f1"),
        ]
    }
    assert {each.metric_type for each in card.data.eval_results} == {"accuracy", "f1"}
    assert {each.task_type for each in card.data.eval_results} == {f"{kind}-classification"}


@pytest.mark.parametrize(
    "name", ['a: "b" #c\\', "- x", "null", "ünï 🍐", "a\x7f\x85\u2028\ufeffb", "\t---\n"]
)
def test_front_matter_is_yaml_whatever_the_names(name):
    from manyhot.report.card import front_matter

    begin, *lines, end, _ = front_matter({"tags": [name], "name": name, "value": 0.5})
    assert (begin, end) == ("---", "---")
    assert yaml.safe_load("\n".join(lines)) == {"tags": [name], "name": name, "value": 0.5}
