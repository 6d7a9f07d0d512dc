"""The page in a real browser: what a person does with it, by mouse, keyboard and thumb."""

import csv
import io
import json
import shlex
import shutil
import sqlite3
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from making import ROW_OPTIONS, status_of
from PIL import Image
from serving import HTML, listening, picture_model, png, table_model

from manyhot.serve import corrections
from manyhot.serve.app import PAGE
from manyhot.serve.gate import Rules

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to show the page")
WAIT_MS = 20_000  # the first picture waits for what reads pictures
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PASTE = """([name, bytes, kind]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  const pasted = { ...options, clipboardData: data };
  if (kind === "paste") document.dispatchEvent(new ClipboardEvent("paste", pasted));
  else for (const each of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(each, { ...options, dataTransfer: data }));
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


class Opened:
    """A server with its corrections, and what the browser complained of."""

    def __init__(self, browser, address, store):
        self.browser, self.address, self.store = browser, address, store
        self.complaints, self.asked, self.allowed = [], [], ()

    def page(self, **options):
        context = self.browser.new_context(accept_downloads=True, **options)
        page = self.last = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.address)
        return page

    def entries(self):
        """What is in the store: by entry the answers and the labels."""
        with sqlite3.connect(self.store.path) as database:
            rows = database.execute("SELECT answers, labels FROM corrections ORDER BY id").fetchall()
        return [(json.loads(answers), json.loads(labels)) for answers, labels in rows]

    def labels(self, count):
        """The labels of so many entries, once they are there."""
        end = time.monotonic() + WAIT_MS / 1000
        while len(self.entries()) != count and time.monotonic() < end:
            self.last.wait_for_timeout(20)
        found = [labels for _, labels in self.entries()]
        assert len(found) == count, found
        return found


@pytest.fixture
def serve(browser, tmp_path):
    """Serve models; at the end nothing may have been asked for elsewhere, and nothing complained of."""
    left = []

    def begin(*models, keep=True, rules=None):
        store = corrections.Store(tmp_path / "corrections.db")
        more = corrections.routes(store, {model.name: model for model in models}) if keep else ()
        running = listening(*models, more=more, rules=rules)
        _, (host, port) = running.__enter__()
        opened = Opened(browser, f"http://{host}:{port}/", store)
        left.append((running, opened))
        return opened

    yield begin
    for running, opened in left:
        for context in browser.contexts:
            context.close()
        running.__exit__(None, None, None)
        opened.store.close()
        assert [text for text in opened.complaints if not any(word in text for word in opened.allowed)] == []
        assert all(url.startswith((opened.address, f"blob:{opened.address}")) for url in opened.asked)


def choose(page, *pictures):
    files = [
        {"name": f"photo {number}.png", "mimeType": "image/png", "buffer": picture}
        for number, picture in enumerate(pictures, 1)
    ]
    page.set_input_files(".choose >> nth=0", files)
    page.wait_for_selector("#answers .target")


def says(page, target):
    """The answer of a target as it stands there in large letters."""
    return page.locator(f"section.target:has(h2:text-is('{target}')) .says").inner_text().split("\n")[0]


def test_it_is_light_and_soon_there(serve):
    opened = serve(picture_model())
    began = time.perf_counter()
    page = opened.page()
    page.wait_for_selector("#start", state="visible")
    seconds = time.perf_counter() - began
    weight = sum(path.stat().st_size for path in PAGE.iterdir())
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(
        f"page: {weight / 1000:.1f} kB, first useful view after {seconds:.2f} s, first paint {paint:.0f} ms"
    )
    assert weight < 100_000
    assert {*opened.asked} >= {opened.address + name for name in ("", "page.js", "page.css", "models")}


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_is_answered(serve, way):
    page = serve(picture_model()).page()
    page.wait_for_selector("#start", state="visible")
    if way == "choose":
        choose(page, png(1))
    else:
        page.evaluate(PASTE, ["a.png", list(png(1)), way])
    page.wait_for_selector(".bar")
    assert page.locator(".bar .class").all_inner_texts() == [HTML, "apple", "pear"]
    assert page.locator("#answers img").count() == 0  # a label stays text
    assert page.locator(".chip").all_inner_texts() == ["red;green\n90\u00a0%", "round\n37\u00a0%"]
    assert page.locator("#live").inner_text().startswith(f"fruit: {HTML}, 50")


def test_an_answer_is_corrected_by_click_and_by_key_and_undone(serve):
    opened = serve(picture_model())
    page = opened.page()
    choose(page, png(1))
    page.click(".bar:has-text('apple')")
    assert says(page, "fruit") == "apple was " + HTML
    assert opened.labels(1) == [{"fruit": "apple"}]
    page.keyboard.press("3")
    assert opened.labels(2)[1] == {"fruit": "pear"}
    page.keyboard.press("u")
    assert opened.labels(1) == [{"fruit": "apple"}]
    assert says(page, "fruit").startswith("apple")
    page.keyboard.press("Control+z")
    assert opened.labels(0) == []
    assert says(page, "fruit").startswith(HTML)
    page.keyboard.press("u")
    page.wait_for_selector("text=Nothing to undo.")


def test_tags_are_turned_on_and_off(serve):
    opened = serve(picture_model())
    page = opened.page()
    choose(page, png(1))
    page.click(".chip:has-text('red;green')")
    assert opened.labels(1) == [{"tags": []}]
    page.keyboard.press("1")  # the click has turned the keys to this target
    assert opened.labels(2)[1] == {"tags": ["red;green"]}
    page.locator(".chip:has-text('round')").focus()
    page.keyboard.press("Space")
    assert opened.labels(3)[2] == {"tags": ["red;green", "round"]}
    page.click("text=Another tag")
    page.keyboard.type("1 new tag")  # where keys choose nothing
    page.keyboard.press("Enter")
    assert opened.labels(4)[3] == {"tags": ["red;green", "round", "1 new tag"]}
    assert page.locator(".chip[aria-pressed=true]").count() == 3


def test_pictures_chosen_before_the_page_knows_its_model_are_asked_about(serve):
    opened = serve(picture_model())
    page = opened.page()
    page.route("**/models", lambda route: (time.sleep(0.5), route.continue_()))
    page.goto(opened.address, wait_until="commit")
    choose(page, png(1))
    assert page.locator("#answers .target").count()


def test_from_pictures_to_a_model_that_learned(serve, tmp_path):
    """A person's path: several pictures, one after another confirmed or corrected, exported, and `fit`."""
    opened = serve(picture_model())
    page = opened.page()
    choose(page, *(png(number) for number in range(12)), b"not a picture")
    page.wait_for_selector("#count:text-is('13 pictures')")
    assert page.locator("#rows td.wrong").count() == 1
    for number in range(12):
        if number % 2:
            page.keyboard.press("2")
        if number == 3:
            page.click(".chip:has-text('round')")
            page.click("section.target:has-text('apple') h2")  # turns the keys back
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#caption:has-text('{number + 2} of 13')")
    assert opened.labels(19)[0] == {"fruit": HTML, "tags": ["red;green"]}
    with page.expect_download() as table:
        page.click("#csv")
    rows = [*csv.DictReader(io.StringIO(table.value.path().read_text(encoding="utf-8"), ""))]
    assert (rows[0]["fruit"], rows[1]["fruit_corrected"], rows[1]["tags"]) == (HTML, "apple", "red;green")
    assert float(rows[0]["fruit.apple"]) > 0
    assert rows[12]["error"]
    with page.expect_download() as archive:
        page.click("#zip")
    zipfile.ZipFile(archive.value.path()).extractall(tmp_path)
    words = shlex.split(page.locator("#commands code").inner_text())
    assert words[:2] == ["manyhot", "fit"]
    words[2], words[-1] = tmp_path / words[2], tmp_path / "model"
    assert status_of(*words[1:], *ROW_OPTIONS, "--size", "8", "--set", "folds=1") == 0
    assert json.loads((tmp_path / "model" / "schema.json").read_text())["targets"][0]["classes"] == [
        HTML,
        "apple",
    ]


