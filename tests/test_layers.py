"""The shape of the program: imports run downward, kinds are asked in few places, only cli speaks."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import manyhot

ROOT = Path(manyhot.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

# A module may import those before it, and of its own package whatever does not make a circle. (`report`
# stands before `classifier`, which leaves a report in every model that it writes.)
ORDER = (
    *(
        "errors",
        "schema",
        "targets",
        "priors",
        "ensemble",
        "metrics",
        "config",
        "machine",
        "resolve",
        "files",
        "data",
        "predict",
        "judge",
        "model",
        "bundle",
    ),
    *("train", "report", "classifier", "estimator", "clustering", "cli", "__main__"),
)
LATER = {"distributed", "audit", "compare", "suggest", "explain", "export", "serve"}

# Where the kind of a target is asked, and why. Elsewhere `target.exclusive` is all that may be asked.
KIND_IS_ASKED = {
    "schema.py": "says which kinds there are, and what `exclusive` means",
    "targets.py": "cells to numbers, logits to answers",
    "priors.py": "how often a class is met",
    "metrics.py": "which scores a kind has",
    "model/losses.py": "its loss",
    "model/network.py": "its last layer",
    "train/calibrate.py": "which of its decisions are fitted",
    "report/plots.py": "which pictures tell most of it",
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def room(path_or_module):
    """The part of the program that a file or a module is in."""
    if isinstance(path_or_module, Path):
        return path_or_module.relative_to(ROOT).with_suffix("").parts[0]
    parts = path_or_module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def trees():
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]


def imported(tree):
    """The modules of manyhot that a file names, those imported late among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "manyhot")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "manyhot":
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                is_module = (ROOT.parent / Path(*module.split("."))).with_suffix(".py").exists()
                yield module if is_module or node.module == "manyhot" else node.module


def test_imports_run_downward():
    wrong = []
    for path, tree in trees():
        if path.name == "__init__.py" and path.parent == ROOT:
            continue
        here = room(path)
        assert here in ORDER or here in LATER, f"{name_of(path)}: say in ORDER where it stands"
        for module in imported(tree):
            there = room(module)
            if there in (here, "__init__", "__version__") or here in LATER:
                continue
            if ORDER.index(there) >= ORDER.index(here):
                wrong.append(f"{name_of(path)} imports {module}")
    assert wrong == []


def test_every_room_is_in_the_order():
    rooms = {room(path) for path in SOURCES} - {"__init__"}
    assert rooms <= {*ORDER, *LATER}
    assert set(ORDER) <= rooms


def test_no_circles_of_modules():
    """Within a package too, no two modules need each other when they are loaded."""
    needs = {}
    for path, tree in trees():
        top = ast.Module([node for node in tree.body if not isinstance(node, ast.If)], [])
        for node in ast.walk(top):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                node.body = []
        module = ".".join(("manyhot", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        needs[module] = {name for name in imported(top) if name != module}
    done = set()
    while ready := [m for m in needs if m not in done and not (needs[m] & needs.keys()) - done - {"manyhot"}]:
        done |= {*ready}
    assert set(needs) - done == set()


def asks_for_a_kind(tree):
    """Yield the lines on which the kind of a target is matched or compared."""
    kinds = {"binary", "multiclass", "multilabel"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Match):
            values = {
                constant.value
                for case in node.cases
                for constant in ast.walk(case.pattern)
                if isinstance(constant, ast.Constant)
            }
            if values & kinds:
                yield node.lineno
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            has_kind = any(isinstance(side, ast.Attribute) and side.attr == "kind" for side in sides)
            constants = {n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)}
            if has_kind and constants & kinds:
                yield node.lineno


def test_what_a_kind_means_is_said_in_few_places():
    found = {name_of(path): sorted(asks_for_a_kind(tree)) for path, tree in trees()}
    asking = {name for name, lines in found.items() if lines}
    assert asking == set(KIND_IS_ASKED)


def test_every_match_on_a_kind_is_closed():
    kinds = {"binary", "multiclass", "multilabel"}
    for path, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Match):
                continue
            values = {
                c.value for case in node.cases for c in ast.walk(case.pattern) if isinstance(c, ast.Constant)
            }
            if values & kinds:
                assert "assert_never" in ast.unparse(node.cases[-1]), f"{name_of(path)}:{node.lineno}"
                assert values >= kinds, f"{name_of(path)}:{node.lineno}"


def test_only_cli_prints_or_exits():
    wrong = []
    for path, tree in trees():
        if room(path) in ("cli", "__main__"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "exit", "quit", "sys.exit", "os._exit", "input"):
                    wrong.append(f"{name_of(path)}:{node.lineno} {called}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "sys.stdout",
                "sys.stderr",
                "sys.argv",
            ):
                wrong.append(f"{name_of(path)}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.Name) and node.id == "SystemExit":
                wrong.append(f"{name_of(path)}:{node.lineno} SystemExit")
    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def modules_after(code):
    """The modules that are loaded when a fresh Python has run some code."""
    code = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


HELP = "from manyhot.cli import main\ntry:\n    main(['fit', '--help'])\nexcept SystemExit:\n    pass"
SCHEMA = "import manyhot\nmanyhot.Schema, manyhot.Target, manyhot.UserError, dir(manyhot)"
READ = "import manyhot\nmanyhot.infer(manyhot.read({'x': [1, 2], 'y': ['a', 'b']}), ['y'])"
HEAVY = {
    "torch",
    "timm",
    "torchvision",
    "pyarrow",
    "numpy",
    "scipy",
    "sklearn",
    "pandas",
    "PIL",
    "jinja2",
    "rich",
}


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import manyhot", HEAVY),
        (HELP, HEAVY),
        ("import manyhot.cli.parser", HEAVY),
        (SCHEMA, HEAVY),
        ("import manyhot.targets, manyhot.metrics", HEAVY - {"numpy"}),
        (READ, {"torch", "timm", "torchvision", "sklearn", "jinja2"}),
        ("import manyhot.cli.parser as parser\nparser.build_parser()", HEAVY),
    ],
    ids=["import", "help", "parser", "schema", "targets", "read", "commands"],
)
def test_what_is_not_needed_is_not_loaded(code, unwanted):
    assert modules_after(code) & unwanted == set()


def test_every_public_name_is_there():
    for name in manyhot.__all__:
        assert getattr(manyhot, name) is not None
        assert name in dir(manyhot)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = manyhot.nothing
