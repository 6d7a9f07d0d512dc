"""A module for each command: it begins with its help, `add_options` says what it takes, `run` does it.

`parser` and `main` call them. What a command does is done by the library; here options become its words.
What is slow to import is imported in `run`, since `--help` loads the modules of all commands. A stopped run
of one that takes --resume goes on with it; where that depends on the options, `resumes` says so.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

COMMANDS = (  # as --help lists them
    *("inspect", "audit", "fit", "evaluate", "predict", "cluster", "name"),
    *(
        "explain",
        "report",
        "compare",
        "suggest",
        "search",
        "tune",
        "export",
        "serve",
        "data",
        "cache",
        "demo",
    ),
)


def module_of(command: str) -> ModuleType:
    """Return the module of a command."""
    return import_module(f"{__name__}.{command}")
