"""The words for options in a message: the command line's come in, those of Python leave.

Messages are written once, with the options of the command line. `errors` gives them to Python in its own
words, `inspection` the notes about a table; what is logged is put into them here. `cli` says whose an option
is that belongs to another command.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Collection, Iterator, Mapping

FLAGS = ("overwrite", "resume", "freeze", "spread")  # options without a value
NAMES = {
    "target": "targets",
    "class": "classes",
    "from": "start",
    "kind": "kinds",
    "map": "maps",
    "sheet-name": "sheet",
}  # called otherwise
CALLS = {"long": "manyhot.gather", "json": "to_json()"}  # which no keyword does
LISTS = ("target", "class", "missing", "none")
PAIRS = ("kind", "map", "bins", "positive")
NUMBERS = ("test", "epochs", "size", "seed", "clusters", "bins", "trials", "workers")
CHOICES = ("all", "auto", "first", "missing", "network", "none")  # words that are values within a sentence

OPTION = re.compile(r"(?<![\w'-])--(?P<name>[a-z][a-z-]*)(?:(?P<mark>[= ])(?P<value>'[^']*'|[^\s']+))?")
QUOTED = re.compile(r"(?<!\w)'--([a-z][a-z-]*)=([^']*)'")  # as a shell wants an option with blanks
ABOUT = re.compile(r"--(?P<name>[a-z][a-z-]*) (?P<value>\S+): ")  # how a message about an option begins
ALONE = re.compile(r"(?s)(?P<before>.*?(?:: |^))(?P<words>--[a-z].*)")  # options to the end of a line


def in_python(text: str) -> str:
    """Say the options that a text names as keywords.

    >>> in_python("no target is named. Name one with --target NAME, or see --missing.")
    'no target is named. Name one with targets=["NAME"], or see \\'missing\\'.'
    >>> in_python("looks like tags separated by ',': --tags look --separator ,")
    'looks like tags separated by \\',\\': tags={"look": None}, separator=","'
    """
    if "--" not in text:
        return text
    begun = ABOUT.match(text)
    if begun:
        return f"{keyword(begun['name'], begun['value'])}: {in_python(text[begun.end() :])}"
    alone = ALONE.fullmatch(text)
    if alone:
        keywords = [*_all_options(alone["words"])]
        if keywords:
            return in_python(alone["before"]) + ", ".join(keywords)
    return OPTION.sub(_within_a_sentence, QUOTED.sub(r"--\1='\2'", text))


def in_command(text: str, command: str, options: Mapping[str, Collection[str]]) -> str:
    """Say of the options that a command lacks whose they are, unless their sentence names that command.

    >>> options = {"fit": ["--missing"], "predict": ["--out"]}
    >>> in_command("Correct the cell, or pass --missing 'n/a'.", "predict", options)
    "Correct the cell, or pass `fit` --missing 'n/a'."
    >>> in_command("it is for `manyhot fit --missing NA`", "predict", options)
    'it is for `manyhot fit --missing NA`'
    """

    def placed(found: re.Match[str]) -> str:
        owners = [name for name, own in options.items() if f"--{found['name']}" in own]
        before = re.split(r"[.;] ", text[: found.start()])[-1]
        is_said = any(re.search(rf"(?:`|manyhot ){name}\b", before) for name in owners)
        owner = "fit" if "fit" in owners else next(iter(owners), command)
        return found[0] if command in owners or is_said or not owners else f"`{owner}` {found[0]}"

    return OPTION.sub(placed, text) if "--" in text else text


def keyword(name: str, value: str | None = None) -> str:
    """Write an option as a keyword; without its value where none is given.

    >>> keyword("kind", "age=number"), keyword("overwrite"), keyword("root")
    ('kinds={"age": "number"}', 'overwrite=True', "'root'")
    """
    if name in CALLS:
        return CALLS[name]
    if name in FLAGS:
        return f"{name}=True"
    if name == "set" and value:
        return value
    called = NAMES.get(name, name.replace("-", "_"))
    return f"'{called}'" if value is None else f"{called}={_written(name, value)}"


def _written(name: str, value: str) -> str:
    """Write a value as Python does."""
    first, equals, rest = value.partition("=")
    if name == "tags":
        return f"{{{_text(first)}: {_list(rest) if equals else None}}}"
    if name in PAIRS and equals:
        return f"{{{_text(first)}: {rest if name in NUMBERS else _text(rest)}}}"
    if name in LISTS:
        return _list(value)
    return value if name in NUMBERS else _text(value)


def _list(value: str) -> str:
    return f"[{', '.join(map(_text, value.split(',')))}]"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _within_a_sentence(found: re.Match[str]) -> str:
    """Say one option; the word behind it belongs to it where it can be nothing else."""
    name, mark, word = found["name"], found["mark"], found["value"]
    if word is None:
        return keyword(name)
    value = word.rstrip(".,;:)")
    quoted = value.startswith("'")
    is_value = mark == "=" or quoted or value.isupper() or value in CHOICES
    is_pair = "=" in value and (name in PAIRS or value.partition("=")[0].isupper())
    is_value = is_value or is_pair or name == "set"
    if name in CALLS or name in FLAGS or not is_value:
        return f"{keyword(name)}{mark}{word}"
    return keyword(name, value.strip("'")) + word[len(value) :]


def _all_options(text: str) -> Iterator[str]:
    """Say a text that is options to its end; nothing where it is not."""
    try:
        words = shlex.split(text)
    except ValueError:
        return
    found: list[tuple[str, str | None]] = []
    for word in words:
        option = re.fullmatch(r"--([a-z][a-z-]*)(?:=(.*))?", word)
        if option:
            found.append((option[1], option[2]))
        elif found and found[-1][1] is None and found[-1][0] not in (*FLAGS, *CALLS):
            found[-1] = found[-1][0], word
        else:
            return
    yield from (keyword(name, value) for name, value in found)


def _logged(record: logging.LogRecord) -> bool:
    """Put what is logged into Python's words, unless the command line has taken the logger for itself."""
    if logging.getLogger(record.name).propagate:
        record.msg, record.args = in_python(record.getMessage()), None
    return True


logging.getLogger("manyhot").addFilter(_logged)
