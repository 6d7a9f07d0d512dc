"""Whether a server stands 64 connections, a tenth of them slow, abandoning or sending rubbish.

python benchmarks/soak.py MODEL [PHOTOS] [SECONDS]

Runs SECONDS (default: 600) against `manyhot serve MODEL`; PHOTOS is a folder (default: cars of
MANYHOT_DATA). It says at the end, and leaves with status 1 where one of these is not so:

- each request of a good connection has exactly one answer: 200 with the answer that this photo has alone,
  or 503 with Retry-After;
- whatever is sent, no other 5xx and no traceback comes back;
- the memory that the server holds at the end is at most 1.02 times that of minute 3 (medians of a minute of
  samples, one each 10 s; not judged in runs below 300 s, in which the arenas still fill);
- SIGTERM, sent while all connections are at work, ends it with status 0, with each good request sent before
  answered.

MALLOC_ARENA_MAX of the server is that of this command, so set it to see what it brings.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from load import BOUNDARY, Server, answered, multipart, photos_in, post, served
from race import data, machine, scratch

CONNECTIONS, BAD = 64, 7
EACH = 10.0  # seconds between two looks at the memory
FLAT = 1.02
PATIENCE = 60.0  # seconds after which a request counts as never answered


class Soak:
    """What has been seen so far; `wrong` are lines, one for each kind of wrong."""

    def __init__(self, port: int, photos: list[bytes]) -> None:
        self.port, self.photos = port, photos
        self.expected: list[Any] = []
        self.statuses: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.sent = self.answers = 0
        self.leaving = False  # SIGTERM comes: nothing more is sent

    async def good(self, seed: int) -> None:
        """Send one photo after the other over one connection, as long as it lasts."""
        rng = random.Random(seed)
        while not self.leaving:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    while await self.ask(reader, writer, rng):
                        pass
                finally:
                    writer.transport.abort()

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
    ) -> bool:
        """Send a photo and judge what comes; False where the connection is at its end."""
        if self.leaving:
            return False
        number = rng.randrange(len(self.photos))
        self.sent += 1
        writer.write(post(multipart(self.photos[number])))
        found = await self.answer(reader)
        if found is None:
            self.wrong["a request has no answer"] += 1
            return False
        self.answers += 1
        status, head, body, more = found
        self.statuses[str(status)] += 1
        if more:
            self.wrong["a request has more than one answer"] += 1
        if status == 503:
            if b"retry-after:" not in head.lower():
                self.wrong["503 without Retry-After"] += 1
            await asyncio.sleep(rng.random())
        elif status != 200:
            self.wrong[f"a good request has status {status}: {body[:200]!r}"] += 1
        elif self.expected and not same(self.expected[number], json.loads(body)["rows"]):
            self.wrong["an answer is not that of its photo"] += 1
        return b"connection: close" not in head.lower()

    async def answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes, bytes, bytes] | None:
        """Return status, head, body and what came too much; None where no answer came."""
        seen = b""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(PATIENCE):
                while (found := answered(seen)) is None:
                    if not (part := await reader.read(1 << 16)):
                        return None
                    seen += part
                return found[0], seen.partition(b"\r\n\r\n")[0], found[1], found[2]
        return None

    async def misbehave(self, seed: int) -> None:
        """Open one connection after the other and do no good over it."""
        rng = random.Random(seed)
        ways = {"slow": self.slow, "abandoned": self.abandon, "rubbish": self.rubbish}
        while not self.leaving:
            name = rng.choice(sorted(ways))
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    status = await ways[name](reader, writer, rng)
                except OSError:
                    status = None
                finally:
                    writer.transport.abort()
                self.bad[f"{name}: {status or 'closed'}"] += 1
                if status and status >= 500 and status != 503:
                    self.wrong[f"{name} has status {status}"] += 1

    async def slow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
    ) -> int | None:
        """Send a request a few bytes at a time, until the server has enough of it."""
        request = post(multipart(rng.choice(self.photos)))
        end = time.perf_counter() + PATIENCE
        waiting = asyncio.ensure_future(self.answer(reader))
        for at in range(0, len(request), 64):
            if waiting.done() or self.leaving or time.perf_counter() > end:
                break
            writer.write(request[at : at + 64])
            await asyncio.wait([waiting], timeout=0.5)
        if not waiting.done():
            if time.perf_counter() > end:
                self.wrong["a slow sender is waited for without an end"] += 1
            waiting.cancel()
        found = None if waiting.cancelled() or not waiting.done() else waiting.result()
        return found and found[0]

    async def abandon(
        self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
    ) -> None:
        """Leave in the middle of a request, or before its answer."""
        request = post(multipart(rng.choice(self.photos)))
        writer.write(request[: rng.choice((len(request), len(request) // 2, 40))])
        await asyncio.sleep(rng.random() / 20)

    async def rubbish(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random
    ) -> int | None:
        """Send what is no request, or none that can be answered."""
        photo = rng.choice(self.photos)
        writer.write(
            rng.choice(
                (
                    rng.randbytes(2000),
                    post(rng.randbytes(2000)),
                    post(b"{" * 2000, "application/json"),
                    post(b'{"rows": [{"image": 7}, null, []]}', "application/json"),
                    post(multipart(photo[: len(photo) // 2])),
                    post(multipart(rng.randbytes(5000))),
                    post(multipart(photo), f"multipart/form-data; boundary={BOUNDARY}x"),
                    post(rng.randbytes(5000), "image/jpeg"),
                    post(b"").replace(b"Content-Length: 0", b"Content-Length: 99999999999999"),
                    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                )
            )
        )
        found = await self.answer(reader)
        if found and found[0] == 200 and any(row["error"] is None for row in json.loads(found[2])["rows"]):
            self.wrong["rubbish is answered as if it were a photo"] += 1
        return found and found[0]


def same(expected: Any, rows: Any) -> bool:
    """Tell whether rows have these answers; a batch of several moves a probability by no more than 1e-4."""
    if isinstance(expected, float):
        return isinstance(rows, float | int) and abs(expected - rows) < 1e-4
    if isinstance(expected, dict):
        chances = "probabilities" in expected  # which say it all: an answer turns where two are equal
        keys = ["probabilities"] if chances else expected
        return isinstance(rows, dict) and all(key in rows and same(expected[key], rows[key]) for key in keys)
    if isinstance(expected, list):
        return isinstance(rows, list) and len(expected) == len(rows) and all(map(same, expected, rows))
    return bool(expected == rows)


async def run(server: Server, photos: list[bytes], seconds: float) -> tuple[Soak, list[float]]:
    soak = Soak(server.port, photos)
    for photo in photos:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(multipart(photo)))
        found = await soak.answer(reader)
        writer.close()
        if found is None or found[0] != 200:
            sys.exit(f"the first photos are not answered: {found and found[2][:300]!r}")
        soak.expected.append(json.loads(found[2])["rows"])
    work = [asyncio.ensure_future(soak.good(n)) for n in range(CONNECTIONS - BAD)]
    work += [asyncio.ensure_future(soak.misbehave(n)) for n in range(CONNECTIONS - BAD, CONNECTIONS)]
    memory, begun = [], time.perf_counter()
    while (left := begun + seconds - time.perf_counter()) > 0:
        await asyncio.sleep(min(EACH, left))
        if server.process.poll() is not None:
            sys.exit(f"the server ended by itself with status {server.process.returncode}")
        memory.append(server.rss)
        print(
            f"{time.perf_counter() - begun:4.0f} s: {soak.answers:,} answers, {memory[-1]:.0f} MB", flush=True
        )
    soak.leaving = True
    server.process.send_signal(signal.SIGTERM)
    await asyncio.wait(work, timeout=PATIENCE)
    if late := [each for each in work if not each.done()]:
        soak.wrong["a connection is still open a minute after SIGTERM"] += len(late)
    await asyncio.to_thread(server.process.wait, PATIENCE)
    for each in work:
        if each.done() and (error := each.exception()):
            raise error
    return soak, memory


def main(model: str, photos: str = "", seconds: str = "600") -> int:
    arenas = os.environ.get("MALLOC_ARENA_MAX", "unset")
    print(f"{machine('onnxruntime', 'starlette', 'uvicorn')}; MALLOC_ARENA_MAX {arenas}")
    files = [path.read_bytes() for path in photos_in(Path(photos) if photos else data("cars"))]
    with scratch() as name:
        log = Path(name) / "server.log"
        with served(Path(model), log) as server:
            soak, memory = asyncio.run(run(server, files, float(seconds)))
        if b"Traceback" in (printed := log.read_bytes()):
            soak.wrong["the server printed a traceback"] += printed.count(b"Traceback")
            print(printed[printed.index(b"Traceback") :][:2000].decode(errors="replace"))
    classes = {name: soak.statuses[name] for name in sorted(soak.statuses)}
    print(f"{soak.sent:,} requests, {soak.answers:,} answers: {classes}")
    print(f"the others: {dict(sorted(soak.bad.items()))}")
    if soak.sent != soak.answers:
        soak.wrong["requests and answers are not as many"] += 1
    if float(seconds) >= 300:
        per = round(60 / EACH)
        third, last = (statistics.median(part) for part in (memory[2 * per : 3 * per], memory[-per:]))
        print(f"memory: {last:.0f} MB at the end, {last / third:.3f} times minute 3")
        if last > FLAT * third:
            soak.wrong["memory grows"] += 1
    for line, count in soak.wrong.items():
        print(f"WRONG: {line} ({count:,} times)")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if 2 <= len(sys.argv) <= 4 else __doc__)
