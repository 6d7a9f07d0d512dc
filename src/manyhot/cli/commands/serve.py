"""Answer over HTTP, with a page to try it: pictures and rows in, answers out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhot.cli import show
from manyhot.errors import UserError

if TYPE_CHECKING:
    from manyhot.serve.served import Served


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "models",
        metavar="MODEL",
        nargs="+",
        help="folders that `fit` wrote, or files that `export` wrote; each by its name",
    )
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (default: %(default)s)")
    add(
        "--port",
        metavar="N",
        type=int,
        default=8000,
        help="the port, 0 for any that is free (default: %(default)s)",
    )
    help = "a secret word that requests must send (default: MANYHOT_TOKEN of the environment)"
    add("--token", metavar="WORD", help=help)
    help = "keep what people correct on the page in FILE, with the pictures, to learn from it"
    add("--corrections", metavar="FILE", type=Path, help=help)


def run(args: argparse.Namespace) -> None:
    from manyhot.machine import num_cores
    from manyhot.serve import app, server
    from manyhot.serve.gate import Rules
    from manyhot.serve.state import State

    # What the environment has may come of a file that ends in a line break.
    token = args.token or os.environ.get("MANYHOT_TOKEN", "").strip() or None
    if not 0 <= args.port < 65536:
        raise UserError(f"--port {args.port}: must be from 0 to 65535.")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(server.listen(args.host, args.port, token))
        store = None
        if args.corrections:
            from manyhot.serve import corrections

            store = corrections.Store(args.corrections)
            stack.callback(store.close)
        models = opened(args.models, (lambda line: None) if args.json else show.say)
        state = State([*models.values()], num_cores())
        more = corrections.routes(store, state.models) if store else ()
        gate = app.build(state, Rules(args.host, token), more, _log if args.json else None)
        address = server.address_of(listener)
        if args.json:
            show.as_json({"url": address, "models": [*models]})
            sys.stdout.flush()
        else:
            _say(address, [*models.values()], token)
        stopped, forced = server.run(gate, state, listener)
    if signal.SIGINT in (stopped, forced):
        raise KeyboardInterrupt
    if forced is not None:
        sys.exit(128 + forced)


def _log(line: dict[str, Any]) -> None:
    """Write a line for a request that is over."""
    show.say(json.dumps(line))


def _say(address: str, models: list[Served], token: str | None) -> None:
    """Say what is served, and how to try it."""
    names = ", ".join(served.name for served in models)
    show.say(f"serving {names} at {address} (Ctrl-C stops it)")
    first = models[0]
    where = "/predict" if len(models) == 1 else f"/models/{first.name}/predict"
    secret = " -H 'Authorization: Bearer TOKEN'" if token else ""
    row = json.dumps(first.example(), ensure_ascii=False).replace("'", "'\\''")
    body = (
        f"-F {first.pictures[0]}=@photo.jpg"
        if first.pictures
        else f"-H 'Content-Type: application/json' -d '{row}'"
    )
    show.say(f"try it: curl{secret} {body} {address}{where}")


def opened(paths: list[str], say: Callable[[str], None]) -> Mapping[str, Served]:
    """Return the models of some folders and files by their names; `say` is told which has no graph.

    Raises:
        UserError: one is no model, or two have the same name.
    """

    found: dict[str, Served] = {}
    for path in paths:
        name = Path(os.path.normpath(Path(path).absolute())).name.removesuffix(".onnx")
        if name in found:
            raise UserError(f"{path}: another model is called '{name}' too; rename one of the folders.")
        found[name] = _open(name, Path(path), say)
    return found


def _open(name: str, path: Path, say: Callable[[str], None]) -> Served:
    """Open a model twice: by its graph with one thread and with all cores; without one by torch."""
    from manyhot.bundle import VALIDATION, load
    from manyhot.serve.served import Served

    bundle, file = load(path), path / VALIDATION
    held_back = file if file.is_file() else None
    if bundle.graph is None:
        mend = f"manyhot export {shlex.quote(str(path))}"
        say(f"{path} was not exported, so PyTorch answers, more slowly; `{mend}` mends that")
        return Served(name, bundle, bundle, bundle.fingerprint(), held_back=held_back)
    wide = bundle.graph
    return Served(name, wide.again(threads=1), wide, wide.fingerprint, wide.card, held_back)
