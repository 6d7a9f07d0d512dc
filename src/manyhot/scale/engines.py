"""Who answers the units: processes of this machine, or those of Dask or Ray; units go in, results come out.

`folder` calls one of them. An engine schedules and no more: what it does twice, or loses, does no harm, since
`job` answers a unit once. A unit whose process dies is tried again, and given up after TRIES; what a unit
itself is wrong about is a result like any other.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import IO, Any

from manyhot.errors import UserError, lacking, listed, suggest
from manyhot.machine import given_cores, num_cores
from manyhot.scale.job import Job, Result
from manyhot.scale.units import Unit

TRIES = 3  # of a unit whose process dies
GRACE = 5.0  # seconds in which a process ends that is told to
Results = Generator[tuple[Unit, Result], None, None]
Engine = Callable[[Job, Sequence[Unit], int], Results]
# What a process of `local` runs. It finds modules where this one does.
CHILD = (
    "import sys; sys.path += [p for p in {path!r} if p not in sys.path]; from {name} import serve; serve()"
)


def local(job: Job, units: Sequence[Unit], workers: int) -> Results:
    """Answer units by processes of this machine, each of which is started again when it dies."""
    left: SimpleQueue[Unit] = SimpleQueue()
    for unit in units:
        left.put(unit)
    results: SimpleQueue[tuple[Unit, Result] | BaseException] = SimpleQueue()
    processes = [_Process(job, max(1, min(num_cores(), given_cores() // workers))) for _ in range(workers)]

    def work(process: _Process) -> None:
        try:
            while True:
                unit = left.get_nowait()
                results.put((unit, process.answer(unit)))
        except Empty:
            process.end()
        except BaseException as error:
            results.put(error)

    pool = ThreadPoolExecutor(workers)
    try:
        for process in processes:
            pool.submit(work, process)
        for _ in units:
            found = results.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        with suppress(Empty):
            while True:
                left.get_nowait()
        for process in processes:
            process.stop()
        pool.shutdown()


class _Process:
    """A process that answers one unit after the other, by `serve`."""

    def __init__(self, job: Job, threads: int) -> None:
        self.job, self.threads = job, threads
        self.child: subprocess.Popen[bytes] | None = None
        self.answered = self.stopped = False

    def answer(self, unit: Unit) -> Result:
        """Have a unit answered; a process that dies over it is followed by another."""
        for _ in range(TRIES):
            child = self._started()
            with suppress(OSError, EOFError, pickle.UnpicklingError):
                assert child.stdin is not None
                assert child.stdout is not None
                _send(child.stdin, unit)
                result: Result = pickle.load(child.stdout)
                self.answered = True
                return result
            status = child.wait()
            if self.stopped:
                break
            self.end()
        how = (
            f"by signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"with status {status}"
        )
        hint = (
            ", as the system does where memory is short" if -status == getattr(signal, "SIGKILL", 9) else ""
        )
        ends = status > 0 and not self.answered  # it did not even begin
        return Result(failed=f"its process ended {TRIES} times, at last {how}{hint}", ends=ends)

    def end(self) -> None:
        """Let the process end by itself."""
        if self.child is not None:
            for pipe in (self.child.stdin, self.child.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            self.child.wait()
        self.child = None

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self.stopped, child = True, self.child
        if child is None:
            return
        child.terminate()
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self.child is None:
            code = CHILD.format(path=[path for path in sys.path if path], name=__name__)
            env = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
            pipe = subprocess.PIPE
            how: Any = {"stdin": pipe, "stdout": pipe, "env": env, "start_new_session": True}
            self.child = subprocess.Popen([sys.executable, "-c", code], **how)  # which no Ctrl-C reaches
            with suppress(OSError):
                _send(self.child.stdin, self.job)  # type: ignore[arg-type]
        return self.child


def _send(pipe: IO[bytes], what: object) -> None:
    pickle.dump(what, pipe)
    pipe.flush()


def serve() -> None:
    """Answer the units that come on standard input until it ends; all that is printed goes to its errors."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(EOFError, OSError):
        job = pickle.load(sys.stdin.buffer)
        while True:
            _send(back, job(pickle.load(sys.stdin.buffer)))


def dask(job: Job, units: Sequence[Unit], workers: int) -> Results:
    """Answer units by the cluster of DASK_SCHEDULER_ADDRESS, or by one that lives as long as this run."""
    from distributed import Client, LocalCluster, as_completed

    for name in ("distributed", "distributed.nanny", "distributed.scheduler", "distributed.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # which tell what is told here
    with ExitStack() as opened:
        how: Any = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        client = opened.enter_context(Client(address or opened.enter_context(LocalCluster(**how))))
        futures = client.map(job, units, pure=False)
        unit_of = dict(zip(futures, units, strict=True))
        for future in as_completed(futures):
            yield unit_of[future], _result(future.result)


def ray(job: Job, units: Sequence[Unit], workers: int) -> Results:
    """Answer units by the Ray cluster that this machine is in, or by one that lives as long as this run."""
    import ray as cluster

    quiet: Any = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    own = not cluster.is_initialized()
    if own:
        try:
            cluster.init(address="auto", **quiet)
        except ConnectionError:
            cluster.init(num_cpus=workers, include_dashboard=False, **quiet)
    try:
        task = cluster.remote(max_retries=TRIES - 1, num_cpus=1)(_call)
        unit_of = {task.remote(job, unit): unit for unit in units}
        left = [*unit_of]
        while left:
            done, left = cluster.wait(left)
            for each in done:
                yield unit_of[each], _result(partial(cluster.get, each))
    finally:
        if own:
            cluster.shutdown()


def _call(job: Job, unit: Unit) -> Result:
    return job(unit)


def _result(get: Callable[[], Result]) -> Result:
    """Return a result; what an engine raises instead is that it gave the unit up."""
    try:
        return get()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Result(failed=f"its process ended {TRIES} times ({type(error).__name__}: {reason})")


ENGINES: Mapping[str, Engine] = {"local": local, "dask": dask, "ray": ray}
NEEDS = {"dask": "distributed", "ray": "ray"}


def engine_of(name: str) -> Engine:
    """Return an engine by its name. Raises UserError where there is none, or what it needs is missing."""
    if name not in ENGINES:
        raise UserError(f"--engine must be one of {listed(ENGINES)}, got '{name}'{suggest(name, ENGINES)}.")
    try:
        import_module(NEEDS.get(name, "manyhot"))
    except ModuleNotFoundError as error:
        raise lacking(error) or error from None
    return ENGINES[name]
