"""The report on every kind of target: complete, escaped, and loading nothing."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from manyhot import metrics
from manyhot.data.table import from_python
from manyhot.judge import Judged
from manyhot.report import curves, mistakes, plots
from manyhot.report.page import Report, render
from manyhot.report.record import FitRecord
from manyhot.report.sheet import as_png, contact_sheet, thumbnail
from manyhot.report.svg import log_ticks, ticks
from manyhot.schema import Input, Schema, Target

EVIL = "<script>alert('x')</script>"
TARGETS = (
    Target("yes or no", "binary", ("no", "yes"), ("b",)),
    Target("one", "multiclass", ("a & b", EVIL, "never given", 'quo"te'), ("m",)),
    Target("many", "multilabel", ("sky", EVIL, "sea", "absent"), ("t",)),
)
SECTIONS = ("summary", "data", "schema", "training", "settings")


def labels(rng, target, rows):
    if target.kind == "multiclass":
        y = rng.integers(-1, len(target.classes), rows).astype(np.int32)
        y[y == 2] = 1
        return y
    y = rng.integers(-1, 2, (rows, 1 if target.kind == "binary" else len(target.classes))).astype(np.int8)
    if target.kind == "multilabel":
        y[:, -1:] = 0
    return y


def png(size=(9, 7), colour=(10, 200, 30)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def history(targets):
    lines = []
    for epoch in (1, 2, 3):
        for step in range(4):
            losses = {t.name: 1.0 for t in targets}
            line = {"kind": "step", "epoch": epoch, "step": epoch * 4 + step - 3, "loss": 9.0 / epoch}
            lines.append(line | {"losses": losses, "learning_rate": 0.1, "seconds": 1.0})
        known = {t.name: {"log_loss": 1.0, "accuracy": None, "micro_f1": 0.5} for t in targets}
        validation = {"rows": 5, "targets": known, "overall": {"exact_match": None, "loss": 2.0}}
        line = {"kind": "epoch", "epoch": epoch, "step": epoch * 4, "loss": 3.0, "losses": {}, "seconds": 1.0}
        lines.append(line | {"learning_rate": 0.1, "validation": validation, "best": epoch == 2})
    return lines


def report(targets=TARGETS, rows=60, image=False, lines=(), unknown=False, **changes):
    rng = np.random.default_rng(0)
    y = {t.name: labels(rng, t, rows) for t in targets}
    if unknown:
        y = {name: np.full_like(values, -1) for name, values in y.items()}
    p = {}
    for target in targets:
        raw = rng.random((rows, len(target.classes)))
        p[target.name] = raw / raw.sum(axis=1, keepdims=True) if target.exclusive else raw
    columns = {"width": rng.random(rows), EVIL: [EVIL] * rows, "empty": [None] * rows}
    table = from_python(columns, source="t.csv")
    inputs = [Input("width", "image", (8, 8, 3))] if image else [Input(n, "category") for n in columns]
    schema = Schema(tuple(inputs), tuple(targets))
    scores = {
        "rows": rows,
        "targets": {t.name: metrics.scores(t, y[t.name], p[t.name]) for t in targets},
        "overall": metrics.overall(targets, y, p),
    }
    values = {
        "title": f"Report {EVIL}",
        "schema": schema,
        "config": {"command": ["manyhot", "fit", EVIL], "epochs": 3, "optim": {"rate": 0.1}, "device": None},
        "fit": FitRecord({"train": 100, "val": rows, "unreadable": 0}, [f"left out {EVIL}"], history=lines),
        "judged": Judged("val", table, schema, y, p, scores, {"row 3": f"broken {EVIL}"}),
        "picture": (lambda i: png() if i % 2 else None) if image else None,
    }
    return Report(**(values | changes))


class Page(HTMLParser):
    """Collects what a browser would load and where links lead; knows the tags that must be closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, html):
        super().__init__()
        self.open, self.loads, self.ids, self.links, self.tags = [], [], set(), set(), set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for key, value in attrs:
            if key in ("src", "srcset", "data") or (key == "href" and tag != "a"):
                self.loads.append(value)
            if key == "href" and tag == "a":
                self.links.add(value)
            if key == "id":
                self.ids.add(value)
            assert not key.startswith("on")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def check(html):
    page = Page(html)
    assert all(re.match("data:image/(png|jpeg);base64,", load) for load in page.loads)
    assert not re.search(r"https?://|url\(|@import", html)
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    assert EVIL not in html
    assert {f"#{name}" for name in SECTIONS} <= page.links
    assert all(link.removeprefix("#") in page.ids for link in page.links)
    assert not re.search(
        r"\b(nan|None|inf)\b", re.sub(r"<title>.*?</title>|<style>.*?</style>", "", html, flags=re.S)
    )
    return page


