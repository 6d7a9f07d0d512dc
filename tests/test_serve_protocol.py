"""The Open Inference Protocol: tensors in JSON and in bytes, and what is refused."""

import base64
import json

import numpy as np
import pytest
from serving import HTML, application, ask, listening, picture_model, png, table_model

from manyhot import __version__

MARKET, PHOTOS = "/v2/models/market", "/v2/models/photos"
HEAD = "inference-header-content-length"


@pytest.fixture(scope="module")
def app():
    with application(table_model(), picture_model()) as app:
        yield app


def tensor(name, values, kind="FP64", **more):
    return {"name": name, "shape": [len(values)], "datatype": kind, "data": values, **more}


def market(*widths, **changed):
    tensors = {
        "width": tensor("width", [*widths]),
        "price": tensor("price", ["1,5"] * len(widths), "BYTES"),
        "origin": tensor("origin", ["n"] * len(widths), "BYTES"),
    }
    return {"inputs": [{**each, **changed.get(name, {})} for name, each in tensors.items()]}


def outputs(reply):
    assert reply.status == 200, reply.body
    return {output["name"]: output for output in reply.json["outputs"]}


def by_predict(app, *widths):
    rows = [{"width": width, "price": "1,5", "origin": "n"} for width in widths]
    return [row["answers"] for row in ask(app, "POST", "/models/market/predict", {"rows": rows}).json["rows"]]


def test_what_the_server_and_its_models_are(app):
    assert ask(app, "GET", "/v2").json == {
        "name": "manyhot",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }
    assert ask(app, "GET", "/v2/health/live").json == {"live": True}
    assert ask(app, "GET", "/v2/health/ready").json == {"ready": True}
    for path in (f"{PHOTOS}/ready", f"{PHOTOS}/versions/1/ready"):
        assert ask(app, "GET", path).json == {"name": "photos", "ready": True}
    found = ask(app, "GET", f"{MARKET}/versions/1").json
    assert found == ask(app, "GET", MARKET).json
    assert found["inputs"] == [
        {"name": "width", "datatype": "FP64", "shape": [-1]},
        {"name": "price", "datatype": "FP64", "shape": [-1]},
        {"name": "origin", "datatype": "BYTES", "shape": [-1]},
    ]
    assert [output["name"] for output in found["outputs"]] == ["fruit", "tags", "fruit.answer", "tags.answer"]
    assert found["outputs"][0] == {
        "name": "fruit",
        "datatype": "FP32",
        "shape": [-1, 3],
        "parameters": {"classes": ["apple", "pear", HTML]},
    }
    assert (found["versions"], found["platform"]) == (["1"], "onnx_onnxv1")


def test_a_stopping_server_is_live_and_not_ready():
    with application() as app:
        app.state.ready = False
        assert ask(app, "GET", "/v2/health/live").status == 200
        for path in ("/v2/health/ready", f"{MARKET}/ready"):
            reply = ask(app, "GET", path)
            assert (reply.status, reply.json["ready"]) == (503, False)


def test_tensors_are_answered_as_rows_are(app):
    reply = ask(app, "POST", f"{MARKET}/infer", {**market(1, 2.5, None), "id": "7"})
    found, expected = outputs(reply), by_predict(app, 1, 2.5, None)
    assert (reply.json["model_name"], reply.json["model_version"], reply.json["id"]) == ("market", "1", "7")
    assert found["fruit"]["shape"] == [3, 3]
    chances = [chance for row in expected for chance in row["fruit"]["probabilities"].values()]
    assert found["fruit"]["data"] == pytest.approx(chances, abs=1e-6)
    assert found["fruit.answer"]["data"] == [row["fruit"]["answer"] for row in expected]
    assert found["tags.answer"]["data"] == [";".join(row["tags"]["answer"]) for row in expected]


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": [2, 1], "data": [[1], [2]]},
        {"datatype": "INT32"},
        {"datatype": "FP32", "data": [1.0, 2.0]},
        {"datatype": "BYTES", "data": ["1", "2"]},
    ],
)
def test_numbers_come_in_many_ways(app, changed):
    assert outputs(ask(app, "POST", f"{MARKET}/infer", market(1, 2, width=changed))) == outputs(
        ask(app, "POST", f"{MARKET}/infer", market(1, 2))
    )


def test_only_the_outputs_that_are_asked_for_come(app):
    body = {**market(1), "outputs": [{"name": "tags.answer"}, {"name": "tags"}]}
    assert [*outputs(ask(app, "POST", f"{MARKET}/versions/1/infer", body))] == ["tags.answer", "tags"]


def test_pictures_in_json_are_base64_and_say_so(app):
    text = base64.b64encode(png(9)).decode()
    photo = tensor("photo", [text], "BYTES", parameters={"content_type": "base64"})
    assert outputs(ask(app, "POST", f"{PHOTOS}/infer", {"inputs": [photo]}))["fruit"]["shape"] == [1, 3]
    reply = ask(app, "POST", f"{PHOTOS}/infer", {"inputs": [tensor("photo", [text], "BYTES")]})
    assert reply.status == 400
    assert reply.error.startswith(
        "input 'photo': JSON has no bytes. Send the picture as binary, or in base64"
    )


def packed(*texts):
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def binary(inputs, more=None):
    """The body that clients of Triton send, and the length of its JSON."""
    tensors = [
        {"name": n, "shape": [count], "datatype": kind, "parameters": {"binary_data_size": len(data)}}
        for n, kind, count, data in inputs
    ]
    head = json.dumps({"inputs": tensors, **(more or {})}).encode()
    return head + b"".join(data for *_, data in inputs), {HEAD: str(len(head))}


