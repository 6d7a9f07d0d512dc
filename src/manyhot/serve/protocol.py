"""The Open Inference Protocol, version 2, as KServe, Triton and their clients speak it.

An input of the model is a tensor of a value for each row: BYTES for pictures, texts and dates, numbers for
numbers (FP64, or whatever the client has; NaN and null are unknown). A target is an output FP32 (N, C) of the
probability of each class, and a second one, NAME.answer, BYTES (N,) of the best answers.

Source: https://github.com/kserve/open-inference-protocol, and for tensors as bytes behind the JSON
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md. In JSON a
picture is base64 where its `parameters` say `"content_type": "base64"`, as MLServer has it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from manyhot import __version__
from manyhot.errors import UserError, listed, shortened, suggest
from manyhot.predict import blank_rows
from manyhot.schema import Schema, Target
from manyhot.serve import rows
from manyhot.serve.rows import Row
from manyhot.serve.served import Answered, Served
from manyhot.serve.state import State, read_beside
from manyhot.targets import decide, decode, marginals

VERSION = "1"  # of every model: a bundle has no other
HEAD_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before those of the tensors
NUMBERS = {
    **{"BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1"},
    **{"UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"},
}
ANSWER = ".answer"  # behind a target's name, the output of its best answers


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
    for target in served.schema.targets:
        shape, classes = [-1, len(target.classes)], {"classes": [*target.classes]}
        outputs.append({"name": target.name, "datatype": "FP32", "shape": shape, "parameters": classes})
    outputs += [
        {"name": target.name + ANSWER, "datatype": "BYTES", "shape": [-1]} for target in served.schema.targets
    ]
    return {
        "name": served.name,
        "versions": [VERSION],
        "platform": "onnx_onnxv1",
        "inputs": inputs,
        "outputs": outputs,
    }


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
    return Asked(made, name if isinstance(name, str) else None, _outputs(schema.targets, document))


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


def _outputs(targets: Sequence[Target], document: Mapping[str, Any]) -> dict[str, bool]:
    """Return the outputs that are wanted, all unless some are named, and whether each as bytes."""
    names = [target.name for target in targets]
    names += [name + ANSWER for name in names if name + ANSWER not in names]
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
    targets = served.schema.targets
    found = {target.name: answered.found[target.name] for target in targets}
    made: dict[str, tuple[str, Any]] = {
        target.name + ANSWER: ("BYTES", decode(target, decide(target, found[target.name])))
        for target in targets
    }
    made |= {target.name: ("FP32", marginals(target, found[target.name])) for target in targets}
    outputs, binary = [], []
    for name, as_bytes in asked.outputs.items():
        kind, values = made[name]
        output: dict[str, Any] = {"name": name, "shape": [*np.shape(values)], "datatype": kind}
        if as_bytes:
            binary.append(_packed(kind, values))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = [*values] if kind == "BYTES" else values.ravel().astype(float).round(7).tolist()
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


def _packed(kind: str, values: Any) -> bytes:
    if kind == "BYTES":
        texts = [text.encode() for text in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.ascontiguousarray(values, "<f4").tobytes()
