"""Options in messages: each in the words of who reads it, and none that only the command line knows."""

import ast
import logging
import re
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest

import manyhot
from manyhot import wording
from manyhot.classifier import Classifier
from manyhot.config import FitConfig
from manyhot.errors import RunError, UserError
from manyhot.wording import in_python

SAID = {
    "Name one with --target NAME; there are 'a'.": "Name one with targets=[\"NAME\"]; there are 'a'.",
    "pass --overwrite to replace it, or choose another --out.": (
        "pass overwrite=True to replace it, or choose another 'out'."
    ),
    "or pass --unknown-class missing.": 'or pass unknown_class="missing".',
    "leave --test out.": "leave 'test' out.",
    "Mend the paths (--root FOLDER) or": 'Mend the paths (root="FOLDER") or',
    "empty cell with --missing '?'.": 'empty cell with missing=["?"].',
    "as unknown with '--missing=not sure'.": 'as unknown with missing=["not sure"].',
    "--weights a/b.bin: not a safetensors file.": 'weights="a/b.bin": not a safetensors file.',
    "--tags NAME=a,b takes two": 'tags={"NAME": ["a", "b"]} takes two',
    "a smaller learning rate: --set learning_rate=…": "a smaller learning rate: learning_rate=…",
    "Choose one with --sheet-name NAME.": 'Choose one with sheet="NAME".',
    "gather them with --long": "gather them with manyhot.gather",
    "looks like tags: --tags my.tags --separator ' ' --none 'no tags,(none)'": (
        'looks like tags: tags={"my.tags": None}, separator=" ", none=["no tags", "(none)"]'
    ),
    "stand in two rows: --long --tags label": 'stand in two rows: manyhot.gather, tags={"label": None}',
    "t.csv row 1: '--root' is not a number": "t.csv row 1: '--root' is not a number",
    "a--b/c.csv: no such file": "a--b/c.csv: no such file",
}


@pytest.mark.parametrize(("typed", "said"), SAID.items(), ids=range(len(SAID)))
def test_options_are_said_as_keywords(typed, said):
    assert in_python(typed) == said


@pytest.mark.parametrize("kind", [UserError, RunError])
def test_an_error_has_both_words(kind):
    error = kind("x" * 300 + " Pass --root FOLDER.")
    assert str(error).endswith('Pass root="FOLDER".')
    assert error.typed.endswith("Pass --root FOLDER.")
    assert len(str(error)) < 300 > len(error.typed)


def test_what_is_logged_is_in_the_words_of_who_reads_it(monkeypatch, log_lines):
    log = logging.getLogger("manyhot")
    for propagate in (True, False):
        monkeypatch.setattr(log, "propagate", propagate)
        log.warning("no weights for '%s'; pass --weights %s", "a%", "none")
    assert log_lines == [
        "no weights for 'a%'; pass weights=\"none\"",
        "no weights for 'a%'; pass --weights none",
    ]


def text_of(node):
    """A text in the program, `x` for what it is filled with."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    return node.value if isinstance(node, ast.Constant) else "x"


def texts():
    """The texts in the library that name options within a sentence, without docstrings."""
    for path in sorted(Path(manyhot.__file__).parent.rglob("*.py")):
        if "cli" in path.parts or path.name in ("wording.py", "card.py"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)
            if is_text and isinstance(node, ast.expr) and id(node) not in inside | docs:
                text = text_of(node)
                if re.search(r"(?<!\w)--[a-z]", text) and " " in text.strip():
                    yield text


def test_every_option_of_a_message_is_known_in_python():
    calls = (
        manyhot.read,
        manyhot.infer,
        manyhot.fit,
        manyhot.cluster,
        manyhot.audit,
        manyhot.compare,
        manyhot.suggest,
        manyhot.search,
        Classifier.evaluate,
        Classifier.explain,
        Classifier.export,
    )
    known = {name for call in calls for name in signature(call).parameters}
    known |= {field.name for field in fields(FitConfig)} | {"label"}  # --label is of `name` alone
    known |= {"host", "port", "token", "corrections"}  # and these of `serve`
    known |= {"fix"}  # and this of `audit`
    found = [*texts()]
    assert len(found) > 40
    for text in found:
        assert "--" not in in_python(text), text
        for option in re.findall(r"(?<!\w)--([a-z][a-z-]*)", text):
            if option not in {*wording.CALLS, "set"}:
                assert wording.keyword(option).strip("'").partition("=")[0] in known, text
