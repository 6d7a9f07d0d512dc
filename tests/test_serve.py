"""The routes of the server: bodies in, JSON out, and what is refused."""

import asyncio
import base64
import json
import re
import struct
import zlib

import pytest
from PIL import ImageFile
from serving import FORM, HTML, application, ask, form, picture_model, png, send, table_model

from manyhot.serve import app as app_module
from manyhot.serve import corrections, gate
from manyhot.serve.gate import Rules
from manyhot.serve.metrics import Metrics

ROW = {"width": 2, "price": "1,5", "origin": "n"}


def huge_png(width, height):
    """A PNG whose header promises more than it has."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDATxxxx" + bytes(4)


@pytest.fixture(scope="module")
def market():
    with application(table_model()) as app:
        yield app


@pytest.fixture(scope="module")
def photos():
    with application(picture_model()) as app:
        yield app


@pytest.fixture(scope="module")
def both():
    with application(picture_model(), table_model()) as app:
        yield app


def first(reply):
    assert reply.status == 200, reply.body
    return reply.json["rows"][0]


# what is answered


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps(ROW), "application/json"),
        (json.dumps({"rows": [ROW]}), "application/json; charset=utf-8"),
        (json.dumps([{**ROW, "more": [1]}]), "APPLICATION/JSON"),
        ('width,price,origin,note\n2,"1,5",n,x\n', "text/csv"),
        ("\ufefforigin;width;price\r\n\r\nn;2;1,5", "text/csv; charset=utf-8"),
        ("width\tprice\torigin\n2\t1,5\tn\n", "text/csv"),
        (form([("width", "2"), ("price", "1,5"), ("origin", "n"), ("labels", "{}")]), FORM),
    ],
)
def test_a_row_is_answered_alike_however_it_comes(market, body, kind):
    body = body if isinstance(body, bytes) else body.encode()
    asked = first(ask(market, "POST", "/predict", body, kind))
    assert asked == first(ask(market, "POST", "/models/market/predict", {"rows": [ROW]}))
    assert asked["error"] is None
    answer = asked["answers"]["fruit"]
    assert answer["answer"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_tags_are_a_list_though_a_name_has_the_separator(market):
    assert first(ask(market, "POST", "/predict", ROW))["answers"]["tags"]["answer"] == ["red;green"]


def test_equal_rows_are_answered_alike_whatever_stands_beside_them(market):
    """A typed 1.5 is no text in the column's notation, where it would be fifteen."""
    typed, texts = {**ROW, "price": 1.5}, {**ROW, "price": "1.000,5"}
    together = ask(market, "POST", "/predict", {"rows": [typed, texts, {**ROW, "price": None}]}).json["rows"]
    assert together[0] == first(ask(market, "POST", "/predict", typed))
    assert together[0] == first(ask(market, "POST", "/predict", ROW))
    assert together[1] == first(ask(market, "POST", "/predict", texts))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"widht": 2, "price": 1, "origin": "n"},
            "lacks 'width'; 'widht' is no input (did you mean 'width'?)",
        ),
        ({**ROW, "width": [2]}, "'width': must be a number, a text, true, false or null"),
        ({**ROW, "width": "\ud83c"}, "'width': has half a character in it"),
        ({**ROW, "origin": "n\udfff"}, "'origin': has half a character in it"),
    ],
)
def test_a_wrong_row_fails_no_other(market, row, words):
    reply = ask(market, "POST", "/predict", {"rows": [ROW, row, ROW, ROW]})
    good, bad, *rest = reply.json["rows"]
    assert rest == [good, good]
    assert good["error"] is None
    assert bad["error"].startswith(words)
    assert bad["answers"] == {}
    assert "--" not in bad["error"]


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        ({"width": "wide"}, "'width': 'wide' is not a number"),
        ({"price": "1.5.2"}, "'price': '1.5.2' is not a number written like 1.234,5"),
        ({"width": "w", "price": "x"}, "'width': 'w' is not a number; 'price': 'x' is not a number written"),
    ],
)
def test_a_cell_that_cannot_be_read_counts_as_missing(market, cells, error):
    empty = ROW | dict.fromkeys(cells)
    said, without, good = ask(market, "POST", "/predict", {"rows": [ROW | cells, empty, ROW]}).json["rows"]
    assert said["error"].startswith(error)
    assert said["answers"] == without["answers"] != {}
    assert without["error"] is good["error"] is None