@pytest.mark.parametrize("image", [False, True])
def test_every_kind_at_once(image):
    html = render(report(image=image, lines=history(TARGETS)))
    page = check(html)
    assert {"target-1", "target-2", "target-3"} <= page.ids
    wanted = ["Confusion", "Calibration", "Precision and recall", "Tags that go together", "Most wrong"]
    wanted += [
        "Learning rate",
        "Training loss",
        "Held-out loss",
        "which was kept",
        "optim.rate",
        "fit &#39;&lt;script",
    ]
    assert [word for word in wanted if word not in html] == []
    assert bool(page.loads) == image
    assert "&lt;script&gt;alert" in html


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.kind)
def test_each_kind_alone(target):
    html = render(report((target,)))
    check(html)
    assert "no record of the training" in html


@pytest.mark.parametrize("rows", [0, 5])
def test_nothing_known(rows):
    html = render(report(rows=rows, unknown=True))
    check(html)
    assert html.count("n/a") > 20
    assert "No judged row has this target." in html


def test_everything_right():
    target = TARGETS[1]
    base = report((target,))
    y = np.zeros(60, np.int32)
    p = np.tile([0.97, 0.01, 0.01, 0.01], (60, 1))
    judged = base.judged
    right = Judged(judged.split, judged.table, judged.schema, {"one": y}, {"one": p}, judged.scores, {})
    html = render(report((target,), judged=right))
    check(html)
    assert "No judged row was answered wrongly." in html


def test_a_score_too_good_shows_how_much_columns_tell_alone():
    target = Target("one", "multiclass", ("a", "b"), ("m",))
    y = np.arange(40, dtype=np.int32) % 2
    p = np.eye(2)[y]
    table = from_python({"same": [*"ab"] * 20, "other": [*"uuvv"] * 10}, "t.csv")
    inputs = (Input("same", "category"), Input("other", "category"))
    scores = {"rows": 40, "targets": {"one": {"accuracy": 1.0}}, "overall": {}}
    judged = Judged("val", table, Schema(inputs, (target,)), {"one": y}, {"one": p}, scores, {})

    def page(scores):
        given = replace(judged, scores=scores)
        return render(Report("t", judged.schema, {}, FitRecord({"val": 40}), given))

    shown = page(scores)
    card = shown[shown.index("Too good to be true") :].split("</section>")[0]
    assert card.index("same <small>100.0 %") < card.index("other <small>")
    assert "Too good" not in page(scores | {"targets": {"one": {"accuracy": 0.998}}})
    assert "Too good" not in page(scores | {"targets": {"one": {"accuracy": None}}})


@pytest.mark.parametrize("size", [25, 40])
def test_many_classes(size):
    names = tuple(f"class {number}" for number in range(size))
    html = render(
        report((Target("m", "multiclass", names, ("m",)), Target("t", "multilabel", names, ("t",))))
    )
    check(html)
    assert ("Most often taken for each other" in html) == (size > plots.DRAWN)
    assert ("the pairs that most rows have" in html) == (size > plots.DRAWN)
    assert ("<h4>Confusion" in html) == ("<h4>Tags that go together" in html) == (size <= plots.DRAWN)
    assert "the hardest first" in html


def test_no_tags_and_no_schema_columns():
    target = Target("t", "multilabel", (), ("t",))
    check(render(report((target,), rows=3)))


