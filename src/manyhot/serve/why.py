"""Why a row is answered so: one row of a request in, what spoke for its answers and against them out.

It takes some hundred answers of the model, so one row is explained at a time, beside the queue of those that
are only answered, with the model that has one thread; few may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request

from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.explaining.explain import has_gradients, reasons_of, wanted_of
from manyhot.serve.rows import Row, to_x
from manyhot.serve.served import Served
from manyhot.serve.state import busy

WAITING = 4  # requests, beside the one whose row is explained


class Explainer:
    """Explains the rows of all models, one after the other."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0

    async def reasons(self, request: Request, served: Served, given: Sequence[Row]) -> dict[str, Any]:
        """Return why one row is answered so; a request that nobody waits for any more is dropped.

        Raises:
            UserError: there is not one row, or it cannot be read.
            HTTPException: too many wait already.
        """
        if len(given) != 1:
            raise UserError(f"One row is explained at a time, and the request has {len(given):,}; send one.")
        if self.waiting > WAITING:
            raise busy("Several rows wait to be explained already.")
        request.scope["manyhot.rows"] = 1
        self.waiting += 1
        try:
            async with self.lock:
                if await request.is_disconnected():
                    raise ClientDisconnect
                return await asyncio.to_thread(explained, served, given[0])
        finally:
            self.waiting -= 1


def explained(served: Served, row: Row) -> dict[str, Any]:
    """Return the document of `manyhot explain --json` for one row."""
    model = served.one
    x, noticed = to_x(model.inputs, [row])
    for reason in noticed.unreadable.values():
        raise UserError(f"The row cannot be explained: {reason}" + ("" if reason[-1:] == "." else "."))
    x = np.asarray(x)
    chances, targets = model.probabilities(x), model.schema.targets
    wanted = [each for target in targets for each in wanted_of(target, (), chances[target.name])]
    method = "gradients" if has_gradients(served.scores, targets) else "occlusion"
    found = reasons_of(served.scores, x, wanted, served.background, method)
    assert not isinstance(row, str), "it was read"
    cells = {name: [value] for name, value in row.items() if not isinstance(value, bytes)}
    if cells:
        found = replace(found, table=from_python(cells))
    return {"model": served.name, **found.details()}
