"""The parser of all commands: it asks the module of each for its options, and tells a mistake in one line.

No heavy import, so that `--help` is instant. `docs/cli.md` is generated from what it says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from manyhot import __version__
from manyhot.cli.commands import COMMANDS, module_of
from manyhot.cli.show import say
from manyhot.errors import MAX_MESSAGE, listed, shortened, suggest

EPILOG = "Start with `manyhot demo`, or with `manyhot inspect DATA` on a table of your own."


class Parser(argparse.ArgumentParser):
    """argparse, with a mistake told in one line that suggests the word that was meant."""

    words: Sequence[str] = ()  # that are parsed now

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words of a command, or of the program."""
        self.words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with status 2."""
        program = self.prog
        if message.startswith("unrecognized arguments: "):
            word = message.split(": ", 1)[1].partition(" ")[0]
            command = next((given for given in self.words if given in self._commands()), "")
            program = f"manyhot {command}".strip()
            message = self._unknown(word.partition("=")[0], command)
        elif "invalid choice: " in message:
            given = message.split("invalid choice: ", 1)[1].split(" (", 1)[0].strip("'\"")
            message = message.replace("argument ", "", 1) + suggest(given, self._choices())
        say(f"manyhot: {shortened(f'{message}. See `{program} --help`.', MAX_MESSAGE)}")
        sys.exit(2)

    def _unknown(self, option: str, command: str) -> str:
        """Say that a command has no such option; that others have it, or what was meant."""
        others = [name for name, options in self.options.items() if option in options]
        if others:
            program = f"manyhot {command}".strip()
            return f"`{program}` takes no {option}; it is an option of {listed(others)}"
        every = [word for options in self.options.values() for word in options]
        return f"unknown option {option}{suggest(option, self.options.get(command, every))}"

    @property
    def options(self) -> dict[str, list[str]]:
        """The options of each command."""
        return {name: [*parser._option_string_actions] for name, parser in self._commands().items()}

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        parts = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return {name: parser for action in parts for name, parser in action.choices.items()}

    def _choices(self) -> list[str]:
        parsers = [self, *self._commands().values()]
        return [
            str(choice) for each in parsers for action in each._actions for choice in action.choices or ()
        ]


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser("manyhot", description="One classifier for every label structure.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"manyhot {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        module = module_of(name)
        help = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        command.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        module.add_options(command)
    return parser
