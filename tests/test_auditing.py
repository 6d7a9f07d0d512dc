"""Audits: labels that are wrong, copies, contradictions, spelling, leaks, and what is decided about them."""

import json
import re
import shutil

import numpy as np
import pytest
from making import NETWORKS, ROW_OPTIONS, flags_of, write_csv, write_pictures, write_table
from PIL import Image, ImageFilter, ImageOps

import manyhot
from manyhot.auditing import audit, copies, findings, labels
from manyhot.auditing.fix import fixed
from manyhot.cli import main
from manyhot.errors import UserError
from manyhot.progress import Lines
from manyhot.schema import Target

LEARNING = ["--effort", "fast", "--set", "threads=1", "--set", f"members={NETWORKS}"]
PETS = Target("pet", "multiclass", ("cat", "cow", "dog"), ("pet",))
TAGS = Target("tags", "multilabel", ("a", "b", "c", "d"), ("tags",))


def answers(truth, size=3, sure=0.95, seed=0):
    """Probabilities of a model that is nearly always right, as rows are hard or easy."""
    random = np.random.default_rng(seed)
    p = random.random((len(truth), size)) * (1 - sure)
    p[np.arange(len(truth)), truth] = sure
    return p / p.sum(axis=1, keepdims=True)


def test_changed_classes_stand_at_the_top_and_are_counted():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 2_000)
    given, rows = truth.copy(), random.permutation(2_000)[:100]
    given[rows] = (truth[rows] + 1) % 3
    (found,) = labels.suspects(PETS, given, answers(truth))
    assert set(found.rows[:100]) == set(rows)
    assert (found.suggested[rows] == truth[rows]).all()
    estimate, low, high = found.number
    assert low <= 100 <= high
    assert abs(estimate - 100) < 33
    assert found.trust > 0.95


def test_rows_without_label_or_answer_are_left_alone():
    truth = np.arange(300) % 3
    given, p = truth.copy(), answers(truth)
    given[:30] = -1
    p[30:60] = np.nan
    given[100] = (truth[100] + 1) % 3
    (found,) = labels.suspects(PETS, given, p)
    assert list(found.rows) == [100]
    assert np.isnan(found.score[:60]).all()


@pytest.mark.parametrize("clean", [50, 500, 5_000])
def test_clean_labels_have_no_errors(clean):
    truth = np.arange(clean) % 3
    (found,) = labels.suspects(PETS, truth, answers(truth))
    assert len(found.rows) == 0
    assert found.number[0] == 0


def of_tags(rows=2_000, seed=0):
    """Tags, a and b always together, and a model's probabilities of them."""
    random = np.random.default_rng(seed)
    first, third, last = random.random((3, rows, 1)) < 0.4
    truth = np.concatenate([first, first, third, last], axis=1).astype(np.int8)
    return truth, np.where(truth == 1, 0.9, 0.1) + random.uniform(-0.08, 0.08, truth.shape), random


@pytest.mark.parametrize("side", ["there", "absent"])
def test_tags_have_a_list_for_each_side(side):
    truth, p, random = of_tags()
    old, new = (0, 1) if side == "there" else (1, 0)
    rows = random.permutation(np.flatnonzero((truth == old).any(axis=1)))[:100]
    given = truth.copy()
    for row in rows:
        given[row, random.choice(np.flatnonzero(truth[row] == old))] = new
    found = {each.side: each for each in labels.suspects(TAGS, given, p)}
    assert set(found) == {"there", "absent"}
    assert np.isin(found[side].rows[:100], rows).mean() > 0.95
    assert (found[side].suggested[rows] == truth[rows]).all()
    other = found["absent" if side == "there" else "there"]
    assert len(other.rows) < 20
    assert abs(found[side].number[0] - 100) < 33


def test_sets_that_hardly_any_row_has_are_seen_where_probabilities_tell_little():
    truth, _, random = of_tags()
    p = np.clip(np.where(truth == 1, 0.6, 0.4) + random.normal(0, 0.15, truth.shape), 0.01, 0.99)
    rows = random.permutation(np.flatnonzero(truth[:, 0] == 1))[:50]
    given = truth.copy()
    given[rows, 1] = 0
    (found,) = (each for each in labels.suspects(TAGS, given, p) if each.side == "absent")
    assert found.method == "sets"
    assert np.isin(rows, found.rows[:50]).mean() > 0.7
    plain = np.argsort(-labels.softmin(given, p, "absent"), kind="stable")[:50]
    assert np.isin(rows, plain).mean() < 0.3


