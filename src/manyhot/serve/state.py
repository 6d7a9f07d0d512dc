"""What the routes share: the models by their names, who answers, and whether requests are still taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Schema
from manyhot.serve.batcher import Batcher, FullError
from manyhot.serve.metrics import Metrics
from manyhot.serve.rows import Row
from manyhot.serve.served import Answered, Served

T = TypeVar("T")
PATIENCE = 30.0  # seconds that a request waits for its answer
LARGE = 1 << 18  # bytes of a body from which on it is read beside the event loop


class State:
    """One for each server."""

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
                "Several models are served; POST to /models/NAME/predict. "
                f"NAME is one of {listed(self.models)}."
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
        request.scope["manyhot.rows"] = len(found)
        if not found:
            raise UserError("There is no row to answer.")
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


async def read_beside(read: Callable[..., T], schema: Schema, body: bytes, *more: Any) -> T:
    """Read a body by `read(schema, body, …)`; a large one beside the event loop."""
    if len(body) < LARGE:
        return read(schema, body, *more)
    return await asyncio.to_thread(read, schema, body, *more)


def busy(why: str) -> HTTPException:
    """Return a 503 that asks to come again."""
    return HTTPException(503, f"{why} Try again in a second.", {"Retry-After": "1"})
