"""What stands before every route: who may ask, how much may be sent, what is counted and logged.

A foreign web page must not reach a server on this machine, also not by a name of its own that it turns to
127.0.0.1 (DNS rebinding). So without a token only requests pass that call the server by a name of its own,
and with a token only those that have it, which no foreign page does.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manyhot.errors import shortened
from manyhot.serve.metrics import Metrics

MAX_BODY = 32 << 20  # bytes of a request
MAX_HELD = 256 << 20  # bytes of all requests that are being received or answered
OPEN = frozenset({"/", "/page.css", "/page.js", "/favicon.svg", "/v2/health/live", "/v2/health/ready"})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """Who may ask: who has the token, or where there is none, who calls the server by a name of its own.

    host is what the server listens on.
    """

    host: str = "127.0.0.1"
    token: str | None = None

    def refusal(self, path: str, headers: Headers) -> HTTPException | None:
        """Return why a request is refused, None where it may pass."""
        if self.token is not None:
            given = headers.get("authorization", "").encode("latin-1")  # as it came
            if path in OPEN or hmac.compare_digest(given, f"Bearer {self.token}".encode()):
                return None
            return HTTPException(
                401, "Send the server's token: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"}
            )
        host = headers.get("host", "")
        name = host_of(host)
        if name not in ("localhost", self.host.lower()) and not is_loopback(name):
            return HTTPException(
                403,
                f"'{shortened(host)}' is no name of this server; call it localhost, or give it a --token.",
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return HTTPException(403, f"A page of '{shortened(origin)}' may not ask this server.")
        return None


def host_of(header: str) -> str:
    """Return the name in a Host header, without its port.

    >>> host_of("LocalHost:8000"), host_of("[::1]:8000")
    ('localhost', '::1')
    """
    name = header.strip().lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def is_loopback(name: str) -> bool:
    """Tell whether a name is an address of this machine's own; what is no address is none."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class Gate:
    """An ASGI application around another."""

    def __init__(
        self, app: ASGIApp, rules: Rules, metrics: Metrics, route_of: Callable[[Scope], str],
        said: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:  # fmt: skip
        self.app, self.rules, self.metrics, self.route_of, self.said = app, rules, metrics, route_of, said
        self.held = 0  # bytes of requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        status, mine = 499, 0  # the client went away before there was an answer

        async def receive_some() -> Message:
            nonlocal mine
            message = await receive()
            size = len(message.get("body", b""))
            mine += size
            self.held += size
            self._bound(mine)
            return message

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                found = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    found.setdefault(name, value)
            await send(message)

        try:
            refusal = self.rules.refusal(scope["path"], headers) or self._early(headers)
            if refusal is not None:
                raise refusal
            await self.app(scope, receive_some, send_more)
        except HTTPException as error:
            await JSONResponse({"error": error.detail}, error.status_code, error.headers)(
                scope, receive, send_more
            )
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])  # and it was answered with 500
        finally:
            self.held -= mine
            seconds = time.perf_counter() - began
            self.metrics.request(self.route_of(scope), status, seconds)
            if self.said is not None:
                self.said(
                    {
                        "time": round(time.time(), 3),
                        "client": (scope.get("client") or ("",))[0],
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "seconds": round(seconds, 4),
                        "bytes": mine,
                        "rows": scope.get("manyhot.rows", 0),
                    }
                )

    def _early(self, headers: Headers) -> HTTPException | None:
        """Refuse by its headers what need not be read."""
        coding = headers.get("content-encoding", "identity")
        if coding != "identity":
            return HTTPException(415, f"Content-Encoding is '{shortened(coding)}'; send the body as it is.")
        length = headers.get("content-length", "0")
        if length.isdecimal():
            try:
                self._bound(int(length), int(length))
            except HTTPException as error:
                return error
        return None

    def _bound(self, mine: int, more: int = 0) -> None:
        """Refuse a body that is too large, or that comes while too much is held."""
        if mine > MAX_BODY:
            raise HTTPException(
                413, f"The body is larger than {MAX_BODY >> 20} MB; send fewer rows at a time."
            )
        if self.held + more > MAX_HELD:
            raise HTTPException(
                503, "The server holds too much already. Try again in a second.", {"Retry-After": "1"}
            )
