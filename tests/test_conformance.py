"""The grid: every structure of labels × every kind of input, and × every mechanism, from fit to predict.

Its cells are named in grid.txt: none may vanish unseen, and a new one is written there too.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from making import (
    KINDS,
    QUICK,
    cells,
    changed,
    infer_options,
    label_columns,
    pixels,
    write_csv,
    write_table,
)
from test_weights import SMALL, state

import manyhot
from manyhot import metrics
from manyhot.data.sources.write import write
from manyhot.data.table import from_python
from manyhot.export.writing import close
from manyhot.model import inference
from manyhot.targets import decide, decode
from manyhot.train.select import Selection

ROWS = 60
INPUTS = ("table", "text", "image", "pixels")
STRUCTURES = ("binary", "multiclass", "multilabel", "mixed", "unknown", "unseen", "no targets")
FILES = (
    *("manyhot.json", "schema.json", "config.json", "inputs.json", "predictor.json", "weights.safetensors"),
    *("metrics.json", "history.jsonl", "validation.parquet", "report.html", "README.md", "split.csv"),
)


PHOTOS = {"backbone": SMALL, "size": 32, "first_size": 0, "views": 2}
MECHANISMS = {  # name → (input, settings)
    "folds": ("table", {"folds": 3}),
    "pieces": ("table", {"piecewise": True}),
    "linear": ("table", {"backbone": "linear"}),
    "tabm": ("table", {"backbone": "tabm", "tabm_members": 4}),
    "no powerset": ("table", {"label_sets": 0}),
    "forest, linear": ("table", {"members": "network,forest,linear"}),
    "folds of all": ("table", {"members": "network,forest,linear", "folds": 3}),
    "weights of rows": ("table", {"weight": "w", "members": "network,forest,boosted,linear", "folds": 3}),
    "weights and mixup": ("pixels", {"weight": "w", "mixup": 0.5}),
    "focal": ("pixels", {"tag_loss": "focal", "augment": "warp", "views": 5}),
    "mixup": ("pixels", {"mixup": 0.5, "random_erasing": 0.5, "augment": "photo"}),
    "resnet9, mirrored": ("pixels", {"backbone": "resnet9", "augment": "move", "mirror": "yes", "views": 2}),
    "linear probe": ("image", {**PHOTOS, "linear_probe": True, "members": "network"}),
    "frozen, neighbours": ("image", {**PHOTOS, "freeze": True, "members": "network,neighbours"}),
    "pretrained, neighbours": ("image", {**PHOTOS, "linear_probe": True}),
}
MEMBERS = {
    "frozen, neighbours": 2,
    "pretrained, neighbours": 4,
}  # of which all are kept, whether they help or not


def check(condition, what):
    assert condition, what


def parts(rows):
    return [("train", "train", "val", "train", "test")[i % 5] for i in range(rows)]


def make(folder, structure, kind_of_input):
    """Return the table of one cell of the grid and the kind of its targets."""
    kind = structure if structure in KINDS else "mixed"
    empty = 0.4 if structure == "unknown" else 0.0
    extra = {}
    if kind_of_input == "text":
        extra["said"] = [
            f"{['sweet', 'sour', 'ripe'][i % 3]} and {'ab'[i % 2] * (i // 2 + 1)}" for i in range(ROWS)
        ]
    if structure == "unseen":
        labels = label_columns(kind, ROWS)
        split = parts(ROWS)
        fruit = ["quince" if part == "test" and i % 2 else labels["fruit"][i] for i, part in enumerate(split)]
        tags = [
            "spiky;red" if part == "test" and i % 2 else labels["tags"][i] for i, part in enumerate(split)
        ]
        extra |= {"split": split, "fruit": fruit, "tags": tags}
    if kind_of_input == "pixels":
        return from_python((pixels(ROWS), {**label_columns(kind, ROWS, empty=empty), **extra})), kind
    return manyhot.read(
        write_table(folder, kind, ROWS, image=kind_of_input == "image", empty=empty, extra=extra)
    ), kind


@pytest.mark.parametrize("kind_of_input", INPUTS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_grid(tmp_path, structure, kind_of_input):
    go_through(tmp_path, structure, kind_of_input, QUICK)


@pytest.mark.parametrize("mechanism", list(MECHANISMS))
@pytest.mark.parametrize("structure", STRUCTURES)
def test_grid_of_mechanisms(tmp_path, monkeypatch, structure, mechanism):
    kind_of_input, settings = MECHANISMS[mechanism]
    if settings.get("backbone") == SMALL:
        settings = {**settings, "weights": str(state(tmp_path)[0])}
    values = iter(range(1_000))
    monkeypatch.setattr(Selection, "score", lambda self, predictor: float(next(values)))
    fitted = go_through(tmp_path, structure, kind_of_input, QUICK | settings)
    if structure == "unseen":
        settings = {**settings, "folds": 1}  # validation rows are given there
    check(all(getattr(fitted.bundle.config, name) == value for name, value in settings.items()), "settings")
    members = fitted.bundle.predictor.ensemble.members
    if "forest" not in settings.get("members", ""):
        check(len(members) == MEMBERS.get(mechanism, 1), "who answers")


@pytest.mark.slow  # each cell takes seconds to export; test_export.py has each mechanism once
@pytest.mark.parametrize("kind_of_input", [*INPUTS, *MECHANISMS])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_grid_exported(tmp_path, monkeypatch, structure, kind_of_input):
    """The graph answers every row of every cell as the model does."""
    kind_of_input, settings = MECHANISMS.get(kind_of_input, (kind_of_input, {}))
    if settings.get("backbone") == SMALL:
        settings = {**settings, "weights": str(state(tmp_path)[0])}
    values = iter(range(1_000))
    monkeypatch.setattr(Selection, "score", lambda self, predictor: float(next(values)))
    fitted = go_through(tmp_path, structure, kind_of_input, QUICK | settings)
    table, _ = make(tmp_path, structure, kind_of_input)
    alone = manyhot.load(fitted.export(tmp_path / "model.onnx").path)
    logits = inference.logits(fitted.bundle.predictor, fitted.bundle.inputs.transform(table)[0])
    wanted, before, after = fitted.predict_proba(table), fitted.predict(table), alone.predict(table)
    for target in fitted.schema.targets:
        p, bound = wanted[target.name], close(logits[target.name])
        check(np.abs(alone.predict_proba(table)[target.name] - p).max() <= bound, "probabilities")
        best = np.sort(p, axis=1)
        sure = best[:, -1] - best[:, -2] if target.exclusive else 2 * np.abs(p - 0.5).min(axis=1)
        same = np.array(before[target.name], object) == np.array(after[target.name], object)
        check(same[sure > 2 * bound].all(), f"{target.name}: equal answers wherever there is no tie")


def go_through(tmp_path, structure, kind_of_input, settings):
    """Fit, save, load and predict one cell of the grid; return what was fitted."""
    table, kind = make(tmp_path, structure, kind_of_input)
    schema = manyhot.infer(table, **infer_options(kind))
    check({t.name: t.kind for t in schema.targets} == KINDS[kind], "the kinds of the targets")
    check(schema.is_image == (kind_of_input in ("image", "pixels")), "what the rows are")
    check(("text" in [column.kind for column in schema.inputs]) == (kind_of_input == "text"), "texts")
    if "weight" in settings:
        table = table.with_columns({"w": [1 + i % 3 for i in range(len(table))]})

    fitted = manyhot.fit(table, schema, out=tmp_path / "out", **settings)
    for name in FILES:
        check((tmp_path / "out" / name).is_file(), f"the bundle has {name}")
    fitted.save(tmp_path / "saved")
    if structure == "no targets":
        names = {column for target in schema.targets for column in target.columns}
        table = manyhot.Table(
            {name: column for name, column in table.columns.items() if name not in names},
            table.source,
            table.root,
            table.pixels,
        )
    before = fitted.predict_proba(table)
    check(list(before) == [t.name for t in schema.targets], "probabilities of every target in order")
    for folder in ("out", "saved"):
        loaded = manyhot.load(tmp_path / folder)
        after = loaded.predict_proba(table)
        for target in fitted.schema.targets:
            check(before[target.name].tobytes() == after[target.name].tobytes(), f"{folder}: equal bits")
        check(loaded.schema == fitted.schema, f"{folder}: the schema")
        check(loaded.bundle.config == fitted.bundle.config, f"{folder}: the settings")
        check(loaded.bundle.inputs == fitted.bundle.inputs, f"{folder}: the inputs")
        check(loaded.predict(table) == fitted.predict(table), f"{folder}: the answers")

    check_answers(fitted, table, before, tmp_path)
    if structure != "no targets":
        check_scores(fitted, table, structure)
    return fitted


def check_answers(fitted, table, probabilities, tmp_path):
    names = fitted.predict(table)
    answers = fitted.answers(table)
    wanted = ["row"] if table.pixels is not None else []
    targets = {target.name for target in fitted.schema.targets}
    wanted += [f"{name}_given" if name in targets else name for name in table.names]
    for target in fitted.schema.targets:
        p = probabilities[target.name]
        check(p.dtype == np.float32, f"{target.name}: float32")
        check(p.shape == (len(table), len(target.classes)), f"{target.name}: (N, C)")
        check(bool(np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()), f"{target.name}: in [0, 1]")
        if target.exclusive:
            check(np.allclose(p.sum(axis=1), 1, atol=1e-5), f"{target.name}: rows sum to 1")
            check(set(names[target.name]) <= set(target.classes), f"{target.name}: classes by name")
        else:
            tags = {tag for text in names[target.name] for tag in text.split(";")} - {"[]"}
            check(tags <= set(target.classes), f"{target.name}: tags by name")
        by_class = replace(target, label_sets=())  # the probabilities are those of the classes
        check(names[target.name] == decode(target, decide(by_class, p)), f"{target.name}: one decide")
        check(answers.column(target.name).to_pylist() == names[target.name], f"{target.name}: its column")
        wanted += [target.name, *(f"{target.name}.{name}" for name in target.classes)]
        for number, name in enumerate(target.classes):
            column = answers.column(f"{target.name}.{name}").to_pylist()
            check(np.allclose(column, p[:, number], atol=1e-6), f"{target.name}.{name}: its probability")
    check(list(answers.names) == wanted, "the columns of the answers, in order")
    check("error" not in answers.names, "no column of errors where there are none")
    for ending in (".csv", ".parquet"):
        write(answers, tmp_path / f"answers{ending}")
        again = manyhot.read(tmp_path / f"answers{ending}")
        check(again.names == answers.names, f"{ending}: the names come back")
        for target in fitted.schema.targets:
            check(again.column(target.name).to_pylist() == names[target.name], f"{ending}: answers come back")


def check_scores(fitted, table, structure):
    scores = fitted.evaluate(table)
    beside = ["split", "baselines", "known", "intervals", "ece_floor", "classes", "confused"]
    check(list(scores) == ["rows", "targets", "overall", *beside], "the keys of the document")
    check(set(scores["overall"]) == {"exact_match", "loss"}, "the keys of overall")
    rows = parts(ROWS).count("test") if structure == "unseen" else ROWS
    check(scores["rows"] == rows, "the rows judged")
    check(json.loads(json.dumps(scores, allow_nan=False)) == scores, "JSON without NaN")
    for target in fitted.schema.targets:
        found = scores["targets"][target.name]
        wanted = metrics.SINGLE if target.exclusive else metrics.TAGS
        wanted += metrics.OF_YES if target.kind == "binary" else ()
        check(tuple(found) == wanted, f"{target.name}: keys")
        check(all(v is None or isinstance(v, float) for v in found.values()), f"{target.name}: numbers")
    if structure != "unseen":
        return
    judged = fitted.judge(table)
    fruit, tags = judged.schema.target("fruit"), judged.schema.target("tags")
    check(fruit.classes[-1] == "quince" and tags.classes[-1] == "spiky", "the new classes are named")
    new = judged.y["fruit"] == len(fruit.classes) - 1
    check(bool(new.any()) and not (judged.y["fruit"] == -1).any(), "wrong, never unknown")
    answers = decide(fruit, judged.probabilities["fruit"])
    check(not (answers[new] == judged.y["fruit"][new]).any(), "rows of a new class are wrong")
    share = float((answers == judged.y["fruit"]).mean())
    check(abs(scores["targets"]["fruit"]["accuracy"] - share) < 1e-9, "accuracy counts them")
    check(not (decide(tags, judged.probabilities["tags"])[:, -1] == 1).any(), "a new tag is never answered")
    missing = fitted.judge(table, unknown_class="missing")
    check(bool((missing.y["fruit"][new] == -1).all()), "--unknown-class missing passes them over")
    check(
        missing.schema.target("fruit").classes == fitted.schema.target("fruit").classes, "and adds no class"
    )


def test_a_mixed_model_answers_features_of_any_source(tmp_path):
    """A CSV, the same as JSON lines, and the same as a dict give equal bits."""
    path = write_table(tmp_path, "mixed", ROWS)
    table = manyhot.read(path)
    fitted = manyhot.fit(table, manyhot.infer(table, **infer_options("mixed")), **QUICK)
    first = fitted.predict_proba(path)
    columns = {name: column.to_pylist() for name, column in table.columns.items()}
    typed = {
        name: [None if c is None else float(c) for c in cells] if name in ("width", "weight") else cells
        for name, cells in columns.items()
    }
    for other in (str(path), columns, typed, write_csv(tmp_path / "semi.csv", columns)):
        for name, values in fitted.predict_proba(other).items():
            check(values.tobytes() == first[name].tobytes(), f"{name} from another source")


def test_the_grid_is_as_listed():
    assert changed([*cells(test_grid), *cells(test_grid_of_mechanisms)], "grid.txt") == []


def test_a_cell_that_vanishes_is_found(tmp_path):
    @pytest.mark.parametrize("b", ["x", pytest.param(2, id="y")])
    @pytest.mark.parametrize("a", ["p", "q"])
    def some(a, b): ...

    assert cells(some) == ["p-x", "p-y", "q-x", "q-y"]
    listed = tmp_path / "list.txt"
    listed.write_text("p-x\np-y\nq-x\nq-z\n")
    assert changed(cells(some), listed) == ["gone: q-z", f"new, to be listed in {listed}: q-y"]