def test_a_row_is_filled_in_by_keyboard_alone(serve):
    opened = serve(table_model())
    page = opened.page()
    page.wait_for_selector("#form")
    for _ in range(9):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.labels?.[0]?.innerText") == "width":
            break
    page.keyboard.type("3")
    page.wait_for_selector(".bar")
    page.keyboard.press("Tab")
    page.keyboard.type("1.000,5")
    page.keyboard.press("Tab")
    page.keyboard.press("n")
    assert opened.entries() == []  # a key in a field chooses nothing
    page.keyboard.press("Enter")
    page.wait_for_selector(".target.now kbd")
    page.keyboard.press("3")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    found = opened.labels(3)
    assert (found[0], found[2]["fruit"]) == ({"fruit": "pear"}, "pear")
    with sqlite3.connect(opened.store.path) as database:
        rows = {row for (row,) in database.execute("SELECT row FROM corrections")}
    assert [json.loads(row) for row in rows] == [{"width": "3", "price": "1.000,5", "origin": "n"}]


def test_the_example_is_answered(serve):
    page = serve(table_model(), keep=False).page()
    page.click("text=Fill in an example")
    page.wait_for_selector(".bar")
    assert page.locator("#answers button:not(.link)").count() == 0  # nothing to correct where nothing is kept
    assert "Trained with 4 rows." in page.locator("#about").inner_text()
    page.click("text=Empty the row")
    page.wait_for_selector("text=Fill in what you know")


