"""The queue of rows and the threads that answer them.

A runner takes its share of the rows that wait the moment it is free, prepares and answers them itself, and
hands the result to the event loop. Nobody ever waits for a batch to fill. Rows of one request are not one
block: a long request goes back to the end of the queue after each share, so that short ones pass it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from manyhot.serve.metrics import Metrics
from manyhot.serve.rows import Row
from manyhot.serve.served import Answered, Served

log = logging.getLogger(__name__)


class FullError(Exception):
    """More rows wait than are answered soon."""


class Job:
    """The rows of one request on their way. The runners share it; `future` belongs to the event loop."""

    def __init__(self, served: Served, rows: Sequence[Row], loop: asyncio.AbstractEventLoop) -> None:
        self.served, self.rows, self.loop = served, rows, loop
        self.future: asyncio.Future[Answered] = loop.create_future()
        self.taken = 0  # rows that a runner has
        self.left = len(rows)  # rows without a result
        self.gone = False  # nobody waits for it any more
        self.answered = Answered({}, {}, {})

    def put(self, start: int, answered: Answered) -> None:
        """Take the results of some rows, the first of which has the number `start`."""
        for name, values in answered.found.items():
            if len(values) == len(self.rows):
                self.answered.found[name] = values
            else:
                whole = self.answered.found.setdefault(
                    name, np.full((len(self.rows), values.shape[1]), np.nan, np.float32)
                )
                whole[start : start + len(values)] = values
        for ours, theirs in zip(self.answered[1:], answered[1:], strict=True):
            ours.update({start + number: said for number, said in theirs.items()})

    def settle(self) -> None:
        """Tell who waits; called by the event loop."""
        if not self.future.done():
            self.future.set_result(self.answered)


Piece = tuple[Job, int, int]  # of a job the rows from one number up to another


class Batcher:
    """The queue of all models, and as many runners as there are cores."""

    def __init__(self, runners: int, metrics: Metrics) -> None:
        self.metrics = metrics
        self.condition = threading.Condition()
        self.queue: deque[Job] = deque()
        self.waiting: Counter[str] = Counter()  # rows by model
        self.idle = 0
        self.closed = False
        self.threads = [
            threading.Thread(target=self._work, name=f"runner {number}", daemon=True)
            for number in range(runners)
        ]
        for thread in self.threads:
            thread.start()

    def put(self, served: Served, rows: Sequence[Row]) -> Job:
        """Queue the rows of a request; called by the event loop.

        Raises:
            FullError: there is no room for them.
        """
        job = Job(served, rows, asyncio.get_running_loop())
        with self.condition:
            if self.waiting[served.name] + len(rows) > served.room:
                raise FullError
            self.waiting[served.name] += len(rows)
            self.queue.append(job)
            self.condition.notify(min(len(rows), len(self.threads)))
        return job

    def close(self) -> None:
        """Let the runners end once nothing waits."""
        with self.condition:
            self.closed = True
            self.condition.notify_all()

    def _work(self) -> None:
        while True:
            with self.condition:
                self.idle += 1
                while not self.queue and not self.closed:
                    self.condition.wait()
                pieces, alone = self._take()
                self.idle -= 1
                if not pieces and self.closed and not self.queue:
                    return
            if pieces:
                self._answer(pieces, alone)

    def _take(self) -> tuple[list[Piece], bool]:
        """Take a runner's share of the rows that wait, all of one model; tell whether that is all."""
        pieces: list[Piece] = []
        want = 0
        while self.queue:
            job = self.queue[0]
            served = job.served
            if job.gone:
                self.queue.popleft()
                self.waiting[served.name] -= len(job.rows) - job.taken
                continue
            if not pieces:
                want = min(served.at_once, -(-self.waiting[served.name] // self.idle))
            if want == 0 or (pieces and served is not pieces[0][0].served):
                break
            stop = min(len(job.rows), job.taken + want)
            pieces.append((job, job.taken, stop))
            want -= stop - job.taken
            self.waiting[served.name] -= stop - job.taken
            job.taken = stop
            self.queue.popleft()
            if stop < len(job.rows):
                self.queue.append(job)
                break
        return pieces, not self.queue and self.idle == len(self.threads)

    def _answer(self, pieces: list[Piece], alone: bool) -> None:
        """Answer pieces of jobs of one model; where that fails, each row alone."""
        served = pieces[0][0].served
        rows = [row for job, start, stop in pieces for row in job.rows[start:stop]]
        began = time.perf_counter()
        try:
            answered = served.answers(rows, alone)
        except Exception as error:
            if len(rows) > 1:
                for job, start, stop in pieces:
                    for number in range(start, stop):
                        self._answer([(job, number, number + 1)], False)
                return
            log.warning("%s: a row could not be answered: %r", served.name, error)
            answered = served.nothing(1, {0: "could not be answered; the log of the server says why"})
        self.metrics.answered(served.name, len(rows), len(answered.reasons), time.perf_counter() - began)
        first = 0
        for job, start, stop in pieces:
            last = first + stop - start
            with self.condition:
                job.put(start, answered.part(first, last))
                job.left -= stop - start
                done = job.left == 0
            if done:
                with suppress(RuntimeError):  # the loop was stopped at once
                    job.loop.call_soon_threadsafe(job.settle)
            first = last
