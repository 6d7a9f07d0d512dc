"""The routes: requests of HTTP in, JSON out. `server` runs it, tests call it.

What may pass is decided in `gate`; what a body means in `rows`; who answers in `batcher`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from manyhot.errors import UserError, listed, suggest
from manyhot.serve import rows
from manyhot.serve.batcher import Answered, Batcher, FullError
from manyhot.serve.gate import MAX_BODY, Gate, Rules
from manyhot.serve.metrics import Metrics
from manyhot.serve.rows import Row
from manyhot.serve.served import Served

PAGE = Path(__file__).parent / "page"
FILES = {  # of the page, by their path
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
PATIENCE = 30.0  # seconds that a request waits for its answer
LARGE = 1 << 18  # bytes of a body from which on it is read beside the event loop


class Parts(MultiPartParser):
    """A form whose files stay in memory: the gate bounds them."""

    spool_max_size = MAX_BODY + 1


class State:
    """What the routes share: the models by name, who answers, what was counted, whether more may come."""

    def __init__(self, models: Sequence[Served], runners: int) -> None:
        self.models = {served.name: served for served in models}
        self.metrics = Metrics()
        self.batcher = Batcher(runners, self.metrics)
        self.ready = True

    def model(self, name: str | None) -> Served:
        """Return the model of a name; without one the only model there is."""
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise UserError(
                f"Several models are served; POST to /models/NAME/predict, of {listed(self.models)}."
            )
        if name not in self.models:
            near = suggest(name, self.models)
            raise HTTPException(404, f"There is no model '{name}'{near}; there are {listed(self.models)}.")
        return self.models[name]

    async def answer(self, request: Request, served: Served, found: Sequence[Row]) -> Answered:
        """Answer rows; a request that nobody waits for any more is dropped.

        Raises:
            HTTPException: there are too many rows, or more wait already than are answered soon.
            ClientDisconnect: the client went away.
        """
        if len(found) > served.room:
            raise HTTPException(413, f"{len(found):,} rows; send at most {served.room:,} in a request.")
        if not found:
            return Answered({}, {})
        try:
            job = self.batcher.put(served, found)
        except FullError:
            raise busy("Too many rows wait already.") from None
        left = asyncio.ensure_future(request.receive())  # behind the body only the disconnect comes
        try:
            waited_for: set[asyncio.Future[Any]] = {job.future, left}
            await asyncio.wait(waited_for, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if job.future.done():
                return job.future.result()
            if left.done():
                raise ClientDisconnect
            raise busy(f"The answer took more than {PATIENCE:g} seconds.")
        finally:
            job.gone = True
            left.cancel()


def busy(why: str) -> HTTPException:
    """Return a 503 that asks to come again."""
    return HTTPException(503, f"{why} Try again in a second.", {"Retry-After": "1"})


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
    except MultiPartException as error:
        raise UserError(f"The body is no form ({error.message.rstrip('.')}).") from None
    return [(n, v if isinstance(v, str) else v.file.read()) for n, v in found.multi_items()]


async def rows_of(request: Request, served: Served) -> list[Row]:
    """Return the rows of a request, whatever its content type."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return rows.of_form(served.schema, await form_of(request))
    readers: dict[str, Callable[..., list[Row]]] = {"application/json": rows.of_json, "text/csv": rows.of_csv}
    if kind not in readers:
        raise HTTPException(
            415,
            f"Content-Type is '{kind[:60]}'; send pictures as a form (curl -F image=@photo.jpg), "
            "rows as application/json or text/csv.",
        )
    body = await request.body()
    if len(body) < LARGE:
        return readers[kind](served.schema, body)
    return await asyncio.to_thread(readers[kind], served.schema, body)


def routes(state: State, corrections: bool) -> list[Route]:
    """Return the routes of the models and of the page."""

    async def models(_: Request) -> Response:
        described = [served.describe() for served in state.models.values()]
        return JSONResponse({"models": described, "corrections": corrections})

    async def predict(request: Request) -> Response:
        served = state.model(request.path_params.get("name"))
        given = await rows_of(request, served)
        answered = await state.answer(request, served, given)
        count = len(given)
        request.scope["manyhot.rows"] = count
        content = {
            "model": served.name,
            "rows": rows.answers(served.schema.targets, *answered, count) if count else [],
        }
        return JSONResponse(content)

    async def metrics(_: Request) -> Response:
        waiting = {name: state.batcher.waiting[name] for name in state.models}
        return Response(state.metrics.text(waiting), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        *(Route(path, _file(name, kind)) for path, (name, kind) in FILES.items() if (PAGE / name).is_file()),
        Route("/models", models),
        Route("/predict", predict, methods=["POST"]),
        Route("/models/{name}/predict", predict, methods=["POST"]),
        Route("/metrics", metrics),
    ]


def _file(name: str, kind: str) -> Callable[[Request], Any]:
    content = (PAGE / name).read_bytes()

    async def file(_: Request) -> Response:
        return Response(content, media_type=kind)

    return file


def build(state: State, rules: Rules, more: Sequence[Route] = ()) -> Gate:
    """Return the application; `more` are the routes of corrections, where they are kept."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        content = {"error": error.detail}
        return JSONResponse(content, error.status_code, error.headers)

    async def wrong(_: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        return JSONResponse({"error": error.typed}, 400)

    every = [*routes(state, bool(more)), *more]
    app = Starlette(routes=every, exception_handlers={HTTPException: refused, UserError: wrong})
    named = {route.endpoint: route.path for route in every}
    return Gate(app, rules, state.metrics, lambda scope: named.get(scope.get("endpoint", refused), "other"))