def test_words_that_training_did_not_have_are_noted(market):
    rows = [{**ROW, "origin": word} for word in ("n", " N ", "Ｎ", "oslo")]
    *same, new = ask(market, "POST", "/predict", {"rows": rows}).json["rows"]
    assert same[0] == same[1] == same[2]
    assert "note" not in same[0]
    assert new["note"] == "'origin': 'oslo' was not in training"
    assert new["error"] is None


def test_numbers_of_any_size_are_answered(market):
    rows = [{**ROW, "width": value} for value in (10**400, -1e308, True, "1e400", " 2 ", "", "NA", None)]
    found = ask(market, "POST", "/predict", {"rows": rows}).json["rows"]
    assert [row["error"] for row in found] == [None] * len(rows)
    assert found[-1] == found[-2] == found[-3]


def test_a_row_without_probabilities_has_no_answer():
    with application(table_model(spoilt=True), runners=1) as app:
        bad, good = ask(app, "POST", "/predict", {"rows": [ROW, ROW]}).json["rows"]
    assert bad == {"answers": {}, "error": "the model gives no probabilities for it"}
    assert good["error"] is None


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"{", "application/json", "The body is no JSON"),
        (b"[" * 100_000, "application/json", "The body is no JSON"),
        (b'{"width": NaN}', "application/json", "NaN is no JSON; write null"),
        (b"[1, 2]", "application/json", 'such as {"rows": [{"width": "…"'),
        (b'"text"', "application/json", "The body must be rows"),
        (b'{"rows": []}', "application/json", "There is no row"),
        (b"", "application/json", "The body is no JSON"),
        (b"", "text/csv", "no CSV with a header"),
        (b"width,price,origin\n", "text/csv", "no row below its header"),
        (b"width,price,origin\n1,2\n", "text/csv", "CSV row 1: 2 fields, the header has 3"),
        (b"width,width\n1,2\n", "text/csv", "a column twice"),
        (b"width\n\xff\n", "text/csv", "not in UTF-8"),
        (b"0," * 1_000_001, "application/json", "more than 1,000,000 values"),
        (b"0\t" * 1_000_001, "text/csv", "more than 1,000,000 values"),
        (form([]), FORM, "nothing to answer"),
        (form([("width", "1"), ("width", "2")]), FORM, "'width' more than once"),
        (form([("width", b"1")]), FORM, "reads no pictures"),
        (b"rubbish", FORM, "The body is no form"),
        (b"rubbish", "multipart/form-data", "The body is no form"),
    ],
)
def test_a_body_that_is_none_is_refused_in_one_line(market, body, kind, words):
    reply = ask(market, "POST", "/predict", body, kind)
    assert reply.status == 400
    assert words in reply.error


def test_other_content_types_are_refused(market):
    for kind in ("application/x-www-form-urlencoded", "image/jpeg", None):
        reply = ask(market, "POST", "/predict", b"a=1", kind)
        assert reply.status == 415
        assert "curl -F" in reply.error
    reply = ask(market, "POST", "/predict", b"x", "text/csv", {"content-encoding": "gzip"})
    assert reply.status == 415
    assert "send the body as it is" in reply.error


def test_a_picture_may_be_the_whole_body(photos):
    alone = ask(photos, "POST", "/predict", png(7), "image/png").json
    assert alone == ask(photos, "POST", "/predict", form([("photo", png(7))]), FORM).json
    assert alone["rows"][0]["error"] is None
    (row,) = ask(photos, "POST", "/predict", b"rubbish", "image/jpeg").json["rows"]
    assert row["error"] == "not a picture that can be read"


def test_a_form_of_several_pictures_is_several_rows_of_which_one_may_be_bad(photos):
    content = form([("a", png(0)), ("b", b"rubbish"), ("photo", png(255)), ("c", b""), ("more", "text")])
    rows = ask(photos, "POST", "/predict", content, FORM).json["rows"]
    assert [row["error"] for row in rows] == [
        None,
        "not a picture that can be read",
        None,
        "'photo': is empty",
    ]
    assert rows[0]["answers"]["fruit"]["probabilities"]["apple"] == pytest.approx(0.25, abs=1e-3)
    assert rows[2]["answers"]["fruit"]["probabilities"]["apple"] == pytest.approx(0.5, abs=1e-3)


def test_pictures_in_json_are_base64(photos):
    text = base64.b64encode(png(9)).decode()
    others = ("http://127.0.0.1/x.png", "file:///etc/passwd", 3, None)  # nothing is fetched or opened
    rows = [{"photo": each} for each in (text, f"data:image/png;base64,{text}", *others)]
    found = ask(photos, "POST", "/predict", {"rows": rows}).json["rows"]
    by_form = first(ask(photos, "POST", "/predict", form([("x", png(9))]), FORM))
    assert found[:2] == [by_form, by_form]
    must = "'photo': must be a picture: a file of a form, or base64 in JSON"
    assert [row["error"] for row in found[2:]] == ["'photo': is no picture in base64"] * 2 + [must, must]


