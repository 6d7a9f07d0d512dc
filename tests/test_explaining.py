"""Why a model answers so: heat where the picture decides, columns that decide, and what a user types."""

import json

import numpy as np
import pytest
from making import QUICK, status_of, write_csv
from PIL import Image

import manyhot
from manyhot.explaining.columns import groups
from manyhot.explaining.examples import RIGHT, UNSURE, WRONG, examples
from manyhot.explaining.explanation import blocks

SIDE = 12


def squares(count=160, seed=0):
    """Pictures of noise, whose top left quarter is bright or not, and their bottom right one too."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 90, (count, SIDE, SIDE, 1)).astype(np.uint8)
    bright, other = rng.random((2, count)) < 0.5
    half = SIDE // 2
    x[bright, :half, :half] += 120
    x[other, half:, half:] += 120
    return x, np.where(bright, "bright", "dark"), np.where(other, "a;b", "[]")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A model that a network alone answers, in two targets, and its folder."""
    x, quarter, tags = squares()
    table = manyhot.read((x, {"quarter": quarter, "tags": tags}))
    schema = manyhot.infer(table, ["quarter"], tags={"tags": None})
    folder = tmp_path_factory.mktemp("explained") / "model"
    return manyhot.fit(table, schema, out=folder, verbose=False, **QUICK | {"epochs": 12}), folder