def test_tensors_in_bytes_are_answered_in_bytes(app):
    inputs = [
        ("width", "FP32", 2, np.array([1, np.nan], "<f4").tobytes()),
        ("price", "BYTES", 2, packed(b"1,5", b"1,5")),
        ("origin", "BYTES", 2, packed(b"n", "ü".encode())),
    ]
    body, headers = binary(inputs, {"parameters": {"binary_data_output": True}})
    reply = ask(app, "POST", f"{MARKET}/infer", body, "application/octet-stream", headers)
    assert reply.status == 200
    length = int(reply.headers[HEAD])
    document, rest = json.loads(reply.body[:length]), reply.body[length:]
    plain = outputs(ask(app, "POST", f"{MARKET}/infer", market(1, None, origin={"data": ["n", "ü"]})))
    for output in document["outputs"]:
        size = output["parameters"]["binary_data_size"]
        data, rest = rest[:size], rest[size:]
        expected = plain[output["name"]]
        assert output["shape"] == expected["shape"]
        if output["datatype"] == "BYTES":
            assert data == packed(*(text.encode() for text in expected["data"]))
        else:
            assert np.frombuffer(data, "<f4") == pytest.approx(expected["data"], abs=1e-6)
    assert rest == b""


def test_a_request_may_be_in_bytes_and_its_answer_in_json(app):
    picture = png(9)
    more = {"outputs": [{"name": "fruit", "parameters": {"binary_data": False}}]}
    body, headers = binary([("photo", "BYTES", 1, packed(picture))], more)
    found = outputs(ask(app, "POST", f"{PHOTOS}/infer", body, None, headers))
    alone = outputs(ask(app, "POST", f"{PHOTOS}/infer", picture, None, {HEAD: "0"}))
    assert found == {"fruit": alone["fruit"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], 'The body must be {"inputs"'),
        ({"inputs": []}, "There are no inputs."),
        ({"inputs": [{}]}, "must have a name"),
        (market(1, width={"datatype": "TEXT"}), "input 'width': datatype must be BYTES or one of"),
        (market(1, width={"shape": "1"}), "input 'width': shape must be a list"),
        (market(1, width={"shape": [True]}), "input 'width': shape must be a list"),
        (market(1, width={"shape": [10**30]}), "give one for each row"),
        (market(1, width={"shape": [1, 1, 2]}), "give one for each row"),
        (market(1, width={"shape": [2]}), "shape is [2], and it has 1 values"),
        (market(1, width={"data": None}), "input 'width': it has no data"),
        (market(1, width={"data": [[[1]]]}), "nested too deeply"),
        (market(1, 2, width={"shape": [1], "data": [1]}), "as many rows, got [1, 2]"),
        (market(1, width={"name": "widht"}), "no input 'widht' (did you mean 'width'?)"),
        ({"inputs": market(1)["inputs"][:2]}, "row 1: lacks 'origin'"),
        (market(1, width={"parameters": {"binary_data_size": 9}}), "binary_data_size is 9, 0 bytes are left"),
        ({**market(1), "outputs": [{"name": "friut"}]}, "no output 'friut' (did you mean 'fruit'?)"),
        ({**market(1), "outputs": ["fruit"]}, "outputs must be a list such as"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(app, body, words):
    reply = ask(app, "POST", f"{MARKET}/infer", body)
    assert reply.status == 400
    assert words in reply.error


def test_a_cell_that_cannot_be_read_counts_as_missing(app):
    reply = ask(app, "POST", f"{MARKET}/infer", market(1, "x"))
    assert reply.status == 200
    assert reply.json["parameters"] == {"notes": "row 2: 'width': 'x' is not a number"}


@pytest.mark.parametrize(
    ("inputs", "length", "words"),
    [
        ([("photo", "BYTES", 1, b"\xff\xff\xff\xff")], None, "its bytes end within an element"),
        ([("photo", "BYTES", 1, b"\1")], None, "its bytes end within an element"),
        ([("photo", "FP32", 1, b"123")], None, "3 bytes are no whole number of FP32"),
        ([], "99999", "the body has 14 bytes"),
        ([], "-1", "the body has 14 bytes"),
        ([], "9" * 5000, "the body has 14 bytes"),
    ],
)
def test_bytes_that_do_not_fit_are_refused_in_one_line(app, inputs, length, words):
    body, headers = binary(inputs)
    reply = ask(app, "POST", f"{PHOTOS}/infer", body, None, headers if length is None else {HEAD: length})
    assert reply.status == 400
    assert words in reply.error


def test_other_versions_and_models_are_not_there(app):
    assert "only '1'" in ask(app, "GET", f"{MARKET}/versions/2").error
    assert ask(app, "GET", "/v2/models/x").status == 404
    assert ask(app, "POST", "/v2/models/x/infer", market(1)).status == 404


def test_tritonclient_is_understood():
    try:
        import tritonclient.http as triton
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs tritonclient[http] ({str(error)[:40]})")
    with listening(table_model(), picture_model()) as (app, (host, port)):
        client = triton.InferenceServerClient(f"{host}:{port}")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("photos")
        assert client.get_model_metadata("market")["outputs"][0]["name"] == "fruit"
        photo = triton.InferInput("photo", [1], "BYTES")
        photo.set_data_from_numpy(np.array([png(9)], dtype=object))
        found = client.infer("photos", [photo], request_id="7")
        client.close()
        expected = outputs(ask(app, "POST", f"{PHOTOS}/infer", png(9), None, {HEAD: "0"}))
        assert found.get_response()["id"] == "7"
        assert found.as_numpy("fruit").ravel() == pytest.approx(expected["fruit"]["data"], abs=1e-6)
        assert [text.decode() for text in found.as_numpy("fruit.answer")] == expected["fruit.answer"]["data"]