def test_an_answer_tells_why(serve):
    page = serve(picture_model(), table_model()).page()
    page.wait_for_selector("#start", state="visible")
    choose(page, png(1))
    page.wait_for_selector(".bar")
    page.click("section.target:has(h2:text-is('fruit')) >> text=Why?")
    page.wait_for_selector(".why canvas")
    assert page.locator(".why figcaption").inner_text() == HTML  # a label stays text
    assert page.locator(".why canvas").evaluate("c => [c.width, c.height]") == [220, 220]
    page.click("text=Hide why")
    assert page.locator(".why").count() == 0
    page.select_option("#model", "market")
    page.fill("#form input >> nth=0", "3")
    page.wait_for_selector(".bar")
    page.click("section.target:has(h2:text-is('tags')) >> text=Why?")
    page.wait_for_selector(".why td")
    assert page.locator(".why tr").first.inner_text().startswith("width 3")


def test_what_a_model_learned_from_and_how_good_it_is(serve):
    scores = {"targets": {"fruit": {"accuracy": 0.72, "auroc": None}, "tags": {"exact_match": 0.5}}}
    card = {"rows": {"train": 1800, "val": 200, "test": 0}, "scores": scores}
    page = serve(replace(table_model(), card=card)).page()
    page.wait_for_selector("#about")
    said = page.locator("#about").inner_text().replace("\u00a0", " ")
    assert said.startswith("Trained with 1,800 rows. ")
    assert "it was right: fruit 72 % and tags 50 % (all tags right)." in said
    page.click("text=All scores")
    assert page.locator(".scores td").all_inner_texts() == ["accuracy 0.720", "exact match 0.500"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(serve, scheme):
    page = serve(picture_model()).page(**PHONE, color_scheme=scheme)
    page.wait_for_selector("text=Take a photo")
    choose(page, png(1), png(2))
    page.wait_for_selector("#rows")
    width = page.evaluate("document.documentElement.scrollWidth")
    small = """[...document.querySelectorAll("button, .button")]
        .filter((each) => each.offsetHeight && each.offsetHeight < 32).map((each) => each.textContent)"""
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert width == 390
    assert page.evaluate(small) == []
    assert (sum(map(int, paper[4:-1].split(","))) < 120) == (scheme == "dark")
    page.locator(".bar:has-text('pear')").tap()
    page.wait_for_selector("text=Stored: fruit: pear.")


def test_one_of_several_models_is_chosen(serve):
    opened = serve(picture_model(), table_model())
    page = opened.page()
    page.select_option("#model", "market")
    page.click("text=Fill in an example")
    page.wait_for_selector(".bar")
    assert opened.asked[-1].endswith("models/market/predict")


def test_a_busy_server_is_asked_again(serve):
    opened = serve(picture_model())
    opened.allowed = ("503",)
    page = opened.page()
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "Too many rows."}}
    page.route("**/predict", lambda route: route.fulfill(**busy), times=1)
    page.set_input_files(".choose >> nth=0", {"name": "a.png", "mimeType": "image/png", "buffer": png(1)})
    page.wait_for_selector("text=The server is busy. Trying again in 1 second.")
    page.wait_for_selector(".bar")


