"""Columns of numbers and categories: fitted on training rows, the same afterwards, odd cells named."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from making import QUICK, features, label_columns

import manyhot
from manyhot.data.inputs.features import MAX_CATEGORIES, PIECES, TableInputs, table_inputs
from manyhot.data.inputs.fitted import from_json, row_hashes
from manyhot.data.rows.infer import infer
from manyhot.data.table import Table, from_python
from manyhot.errors import UserError
from manyhot.model.stems import TableStem
from manyhot.schema import Input, Schema

SCHEMA = Schema((Input("n", "number"), Input("c", "category")), (), ("?",))


def table(n, c, **more) -> Table:
    return from_python({"n": n, "c": c, **more}, "t.csv")


def fitted(n, c, rows=None) -> TableInputs:
    data = table(n, c)
    return table_inputs(SCHEMA, data, np.arange(len(data)) if rows is None else np.array(rows))


INPUTS = fitted([1.0, 2.0, 3.0, 4.0, None], ["red", "blue", "red", "?", "green"])


def test_numbers_are_centred_and_missing_ones_are_nan():
    x, unreadable = INPUTS.transform(table([2.5, None, "?", " 4 "], ["red"] * 4))
    assert (x.dtype, x.shape, unreadable) == (np.float32, (4, 2), {})
    assert x[0, 0] == 0
    assert np.isnan(x[1:3, 0]).all()
    assert x[3, 0] > 0


def test_categories_have_codes_and_what_is_unknown_is_bucket_0():
    x, _ = INPUTS.transform(table([1] * 6, ["blue", "green", "red", "never seen", None, "?"]))
    assert x[:, 1].tolist() == [1, 2, 3, 0, 0, 0]


def test_only_training_rows_count():
    inputs = fitted([1.0, 2.0, 3.0, 1e9, None], ["a", "b", "a", "late", "late"], rows=[0, 1, 2])
    number, category = inputs.features
    assert (number.center, number.has_missing, category.classes) == (2, False, ("a", "b"))


def test_rare_categories_beyond_the_limit_share_bucket_0():
    names = [f"c{i:03d}" for i in range(MAX_CATEGORIES + 5)]
    inputs = fitted([1.0] * (2 * len(names) - 5), names + names[:MAX_CATEGORIES])
    assert len(inputs.features[1].classes) == MAX_CATEGORIES
    x, _ = inputs.transform(table([1.0] * len(names), names))
    assert (x[:, 1] > 0).sum() == MAX_CATEGORIES


@pytest.mark.parametrize("values", [[7, 7, 7, 7], [None, None, 1, None], [1e300, -1e300, 0, 1], [5, 5, 5, 9]])
def test_columns_without_a_spread(values):
    x, _ = fitted(values, list("abcd")).transform(table(values, list("abcd")))
    assert np.isfinite(x[:, 0][[v is not None for v in values]]).all()


@pytest.mark.parametrize(("spread", "long"), [(0.01, True), (1e5, False)])
def test_amounts_with_long_tails_are_told_apart(spread, long):
    far = np.concatenate([-np.geomspace(1e7, 30, 40), np.geomspace(30, 1e7, 40)])
    values = np.concatenate([np.random.default_rng(0).normal(0, spread, 200), far])
    inputs = fitted(values.tolist(), ["a"] * 280)
    x = inputs.transform(table(far.tolist(), ["a"] * 80))[0][:, 0]
    assert inputs.features[0].long_tailed == long
    assert (np.diff(x) > 0).all()
    assert (np.abs(x) <= 3).all()


def test_infinite_and_huge_cells_stay_bounded():
    x, _ = INPUTS.transform(table(["inf", "-inf", "1e308", "-1e308", "nan"], ["red"] * 5))
    assert np.isnan(x[4, 0])
    assert np.isfinite(x[:4, 0]).all()
    assert (np.abs(x[:4, 0]) <= 3.001).all()
    assert (np.sign(x[:4, 0]) == [1, -1, 1, -1]).all()


@pytest.mark.parametrize("most", ["1e300", "1e308", "inf"])
def test_huge_cells_of_training_rows_leave_finite_settings(most):
    inputs = fitted(["0"] * 6 + [most, f"-{most}"], ["red"] * 8)
    json.dumps(inputs.to_json(), allow_nan=False)
    x, _ = inputs.transform(table(["0", most, "1e-300"], ["red"] * 3))
    assert np.isfinite(x).all()
    assert x[1, 0] > x[0, 0]


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match=r"t.csv: lacks 'c', which the model was trained with; there are 'n'"):
        INPUTS.transform(from_python({"n": [1]}, "t.csv"))


def test_a_mistyped_cell_is_named_with_its_row():
    with pytest.raises(
        UserError, match=r"""t.csv row 3, column 'n': 'three' is not a number.*missing=\["three"\]"""
    ):
        INPUTS.transform(table(["1", "2", "three"], ["red"] * 3))


def test_extra_columns_and_their_order_are_no_matter():
    data = table([1, 2], ["red", "blue"])
    more = from_python({"extra": ["x", "y"], "c": ["red", "blue"], "n": [1, 2]})
    assert INPUTS.transform(data)[0].tobytes() == INPUTS.transform(more)[0].tobytes()


def test_text_and_typed_cells_give_equal_numbers():
    text = INPUTS.transform(table(["1", "2.50", "", "1e0"], ["red"] * 4))[0]
    typed = INPUTS.transform(from_python(pd.DataFrame({"n": [1, 2.5, None, 1], "c": ["red"] * 4})))[0]
    assert text.tobytes() == typed.tobytes()


def test_json_and_back():
    inputs = from_json(json.loads(json.dumps(INPUTS.to_json(), allow_nan=False)))
    assert inputs == INPUTS
    data = table([1.5, None], ["red", "x"])
    assert inputs.transform(data)[0].tobytes() == INPUTS.transform(data)[0].tobytes()


@pytest.mark.parametrize(
    "edit", [{"features": 3}, {"features": [{}]}, {"features": [{"name": "n", "odd": 1}]}]
)
def test_json_that_is_no_inputs(edit):
    with pytest.raises(UserError, match="not the inputs of a model"):
        from_json(INPUTS.to_json() | edit)


def test_the_stem_leaves_no_nan():
    stem = TableStem(INPUTS)
    x, _ = INPUTS.transform(table([2.5, None], ["blue", "never seen"]))
    out = stem(torch.from_numpy(x))
    assert out.shape == (2, *stem.shape)
    # number, its flag, then one-hot of unknown, blue, green, red
    assert out.tolist() == [[0, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0]]


def test_hashes_are_of_the_cells_whatever_the_source():
    data = table([1.0, 2.0, None, 1.0], ["a", "b", None, "a"], y=list("pqrs"))
    hashes = row_hashes(SCHEMA, data)
    assert hashes[0] == hashes[3]
    assert len(set(hashes.tolist())) == 3
    text = table(["1", "2", "?", "1"], ["a", "b", "", "a"], other=[1, 2, 3, 4])
    assert (row_hashes(SCHEMA, text) == hashes).all()
    assert (row_hashes(SCHEMA, table(["1e0", "2.00", "", "+1"], ["a", "b", "", "a"])) == hashes).all()
    swapped = row_hashes(SCHEMA, table(["3", "4"], ["1", "2"]))
    assert not set(swapped.tolist()) & set(hashes.tolist())


def test_a_model_answers_rows_with_nothing_known():
    data = {**features(60), **label_columns("multiclass", 60)}
    model = manyhot.fit(data, ["fruit"], **QUICK)
    rows = {"width": [None, "0.5"], "weight": [None, None], "origin": ["the moon", None]}
    p = model.predict_proba(rows)["fruit"]
    assert np.isfinite(p).all()
    embedded = model.embed(rows)
    assert (embedded.dtype, len(embedded)) == (np.float32, 2)


def test_a_number_in_pieces_says_how_far_it_reaches_through_each():
    inputs = fitted([float(n) for n in range(33)], ["a", "b", "c"] * 11)
    edges = np.array(inputs.features[0].edges)
    assert len(edges) == PIECES + 1
    stem = TableStem(inputs, piecewise=True)
    x = np.array([edges[3] + 0.25 * (edges[4] - edges[3]), np.nan, edges[0], edges[-1]], np.float32)
    found = stem(torch.tensor(np.stack([x, np.ones(4, np.float32)], axis=1)))
    assert found.shape == (4, stem.shape[0])
    pieces = found[:, -PIECES:]
    assert pieces[0].tolist() == pytest.approx([1, 1, 1, 0.25, *[0] * (PIECES - 4)], abs=1e-3)
    assert torch.isfinite(found).all()
    assert pieces[2].sum().item() == pytest.approx(0, abs=1e-3)
    assert pieces[3].sum().item() == pytest.approx(PIECES, abs=1e-3)


def test_numbers_of_two_values_are_not_cut_into_pieces():
    stem = TableStem(fitted([0.0, 1.0] * 8, ["a", "b"] * 8), piecewise=True)
    assert stem.in_pieces.tolist() == []


def test_numbers_beyond_those_of_training_reach_through_no_more_than_their_pieces():
    inputs = fitted([0.0, 0.001, *map(float, range(1, 32))], ["a", "b", "c"] * 11)
    x, _ = inputs.transform(table([-999.0, 1e9], ["a", "b"]))
    pieces = TableStem(inputs, piecewise=True)(torch.from_numpy(x))[:, -PIECES:]
    assert pieces.min() == 0
    assert pieces.max() == 1


def test_a_category_is_the_same_however_its_number_is_written():
    inputs = fitted([1.0] * 4, np.array([7.0, 7.5, 8.0, 7.0]))
    whole, text = table([1.0] * 2, np.array([7.0, 8.0])), table([1.0] * 2, ["7", "8.00"])
    assert inputs.transform(whole)[0][:, 1].tolist() == inputs.transform(text)[0][:, 1].tolist() == [1, 3]
    assert (row_hashes(SCHEMA, whole) == row_hashes(SCHEMA, text)).all()


def test_where_one_usual_word_means_empty_the_others_do_too():
    days = ["2024-01-31", "2024-02-29", "2024-05-01", "2024-07-01"] * 4
    data = from_python(
        {"x": [*map(str, range(15)), "NA"], "day": [*days[:15], "n/a"], "y": ["a", "b"] * 8}, "t.csv"
    )
    inputs = table_inputs(infer(data, ["y"]), data, np.arange(16))
    words = ["n/a", "NULL", "?", "None", "-"]
    x, _ = inputs.transform(from_python({"x": words, "day": words}, "new.csv"))
    assert np.isnan(x).all()
    with pytest.raises(UserError, match="'soon' is not a number"):
        inputs.transform(from_python({"x": ["soon"], "day": ["NA"]}, "new.csv"))
    plain = data.take(np.arange(15))
    inputs = table_inputs(infer(plain, ["y"]), plain, np.arange(15))
    with pytest.raises(UserError, match="'n/a' is not a number"):
        inputs.transform(from_python({"x": ["n/a"], "day": ["2024-01-31"]}, "new.csv"))


def test_pieces_that_an_older_bundle_holds_are_passed_over(tmp_path):
    """They follow from the inputs; once they were kept beside the weights."""
    from safetensors.torch import load_file, save_file

    from manyhot import bundle, files

    columns = {f"c{i}": [float((i * 7 + row * 3) % 11) for row in range(40)] for i in range(3)}
    table = columns | {"y": ["a", "b"] * 20}
    model = manyhot.fit(table, ["y"], **QUICK, piecewise=True)
    model.save(tmp_path / "m")
    state = load_file(tmp_path / "m" / "weights.safetensors")
    assert not [name for name in state if name.startswith("stem")]
    save_file(
        state | {"stem.pieces.impl.weight": next(iter(state.values())).clone()},
        tmp_path / "m" / "weights.safetensors",
    )
    manifest = files.read_json(tmp_path / "m" / bundle.MANIFEST)
    manifest["checksums"]["weights.safetensors"] = files.checksum(tmp_path / "m" / "weights.safetensors")
    files.write_json(tmp_path / "m" / bundle.MANIFEST, manifest)
    assert manyhot.load(tmp_path / "m").predict(columns) == model.predict(columns)


SAID = ["cheap watches, buy now", "meeting moved to noon", "buy cheap tickets", "lunch at noon?"]
FIRST = ["Ann", "Marie", "Luis", "Otto", "Anna", "Maria", "Louis", "Otis"]
LAST = ["Berg", "Bergen", "Holm", "Holmes", "Lind", "Linden", "Quist", "Quine"]
PROSE = [f"{SAID[i % 4]} {'no' * (i % 7)} {LAST[i % 8]}{'a' * (i // 28)}" for i in range(112)]
NAMES = [f"{a}{b.lower()}{c}" for a in FIRST for b in LAST for c in ("", "o")]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (PROSE, "text"),
        (NAMES, "text"),
        ([f"https://{a}.example/{b}".lower() for a in FIRST for b in NAMES[:40]], "text"),
        ([f"{a}.{b}@mail.example".lower() for a in FIRST for b in NAMES[:40]], "text"),
        ([f"A/{number * 7919 % 99991}" for number in range(120)], None),
        ([f"customer-{number:06}" for number in range(0, 36_000, 300)], None),
        (["".join(row) for row in np.random.default_rng(0).choice([*"QWERTYUIOPASDFGH"], (120, 6))], None),
        (["rød", "blå"] * 60, "category"),
    ],
)
def test_columns_of_texts_are_told_from_codes_and_categories(cells, kind):
    labels = ["ab"[number % 2] for number in range(len(cells))]
    data = from_python({"x": cells, "other": [number / 7 for number in range(len(cells))], "y": labels})
    found = {column.name: column.kind for column in infer(data, ["y"]).inputs}
    assert found.get("x") == kind


def texts(cells):
    data = from_python({"x": cells, "y": [*"ab"] * (len(cells) // 2)})
    return data, table_inputs(infer(data, ["y"], kinds={"x": "text"}), data, np.arange(len(cells)))


def test_a_text_is_its_length_and_how_much_of_each_word_is_in_it():
    data, inputs = texts(PROSE)
    names = [feature.part for feature in inputs.features]
    assert names[0] == "length"
    assert {"word cheap", "word buy", "word noon"} <= {*names}
    assert inputs.columns == {"x": [*range(len(names))]}
    x, _ = inputs.transform(data)
    buy, noon = names.index("word buy"), names.index("word noon")
    assert (x[0::4, buy] > 0.3).all()
    assert (x[1::4, buy] == 0).all()
    assert (x[1::4, noon] > 0.3).all()
    assert np.linalg.norm(x[:, 1:], axis=1) == pytest.approx(3)


def test_rare_words_count_more_and_those_of_fewer_than_three_rows_not_at_all():
    _, inputs = texts([*PROSE[:-1], "buy xylophone"])
    scale = {feature.part: feature.scale for feature in inputs.features}
    assert "word xylophone" not in scale
    assert scale["word nonononono"] > scale["word cheap"] > 1


def test_names_are_read_in_pieces_so_that_new_ones_say_something():
    _, inputs = texts(NAMES)
    names = [feature.part for feature in inputs.features]
    x, noticed = inputs.read(from_python({"x": ["Mariholmo", "Zzz", "", None]}))
    there = {names[place] for place in np.flatnonzero(x[0, 1:]) + 1}
    assert {"piece mar", "piece o$"} <= there
    assert (x[1:, 1:] == 0).all()
    assert np.isfinite(x[1, 0])
    assert np.isnan(x[2:, 0]).all()
    assert not noticed.odd


def test_texts_come_back_from_json_and_an_absent_column_is_empty():
    _, inputs = texts(PROSE)
    again = from_json(json.loads(json.dumps(inputs.to_json())))
    assert again == inputs
    assert from_json(asdict(inputs)) == inputs  # as it was written first, with every field
    assert {*inputs.to_json()["features"][1]} == {"name", "kind", "scale", "part"}
    said, renamed = again.read(from_python({"X ": ["buy", ""]}))
    assert renamed.odd[0].what == "renamed"
    assert said[0].any()
    assert np.isnan(said[1, 0])
    with pytest.raises(UserError, match="lacks 'x'"):
        again.read(from_python({"z": ["buy"]}))


@pytest.mark.parametrize("cells", [["same"] * 40, ["!!", "?"] * 20, ["one", None] * 20])
def test_texts_that_say_little_are_read_all_the_same(cells):
    data, inputs = texts(cells)
    x, _ = inputs.transform(data)
    assert x.shape == (40, len(inputs.features))
    assert not np.isinf(x).any()
