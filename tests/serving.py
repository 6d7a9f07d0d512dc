"""What tests of the server share: models that are quick and known, a request without a network, a server."""

import asyncio
import io
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from manyhot.data.inputs.features import table_inputs
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.table import from_python
from manyhot.schema import Input, Notation, Schema, Target
from manyhot.serve.app import build
from manyhot.serve.gate import Rules
from manyhot.serve.served import Served
from manyhot.serve.state import State

HTML = "<img src=x onerror=alert(1)>"
TARGETS = (
    Target("fruit", "multiclass", ("apple", "pear", HTML), ("fruit",)),
    Target("tags", "multilabel", ("red;green", "round"), ("tags",)),
)
COLUMNS = (
    Input("width", "number"),
    Input("price", "number", notation=Notation(",", ".")),
    Input("origin", "category"),
)
ROWS = {"width": ["1", "2", "3", "4"], "price": ["1,5", "2,5", "3,5", "1.000,5"], "origin": list("nsns")}


@dataclass
class Fake:
    """Answers by the first number of each row, and keeps what it was asked."""

    schema: Schema
    inputs: object
    seconds: float = 0.0
    fails: bool = False
    spoilt: bool = False
    asked: list = field(default_factory=list)

    def probabilities(self, x, fold=None):
        self.asked.append(len(x))
        time.sleep(self.seconds)
        first = np.nan_to_num(x.reshape(len(x), -1)[:, 0].astype(np.float32))
        if self.spoilt:
            first[0] = np.nan
        if self.fails and (first < 0).any():
            raise RuntimeError("a number below 0")
        found = 1 / (1 + np.exp(-first)) / 2
        return {
            "fruit": np.stack([found, 0.5 - found, np.full_like(found, 0.5)], 1),
            "tags": np.stack([np.full_like(found, 0.9), found], 1),
        }


def table_model(name="market", **options):
    schema = Schema(COLUMNS, TARGETS, missing=("NA",))
    model = Fake(schema, table_inputs(schema, from_python(ROWS), np.arange(4)), **options)
    return Served(name, model, model, "f00d", {"rows": 4})


def picture_model(name="photos", size=8, **options):
    schema = Schema((Input("photo", "image", (size, size, 3)),), TARGETS)
    model = Fake(schema, ImageInputs("photo", (size, size), 3, (0.5,) * 3, (0.2,) * 3), **options)
    return Served(name, model, model, "beef")


def png(level=200, side=8):
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


@contextmanager
def application(*models, rules=None, runners=2, **options):
    state = State(models or [table_model()], runners)
    app = build(state, rules or Rules(), **options)
    app.state = state
    yield app
    state.batcher.close()


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The line of a refusal, which must be one, short, and JSON."""
        assert self.headers["content-type"] == "application/json"
        (line,) = self.json.values()
        assert "\n" not in line
        assert len(line) < 300
        return line


async def send(app, method, path, body=b"", kind=None, headers=None, gone=None, pieces=1):
    """Ask an application; `gone` is an event at which the client goes away. None is no reply."""
    given = {"host": "localhost", "content-length": str(len(body)), **(headers or {})}
    if kind:
        given["content-type"] = kind
    sent, reply, over = [], {}, asyncio.Event()
    size = max(1, -(-len(body) // pieces))
    chunks = [body[at : at + size] for at in range(0, len(body), size)] or [b""]

    async def receive():
        if len(sent) < len(chunks):
            sent.append(None)
            more = len(sent) < len(chunks)
            return {"type": "http.request", "body": chunks[len(sent) - 1], "more_body": more}
        await (gone or over).wait()
        return {"type": "http.disconnect"}

    async def take(message):
        if message["type"] == "http.response.start":
            reply["status"] = message["status"]
            reply["headers"] = {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            reply["body"] = reply.get("body", b"") + message.get("body", b"")

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in given.items() if v is not None],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, take)
    found = Reply(**reply) if reply else None
    if found is not None:
        found.read = len(sent)
    return found


def ask(app, method, path, body=b"", kind=None, headers=None, **options):
    if not isinstance(body, bytes):
        body, kind = json.dumps(body).encode(), kind or "application/json"
    return asyncio.run(send(app, method, path, body, kind, headers, **options))


def form(fields):
    """A form as curl -F makes it: pairs of a name and a text or the bytes of a file."""
    parts = []
    for name, value in fields:
        file = '; filename="a.jpg"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else value.encode()
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join([*parts, b"--b--\r\n"])


FORM = "multipart/form-data; boundary=b"


@contextmanager
def listening(*models, **options):
    """A server in a thread; its address as (host, port), with the application."""
    from manyhot.serve import server

    with application(*models, **options) as app:
        listener = server.listen("127.0.0.1", 0, None)
        running = server.Server(server.settings(app), app.state)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield app, listener.getsockname()
        finally:
            running.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