def test_confused_pairs_are_listed_where_no_matrix_is_drawn():
    names = tuple(f"class {i}" for i in range(plots.DRAWN + 1))
    for classes in (names, names[1:]):
        page = render(report((Target("m", "multiclass", classes, ("m",)),)))
        assert ("Most often taken for each other" in page) == (classes == names)


def test_pairs_of_tags():
    target = Target("t", "multilabel", tuple(map(str, range(40))), ("t",))
    y = np.zeros((6, 40), np.int8)
    y[:4, [3, 7]], y[4, 3], y[5, [1, 2]] = 1, 1, 1
    pairs = plots.together(target, y, np.full((6, 40), 0.5))
    assert [(p["one"], p["other"], p["count"], p["share"]) for p in pairs] == [
        ("3", "7", 4, 1.0),
        ("1", "2", 1, 1.0),
    ]
    assert pairs[0]["pull"] == pytest.approx(2 / 3)


def test_one_target_has_one_card_and_several_fold():
    one, three = render(report(TARGETS[:1])), render(report())
    assert "Everything right" not in one
    assert "Everything right" in three
    assert len(re.findall('class="card[ "]', one)) == 1
    assert '<details class="fold">' not in one
    assert three.count('<details class="fold">') == 3
    assert {"target-1", "target-2", "target-3"} <= check(three).ids


def test_pictures_grow_on_a_click_and_paths_are_whole():
    path = "a/very/long/path/" * 9 + "picture.jpg"
    judged = report((TARGETS[1],), image=True).judged
    table = from_python({"width": [path] * 60}, source="t.csv")
    noise = np.random.default_rng(0).integers(0, 255, (600, 900, 3), np.uint8)
    large = as_png(Image.fromarray(noise))
    html = render(report(judged=replace(judged, table=table), image=True, picture=lambda row: large))
    check(html)
    assert f">{path}</code>" in html
    assert 'type="checkbox"' in html
    sizes = []
    for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", html):
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            sizes.append(max(image.size))
    assert set(sizes) == {mistakes.PIXELS}


def test_scores_stand_beside_what_others_reach():
    target = TARGETS[0]
    judged = report((target,)).judged
    others = {target.name: {"constant": {"accuracy": 0.123, "auroc": None}, "forest": {"accuracy": 0.456}}}
    html = render(report((target,), judged=replace(judged, baselines=others)))
    check(html)
    assert "<b>0.123</b> constant" in html
    assert "<b>0.456</b> forest" in html
    assert "the same answer for all rows reaches 12.3 %" in html


def test_columns_are_shown_by_what_they_matter():
    target = TARGETS[0]
    judged = report((target,)).judged
    found = {target.name: {EVIL: (0.5, 0.01), "width": (0.25, 0.02), "empty": (0.001, 0.01)}}
    html = render(report((target,), judged=replace(judged, importance=found)))
    check(html)
    assert html.index('&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</span><i><u style="width:100.0%') > 0
    assert "width:50.0%" in html
    assert "and 1 more with less effect" in html
    assert "go most with the labels" not in html
    nothing = {target.name: {"width": (-0.1, 0.1)}}
    assert "<h3>Columns" not in render(report((target,), judged=replace(judged, importance=nothing)))


def test_training_rows_are_counted_beside_judged_ones():
    target = TARGETS[0]
    judged = report((target,)).judged
    taught = {target.name: {"no": 777, "yes": 888}}
    html = render(report((target,), judged=replace(judged, taught=taught)))
    assert "<small>777</small>" in html
    same = dict(zip(target.classes, metrics.support(target, judged.y[target.name]), strict=True))
    assert "how many train" not in render(
        report((target,), judged=replace(judged, taught={target.name: same}))
    )


def test_calibration_says_of_how_many_answers_it_is():
    target = TARGETS[0]
    judged = report((target,), rows=400).judged
    figure = plots.reliability(target, judged.y[target.name], judged.probabilities[target.name])
    known = int((judged.y[target.name] >= 0).sum())
    assert f"(n = {known})" in figure.caption
    assert 'class="band s0"' in figure.svg
    alike = plots.reliability(target, np.ones((5, 1), np.int8), np.tile([0.4, 0.6], (5, 1)))
    assert "Each of the 1 points" not in alike.caption
    assert 'class="band' not in alike.svg
    wide = re.search(r"95 % between ([\d.]+)% and ([\d.]+)%", alike.svg)
    assert (float(wide[1]), float(wide[2])) == pytest.approx((56.6, 100.0))  # Wilson's, of 5 of 5


