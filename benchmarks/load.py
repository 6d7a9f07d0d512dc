"""What the benchmarks of serving share: a server in a process of its own, and what asks it.

Everything stays on 127.0.0.1. The load generator is `wrk` where it is installed (Debian has it), which
takes less of the machine from the server; else a client of asyncio. `generator` says which.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for both sides, as manyhot sets it
BOUNDARY = "manyhot-benchmark"
PHOTOS = 50  # that are sent in turn


class Load(NamedTuple):
    """What a load generator saw: answers per second, and the median of their milliseconds."""

    rate: float
    median: float


class Server(NamedTuple):
    """A server that is ready, and where it is."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def rss(self) -> float:
        """Memory that it holds now, in MB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS"))


@contextmanager
def served(model: Path, log: Path) -> Iterator[Server]:
    """Start `manyhot serve MODEL` with its lines in `log`, and stop it at the end by SIGTERM.

    It ends with the reason where the server does not get ready, or does not leave with status 0.
    """
    port = free_port()
    process = start(model, port, log)
    try:
        wait_until_ready(process, port, log)
        yield Server(process, port)
        if process.poll() is None:  # a second signal would end it at once
            process.send_signal(signal.SIGTERM)
        if status := process.wait(60):
            sys.exit(f"after SIGTERM the server left with status {status}:\n{log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def start(model: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "manyhot", "serve", str(model), "--port", str(port)]
    with log.open("wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=file)


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 120) -> None:
    """Ask every 5 ms until the server says that it is ready."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as asked:
            asked.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            said = asked.recv(100)[9:12]
            if said == b"200":
                return
            if said not in (b"503", b""):
                break
        time.sleep(0.005)
    sys.exit(f"the server did not get ready:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def graph_of(model: Path) -> Path:
    """Return the graph of a bundle, or the file itself; end with what to do where there is none."""
    path = model / "model.onnx" if model.is_dir() else model
    if not path.is_file():
        sys.exit(f"{path} is not there; run `manyhot export {model}` first")
    return path


def photos_in(folder: Path) -> list[Path]:
    """Return the first JPEGs of a folder and those below it, in the order of their names."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:PHOTOS]
    if not found:
        sys.exit(f"there is no JPEG in {folder}")
    return found


def multipart(data: bytes) -> bytes:
    """Return the body of a form with one picture."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def post(body: bytes, content: str = f"multipart/form-data; boundary={BOUNDARY}") -> bytes:
    """Return a request to /predict as it goes over the wire."""
    lines = (
        "POST /predict HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {content}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def answered(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return status, body and what follows of an answer; None where it is not whole yet."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0]) if lengths else 0
    return None if len(rest) < length else (int(head[9:12]), rest[:length], rest[length:])


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "a client of asyncio, since wrk is not installed"


def load(port: int, photos: Sequence[Path], connections: int, seconds: float, folder: Path) -> Load:
    """Send photos one after the other over each of some connections; each answer must be 200."""
    if shutil.which("wrk"):
        return _wrk(port, photos, connections, seconds, folder)
    return asyncio.run(_asyncio(port, photos, connections, seconds))


WRK = """
local bodies, at = {}, 0
for _, name in ipairs({NAMES}) do
  local file = assert(io.open(name, "rb"))
  bodies[#bodies + 1] = file:read("*a")
  file:close()
end
local headers = {["Content-Type"] = "image/jpeg"}
function request()
  at = at % #bodies + 1
  return wrk.format("POST", "/predict", headers, bodies[at])
end
function done(summary, latency)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('\\n{"requests": %d, "us": %d, "median_us": %.0f, "errors": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), errors))
end
"""


def _wrk(port: int, photos: Sequence[Path], connections: int, seconds: float, folder: Path) -> Load:
    names = []
    for number, photo in enumerate(photos):
        (folder / f"{number}.body").write_bytes(photo.read_bytes())
        names.append(json.dumps(str(folder / f"{number}.body")))
    script = folder / "wrk.lua"
    script.write_text(WRK.replace("NAMES", ", ".join(names)))
    words = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    done = subprocess.run([*words, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if found["errors"]:
        sys.exit(f"{found['errors']} requests were not answered by 200")
    return Load(found["requests"] / found["us"] * 1e6, found["median_us"] / 1e3)


class _Client(asyncio.Protocol):
    """One connection that sends the next photo when the last is answered."""

    def __init__(self, requests: Iterator[bytes], times: list[float], failed: asyncio.Future[None]) -> None:
        self.requests, self.times, self.failed, self.data = requests, times, failed, b""

    def connection_made(self, transport: Any) -> None:  # asyncio.Transport
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.data += data
        if found := answered(self.data):
            status, body, self.data = found
            if status != 200:
                self.fail(f"status {status}: {body[:300]!r}")
            self.times.append(time.perf_counter() - self.sent)
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail("the server closed a connection")

    def fail(self, reason: str) -> None:
        if not self.failed.done():
            self.failed.set_exception(RuntimeError(reason))


async def _asyncio(port: int, photos: Sequence[Path], connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    failed: asyncio.Future[None] = loop.create_future()
    requests = itertools.cycle([post(photo.read_bytes(), "image/jpeg") for photo in photos])
    start = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Client(requests, times, failed), "127.0.0.1", port)
        for _ in range(connections)
    ]
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(failed), seconds)
    found = Load(len(times) / (time.perf_counter() - start), statistics.median(times) * 1e3)
    failed.cancel()
    for transport, _ in made:
        transport.abort()
    return found
