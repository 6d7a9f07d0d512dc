"""What the server answers, as OpenAPI describes it: by hand from the schemas of the models, with examples.

Source: https://spec.openapis.org/oas/v3.1.1.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from manyhot import __version__
from manyhot.schema import Target
from manyhot.serve.served import Served

WORDS = ["string", "null"]
TYPES = {"number": ["number", "null"], "category": WORDS, "date": WORDS, "text": WORDS}
ERRORS = {
    "400": "The request is wrong; `error` says what to do.",
    "401": "The token is missing or wrong.",
    "413": "The body is too large, or has too many rows.",
    "503": "Too much waits already; try again after `Retry-After` seconds.",
}
ERROR = {"$ref": "#/components/schemas/Error"}


def document(models: Iterable[Served], token: bool, corrections: bool = False) -> dict[str, Any]:
    """Return the description of all routes; JSON."""
    every = [*models]
    paths: dict[str, Any] = {
        "/models": _get("The models, what each reads and what it answers.", "Models"),
        "/metrics": _get("Counters, as Prometheus reads them.", "Server", "text/plain"),
        "/v2": _get("The server, by the Open Inference Protocol.", "Open Inference Protocol"),
        "/v2/health/live": _get("Whether the server runs.", "Open Inference Protocol"),
        "/v2/health/ready": _get(
            "Whether it takes requests; 503 when it does not.", "Open Inference Protocol"
        ),
    }
    if corrections:
        paths |= _corrections(every)
    if len(every) == 1:
        paths["/predict"], paths["/explain"] = _predict(every[0]), _explain(every[0])
    for served in every:
        base = f"/v2/models/{_in_path(served.name)}"
        paths[f"/models/{_in_path(served.name)}/predict"] = _predict(served)
        paths[f"/models/{_in_path(served.name)}/explain"] = _explain(served)
        paths[base] = _get(f"What {served.name} reads and gives, as tensors.", "Open Inference Protocol")
        paths[f"{base}/ready"] = _get(f"Whether {served.name} is ready.", "Open Inference Protocol")
        paths[f"{base}/infer"] = _infer(served)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "manyhot", "version": __version__, "description": "Rows in, answers out."},
        "paths": paths,
        "components": {"schemas": {"Error": _object({"error": {"type": "string"}}, ["error"])}},
    }
    if token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def _in_path(name: str) -> str:
    """Write a name such that it can stand in a path, where braces mean something else."""
    return quote(name, safe="")


def _body(served: Served, many: bool = True) -> dict[str, Any]:
    """Describe the body of a request: rows, or with `many` False one."""
    row = _object({column["name"]: _input(column) for column in served.describe()["inputs"]})
    example = {k: "/9j/4AAQSkZJRg…" if k in served.pictures else v for k, v in served.example().items()}
    form = _object({k: {"type": "string", "format": "binary"} if k in served.pictures else v
                    for k, v in row["properties"].items()})  # fmt: skip
    content: dict[str, Any] = {
        "application/json": {
            "schema": {"oneOf": [_object({"rows": {"type": "array", "items": row}}, ["rows"]), row]}
            if many
            else row,
            "example": {"rows": [example]} if many else example,
        },
        "multipart/form-data": {"schema": form},
    }
    if len(served.pictures) == 1:
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    if not served.pictures:
        cells = ["" if value is None else str(value) for value in example.values()]
        text = f"{','.join(map(_cell, example))}\n{','.join(map(_cell, cells))}\n"
        content["text/csv"] = {"schema": {"type": "string"}, "example": text}
    return {"required": True, "content": content}


def _predict(served: Served) -> dict[str, Any]:
    targets = {
        target.name: _object(
            {
                "answer": _classes(target.classes)
                if target.exclusive
                else {"type": "array", "items": _classes(target.classes)},
                "probabilities": _object({name: _probability() for name in target.classes}),
                **_doubts(target),
            }
        )
        for target in served.schema.targets
    }
    answer = _object({"answers": _object(targets), "error": {"type": ["string", "null"]}})
    answer["properties"]["note"] = {"type": "string"}
    rows = _object({"model": {"type": "string"}, "rows": {"type": "array", "items": answer}})
    return {
        "post": {
            "summary": f"Answers of {served.name} for rows; what is wrong with one row stands beside it.",
            "tags": ["Models"],
            "requestBody": _body(served),
            "responses": _responses("The answers, in the order of the rows.", "application/json", rows),
        }
    }


def _explain(served: Served) -> dict[str, Any]:
    number, text = {"type": "number"}, {"type": "string"}
    told: dict[str, Any] = {"class": text, "probability": _probability(), "log_odds": number}
    if served.pictures:
        lines = {"type": "array", "items": {"type": "array", "items": number}}
        told |= {"block": {"type": "integer"}, "heat": lines}
    else:
        cells = {"type": "object", "additionalProperties": text}
        told["columns"] = {"type": "array", "items": _object({"columns": cells, "effect": number})}
    each = _object({"answer": text, "classes": {"type": "array", "items": _object(told)}})
    targets = _object(dict.fromkeys((target.name for target in served.schema.targets), each))
    row = _object({"row": {"type": "integer"}, "targets": targets})
    found = _object(
        {
            "model": text,
            "method": {"type": "string", "enum": ["gradients", "occlusion", "replacement"]},
            "background": text,
            "gains": {"type": "object"},
            "rows": {"type": "array", "items": row},
        }
    )
    what = "pixels" if served.pictures else "columns"
    said = "By class what spoke for it (above 0) and against."
    return {
        "post": {
            "summary": f"Which {what} of one row spoke for the answers of {served.name}, and which against.",
            "tags": ["Models"],
            "requestBody": _body(served, many=False),
            "responses": _responses(said, "application/json", found),
        }
    }


def _doubts(target: Target) -> dict[str, Any]:
    """Describe what is said of a target that has a coverage: what stays possible, and why it is not sure."""
    if target.decision.coverage is None:
        return {}
    return {"set": {"type": "array", "items": _classes(target.classes)}, "unsure": {"type": "string"}}


def _infer(served: Served) -> dict[str, Any]:
    inputs = []
    for column in served.describe()["inputs"]:
        kind = "FP64" if column["kind"] == "number" else "BYTES"
        data = column["example"] if column["kind"] != "image" else "/9j/4AAQSkZJRg…"
        tensor: dict[str, Any] = {"name": column["name"], "shape": [1], "datatype": kind, "data": [data]}
        if column["kind"] == "image":
            tensor["parameters"] = {"content_type": "base64"}
        inputs.append(tensor)
    content = {"application/json": {"schema": {"type": "object"}, "example": {"inputs": inputs}}}
    return {
        "post": {
            "summary": f"Tensors in, probabilities and answers of {served.name} out.",
            "tags": ["Open Inference Protocol"],
            "requestBody": {"required": True, "content": content},
            "responses": _responses("The outputs.", "application/json", {"type": "object"}),
        }
    }


def _corrections(models: Iterable[Served]) -> dict[str, Any]:
    names = [served.name for served in models]
    fields = _object({"labels": {"type": "string"}, "answers": {"type": "string"}, "model": _classes(names)})
    fields["required"] = ["labels"] if len(names) == 1 else ["labels", "model"]
    fields["properties"]["labels"]["examples"] = ['{"TARGET": "CLASS"}']
    fields["description"] = "The fields of one row, as /predict has them, and behind them these."
    number = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}}
    undone = _responses("Undone.", "application/json", _object({"id": {"type": "integer"}}))
    kept = _responses("Kept.", "application/json", _object({"id": {"type": "integer"}}))
    kept["201"] = kept.pop("200")
    add = {"summary": "Keep what people say of a row.", "tags": ["Corrections"], "responses": kept}
    add["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": fields}}}
    undo = {"summary": "Undo.", "tags": ["Corrections"], "parameters": [number], "responses": undone}
    return {
        "/corrections": {"post": add},
        "/corrections/{number}": {"delete": undo},
        "/corrections/count": _get(
            "How many rows are kept, and the lines that learn from them.", "Corrections"
        ),
        "/corrections.zip": _get("What `manyhot fit` reads.", "Corrections", "application/zip"),
    }


def _get(summary: str, tag: str, kind: str = "application/json") -> dict[str, Any]:
    schema = {"type": "object" if kind == "application/json" else "string"}
    return {"get": {"summary": summary, "tags": [tag], "responses": _responses("Found.", kind, schema)}}


def _responses(said: str, kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    good = {"200": {"description": said, "content": {kind: {"schema": schema}}}}
    wrong = {"application/json": {"schema": ERROR}}
    return good | {status: {"description": why, "content": wrong} for status, why in ERRORS.items()}


def _input(column: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of one input in JSON."""
    if column["kind"] == "image":
        return {"type": "string", "contentEncoding": "base64", "description": "a picture"}
    found: dict[str, Any] = {"type": TYPES[column["kind"]]}
    if column["example"] is not None:
        found["examples"] = [column["example"]]
    return found


def _object(properties: Mapping[str, Any], required: Iterable[str] | None = None) -> dict[str, Any]:
    needed = [*properties] if required is None else [*required]
    return {"type": "object", "properties": {**properties}, **({"required": needed} if needed else {})}


def _classes(names: Iterable[str]) -> dict[str, Any]:
    return {"type": "string", "enum": [*names]}


def _probability() -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "maximum": 1}


def _cell(text: str) -> str:
    return f'"{text.replace(chr(34), 2 * chr(34))}"' if any(c in text for c in ',"\n') else text