def rows(count=240, seed=0):
    """Of four columns `x` alone decides; `twice` goes with `z`."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, count)).round(3)
    return {
        "x": x,
        "z": z,
        "twice": (2 * z + 0.1 * rng.normal(size=count)).round(3),
        "colour": rng.choice(["red", "green", "blue"], count),
        "kind": [("low", "mid", "high")[int(v > -0.5) + int(v > 0.5)] for v in x],
        "sign": ["yes" if v > 0 else "no" for v in x],
        "tags": [";".join(["pos"] * int(v > 0) + ["big"] * int(abs(v) > 1)) or "[]" for v in x],
    }


@pytest.fixture(scope="module", params=["network", "network,forest,boosted,linear"], ids=["network", "trees"])
def columns(request, tmp_path_factory):
    """A model of a table, of a network alone or of a committee with trees, beside its data."""
    folder = tmp_path_factory.mktemp("explained")
    data = write_csv(folder / "rows.csv", rows())
    table = manyhot.read(data)
    schema = manyhot.infer(table, ["kind", "sign"], tags={"tags": None})
    options = QUICK | {"epochs": 20, "members": request.param}
    manyhot.fit(table, schema, out=folder / "model", verbose=False, **options)
    return folder


@pytest.mark.parametrize("method", ["gradients", "occlusion", "auto"])
def test_heat_is_where_the_picture_decides(pictures, method):
    model, _ = pictures
    x = squares(6, seed=1)[0]
    found = manyhot.explain(model, x, method=method)
    half = SIDE // 2
    for target, own in [("quarter", np.s_[:half, :half]), ("tags", np.s_[half:, half:])]:
        heat = np.abs(found.values(target))
        assert heat.shape == (6, SIDE, SIDE)
        shares = [each[own].sum() / each.sum() for each in heat]
        assert np.mean(shares) > 0.6  # of a quarter of the pixels
    assert set(found.gains) == ({"gradients", "occlusion"} if method == "auto" else set())


@pytest.mark.parametrize(("steps", "tolerance"), [(None, 0.15), (512, 0.02)])
def test_gradients_add_up_to_the_difference_of_log_odds(pictures, steps, tolerance, monkeypatch):
    import torch

    from manyhot.explaining import gradients
    from manyhot.explaining.gradients import expected_gradients, log_odds_of
    from manyhot.explaining.scores import Scores

    if steps is not None:  # of networks with corners the sum is that of more points
        monkeypatch.setattr(gradients, "STEPS", steps)
    model, _ = pictures
    predictor, (quarter, tags) = Scores(model.bundle).predictor, model.schema.targets
    x = squares(3, seed=2)[0]
    ways = np.stack([np.zeros(x.shape[1:]), np.full(x.shape[1:], 90)]).astype(np.float32)
    for target, number in [(quarter, 0), (quarter, 1), (tags, 0)]:
        score = log_odds_of(predictor, target, number)
        with torch.no_grad():
            ends = score(torch.from_numpy(ways)).mean()
            starts = score(torch.from_numpy(x).float())
        for picture, start in zip(x, starts):
            heat = expected_gradients(predictor, target, number, picture, ways)
            assert heat.sum() == pytest.approx(float(start - ends), rel=tolerance, abs=tolerance)


def test_gradients_are_those_of_captum(pictures):
    attr = pytest.importorskip("captum.attr")
    import torch

    from manyhot.explaining.gradients import STEPS, expected_gradients, log_odds_of
    from manyhot.explaining.scores import Scores

    model, _ = pictures
    predictor, target = Scores(model.bundle).predictor, model.schema.targets[0]
    picture = squares(1, seed=3)[0][0]
    start = np.full((1, *picture.shape), 30, np.float32)
    ours = expected_gradients(predictor, target, 1, picture, start)
    method = attr.IntegratedGradients(log_odds_of(predictor, target, 1))
    given = torch.from_numpy(picture[None]).float()
    theirs = method.attribute(given, torch.from_numpy(start), n_steps=STEPS, method="gausslegendre")
    np.testing.assert_allclose(ours, theirs[0].sum(-1).numpy(), rtol=1e-3, atol=1e-5)


def test_what_is_explained_is_the_log_odds_of_the_answer(pictures):
    model, _ = pictures
    found = manyhot.explain(model, squares(8, seed=1)[0], method="occlusion")
    answers = model.predict(squares(8, seed=1)[0])
    for reason in found.reasons:
        assert reason.answer == answers[reason.target][reason.place]
        if reason.target == "quarter":
            assert reason.name == reason.answer
            assert reason.odds > 0


def test_the_column_that_decides_has_the_reasons(columns):
    found = manyhot.explain(columns / "model", str(columns / "rows.csv"), rows=range(1, 13))
    assert found.method == "replacement"
    assert found.columns == (("x",), ("z", "twice"), ("colour",))
    assert "rows that fit held back" in found.background
    for target in ("kind", "sign", "tags"):
        effects = np.abs(found.values(target)).mean(axis=0)
        assert effects[0] > 2.5 * effects[1:].max()
    document = found.details()
    first = document["rows"][0]["targets"]["kind"]["classes"][0]
    assert [*first["columns"][0]["columns"]] == ["x"]


def test_an_exported_file_is_explained_alike(fitted_rows, pictures, tmp_path):
    manyhot.load(fitted_rows / "model", verbose=False).export(tmp_path / "model.onnx")
    data = str(fitted_rows / "rows.csv")
    alone, whole = (
        manyhot.explain(model, data, rows=[1, 2, 3], background=data)
        for model in (tmp_path / "model.onnx", fitted_rows / "model")
    )
    for target in ("kind", "sign", "tags"):
        np.testing.assert_allclose(alone.values(target), whole.values(target), atol=1e-3)
    model, _ = pictures
    model.export(tmp_path / "pictures.onnx")
    found = manyhot.explain(tmp_path / "pictures.onnx", squares(2)[0])
    assert (found.method, dict(found.gains)) == ("occlusion", {})
    with pytest.raises(manyhot.UserError, match="has none"):
        manyhot.explain(tmp_path / "pictures.onnx", squares(2)[0], method="gradients")


def test_classes_and_targets_are_chosen(columns):
    model, data = columns / "model", str(columns / "rows.csv")
    found = manyhot.explain(model, data, rows=[3], classes=["high", "big"])
    assert [(reason.target, reason.name) for reason in found.reasons] == [("kind", "high"), ("tags", "big")]
    low = manyhot.explain(model, data, rows=[3], targets=["sign"], classes=["yes", "no"])
    np.testing.assert_allclose(low.values("sign", "yes"), -low.values("sign", "no"))
    with pytest.raises(manyhot.UserError, match="is explained"):
        found.values("sign")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "kinds"], "no such target (did you mean 'kind'?)"),
        (["--class", "hihg"], "has no such class (did you mean 'high'?)"),
        (["--target", "sign", "--class", "mid"], "'sign' has no such class"),
        (["--rows", "999"], "has no row 999; its rows are 1 to 240"),
        (["--rows", "1:999"], "up to 200 rows are explained at a time"),
        (["--rows", "one"], "must be numbers of rows"),
        (["--method", "gradient"], "did you mean 'gradients'?"),
        (["--method", "gradients"], "the columns of a table are replaced"),
        (["--out", "why.png"], "a drawing is of a picture"),
        (["--out", "why.csv"], "must end in .html"),
    ],
)
def test_a_mistake_is_a_line(fitted_rows, words, said, capsys):
    assert status_of("explain", fitted_rows / "model", fitted_rows / "rows.csv", *words) == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line


@pytest.fixture(scope="module")
def fitted_rows(tmp_path_factory):
    """A model of a table that is hardly trained, for what is asked of words."""
    folder = tmp_path_factory.mktemp("words")
    table = manyhot.read(write_csv(folder / "rows.csv", rows()))
    schema = manyhot.infer(table, ["kind", "sign"], tags={"tags": None})
    manyhot.fit(table, schema, out=folder / "model", verbose=False, **QUICK)
    return folder


def test_the_command_prints_and_writes_a_page(fitted_rows, tmp_path, capsys):
    words = ("explain", fitted_rows / "model", fitted_rows / "rows.csv")
    assert status_of(*words) == 0
    said = capsys.readouterr()
    assert "row 1, kind:" in said.out
    assert "█ spoke for it" in said.out
    assert "explained are the first 5 of 240 rows" in said.err
    assert status_of(*words, "--json", "--rows", "3,17") == 0
    assert [row["row"] for row in json.loads(capsys.readouterr().out)["rows"]] == [3, 17]
    page = tmp_path / "why.html"
    assert status_of(*words, "--out", page) == 0
    text = page.read_text()
    assert "Content-Security-Policy" in text
    assert "spoke for the answer" in text
    assert "<script" not in text
    assert status_of(*words, "--out", page) == 2  # it is there


def test_pictures_are_drawn_and_unreadable_ones_told(fitted_pictures, tmp_path, capsys):
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "whole.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    model = fitted_pictures / "model"
    drawing = tmp_path / "why.png"
    assert status_of("explain", model, tmp_path / "whole.png", "--out", drawing) == 0
    with Image.open(drawing) as image:
        assert image.width > 3 * 40
    capsys.readouterr()
    assert status_of("explain", model, tmp_path / "broken.png") == 2
    assert "nothing to explain" in capsys.readouterr().err
    write_csv(tmp_path / "two.csv", {"image": ["broken.png", "whole.png"]})
    assert status_of("explain", model, tmp_path / "two.csv", "--target", "fruit") == 0
    said = capsys.readouterr()
    assert "row 1 has no reasons" in said.err
    assert "row 2, fruit" in said.out
    assert status_of("explain", model, tmp_path / "two.csv", "--out", tmp_path / "two.html") == 0
    assert (tmp_path / "two.html").read_text().count("data:image/png") >= 5


def test_columns_go_together_by_ranks_and_categories():
    rng = np.random.default_rng(0)
    z = rng.normal(size=200)
    table = manyhot.read(
        {
            "z": z,
            "power": np.exp(3 * z),
            "part": [("a", "b", "c", "d")[int(v > -0.7) + int(v > 0) + int(v > 0.7)] for v in z],
            "same": [("A", "B", "C", "D")[int(v > -0.7) + int(v > 0) + int(v > 0.7)] for v in z],
            "alone": rng.normal(size=200),
            "y": rng.choice(["p", "q"], 200),
        }
    )
    schema = manyhot.infer(table, ["y"])
    from manyhot.data.inputs.features import table_inputs

    inputs = table_inputs(schema, table, np.arange(200))
    x = inputs.transform(table)[0]
    found = [group.names for group in groups(inputs, x)]
    assert ("alone",) in found
    assert ("z", "power") in found
    assert ("part", "same") in found
    assert [group.names for group in groups(inputs, x[:20])] == [(name,) for name in inputs.columns]


def test_blocks_add_up():
    heat = np.random.default_rng(0).random((50, 33))
    found, side = blocks(heat, 20)
    assert found.shape == (17, 11)
    assert side == 3
    assert found.sum() == pytest.approx(heat.sum())


PLENTY = 10**7  # of passes


def test_a_report_explains_some_answers(pictures, columns, tmp_path):
    model, _ = pictures
    x, quarter, tags = squares(80, seed=3)
    quarter = np.where(np.arange(80) % 20 == 0, "dark", quarter)  # some are wrong
    judged = model.judge(manyhot.read((x, {"quarter": quarter, "tags": tags})), "all")
    found = examples(model.bundle, judged, PLENTY)
    kinds = [each.kind for each in found.rows if each.target == "quarter"]
    assert kinds[:2] == [RIGHT, RIGHT]
    assert WRONG in kinds
    for each in found.rows:
        assert (each.given == each.answer) == (each.kind == RIGHT) or each.kind == UNSURE
        assert all(panel.heat.shape == (SIDE, SIDE) for panel in each.panels)
    (wrong, *_) = [each for each in found.rows if each.kind == WRONG and each.target == "quarter"]
    assert [panel.name for panel in wrong.panels] == [wrong.answer, wrong.given]
    half = np.abs(found.rows[0].panels[0].heat)
    assert half[: SIDE // 2, : SIDE // 2].sum() > 0.6 * half.sum()
    assert examples(model.bundle, judged, 0) is None  # no time for any

    table = manyhot.load(columns / "model")
    rows_ = examples(table.bundle, table.judge(columns / "rows.csv", "all"), PLENTY)
    assert {each.target for each in rows_.rows} == {"kind", "sign", "tags"}
    assert next(iter(rows_.rows[0].panels[0].bars[0][0])) == "x"
    path = table.report(columns / "rows.csv", tmp_path / "page.html", split="all")
    page = path.read_text()
    assert "some answers with what spoke for them" in page
    assert "values of 30 held-out rows" in page


def test_pictures_that_have_gone_are_not_explained(pictures, tmp_path):
    model, _ = pictures
    x, quarter, tags = squares(30, seed=4)
    for number, each in enumerate(x):
        Image.fromarray(each[..., 0]).save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(30)]
    columns_ = {"image": names, "quarter": [*quarter], "tags": [*tags]}
    judged = model.judge(manyhot.read(write_csv(tmp_path / "t.csv", columns_)), "all")
    assert examples(model.bundle, judged, PLENTY) is not None
    for name in names:
        (tmp_path / name).unlink()
    assert examples(model.bundle, judged, PLENTY) is None
