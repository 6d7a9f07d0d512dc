"""`python -m manyhot.cli.document`: every command and option as Markdown, which is docs/cli.md.

The parser's own words come in. Lines are not wrapped, so that the text depends on no terminal and
no version of Python; a test compares it with docs/cli.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from manyhot.cli.parser import build_parser

HEAD = """# The command line

Written by `make docs` from the parser; the same words stand behind `manyhot COMMAND --help`.

Results go to standard output, everything on the way to standard error. The exit status is 0 when the
work is done, 1 when a run failed, 2 for a mistake in the input or the options (told in one line), and
130 after Ctrl-C.
"""


def markdown() -> str:
    """Return the page: the commands in a list, then each with its arguments and options."""
    parsers = commands()
    lines = [HEAD, *(f"- [`{name}`](#{name}): {parser.description}" for name, parser in parsers.items()), ""]
    for name, parser in parsers.items():
        usage = " ".join(["manyhot", name, *_needed(parser), "[options]"])
        lines += [f"## {name}", "", str(parser.description), "", "```", usage, "```", ""]
        for group in parser._action_groups:
            actions = [action for action in group._group_actions if action.dest != "help"]
            if actions:
                title = {"positional arguments": "Arguments", "options": "Options"}.get(str(group.title))
                lines += [f"**{title or str(group.title).capitalize()}**", "", *map(_line, actions), ""]
    return "\n".join(lines).rstrip() + "\n"


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command, by its name."""
    (action,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def _needed(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield what a command must be given, as in "manyhot fit DATA --out MODEL [options]"."""
    for action in parser._actions:
        word = action.metavar if isinstance(action.metavar, str) else action.dest
        if not action.option_strings:
            yield {"+": f"{word}…", "?": f"[{word}]"}.get(str(action.nargs), word)
        elif action.required:
            yield f"{action.option_strings[0]} {word}"


def _line(action: argparse.Action) -> str:
    """Write one argument or option as an item of a list."""
    value = action.metavar if isinstance(action.metavar, str) else ""
    if action.choices is not None and not value:
        value = "|".join(map(str, action.choices))
    names = ", ".join(action.option_strings)
    takes = action.nargs != 0 and value
    form = f"{names} {value}" if names and takes else names or value
    text = (action.help or "") % {"default": action.default}
    return f"- `{form}`: {text}" + (" (required)" if names and action.required else "")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a pipe on Windows is not
    sys.stdout.write(markdown())