def test_losses_of_training_and_of_held_out_rows_are_two_charts():
    figures = {figure.title: figure for figure in curves.training(history(TARGETS), TARGETS)}
    assert {"Training loss", "Held-out loss"} <= set(figures)
    assert [name for _, name in figures["Held-out loss"].legend] == [
        "held-out rows",
        *(t.name for t in TARGETS),
    ]
    assert not any("held" in name for _, name in figures["Training loss"].legend)


def test_widened_classes_are_shown():
    known = Target("m", "multiclass", ("a", "b"), ("m",))
    judged = report((Target("m", "multiclass", ("a", "b", "new one"), ("m",)),)).judged
    html = render(report(judged=judged, schema=Schema((), (known,))))
    assert "new one" in html


def test_history_of_steps_only_and_single_epoch():
    lines = history(TARGETS)
    assert [figure.title for figure in curves.training(lines[:3], TARGETS)] == [
        "Training loss",
        "Learning rate",
    ]
    assert curves.training(lines[:5], TARGETS)[0].title == "Training loss"
    assert curves.training([], TARGETS) == []


def test_one_step_among_many_epochs_draws_no_lone_dot():
    lines = [line for line in history(TARGETS) if line["kind"] == "epoch" or line["step"] == 1]
    figures = {figure.title: figure for figure in curves.training(lines, TARGETS)}
    assert "each step" not in [name for _, name in figures["Training loss"].legend]
    assert figures["Learning rate"].svg.count("<title>learning rate, epoch ") == 3


def test_parts_without_rows_are_not_shown():
    html = render(report())
    assert "</i>val <b>60</b>" in html
    assert "</i>unreadable" not in html


def test_the_same_page_again():
    assert render(report(lines=history(TARGETS))) == render(report(lines=history(TARGETS)))


def test_ticks():
    assert ticks(0, 12, 6) == [0, 2, 4, 6, 8, 10, 12]
    assert ticks(1, 1) == [1]
    assert log_ticks(0.15, 30) == pytest.approx([0.2, 0.5, 1, 2, 5, 10, 20])


def test_contact_sheet():
    pictures = [png((8, 8)), png((300, 200)), png((20, 90))]
    captions = ["seven", "a very long caption; of, several words that cannot fit below one picture", ""]
    with Image.open(io.BytesIO(contact_sheet(pictures, captions, columns=2))) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width < 2 * 140
        assert sheet.height > 2 * 112
    assert contact_sheet([], [])
    with pytest.raises(ValueError, match="captions"):
        contact_sheet(pictures, captions[:1])


def test_thumbnail():
    small, large = png((8, 8)), png((900, 300))
    assert thumbnail(small, 160) is small
    with Image.open(io.BytesIO(thumbnail(large, 160))) as image:
        assert image.size == (160, 53)


def test_tags_that_pull_on_each_other_are_told_from_those_the_row_explains():
    names = ("sky", "cloud", "sea", "car")
    target = Target("tags", "multilabel", names, ("tags",))
    rng = np.random.default_rng(0)
    sea = rng.random(400)  # what the model says of the sea and the car is all there is to say
    both = rng.random(400) < 0.5  # nothing in the row tells sky and cloud, but they come together
    y = np.stack([both, both, rng.random(400) < sea, rng.random(400) < sea], axis=1).astype(np.int8)
    y[:50, 1] = -1
    chances = np.stack([np.full(400, 0.5), np.full(400, 0.5), sea, sea], axis=1)
    figure = next(f for f in plots.judged(target, y, chances) if f.title == "Tags that pull on each other")
    assert "sky and cloud: +1.00" in figure.svg
    found = float(re.search(r"sea and car: ([+-]\d\.\d\d)", figure.svg)[1])
    assert abs(found) < 0.15
    assert "tag by tag" in figure.caption
