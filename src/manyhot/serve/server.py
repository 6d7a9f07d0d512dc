"""The process that listens: sockets, deadlines, signals. `manyhot serve` calls `run`.

Source: the deadline of a sender is that of Apache's mod_reqtimeout: so many seconds, and more as bytes come.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import socket
import time
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from manyhot.errors import UserError
from manyhot.serve.gate import is_loopback
from manyhot.serve.state import State

FIRST = 10.0  # seconds that a sender has for a request
RATE = 16_384  # bytes for which he has a second more
MAX_HEAD = 65_536  # bytes of the line and the headers of a request
LENGTHS = (b"content-length", b"transfer-encoding")  # one of these is in the head of a request with a body
LINGER = 1.0  # seconds in which a stopped server still takes requests, while it is said to be not ready
DRAIN = 30  # seconds in which all that was taken must be answered then
CONNECTIONS = 1000


class Impatient(HttpToolsProtocol):
    """A connection that must send each request in good time, from its first byte on."""

    watch: asyncio.TimerHandle | None = None
    heading = True  # the headers are not whole yet
    began = 0.0
    received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self._refuse(503, "Too many connections. Try again in a second.")
        else:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes."""
        if self.watch is None or self.received == 0:
            self._begin()
        self.received += len(data)
        super().data_received(data)
        if self.heading and self.received > MAX_HEAD and not self.transport.is_closing():
            self._refuse(431, f"The headers are larger than {MAX_HEAD >> 10} kB.")

    def on_message_begin(self) -> None:
        """Begin anew where one piece of data holds the end of a request and the beginning of the next."""
        super().on_message_begin()
        self.heading = True
        if self.watch is None:
            self._begin()
            self.received = 1  # at least

    def on_headers_complete(self) -> None:
        """Note that the body comes; it does not where the parser takes it for another protocol's."""
        self.heading = False
        super().on_headers_complete()
        if self.parser.should_upgrade() and any(name in LENGTHS for name, _ in self.headers):
            self._refuse(
                400,
                "Only HTTP/1.1 is spoken here; send the request without the header Upgrade "
                "(in Java by HttpClient.Version.HTTP_1_1).",
            )

    def on_message_complete(self) -> None:
        """Wait no more."""
        self._end()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, "This is no HTTP request.")

    def _begin(self) -> None:
        self._end()
        self.began, self.received = time.monotonic(), 0
        self.watch = self.loop.call_later(FIRST, self._look)

    def _end(self) -> None:
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None

    def _look(self) -> None:
        """Refuse a sender who is late; one whose rest nobody reads gets no more time for it."""
        answered = not self.heading and self.cycle is not None and self.cycle.response_complete
        allowed = FIRST if answered else FIRST + self.received / RATE
        late = time.monotonic() - self.began - allowed
        if late < 0 or self.flow.read_paused:  # where the server itself does not read, it waits
            self.watch = self.loop.call_later(max(-late, 0.05), self._look)
        elif self.received and not answered:
            self._refuse(408, "The request came too slowly.")
        else:
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        """Answer at once and close, unless an answer is on its way."""
        self._end()
        if self.heading or self.cycle is None or not self.cycle.response_started:
            body = json.dumps({"error": why}).encode()
            retry = "Retry-After: 1\r\n" if status == 503 else ""
            head = f"HTTP/1.1 {status} Refused\r\n{retry}Content-Type: application/json\r\n"
            self.transport.write(
                f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn, which says first that it is not ready, answers all it has taken, and then ends."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self.state = state
        self.stopped: int | None = None  # the signal that came first
        self.forced: int | None = None  # and the second, which waits for nothing
        self.until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self.stopped is not None:
            self.forced = sig
            self.should_exit = self.force_exit = True
        else:
            self.stopped, self.state.ready = sig, False
            # Whoever sends SIGTERM asks others whether the server is ready, and they must see that it is not.
            self.until = time.monotonic() + (LINGER if sig == signal.SIGTERM else 0)

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end."""
        if self.stopped is not None and time.monotonic() >= self.until:
            self.should_exit = True
        return await super().on_tick(counter)


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UserError: others could reach it and need no token, the port is taken, or there is no such host.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UserError(
            f"--host {host}: no address of that name. Use 127.0.0.1, or 0.0.0.0 for all of them."
        ) from None
    if token is None and not is_loopback(str(address[0])):
        raise UserError(
            f"--host {host} lets other machines ask. Add a secret that they must send, such as "
            f"--token {secrets.token_urlsafe(12)}"
        )
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_REUSEPORT"):  # not on Windows, where it means another thing
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        remedy = "Take another, or --port 0 for any that is free."
        raise UserError(
            f"--port {port}: {host} cannot be listened on there ({error.strerror}). {remedy}"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Return where a browser on this machine finds the server."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def run(app: ASGIApp, state: State, listener: socket.socket) -> tuple[int | None, int | None]:
    """Answer until a signal comes; return it, and the second one where that stopped it at once."""
    server = Server(settings(app), state)
    server.run([listener])
    state.batcher.close()
    return server.stopped, server.forced


def settings(app: ASGIApp) -> uvicorn.Config:
    """Return what uvicorn is told: all that it does not need is off."""
    return uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN,
    )
