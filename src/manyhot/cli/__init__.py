"""The command line: options in, calls of the Python API, lines and an exit status out.

`commands` has a module for each command, `parser` asks all of them for their options. This package
alone prints or exits: 0 done, 1 a run failed, 2 a user's mistake, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from manyhot import files
from manyhot.cli import show, streams
from manyhot.cli.commands import module_of
from manyhot.cli.parser import build_parser
from manyhot.errors import ManyhotError, RunError, UserError, lacking
from manyhot.wording import in_command


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt, it passes every `except Exception`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    streams.ready()
    show.begin()
    try:
        parser = build_parser()
        args = parser.parse_args(words)
        show.begin(lambda text: in_command(text, args.command, parser.options))
        return _run(args, words)
    finally:
        streams.let_go()


def _run(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Do what a command says; a failure becomes a line and a status."""
    command = module_of(args.command)
    # Where other programs want the processor too, threads that wait for each other in circles take ten times
    # as long as those that sleep; torch reads it when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if os.environ.get("RANK", "0") != "0":  # of several processes of torchrun's the first one speaks
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        command.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # `manyhot … | head`; nobody is left to tell
        return 0
    except UserError as error:
        return _failed(error, 2, args.debug)
    except ModuleNotFoundError as error:
        known = lacking(error)
        if known is None:
            raise
        return _failed(known, 2, args.debug)
    except (RunError, OSError, MemoryError) as error:
        return _failed(error, 1, args.debug)
    except (KeyboardInterrupt, Terminated) as stop:
        status = 130 if isinstance(stop, KeyboardInterrupt) else 143
        goes_on = getattr(command, "resumes", lambda args: "resume" in args)
        show.say()
        if goes_on(args):
            again = [word for word in words if word not in ("--resume", "--overwrite")]
            again += ["--resume"] if "resume" in args else []
            show.say(f"stopped; go on with: manyhot {shlex.join(again)}")
        else:
            show.say("stopped")
        return status
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _of_the_system(error: OSError) -> str:
    """Say what the system says of a file; without a name it is standard output, all others have one."""
    if error.errno in files.FULL:
        return str(files.unwritten(error.filename or "standard output", error))
    named = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else ""
    return named or error.strerror or str(error)


def _failed(error: BaseException, status: int, debug: bool) -> int:
    if debug:
        raise error
    message = error.typed if isinstance(error, ManyhotError) else str(error)
    if isinstance(error, OSError) and not isinstance(error, ManyhotError):
        message = _of_the_system(error)
    show.say(f"manyhot: {' '.join(message.split()) or type(error).__name__}")
    return status
