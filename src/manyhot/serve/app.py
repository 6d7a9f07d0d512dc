"""The routes: requests of HTTP in, JSON out. `server` runs it, tests call it.

What may pass is decided in `gate`; what a body means in `rows`; who answers in `batcher`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from manyhot.errors import UserError, shortened
from manyhot.serve import openapi, protocol, rows
from manyhot.serve.gate import MAX_BODY, Gate, Rules
from manyhot.serve.rows import Row
from manyhot.serve.served import Served
from manyhot.serve.state import State, read_beside
from manyhot.serve.why import Explainer

PAGE = Path(__file__).parent / "page"
FILES = {  # of the page, by their path
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}


# It would tell standard error of each form that is none.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Parts(MultiPartParser):
    """A form whose files stay in memory: the gate bounds them."""

    spool_max_size = MAX_BODY + 1


async def form_of(request: Request) -> list[tuple[str, str | bytes]]:
    """Return the fields of a form in their order: texts, and the bytes of files.

    Raises:
        UserError: it is none.
    """
    try:
        parts = Parts(
            request.headers, request.stream(), max_files=10_000, max_fields=10_000, max_part_size=MAX_BODY
        )
        found = await parts.parse()
        fields = [(n, v if isinstance(v, str) else v.file.read()) for n, v in found.multi_items()]
        await found.close()
        return fields
    except (MultiPartException, FormParserError) as error:  # the latter by an older starlette
        raise UserError(f"The body is no form ({str(error).rstrip('.')}).") from None


async def rows_of(request: Request, served: Served) -> list[Row]:
    """Return the rows of a request, whatever its content type."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return rows.of_form(served.schema, await form_of(request))
    if kind.startswith("image/") and len(served.pictures) == 1:
        return rows.of_form(served.schema, [(served.pictures[0], await request.body())])
    readers: dict[str, Callable[..., list[Row]]] = {"application/json": rows.of_json, "text/csv": rows.of_csv}
    if kind not in readers:
        raise HTTPException(
            415,
            f"Content-Type is '{kind[:60]}'; send a picture as image/jpeg or several as a form "
            "(curl -F image=@photo.jpg), rows as application/json or text/csv.",
        )
    return await read_beside(readers[kind], served.schema, await request.body())


def routes(state: State, corrections: bool, token: bool) -> list[Route]:
    """Return the routes of the models, of the page, and of what describes the server."""
    described = {
        "models": [served.describe() for served in state.models.values()],
        "corrections": corrections,
    }
    explainer = Explainer()
    by_openapi = openapi.document(state.models.values(), token, corrections)

    async def models(_: Request) -> Response:
        return JSONResponse(described)

    async def spec(_: Request) -> Response:
        return JSONResponse(by_openapi)

    async def predict(request: Request) -> Response:
        served = state.model(request.path_params.get("name"))
        given = await rows_of(request, served)
        answered = await state.answer(request, served, given)
        return JSONResponse(
            {"model": served.name, "rows": rows.answers(served.schema, *answered, len(given))}
        )

    async def explain(request: Request) -> Response:
        served = state.model(request.path_params.get("name"))
        return JSONResponse(await explainer.reasons(request, served, await rows_of(request, served)))

    async def metrics(_: Request) -> Response:
        waiting = {name: state.batcher.waiting[name] for name in state.models}
        return Response(state.metrics.text(waiting), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        *(Route(path, _file(name, kind)) for path, (name, kind) in FILES.items() if (PAGE / name).is_file()),
        Route("/models", models),
        Route("/predict", predict, methods=["POST"]),
        Route("/models/{name}/predict", predict, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/models/{name}/explain", explain, methods=["POST"]),
        Route("/metrics", metrics),
        Route("/openapi.json", spec),
    ]


def _file(name: str, kind: str) -> Callable[[Request], Any]:
    content = (PAGE / name).read_bytes()

    async def file(_: Request) -> Response:
        return Response(content, media_type=kind)

    return file


def build(
    state: State,
    rules: Rules,
    more: Sequence[Route] = (),
    said: Callable[[dict[str, Any]], None] | None = None,
) -> Gate:
    """Return the application.

    Args:
        more: the routes of corrections, where they are kept.
        said: is told of each request when it is over.
    """

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = error.detail
        if said == HTTPStatus(error.status_code).phrase:  # Starlette's own
            takes = f", only {error.headers['Allow']}" if error.headers and "Allow" in error.headers else ""
            path = shortened(request.url.path)
            said = f"{request.method} {path}: {said.lower()}{takes}; see /openapi.json."
        return JSONResponse({"error": said}, error.status_code, error.headers)

    async def wrong(_: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        return JSONResponse({"error": error.typed}, 400)

    async def gone(_: Request, error: Exception) -> Response:
        return Response(status_code=499)  # which nobody gets

    async def failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "The server failed on this request; its log says why."}, 500)

    every = [*routes(state, bool(more), rules.token is not None), *protocol.routes(state), *more]
    handlers = {HTTPException: refused, UserError: wrong, ClientDisconnect: gone, Exception: failed}
    app = Starlette(routes=every, exception_handlers=handlers)
    named = {(route.endpoint, *route.param_convertors): route.path for route in every}

    def route_of(scope: Scope) -> str:
        return named.get((scope.get("endpoint"), *scope.get("path_params", ())), "other")

    return Gate(app, rules, state.metrics, route_of, said)