def test_partly_known_rows_are_judged_by_what_is_known():
    truth, p, _ = of_tags()
    given = truth.copy()
    given[:500, 2:] = -1
    given[7, :2] = 1 - given[7, :2]
    found = labels.suspects(TAGS, given, p)
    assert 7 in {int(each.rows[0]) for each in found if len(each.rows)}
    assert all((each.suggested[:500, 2:] == -1).all() for each in found)


def seen(columns, *targets, **options):
    table = manyhot.read(columns)
    return table, manyhot.infer(table, list(targets), **options)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["cat"] * 30 + ["Cat "], {"Cat": "cat"}),
        (["Cat"] * 30 + ["cat"], {"cat": "Cat"}),
        (["virginica"] * 30 + ["virginca"], {"virginca": "virginica"}),
        (["flower"] * 30 + ["flowers"], {}),
        (["model 10"] * 30 + ["model 11"], {}),
        (["beach"] * 30 + ["peach"] * 30, {}),
        (["bus"] * 30 + ["bug"], {}),
        (["a"] * 30 + ["b"], {}),
    ],
)
def test_spelling(names, found):
    table, schema = seen({"x": range(len(names) + 1), "y": [*names, "other thing"]}, "y")
    told = [*findings.misspelt(table, schema)]
    assert {each.given.strip(): each.suggested for each in told} == found


def test_tags_are_spelt_one_by_one():
    table, schema = seen({"x": range(60), "y": ["sun;Sea"] + ["sea;sun"] * 59}, tags={"y": None})
    (told,) = findings.misspelt(table, schema)
    assert (told.given, told.suggested) == ("sun;Sea", "sun;sea")
    assert told.changes == (("y", "sun;Sea", "sun;sea"),)


@pytest.mark.parametrize(
    ("cells", "label", "changes"),
    [
        ({"y": ["a|b", "c"]}, "a", [("y", "a|b", "a")]),
        ({"y": ["a|b", "c"]}, "a;b;c", [("y", "a|b", "a|b|c")]),
        ({"y": ["a;b", "c"]}, "[]", [("y", "a;b", "[]")]),
        ({"a": ["1", "0"], "b": ["0", "1"]}, "b", [("a", "1", "0"), ("b", "0", "1")]),
        ({"a": ["yes", "no"], "b": ["no", "yes"]}, "a;b", [("b", "no", "yes")]),
    ],
)
def test_a_label_is_written_as_its_column_says_it(cells, label, changes):
    tags = {"y": None} if "y" in cells else {"t": [*cells]}
    table, schema = seen({"x": [1, 2], **cells}, tags=tags)
    (target,) = schema.targets
    assert [*findings.changes(table, target, 0, label)] == changes


