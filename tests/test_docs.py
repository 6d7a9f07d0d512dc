"""The documents are true: their code runs, their commands end well, their output is what is printed.

In README.md, the pages of docs/guide and docs/losses.md a ```python block is executed and a ```console
block's `$ manyhot …` lines are run, in the order of the page, in a folder of the page's own. A line of
output must be printed by the command above it: numbers with a decimal point may differ, `…` stands for
anything.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from manyhot.cli import document, main
from manyhot.config import FitConfig
from manyhot.metrics import SINGLE, TAGS
from manyhot.schema import OBJECTIVES, PARAMETRIC_OBJECTIVES

ROOT = Path(__file__).parents[1]
GUIDE = [f"docs/guide/{path.name}" for path in sorted((ROOT / "docs/guide").glob("*.md"))]
PAGES = ("README.md", *GUIDE, "docs/losses.md")
EVERY_PAGE = [
    ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")
]
EVERY_PAGE += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+")


def blocks(page):
    """Yield the language, the text and the first line of each block of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield found[1], found[2], text[: found.start()].count("\n") + 2


def plain(line):
    """Write a line without its exact numbers and its runs of blanks."""
    return " ".join(NUMBER.sub("#", line).split())


def run_command(words, shown, where, capsys):
    """Run one command and look for the lines shown below it in what it prints."""
    capsys.readouterr()
    status = main(words)
    printed = "".join(capsys.readouterr())
    assert status == 0, f"{where}: status {status}: {printed}"
    lines = [plain(line) for line in printed.splitlines()]
    for line in filter(None, map(plain, shown)):
        pattern = ".*".join(map(re.escape, line.split("…")))
        assert any(re.fullmatch(pattern, other) for other in lines), (
            f"{where}: not printed: {line}\n{printed}"
        )


def run_console(text, where, capsys):
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not commands[0].strip(), f"{where}: a block of commands begins with `$ `"
    for command in commands[1:]:
        line, *shown = command.splitlines()
        program, *words = shlex.split(line)
        assert program == "manyhot", f"{where}: only manyhot is run here; put `{program}` into a ```sh block"
        run_command(words, shown, where, capsys)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__page__"}
    if page in ("README.md", *GUIDE):  # their table is the one that the guide begins with
        _, first, _ = next(block for block in blocks("docs/guide/start.md") if block[0] == "python")
        exec(first, {})
    for language, text, line in blocks(page):
        if language == "python":  # the empty lines give tracebacks the page's line numbers
            exec(compile("\n" * (line - 1) + text, page, "exec"), names)
        elif language == "console":
            run_console(text, f"{page}:{line}", capsys)


def test_command_line_page_is_up_to_date():
    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == document.markdown(), "run `make docs`"


def test_command_line_page_is_printed_whatever_the_terminal():
    command = [sys.executable, "-m", "manyhot.cli.document"]
    environment = os.environ | {"COLUMNS": "40", "PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(command, capture_output=True, check=True, env=environment).stdout
    assert printed.decode().replace("\r\n", "\n") == document.markdown()


def test_every_command_and_option_is_documented():
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(parts) == set(document.commands())
    for name, parser in document.commands().items():
        for action in parser._actions:
            for option in action.option_strings:
                assert option in parts[name] or option in ("-h", "--help"), f"{name} {option}"
            assert action.help, f"{name}: {action.dest} says nothing in --help"


def guide():
    return "".join((ROOT / page).read_text(encoding="utf-8") for page in GUIDE)


def test_the_guide_begins_with_a_list_of_its_pages():
    index = (ROOT / "docs/guide/index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[.*\]\((\w+\.md)\)", index, re.MULTILINE)
    assert sorted(listed) == sorted(Path(page).name for page in GUIDE if not page.endswith("index.md"))


def test_the_guide_names_every_command():
    text = guide() + (ROOT / "README.md").read_text(encoding="utf-8")
    for name in document.commands():
        assert f"manyhot {name}" in text, name


@pytest.mark.parametrize(
    "names",
    [[field.name for field in fields(FitConfig)], [*SINGLE, *TAGS], [*OBJECTIVES, *PARAMETRIC_OBJECTIVES]],
    ids=["settings", "metrics", "objectives"],
)
def test_the_guide_names_every(names):
    text = guide()
    assert [name for name in names if f"`{name}" not in text] == []


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    text = BLOCK.sub("", text)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{page.name}: {target}; there are {anchors}"


def test_the_layout_of_the_house_is_as_design_says():
    """Every module stands in the table of docs/design.md, and no other."""
    design = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([\w/]+\.py)`", design, re.MULTILINE))
    source = ROOT / "src" / "manyhot"
    there = [
        path for path in source.rglob("*.py") if len(ast.parse(path.read_text(encoding="utf-8")).body) > 1
    ]
    assert told == {path.relative_to(source).as_posix() for path in there}