@pytest.mark.parametrize(
    "sides", [(5_001, 5_001), (9_900, 9_900), (60_000, 60_000), (1, 65_536), (65_536, 9)]
)
def test_a_picture_with_too_many_pixels_is_refused_by_its_header(photos, monkeypatch, sides):
    """Nothing of it is decoded."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    asked = len(next(iter(photos.state.models.values())).one.asked)
    row = first(ask(photos, "POST", "/predict", form([("x", huge_png(*sides))]), FORM))
    assert re.search(
        "more than .*pixels|pixels are more than 25,000,000; send a JPEG|a side are more", row["error"]
    )
    assert len(next(iter(photos.state.models.values())).one.asked) == asked


def test_a_form_that_is_none_leaves_nothing_in_the_log(market, caplog):
    assert ask(market, "POST", "/predict", b"x" * 9, FORM).status == 400
    assert caplog.records == []


def test_too_many_rows_are_refused(photos):
    reply = ask(photos, "POST", "/predict", {"rows": [{"photo": "AA=="}] * 257})
    assert reply.status == 413
    assert "at most 256" in reply.error


def test_the_model_must_be_named_where_there_are_several(both):
    reply = ask(both, "POST", "/predict", ROW)
    assert (reply.status, reply.error) == (
        400,
        "Several models are served; POST to /models/NAME/predict. NAME is one of 'photos', 'market'.",
    )
    reply = ask(both, "POST", "/models/markt/predict", ROW)
    assert reply.status == 404
    assert "did you mean 'market'?" in reply.error
    assert ask(both, "POST", "/models/market/predict", ROW).status == 200


def test_models_are_described(both):
    found = ask(both, "GET", "/models").json
    assert found["corrections"] is False
    photo, market = found["models"]
    assert photo["inputs"] == [{"name": "photo", "kind": "image", "example": None}]
    assert [column["kind"] for column in market["inputs"]] == ["number", "number", "category"]
    assert market["inputs"][2] == {
        "name": "origin",
        "kind": "category",
        "example": "n",
        "classes": ["n", "s"],
    }
    assert market["targets"][1] == {"name": "tags", "kind": "multilabel", "classes": ["red;green", "round"]}
    assert (market["fingerprint"], market["card"]) == ("f00d", {"rows": 4})
    example = {column["name"]: column["example"] for column in market["inputs"]}
    assert first(ask(both, "POST", "/models/market/predict", example))["error"] is None


def test_what_is_not_there_is_said_as_json(market):
    assert ask(market, "GET", "/nowhere").error == "GET /nowhere: not found; see /openapi.json."
    reply = ask(market, "GET", "/predict")
    assert (reply.status, reply.error) == (
        405,
        "GET /predict: method not allowed, only POST; see /openapi.json.",
    )
    assert ask(market, "GET", "/corrections/count").status == 404
    assert len(ask(market, "GET", "/" + "x" * 5000).error) < 300


def test_labels_full_of_html_are_json_that_no_browser_takes_for_html(market):
    for path in ("/models", "/openapi.json", "/v2/models/market"):
        reply = ask(market, "GET", path)
        assert HTML in json.dumps(reply.json)
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")


def test_the_page_is_served_from_its_files(monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "page.js").write_text("1")
    monkeypatch.setattr(app_module, "PAGE", tmp_path)
    with application(rules=Rules(token="word")) as app:
        page, script = ask(app, "GET", "/"), ask(app, "GET", "/page.js")
        assert ask(app, "GET", "/page.css").status == 404
    assert (page.body, page.headers["content-type"]) == (b"<!doctype html>", "text/html; charset=utf-8")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


# who may ask


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000", "box"]
)
def test_the_server_answers_to_its_own_names(host):
    with application(rules=Rules("box")) as app:
        assert ask(app, "GET", "/models", headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "192.168.1.4",
        "",
        None,
        "localhost@evil",
    ],
)
def test_another_name_may_be_dns_rebinding_and_is_refused(market, host):
    for path in ("/models", "/", "/v2/health/live"):
        reply = ask(market, "GET", path, headers={"host": host})
        assert reply.status == 403
        assert "is no name of this server" in reply.error
    assert ask(market, "POST", "/predict", ROW, headers={"host": host}).status == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9000", "http://localhost.evil"]
)
def test_a_foreign_page_may_not_ask(market, origin):
    reply = ask(market, "POST", "/predict", ROW, headers={"host": "localhost:8000", "origin": origin})
    assert reply.status == 403
    assert "may not ask this server" in reply.error


def test_the_own_page_may_ask(market):
    headers = {"host": "localhost:8000", "origin": "http://localhost:8000"}
    assert ask(market, "POST", "/predict", ROW, headers=headers).status == 200


def test_a_token_opens_what_nothing_else_does():
    with application(rules=Rules("0.0.0.0", "wörd")) as app:
        for path in ("/models", "/metrics", "/openapi.json", "/v2", "/v2/models/market", "/nowhere"):
            reply = ask(app, "GET", path)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer TOKEN" in reply.error
            assert ask(app, "GET", path, headers={"authorization": "Bearer word"}).status == 401
        good = {"host": "shop.example", "origin": "https://shop.example"}
        good["authorization"] = "Bearer wörd".encode().decode("latin-1")
        assert ask(app, "POST", "/predict", ROW, headers=good).status == 200
        assert ask(app, "GET", "/v2/health/ready", headers={"host": "10.0.0.7"}).status == 200


# how much may be sent


@pytest.mark.parametrize("kind", ["application/json", "text/csv", FORM, "image/jpeg", None])
def test_a_large_body_is_refused_before_it_is_read(market, kind):
    reply = ask(market, "POST", "/predict", b"x", kind, {"content-length": str(gate.MAX_BODY + 1)})
    assert (reply.status, reply.read) == (413, 0)
    assert "larger than 32 MB" in reply.error


@pytest.mark.parametrize("kind", ["application/json", "text/csv", FORM])
def test_a_large_body_of_no_said_length_is_read_no_further(market, kind, monkeypatch):
    monkeypatch.setattr(gate, "MAX_BODY", 1000)
    body = form([("photo", bytes(10_000))])
    reply = ask(market, "POST", "/predict", body, kind, {"content-length": None}, pieces=100)
    assert reply.status == 413
    assert 5 < reply.read < 15


def test_bodies_of_all_requests_together_are_bounded(market, monkeypatch):
    monkeypatch.setattr(gate, "MAX_HELD", 100)
    reply = ask(
        market, "POST", "/predict", b"[" + b" " * 200 + b"]", "application/json", {"content-length": None}
    )
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert "holds too much" in reply.error
    assert market.held == 0
    assert ask(market, "POST", "/predict", ROW).status == 200


def test_a_client_that_goes_away_while_it_sends_leaves_nothing(market, log_lines):
    async def one():
        gone = asyncio.Event()
        gone.set()
        body = json.dumps(ROW).encode()

        async def receive():
            return {"type": "http.disconnect"}

        async def nothing(message):
            assert message.get("status", 499) == 499

        scope = {
            **{"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict"},
            **{
                "query_string": b"",
                "root_path": "",
                "scheme": "http",
                "server": ("x", 1),
                "client": ("x", 1),
            },
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }
        await market(scope, receive, nothing)
        return body

    asyncio.run(one())
    assert log_lines == []
    assert market.held == 0


# what is said of it


def test_metrics_count_requests_rows_and_seconds():
    with application(table_model('a "b"\\\n')) as app:
        assert ask(app, "POST", "/predict", {"rows": [ROW, {}]}).status == 200
        assert ask(app, "GET", "/nowhere").status == 404
        reply = ask(app, "GET", "/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = reply.body.decode().splitlines()
    assert 'manyhot_requests_total{route="/predict",status="200"} 1' in lines
    assert 'manyhot_requests_total{route="other",status="404"} 1' in lines
    assert r'manyhot_rows_total{model="a \"b\"\\\n",result="answered"} 1' in lines
    assert r'manyhot_rows_total{model="a \"b\"\\\n",result="error"} 1' in lines
    assert r'manyhot_queue_rows{model="a \"b\"\\\n"} 0' in lines
    assert 'manyhot_request_seconds_bucket{route="/predict",le="+Inf"} 1' in lines


def test_a_histogram_counts_all_below_each_bound():
    metrics = Metrics()
    for seconds in (0.005, 0.02, 0.02, 99):
        metrics.request("/x", 200, seconds)
    found = [line.split()[1] for line in metrics.text({}).splitlines() if "bucket" in line]
    assert found == ["1", "1", "3", "3", "3", "3", "3", "3", "3", "3", "3", "4"]
    assert 'manyhot_request_seconds_count{route="/x"} 4' in metrics.text({})


def test_each_request_is_told_when_it_is_over():
    told = []
    with application(said=told.append) as app:
        ask(app, "POST", "/predict", {"rows": [ROW, ROW]})
        ask(app, "GET", "/x", headers={"host": "evil.example"})
    assert [(line["method"], line["path"], line["status"], line["rows"]) for line in told] == [
        ("POST", "/predict", 200, 2),
        ("GET", "/x", 403, 0),
    ]
    assert all(json.dumps(line).count("\n") == 0 for line in told)


def test_openapi_is_valid_and_its_examples_are_answered():
    openapi = pytest.importorskip("openapi_spec_validator")
    with application(picture_model(), table_model(), rules=Rules(token="word")) as app:
        headers = {"authorization": "Bearer word"}
        spec = ask(app, "GET", "/openapi.json", headers=headers).json
        openapi.validate(spec)
        assert spec["security"] == [{"token": []}]
        contents = spec["paths"]["/models/market/predict"]["post"]["requestBody"]["content"]
        for kind in ("application/json", "text/csv"):
            example = contents[kind]["example"]
            body = example.encode() if isinstance(example, str) else json.dumps(example).encode()
            reply = ask(app, "POST", "/models/market/predict", body, kind, headers)
            assert first(reply)["error"] is None
        asked = spec["paths"]["/models/market/explain"]["post"]["requestBody"]["content"]
        example = asked["application/json"]["example"]
        assert ask(app, "POST", "/models/market/explain", example, headers=headers).status == 200
        example = spec["paths"]["/v2/models/market/infer"]["post"]["requestBody"]["content"]
        body = example["application/json"]["example"]
        assert ask(app, "POST", "/v2/models/market/infer", body, headers=headers).status == 200


def test_a_row_is_explained(market, photos):
    row = {"width": 2, "price": 1.5, "origin": "n"}
    told = ask(market, "POST", "/explain", row).json
    assert told["model"] == "market"
    assert told["method"] == "replacement"
    fruit = told["rows"][0]["targets"]["fruit"]
    assert fruit["answer"] == HTML  # the likeliest by far, whatever the row says
    (best, *others) = told["rows"][0]["targets"]["tags"]["classes"][0]["columns"]
    assert {**best["columns"]} == {"width": "2"} or best["effect"] == 0
    assert {name for each in (best, *others) for name in each["columns"]} == {"width", "price", "origin"}
    told = ask(photos, "POST", "/models/photos/explain", form([("photo", png(1))]), FORM).json
    assert told["method"] == "occlusion"
    heat = told["rows"][0]["targets"]["tags"]["classes"][0]["heat"]
    assert (len(heat), len(heat[0])) == (8, 8)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"rows": [{"width": 1, "price": 1, "origin": "n"}] * 2}, "One row is explained at a time, and the"),
        ({"rows": []}, "has 0; send one"),
        ({"width": 1}, "The row cannot be explained: lacks 'price'"),
    ],
)
def test_what_cannot_be_explained_is_said(market, body, words):
    reply = ask(market, "POST", "/explain", body)
    assert reply.status == 400
    assert words in reply.error


def test_few_wait_to_be_explained():
    async def many(app):
        row = json.dumps({"width": 1, "price": 1, "origin": "n"}).encode()
        return await asyncio.gather(
            *(send(app, "POST", "/explain", row, "application/json") for _ in range(8))
        )

    with application(table_model(seconds=0.01)) as app:
        replies = asyncio.run(many(app))
        assert {reply.status for reply in replies} == {200, 503}
        assert sum(reply.status == 200 for reply in replies) == 5
        assert next(reply for reply in replies if reply.status == 503).headers["retry-after"] == "1"
        assert ask(app, "POST", "/explain", {"width": 1, "price": 1, "origin": "n"}).status == 200


def test_openapi_names_every_route(market):
    routes = {route.path.replace("{name}", "market") for route in market.app.routes}
    said = {*ask(market, "GET", "/openapi.json").json["paths"]}
    pages = {"/", "/page.css", "/page.js", "/favicon.svg", "/openapi.json"}
    assert said == {path for path in routes - pages if "{version}" not in path}


def test_openapi_names_what_keeps_corrections(tmp_path):
    openapi = pytest.importorskip("openapi_spec_validator")
    store = corrections.Store(tmp_path / "c.db")
    more = corrections.routes(store, {})
    with application(table_model(), picture_model(), more=more) as app:
        spec = ask(app, "GET", "/openapi.json").json
    store.close()
    openapi.validate(spec)
    assert {route.path.replace(":int", "") for route in more} <= {*spec["paths"]}


def test_send_tells_of_an_answer(market):
    """Of the helper of these tests: no answer is None."""
    assert asyncio.run(send(market, "GET", "/models")).status == 200