def photo(seed, side=160):
    random = np.random.default_rng(seed)
    rough = Image.fromarray(random.integers(0, 255, (9, 11, 3), np.uint8)).resize((side * 5 // 4, side))
    return rough.filter(ImageFilter.GaussianBlur(2))


WAYS = {
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "grey": lambda image: image.convert("L"),
    "darker": lambda image: image.point(lambda level: level * 0.7),
    "cut": lambda image: image.crop((0, 14, round(image.width * 0.88), image.height)),
    "mirrored": ImageOps.mirror,
    "framed": lambda image: ImageOps.expand(image, 12, "white"),
}


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_photos_are_found(way):
    images = [photo(seed) for seed in range(12)]
    small = np.stack([copies.shrunk(each) for each in [*images, WAYS[way](images[3])]])
    found = copies.near(copies.Looked(small, {}), [], Lines(False))
    assert [(each.row, each.other) for each in found] == [(12, 3)]
    assert ("mirrored" in found[0].how) == (way == "mirrored")


def test_what_shows_nothing_is_no_copy():
    small = np.full((5, copies.S, copies.S), 200, np.uint8)
    assert copies.near(copies.Looked(small, {}), [], Lines(False)) == []


def test_signs_are_copies_only_pixel_by_pixel():
    signs = np.zeros((6, 28, 28), np.uint8)
    for number in range(4):
        signs[number, 6:22, 10 + number : 13 + number] = 255  # strokes that lie next to each other
    signs[4] = signs[2]
    signs[5] = np.clip(signs[1].astype(int) + 3, 0, 255)
    table = manyhot.read((signs, {"y": ["a", "b"] * 3}))
    schema = manyhot.infer(table, ["y"])
    looked = copies.look(table, schema, lambda done, rows: None)
    found = copies.near(looked, [], Lines(False))
    assert {(each.row, each.other) for each in found} == {(4, 2), (5, 1)}


BAD = {"width": [], "length": [], "note": [], "kind": []}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A table with one of each problem, and its audit."""
    folder = tmp_path_factory.mktemp("audit")
    random = np.random.default_rng(0)
    kinds = ["oak", "elm"] * 60
    width = [round(float(random.normal(0 if kind == "oak" else 9)), 4) for kind in kinds]
    length = [round(float(random.normal(9 if kind == "oak" else 0)), 4) for kind in kinds]
    kinds[8], kinds[9], kinds[20] = "elm", "oak", "Oak"
    for cells, more in ((width, (width[3], width[4], "")), (length, (length[3], length[4], ""))):
        cells += more
    kinds += ["elm", "elm", "oak"]  # a copy of row 4, of row 5 with another label, a row without input
    split = ["train"] * 100 + ["test"] * 23
    path = write_csv(folder / "trees.csv", {"width": width, "length": length, "kind": kinds, "split": split})
    out = folder / "found"
    assert main(["audit", str(path), "--target", "kind", "--out", str(out), *LEARNING]) == 0
    return path, out


def lines_of(out):
    table = manyhot.read(out / "audit.csv")
    columns = {name: table.column(name).to_pylist() for name in table.names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(
    ("problem", "rows"),
    [("spelling", {21}), ("duplicate", {121, 122}), ("contradiction", {5, 122}), ("unreadable", {123})],
)
def test_each_problem_is_found(bad, problem, rows):
    assert {int(line["row"]) for line in lines_of(bad[1]) if line["problem"] == problem} == rows


def test_wrong_labels_come_first(bad):
    found = [line for line in lines_of(bad[1]) if line["problem"] == "label"]
    assert {int(line["row"]) for line in found[:4]} >= {9, 10}
    assert {line["suggested"] for line in found if int(line["row"]) == 9} == {"oak"}
    scores = [float(line["score"]) for line in lines_of(bad[1])]
    assert scores == sorted(scores, reverse=True)


def test_the_columns_of_the_table_come_first(bad):
    names = manyhot.read(bad[1] / "audit.csv").names
    assert names[:4] == ("width", "length", "kind", "split")
    assert names[4:9] == ("problem", "target", "given", "suggested", "score")


def test_a_copy_in_another_split_is_told(bad):
    (line,) = (
        line for line in lines_of(bad[1]) if line["problem"] == "duplicate" and int(line["row"]) == 121
    )
    assert "which is in train; this is in test" in line["note"]


def test_the_page_is_complete_and_escaped(bad):
    page = (bad[1] / "audit.html").read_text()
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=\"https?:", page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert {item["problem"] for item in data["items"]} >= {"label", "spelling", "duplicate"}


def review(path, *lines):
    return write_csv(
        path, dict(zip(("row", "action", "column", "given", "value"), zip(*lines, strict=True), strict=True))
    )


def test_a_review_is_written_into_a_new_table(bad, tmp_path):
    path, _ = bad
    before = path.read_text()
    lines = [
        (9, "change", "kind", "elm", "oak"),
        (121, "remove", "", "", ""),
        (10, "keep", "kind", "oak", "oak"),
    ]
    words = ["audit", str(path), "--fix", str(review(tmp_path / "R.csv", *lines))]
    assert main([*words, "--out", str(tmp_path / "new.csv")]) == 0
    old, new = manyhot.read(path), manyhot.read(tmp_path / "new.csv")
    assert len(new) == len(old) - 1
    assert new.column("kind").to_pylist()[8] == "oak"
    assert new.column("kind").to_pylist()[9] == "oak"
    assert path.read_text() == before
    assert main([*words, "--out", str(path), "--overwrite"]) == 2
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ((900, "remove", "", "", ""), "is no row of"),
        ((1, "change", "kind", "beech", "oak"), "has 'oak' in column 'kind', not 'beech'"),
        ((1, "change", "colour", "red", "blue"), "has no column 'colour'"),
        ((1, "burn", "", "", ""), "action must be one of"),
    ],
)
def test_a_review_of_another_table_is_refused(bad, tmp_path, line, told):
    with pytest.raises(UserError, match=told):
        fixed(manyhot.read(bad[0]), manyhot.read(review(tmp_path / "R.csv", line)))


@pytest.mark.parametrize("kind", ["mixed", "multilabel"])
def test_a_model_with_folds_judges_its_own_rows(tmp_path, kind, capsys):
    path = write_table(tmp_path, kind, 60)
    words = [str(path), *flags_of(kind)]
    folds = ["--set", "folds=2"]
    assert main(["fit", *words, "--out", str(tmp_path / "model"), *folds, *ROW_OPTIONS]) == 0
    asked = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "found"), "--json"]
    capsys.readouterr()
    assert main(["audit", str(path), *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judged_by"] == "answers of the given model, of its folds"
    schema = manyhot.load(tmp_path / "model").schema
    assert {each["target"] for each in found["labels"]} == {target.name for target in schema.targets}
    assert main(["audit", str(path), *asked]) == 2  # it is there already
    assert main(["audit", str(path), *asked, "--overwrite"]) == 0
    assert main(["audit", str(path), *asked, "--overwrite", "--target", "x"]) == 2


def test_pictures_are_audited_with_what_cannot_be_read(tmp_path):
    names = write_pictures(tmp_path, 45)
    (tmp_path / names[7]).write_bytes(b"")
    (tmp_path / names[8]).write_bytes((tmp_path / names[5]).read_bytes())
    path = write_csv(tmp_path / "t.csv", {"image": names, "fruit": ["apple", "pear", "plum"] * 15})
    out = tmp_path / "found"
    assert main(["audit", str(path), "--target", "fruit", "--out", str(out), *LEARNING, "--epochs", "1"]) == 0
    found = {line["problem"]: line for line in lines_of(out)}
    assert (found["unreadable"]["row"], found["unreadable"]["note"]) == ("8", "empty file")
    assert found["duplicate"]["row"] == "9"
    assert "data:image/png" in (out / "audit.html").read_text()


def test_too_few_rows_are_told(tmp_path):
    path = write_csv(tmp_path / "t.csv", {"x": [1, 2, 3, 3], "y": ["a", "b", "a", "a"]})
    found = audit.audit(manyhot.read(path), "y", verbose=False)
    assert found.counts["duplicate"] == 1
    assert any("too few to judge labels" in note for note in found.notes)
    assert "1 duplicate" in repr(found)


def test_a_column_that_tells_the_answer_is_a_leak():
    y = ["a", "b"] * 30
    found = [
        *findings.leaking(*seen({"x": np.arange(60) % 7, "code": [f"{each}1" for each in y], "y": y}, "y"))
    ]
    assert [(each.problem, each.given, each.target) for each in found] == [("leak", "code", "y")]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium to show the page")
def test_the_page_is_decided_by_keyboard(bad, tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    path, out = bad
    with sync.sync_playwright() as started:
        options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
        browser = started.chromium.launch(**options)
        page = browser.new_context(accept_downloads=True, viewport={"width": 390, "height": 844}).new_page()
        complaints = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((out / "audit.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click('.pick[data-problem="spelling"]')
        page.keyboard.press("a")
        page.click('.pick[data-problem="duplicate"]')
        for key in ("a", "s", "u"):  # the second finding is decided, and that is taken back
            page.keyboard.press(key)
        page.click('.pick[data-problem="label"]')
        page.keyboard.press("o")
        page.select_option("#card select", "oak")
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "REVIEWED.csv")
        browser.close()
    assert complaints == []
    review = (tmp_path / "REVIEWED.csv").read_text().splitlines()
    assert review[0] == "row,action,column,given,value"
    assert "121,remove,,," in review
    assert not [line for line in review if line.startswith("122,")]
    assert "21,change,kind,Oak,oak" in review
    new, done = fixed(manyhot.read(path), manyhot.read(tmp_path / "REVIEWED.csv"))
    assert done["removed"] == 1
    assert new.column("kind").to_pylist()[20] == "oak"
