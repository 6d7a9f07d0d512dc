"""Going on from a model: which rows it learns from, in which parts, and what its weights keep."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from making import FRUITS, NETWORKS, features, pixels, write_csv
from PIL import Image

import manyhot
from manyhot.cli import main
from manyhot.data.inputs.features import Feature, TableInputs
from manyhot.data.rows.infer import describe
from manyhot.data.sources.append import append
from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.model.network import build, carry_over
from manyhot.schema import Target
from manyhot.starting import going_on
from manyhot.train import warm_start

HOW = ["--effort", "fast", "--epochs", "8", "--members", NETWORKS, "--set", "batch_size=16"]
HOW += ["--set", "threads=1"]


def cells(rows, seed=0, classes=FRUITS):
    """Features from which a class follows, no row like another."""
    found = features(rows, seed) | {"origin": [("north", "south")[i % 2] for i in range(rows)]}
    rng = np.random.default_rng(seed)
    fruit = [classes[i % len(classes)] for i in range(rows)]
    found["size"] = [
        round(4 * classes.index(f) + float(v), 4) for f, v in zip(fruit, rng.random(rows), strict=True)
    ]
    return {**found, "fruit": fruit}


def merged(first, second):
    return {name: [*column, *second[name]] for name, column in first.items()}


def parts_of(model):
    with (model / "split.csv").open(newline="") as file:
        return {row["hash"]: (row["split"], row.get("fold", "")) for row in csv.DictReader(file)}


def fit(*words):
    return main(["fit", *map(str, words)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with old.csv of 90 rows and the model of it, some of them test rows; for reading only."""
    folder = tmp_path_factory.mktemp("from")
    write_csv(folder / "old.csv", cells(90))
    assert fit(folder / "old.csv", "--target", "fruit", "--test", "0.2", "--out", folder / "model", *HOW) == 0
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy, with new.csv of 12 rows."""
    for name in ("model", "old.csv"):
        (shutil.copytree if name == "model" else shutil.copy)(trained / name, tmp_path / name)
    record = tmp_path / "model" / "fit.json"
    text = record.read_text(encoding="utf-8")
    record.write_text(text.replace(str(trained), str(tmp_path)), encoding="utf-8")
    write_csv(tmp_path / "new.csv", cells(12, seed=1))
    return tmp_path


def test_new_rows_join_the_old_ones_which_keep_their_parts(folder, capsys):
    assert fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "next") == 0
    old, new = parts_of(folder / "model"), parts_of(folder / "next")
    assert len(new) == len(old) + 12
    assert {key: new[key] for key in old} == old
    assert {new[key][0] for key in new.keys() - old.keys()} >= {"train"}
    said = capsys.readouterr().err
    assert "90 of 102 rows are known" in said
    assert "12 are new" in said
    config = manyhot.load(folder / "next").bundle.config
    before = manyhot.load(folder / "model").bundle.config
    assert (config.epochs, config.learning_rate) == (2, before.learning_rate / 4)
    assert (folder / "next" / "inputs.json").read_text() == (folder / "model" / "inputs.json").read_text()


def test_a_quarter_of_a_quarter_is_a_quarter(folder):
    assert fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "next") == 0
    write_csv(folder / "third.csv", cells(6, seed=2))
    assert fit(folder / "third.csv", "--from", folder / "next", "--out", folder / "last") == 0
    configs = [manyhot.load(folder / name).bundle.config for name in ("next", "last")]
    assert len({(c.epochs, c.learning_rate, c.patience, c.share) for c in configs}) == 1
    assert len(parts_of(folder / "last")) == 108


def test_a_table_of_old_and_new_rows_in_another_order(folder, capsys):
    both = {name: (cells(90)[name] + cells(12, seed=1)[name])[::-1] for name in cells(1)}
    write_csv(folder / "both.csv", both)
    (folder / "old.csv").unlink()  # which is not needed
    assert fit(folder / "both.csv", "--from", folder / "model", "--out", folder / "next") == 0
    old, new = parts_of(folder / "model"), parts_of(folder / "next")
    assert {key: new[key] for key in old} == old
    assert "90 of 102 rows are known" in capsys.readouterr().err


def test_a_row_with_another_label_takes_the_place_of_the_old_one(folder, capsys):
    corrected = {name: column[:3] for name, column in cells(90).items()}
    corrected["fruit"] = ["pear", "plum", "apple"]
    write_csv(folder / "new.csv", corrected)
    going = going_on(folder / "model", manyhot.read(folder / "new.csv"), {})
    assert len(going.table) == 90
    assert going.table.column("fruit").to_pylist()[-3:] == corrected["fruit"]
    assert any("3 rows of new.csv were among the old ones" in note for note in going.table.notes)
    again = going_on(folder / "model", going.table, {})
    assert again.table.notes == going.table.notes


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (lambda folder: (folder / "old.csv").unlink(), "no such file"),
        (lambda folder: write_csv(folder / "old.csv", cells(90, seed=7)), "no longer has most of them"),
        (lambda folder: (folder / "model" / "fit.json").unlink(), "does not say where they are"),
        (lambda folder: (folder / "old.csv").write_bytes(b"\xff\x00"), "Export the table"),
    ],
)
def test_without_the_old_rows_it_says_what_would_be_lost(folder, capsys, gone, said):
    gone(folder)
    assert fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "next") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert said in message
    assert "it would forget" in message
    assert not (folder / "next").exists()


def test_rows_that_are_gone_are_counted(folder, capsys):
    write_csv(folder / "old.csv", {name: column[:80] for name, column in cells(90).items()})
    assert fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "next") == 0
    assert "10 that it has seen are gone" in capsys.readouterr().err


WRONG = [
    (["--effort", "best"], "its effort is 'fast', so 'best' is not possible"),
    (["--backbone", "tabm"], "its backbone is 'mlp'"),
    (["--target", "fruit"], "says all of what --target says"),
    (["--schema", "s.json"], "says all of what --schema says"),
    (["--freeze"], "a table's model is more than its network"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_options_that_would_make_another_network(folder, capsys, words, said):
    assert fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "next", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_columns_that_lack_and_out_that_is_the_model(folder, capsys):
    to = ("--from", folder / "model", "--out", folder / "next")
    write_csv(folder / "bare.csv", {"width": [1, 2], "fruit": ["apple", "pear"]})
    assert fit(folder / "bare.csv", *to) == 2
    assert "which the model was trained with" in capsys.readouterr().err
    unlabelled = {name: column for name, column in cells(5, seed=3).items() if name != "fruit"}
    write_csv(folder / "bare.csv", unlabelled)
    assert fit(folder / "bare.csv", *to) == 2
    assert "lacks the labels" in capsys.readouterr().err
    there = ("--out", folder / "model", "--overwrite")
    assert fit(folder / "new.csv", "--from", folder / "model", *there) == 2
    assert "Choose another --out" in capsys.readouterr().err
    with pytest.raises(UserError, match="has one"):
        manyhot.fit(folder / "new.csv", "fruit", start=folder / "model")


def test_a_new_class_is_learned_beside_the_old_ones(folder, capsys):
    rows = cells(40, seed=3, classes=(*FRUITS, "quince"))
    write_csv(folder / "new.csv", rows)
    assert (
        fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "next", "--epochs", "20") == 0
    )
    assert "a new class, 'quince'" in capsys.readouterr().err
    model = manyhot.load(folder / "next")
    assert model.schema.targets[0].classes == (*FRUITS, "quince")
    answered = model.predict(folder / "new.csv")["fruit"]
    assert np.mean(np.array(answered) == np.array(rows["fruit"])) > 0.7
    kept = ("--unknown-class", "missing")
    assert fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "same", *kept) == 0
    assert manyhot.load(folder / "same").schema.targets[0].classes == FRUITS


def test_a_run_that_was_stopped_goes_on(folder, monkeypatch):
    words = (folder / "new.csv", "--from", folder / "model", "--out", folder / "next", "--epochs", "3")
    assert fit(*words) == 0
    whole = (folder / "next" / "weights.safetensors").read_bytes()
    shutil.rmtree(folder / "next")
    from manyhot.train import loop

    judge, done = loop.Validation.judge, []

    def stop(*args):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        return judge(*args)

    monkeypatch.setattr(loop.Validation, "judge", stop)
    assert fit(*words) == 130
    monkeypatch.setattr(loop.Validation, "judge", judge)
    assert fit(*words, "--resume") == 0
    assert (folder / "next" / "weights.safetensors").read_bytes() == whole
    assert fit(*words, "--resume") == 0


def test_rows_that_were_chosen_only_teach(folder, capsys):
    chosen = {**cells(12, seed=1), "suggested": ["unsure"] * 5 + ["typical"] * 3 + ["random"] * 4}
    write_csv(folder / "new.csv", chosen)
    assert fit(folder / "new.csv", "--from", folder / "model", "--out", folder / "next") == 0
    assert "8 rows that `suggest` chose train" in capsys.readouterr().err
    rows = manyhot.read(folder / "next" / "split.csv")
    assert rows.column("split").to_pylist()[-12:-4] == ["train"] * 8


def test_with_folds_chosen_rows_are_of_none(tmp_path):
    table = from_python({**cells(80), "suggested": ["unsure"] * 10 + [None] * 70})
    schema = replace(manyhot.infer(table, "fruit", ignore="suggested"))
    how = {"epochs": 2, "batch_size": 16, "threads": 1, "members": NETWORKS, "verbose": False}
    first = manyhot.fit(table, schema, **how)
    assert (first.seen.fold[:10] == -1).all()
    assert (first.seen.fold[10:] >= 0).all()
    assert first.run.judged.scores["rows"] == 70
    more = from_python(
        {n: [*a, *b] for (n, a), b in zip(cells(80).items(), cells(9, 1).values(), strict=True)}
    )
    second = manyhot.fit(more, start=first, verbose=False)
    assert (second.seen.fold[:80] == first.seen.fold).all()
    assert (second.seen.fold[80:] >= 0).all()


def test_a_group_stays_whole(tmp_path):
    old = from_python({**cells(60), "who": [i // 3 for i in range(60)]})
    how = {"effort": "fast", "epochs": 1, "threads": 1, "members": NETWORKS, "verbose": False}
    first = manyhot.fit(old, manyhot.infer(old, "fruit", ignore="who"), group="who", **how)
    fresh = cells(20, seed=1)
    both = from_python(
        {n: [*c, *fresh[n]] for n, c in cells(60).items()}
        | {"who": [*(i // 3 for i in range(60)), *range(20)]}
    )
    parts = manyhot.fit(both, start=first, verbose=False).seen.parts
    assert (parts[:60] == first.seen.parts).all()
    assert all(parts[60 + who] == parts[3 * who] for who in range(20))


@pytest.mark.parametrize("tuned", [{}, {"objective": "precision=0.5"}])
def test_a_third_class_makes_several_of_two(tuned, capsys):
    how = {"effort": "fast", "epochs": 2, "threads": 1, "members": NETWORKS, "verbose": False, **tuned}
    first = manyhot.fit(from_python(cells(60, classes=FRUITS[:2])), "fruit", **how)
    going = going_on(first, from_python(merged(cells(60, classes=FRUITS[:2]), cells(30, seed=1))), {})
    (target,) = going.schema.targets
    assert (target.kind, target.classes) == ("multiclass", FRUITS)
    assert target.positive == ("pear" if tuned else "")
    (described,) = describe(going.table, going.schema)["targets"]
    assert described.get("positive", "") == target.positive
    again = manyhot.fit(going.table, start=first, verbose=False)
    assert {*again.predict(from_python(cells(9)))["fruit"]} <= {*FRUITS}


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """Pictures in folders a (three classes) and b (with a fourth), and a model of a."""
    folder = tmp_path_factory.mktemp("pictured")
    for name, rows, seed in (("a", 48, 0), ("b", 12, 1)):
        for i, each in enumerate(pixels(rows, seed=seed)):
            label = "quince" if name == "b" and i >= 9 else FRUITS[i % 3]
            place = folder / name / label
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(each[..., 0]).save(place / f"{i}.png")
    assert (
        fit(
            folder / "a", "--out", folder / "model", "--effort", "fast", "--epochs", "4", "--set", "threads=1"
        )
        == 0
    )
    return folder


def test_pictures_of_two_folders(pictured, tmp_path, capsys):
    assert fit(pictured / "b", "--from", pictured / "model", "--out", tmp_path / "next") == 0
    assert "48 of 60 rows are known" in capsys.readouterr().err
    model = manyhot.load(tmp_path / "next")
    assert model.schema.targets[0].classes == (*FRUITS, "quince")
    assert len(model.answers(pictured / "b")) == 12
    again = going_on(tmp_path / "next", manyhot.read(pictured / "b"), {})  # from both folders
    assert len(again.table) == 60


def test_frozen_features_go_on_without_the_old_pictures(pictured, tmp_path, capsys):
    alone = shutil.copytree(pictured / "model", tmp_path / "model")
    (alone / "fit.json").unlink()
    words = (pictured / "b", "--from", alone, "--out", tmp_path / "next")
    assert fit(*words) == 2
    assert "--freeze goes on without" in capsys.readouterr().err
    assert fit(*words, "--freeze") == 0
    assert "may be forgotten" in capsys.readouterr().err
    first, second = (manyhot.load(each).bundle.predictor.state_dict() for each in (alone, tmp_path / "next"))
    backbone = [name for name in first if name.startswith("encoders.network.")]
    assert backbone
    assert all((first[name] == second[name]).all() for name in backbone)


INPUTS = TableInputs(tuple(Feature(f"x{i}", "number") for i in range(4)))
GROWN = [
    (Target("t", "binary", ("a", "b"), ("t",)), Target("t", "multiclass", ("a", "b", "c"), ("t",))),
    (
        Target("t", "multiclass", ("a", "b", "c"), ("t",)),
        Target("t", "multiclass", ("a", "b", "c", "d"), ("t",)),
    ),
    (Target("t", "multilabel", ("a", "b"), ("t",)), Target("t", "multilabel", ("a", "b", "c"), ("t",))),
    (
        Target("t", "multilabel", ("a", "b"), ("t",), label_sets=((), ("a",), ("a", "b"))),
        Target("t", "multilabel", ("a", "b", "c"), ("t",), label_sets=(("a",), (), ("a", "b"), ("c",))),
    ),
]


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize(("before", "after"), GROWN, ids=["binary", "multiclass", "tags", "sets"])
def test_what_was_learned_is_answered_as_before(before, after, folds):
    """Among the classes that were known, until it learns."""
    import torch

    config = manyhot.config.FitConfig(folds=folds, threads=1)
    old, new = build(INPUTS, [before], config), build(INPUTS, [after], replace(config, seed=1))
    new.backbone.load_state_dict(old.backbone.state_dict())
    carry_over(after, new.heads[0], before, old.heads[0])
    x = torch.randn(7, 4)
    was, now = old.eval()(x)["t"], new.eval()(x)["t"]
    if before.kind == "binary":
        assert torch.allclose(was[..., 0], now[..., 1] - now[..., 0], atol=1e-6)
    elif before.label_sets:
        places = [after.label_sets.index(tags) for tags in before.label_sets]
        assert torch.allclose(was, now[..., places], atol=1e-6)
    else:
        assert torch.allclose(was, now[..., : was.shape[-1]], atol=1e-6)
        assert (now[..., was.shape[-1] :] == 0).all()


def test_a_new_class_begins_at_how_often_it_is_met():
    old = from_python(cells(90))
    how = {
        "effort": "fast",
        "epochs": 4,
        "batch_size": 16,
        "threads": 1,
        "members": NETWORKS,
        "verbose": False,
    }
    first = manyhot.fit(old, "fruit", **how)
    fresh = cells(30, seed=1, classes=("quince",))
    both = from_python({name: [*column, *fresh[name]] for name, column in cells(90).items()})
    going = going_on(first, both, {})
    prepared = manyhot.train.prepare.prepare(going.table, going.schema, {}, None, going.start)
    network = going.start.network(prepared)
    logits = manyhot.model.inference.logits(network, prepared.x)["fruit"]
    logits = logits if logits.ndim == 2 else logits.mean(axis=1)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert chances[:, 3].mean() == pytest.approx(0.25, abs=0.15)
    assert prepared.config.share == warm_start.SHARE_OF_NEW


def test_tables_of_other_types_are_joined(tmp_path):
    first = from_python({"a": [1, 2], "t": [["x"], ["y", "z"]], "split": ["train", "test"]}, "first")
    second = from_python({"a": ["3", None], "t": ["x", "y;z"], "b": [1.5, 2.5]}, "second")
    both = append(first, second)
    assert both.column("a").to_pylist() == ["1", "3", None]
    assert both.column("t").to_pylist() == ['["x"]', "x", "y;z"]
    assert both.column("b").to_pylist() == [None, 1.5, 2.5]
    assert both.rows.tolist() == [1, 2, 3]
    assert "split" not in both.columns
    with pytest.raises(UserError, match="not held as those"):
        append(first, replace(second, pixels=np.zeros((2, 4, 4, 1), np.uint8)))


def test_paths_are_brought_below_one_folder_and_never_out_of_it(tmp_path):
    for name in ("a", "b"):
        write_csv(tmp_path / name / "t.csv", {"image": ["1.png", "../secret.png"], "label": ["x", "y"]})
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    both = append(*(manyhot.read(tmp_path / name / "t.csv") for name in ("a", "b")), "image")
    assert both.column("image").to_pylist() == ["a/1.png", "../secret.png", "b/1.png", "../secret.png"]
    assert both.root == tmp_path
