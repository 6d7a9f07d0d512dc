"""The Open Inference Protocol, version 2, as KServe, Triton and their clients speak it.

An input of the model is a tensor of a value for each row: BYTES for pictures, texts and dates, numbers for
numbers (FP64, or whatever the client has; NaN and null are unknown). A target is an output FP32 (N, C) of the
probability of each class, and a second one, NAME.answer, BYTES (N,) of the best answers. Where it has a
coverage, NAME_set, BOOL (N, C), tells which classes stay possible, and NAME_unsure, BYTES (N,), why an answer
is not sure, or nothing.

Source: https://github.com/kserve/open-inference-protocol, and for tensors as bytes behind the JSON
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md. In JSON a
picture is base64 where its `parameters` say `"content_type": "base64"`, as MLServer has it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from manyhot import __version__
from manyhot.errors import UserError, listed, shortened, suggest
from manyhot.predict import SET, UNSURE, blank_rows, far_rows, in_doubt
from manyhot.schema import Schema, Target
from manyhot.serve import rows
from manyhot.serve.rows import Row
from manyhot.serve.served import Answered, Found, Served
from manyhot.serve.state import State, read_beside
from manyhot.targets import decide, decode, marginals

VERSION = "1"  # of every model: a bundle has no other
HEAD_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before those of the tensors
NUMBERS = {
    **{"BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1"},
    **{"UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"},
}
ANSWER = ".answer"  # behind a target's name, the output of its best answers


class Output(NamedTuple):
    """An output: its datatype, the classes that its columns are of, if any, and its values."""

    kind: str
    classes: tuple[str, ...]
    values: Callable[[Found], Any]


class Asked(NamedTuple):
    """A request as it was read: its rows, its id, and the outputs that are wanted, with whether as bytes."""

    rows: list[Row]
    id: str | None
    outputs: dict[str, bool]


def routes(state: State) -> list[Route]:
    """Return the routes of the protocol."""

    async def server(_: Request) -> Response:
        return JSONResponse({"name": "manyhot", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": state.ready}, 200 if state.ready else 503)

    def of(request: Request) -> Served:
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise UserError(f"There is no version '{shortened(version)}' of a model, only '{VERSION}'.")
        return state.model(request.path_params["name"])

    async def model(request: Request) -> Response:
        return JSONResponse(metadata(of(request)))

    async def model_ready(request: Request) -> Response:
        content = {"name": of(request).name, "ready": state.ready}
        return JSONResponse(content, 200 if state.ready else 503)

    async def infer(request: Request) -> Response:
        served, body = of(request), await request.body()
        length = request.headers.get(HEAD_LENGTH)
        asked = await read_beside(read, served.schema, body, length)
        answered = await state.answer(request, served, asked.rows)
        for number in np.flatnonzero(blank_rows(answered.found)).tolist():
            raise UserError(f"row {number + 1}: {answered.reasons[number]}")
        return write(served, asked, answered)

    found = [Route("/v2", server), Route("/v2/health/live", live), Route("/v2/health/ready", ready)]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found += [
            Route(path, model),
            Route(f"{path}/ready", model_ready),
            Route(f"{path}/infer", infer, methods=["POST"]),
        ]
    return found


def metadata(served: Served) -> dict[str, Any]:
    """Return what a model reads and gives, as tensors; JSON."""
    inputs = [
        {"name": column.name, "datatype": "FP64" if column.kind == "number" else "BYTES", "shape": [-1]}
        for column in served.schema.inputs
    ]
    outputs: list[dict[str, Any]] = []
    for name, each in outputs_of(served.schema).items():
        size = {"shape": [-1, len(each.classes)], "parameters": {"classes": [*each.classes]}}
        outputs.append({"name": name, "datatype": each.kind} | (size if each.classes else {"shape": [-1]}))
    return {
        "name": served.name,
        "versions": [VERSION],
        "platform": "onnx_onnxv1",
        "inputs": inputs,
        "outputs": outputs,
    }


def outputs_of(schema: Schema) -> dict[str, Output]:
    """Return the outputs of a model by their names; where two would have the same, the first has it."""

    def chances(target: Target, found: Found) -> Any:
        return marginals(target, found[target.name])

    def answers(target: Target, found: Found) -> Any:
        return decode(target, decide(target, found[target.name]))

    def doubts(target: Target, number: int, found: Found) -> Any:
        return in_doubt(target, found[target.name], far_rows(schema, found))[number]

    targets = schema.targets
    every = [(t.name, Output("FP32", t.classes, partial(chances, t))) for t in targets]
    every += [(t.name + ANSWER, Output("BYTES", (), partial(answers, t))) for t in targets]
    for target in targets:
        if target.decision.coverage is not None:
            every.append((target.name + SET, Output("BOOL", target.classes, partial(doubts, target, 0))))
            every.append((target.name + UNSURE, Output("BYTES", (), partial(doubts, target, 1))))
    found: dict[str, Output] = {}
    for name, each in every:
        found.setdefault(name, each)
    return found


def read(schema: Schema, body: bytes, length: str | None) -> Asked:
    """Read the body of an inference request; `length` is that of its JSON, where tensors follow as bytes.

    Raises:
        UserError: it is none, or does not fit the model.
    """
    if length is not None and not (length.isdecimal() and len(length) < 10 and int(length) <= len(body)):
        raise UserError(f"{HEAD_LENGTH} is '{shortened(length)}', the body has {len(body)} bytes.")
    if length is not None and int(length) == 0:  # nothing but the one element of the one input
        if len(schema.inputs) != 1:
            raise UserError(f"{HEAD_LENGTH} 0 is for a model with one input; this has {len(schema.inputs)}.")
        document: Any = {}
        tensors = {schema.inputs[0].name: [body]}
    else:
        head = len(body) if length is None else int(length)
        document = rows.json_of(body[:head])
        tensors = dict(_tensors(document, memoryview(body)[head:]))
    strange = sorted({*tensors} - {column.name for column in schema.inputs})
    if strange:
        near = suggest(strange[0], [column.name for column in schema.inputs])
        raise UserError(f"The model has no input {listed(strange)}{near}.")
    if not tensors:
        raise UserError("There are no inputs.")
    counts = {len(values) for values in tensors.values()}
    if len(counts) != 1:
        raise UserError(f"The inputs must all have as many rows, got {sorted(counts)}.")
    given = [dict(zip(tensors, values, strict=True)) for values in zip(*tensors.values(), strict=True)]
    made = [rows.of_values(schema, _texts(schema, row)) for row in given]
    name = document.get("id")
    return Asked(made, name if isinstance(name, str) else None, _outputs(schema, document))


def _tensors(document: object, binary: memoryview) -> Iterator[tuple[str, list[Any]]]:
    """Yield the name and the values of each input."""
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise UserError('The body must be {"inputs": [{"name", "shape", "datatype", "data"}, …]}.')
    for tensor in document["inputs"]:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise UserError("Each of the inputs must have a name.")
        name, shape, kind = tensor["name"], tensor.get("shape"), tensor.get("datatype")
        where = f"input '{shortened(name)}'"
        if kind != "BYTES" and kind not in NUMBERS:
            raise UserError(f"{where}: datatype must be BYTES or one of {listed(NUMBERS, 20)}.")
        if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
            raise UserError(f"{where}: shape must be a list of whole numbers, such as [1].")
        parameters = _parameters(tensor)
        size = parameters.get("binary_data_size")
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(binary):
                raise UserError(f"{where}: binary_data_size is {size}, {len(binary)} bytes are left.")
            values, binary = _unpacked(bytes(binary[:size]), kind, where), binary[size:]
        else:
            values = _flat(tensor.get("data"), where)
            if kind == "BYTES" and parameters.get("content_type") != "base64":
                values = [_Plain(value) if isinstance(value, str) else value for value in values]
        if len(values) != next(iter(shape), 1) or any(side != 1 for side in shape[1:]):
            raise UserError(
                f"{where}: shape is {shortened(str(shape[:20]))}, and it has {len(values)} values; "
                "give one for each row."
            )
        yield name, values


class _Plain(str):
    """A text that is not said to be base64."""


def _texts(schema: Schema, row: Mapping[str, Any]) -> dict[str, Any]:
    """Make texts of bytes where a column has texts; refuse plain texts where it has pictures."""
    made = dict(row)
    for column in schema.inputs:
        value = row.get(column.name)
        if column.kind == "image" and isinstance(value, _Plain):
            raise UserError(
                f"input '{shortened(column.name)}': JSON has no bytes. Send the picture as binary, or in "
                'base64 with "parameters": {"content_type": "base64"}.'
            )
        if column.kind != "image" and isinstance(value, bytes):
            try:
                made[column.name] = value.decode()
            except UnicodeDecodeError:
                raise UserError(f"input '{shortened(column.name)}': a text is not in UTF-8.") from None
        elif isinstance(value, float) and math.isnan(value):
            made[column.name] = None
    return made


def _parameters(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found = of.get("parameters", {})
    return found if isinstance(found, dict) else {}


def _flat(data: object, where: str) -> list[Any]:
    """Return the values of a tensor in JSON, whose data may be nested by its shape."""
    if not isinstance(data, list):
        raise UserError(f"{where}: it has no data.")
    values: list[Any] = []
    for value in data:
        if isinstance(value, list):
            if any(isinstance(inner, list) for inner in value):
                raise UserError(f"{where}: its data are nested too deeply.")
            values += value
        else:
            values.append(value)
    return values


def _unpacked(data: bytes, kind: str, where: str) -> list[Any]:
    """Return the values of a tensor in bytes; in BYTES the length of each stands before it, in four."""
    if kind != "BYTES":
        width = np.dtype(NUMBERS[kind]).itemsize
        if len(data) % width:
            raise UserError(f"{where}: {len(data)} bytes are no whole number of {kind}.")
        return [*np.frombuffer(data, NUMBERS[kind]).tolist()]
    values, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + size > len(data):
            raise UserError(f"{where}: its bytes end within an element.")
        values.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return values


def _outputs(schema: Schema, document: Mapping[str, Any]) -> dict[str, bool]:
    """Return the outputs that are wanted, all unless some are named, and whether each as bytes."""
    names = [*outputs_of(schema)]
    usual = bool(_parameters(document).get("binary_data_output", False))
    wanted = document.get("outputs") or [{"name": name} for name in names]
    if not isinstance(wanted, list) or not all(isinstance(output, dict) for output in wanted):
        raise UserError('outputs must be a list such as [{"name": "…"}].')
    strange = [str(output.get("name")) for output in wanted if output.get("name") not in names]
    if strange:
        raise UserError(
            f"There is no output {listed(strange)}{suggest(strange[0], names)}; there are {listed(names)}."
        )
    return {output["name"]: bool(_parameters(output).get("binary_data", usual)) for output in wanted}


def write(served: Served, asked: Asked, answered: Answered) -> Response:
    """Return the response to an inference request."""
    every = outputs_of(served.schema)
    outputs, binary = [], []
    for name, as_bytes in asked.outputs.items():
        kind, _, given = every[name]
        values = given(answered.found)
        output: dict[str, Any] = {"name": name, "shape": [*np.shape(values)], "datatype": kind}
        if as_bytes:
            binary.append(_packed(kind, values))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = _in_json(kind, values)
        outputs.append(output)
    document: dict[str, Any] = {"model_name": served.name, "model_version": VERSION, "outputs": outputs}
    if asked.id is not None:
        document["id"] = asked.id
    said = sorted([*answered.reasons.items(), *answered.notes.items()])
    if said:
        document["parameters"] = {"notes": "; ".join(f"row {number + 1}: {text}" for number, text in said)}
    if not binary:
        return JSONResponse(document)
    head = json.dumps(document).encode()
    headers = {HEAD_LENGTH: str(len(head))}
    return Response(head + b"".join(binary), headers=headers, media_type="application/octet-stream")


def _in_json(kind: str, values: Any) -> list[Any]:
    if kind == "BYTES":
        return [*values]
    flat = values.ravel()
    return [*(flat if kind == "BOOL" else flat.astype(float).round(7)).tolist()]


def _packed(kind: str, values: Any) -> bytes:
    if kind == "BYTES":
        texts = [text.encode() for text in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.ascontiguousarray(values, NUMBERS[kind]).tobytes()