def test_a_server_that_is_gone_is_said_and_nothing_is_lost(serve):
    opened = serve(picture_model())
    opened.allowed = ("ERR_",)
    page = opened.page()
    choose(page, png(1))
    page.context.set_offline(True)  # rather than by a route, which may hold a request with a file for good
    page.keyboard.press("2")
    page.wait_for_selector("text=Not stored. The server does not answer.")
    assert says(page, "fruit").startswith(HTML)
    page.context.set_offline(False)
    page.click("#act")
    assert opened.labels(1) == [{"fruit": "apple"}]
    assert says(page, "fruit").startswith("apple")


def test_a_page_that_could_not_begin_begins_later(serve):
    opened = serve(table_model())
    opened.allowed = ("ERR_",)
    page = opened.page()
    page.route("**/models", lambda route: route.abort(), times=1)
    page.reload()
    page.wait_for_selector("#problem:has-text('The server does not answer.')")
    page.click("#problem button")
    page.wait_for_selector("#form label")


def test_what_is_no_picture_is_left_out_by_name(serve):
    page = serve(picture_model()).page()
    page.wait_for_selector("#start", state="visible")
    page.evaluate(PASTE.replace("image/png", "text/plain"), ["notes.txt", [65], "drop"])
    page.wait_for_selector("#problem:has-text('left out: notes.txt')")


def test_the_token_is_asked_for_once(serve):
    opened = serve(picture_model(), rules=Rules(token="secret"))
    opened.allowed = ("401",)
    page = opened.page()
    for word in ("wrong", "secret"):
        page.wait_for_selector("#door[open]")
        page.fill("#token", word)
        page.keyboard.press("Enter")
    page.wait_for_selector("#start", state="visible")
    choose(page, png(1))
    page.keyboard.press("2")
    assert opened.labels(1) == [{"fruit": "apple"}]
    page.reload()
    page.wait_for_selector("#start", state="visible")
    assert page.locator("#door[open]").count() == 0


def test_a_large_photo_is_made_smaller_first(serve):
    opened = serve(picture_model())
    page, file = opened.page(), io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    Image.fromarray(noise).resize((3000, 2000)).save(file, "JPEG", quality=95)
    photo = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
    page.set_input_files(".choose >> nth=0", photo)
    page.wait_for_selector(".bar")
    page.keyboard.press("2")
    opened.labels(1)
    with sqlite3.connect(opened.store.path) as database:
        ((sent,),) = database.execute("SELECT content FROM pictures")
    assert Image.open(io.BytesIO(sent)).size == (1600, 1067)
    assert len(sent) < len(file.getvalue()) / 2


def test_the_keys_are_shown(serve):
    page = serve(picture_model()).page()
    choose(page, png(1))
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    assert "undo" in page.locator("#key-list").inner_text()
    page.keyboard.press("2")  # chooses nothing behind the dialog
    page.keyboard.press("Escape")
    assert page.locator(".mark").count() == 0
