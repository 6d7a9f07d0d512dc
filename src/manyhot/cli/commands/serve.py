"""Answer over HTTP, with a page to try it: pictures and rows in, answers out."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhot.cli import show
from manyhot.errors import UserError

if TYPE_CHECKING:
    from manyhot.serve.served import Served


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("models", metavar="MODEL", nargs="+", help="folders that `fit` wrote; each is named by its folder")
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


def run(args: argparse.Namespace) -> None:
    try:
        from manyhot.serve import app, server
        from manyhot.serve.gate import Rules
    except ImportError as error:
        if error.name and error.name.startswith("manyhot"):
            raise
        lacking = (error.name or "more").partition(".")[0]
        raise UserError(f"serving needs {lacking}, which is not here: pip install 'manyhot[serve]'") from None
    from manyhot.machine import num_cores
    from manyhot.serve.state import State

    # What the environment has may come of a file that ends in a line break.
    token = args.token or os.environ.get("MANYHOT_TOKEN", "").strip() or None
    if not 0 <= args.port < 65536:
        raise UserError(f"--port {args.port}: must be from 0 to 65535.")
    with server.listen(args.host, args.port, token) as listener:
        models = opened(args.models)
        state = State([*models.values()], num_cores())
        gate = app.build(state, Rules(args.host, token), said=_log if args.json else None)
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
    print(json.dumps(line), file=sys.stderr, flush=True)


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


def opened(paths: list[str]) -> Mapping[str, Served]:
    """Return the models of some folders by their names.

    Raises:
        UserError: one is no model, or two have the same name.
    """
    from manyhot.machine import num_cores

    found: dict[str, Served] = {}
    for path in paths:
        name = Path(os.path.normpath(Path(path).absolute())).name.removesuffix(".onnx")
        if name in found:
            raise UserError(f"{path}: another model is called '{name}' too; rename one of the folders.")
        found[name] = _open(name, Path(path), num_cores())
    return found


def _open(name: str, path: Path, cores: int) -> Served:
    import threading

    from manyhot.bundle import load
    from manyhot.serve.served import Served

    bundle, lock = load(path), threading.Lock()

    class Locked:
        """A bundle that answers one thread at a time."""

        schema, inputs = bundle.schema, bundle.inputs

        def probabilities(self, x, fold=None):  # type: ignore[no-untyped-def]
            with lock:
                return bundle.probabilities(x, fold)

    return Served(name, Locked(), Locked(), bundle.fingerprint())
