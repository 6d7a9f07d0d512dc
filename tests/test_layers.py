"""The shape of the program: imports run downward, kinds are asked in few places, only cli speaks."""

import ast
import subprocess
import sys
from collections import deque
from pathlib import Path, PurePosixPath

import pytest
from making import write_table
from PIL import Image

import manyhot

ROOT = Path(manyhot.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

# A module may import those before it, and of its own package whatever does not make a circle. (`report`
# stands before `classifier`, which leaves a report in every model that it writes.)
ORDER = (
    *(
        "wording",
        "notebook",
        "errors",
        "schema",
        "targets",
        "priors",
        "ensemble",
        "metrics",
        "baselines",
        "config",
        "machine",
        "device",
        "resolve",
        "space",
        "progress",
        "files",
    ),
    *(
        "data",
        "predict",
        "importance",
        "choose",
        "judge",
        "model",
        "graph",
        "bundle",
        "train",
        "report",
        "export",
        "explaining",
        "classifier",
        "starting",
        "fitting",
        "estimator",
    ),
    *("clustering", "auditing", "comparing", "suggesting", "searching", "serve", "scale", "cli"),
    *("inspection", "__main__"),
)
# Within `data` too. (`rows` stands after `inputs`, by which it measures a picture.)
DATA_ORDER = (
    "__init__",
    "arrays",
    "disk",
    "numbers",
    "plain",
    "table",
    "dates",
    "vocabulary",
    "columns",
    "sources",
    "inputs",
    "rows",
    "batches",
)

SLOW = {"torch", "timm", "torchvision", "scipy"}
WITHOUT_TORCH = {
    "serve",
    "predict",
    "graph",
    "choose",
    "judge",
    "ensemble",
    "priors",
    "data/inputs",
}  # rooms and folders that reach none of SLOW, nor what loads one of them:
BRINGS_SLOW = SLOW | {"sklearn", "tabm", "safetensors.torch"}

# Where the kind of a target is asked, and why. Elsewhere `target.exclusive` is all that may be asked.
KIND_IS_ASKED = {
    "schema.py": "says which kinds there are, and what `exclusive` means",
    "targets.py": "cells to numbers, logits to probabilities to answers",
    "priors.py": "how often a class is met",
    "metrics.py": "which scores a kind has",
    "model/losses.py": "its loss",
    "model/network.py": "its last layer",
    "model/forest.py": "what leaves become",
    "export/onnx.py": "its link once more, for the graph",
    "train/examples.py": "which of its numbers scikit-learn learns",
    "train/trees.py": "what parts rows, and what leaves tell",
    "train/calibrate.py": "which of its decisions are fitted",
    "report/plots.py": "which pictures tell most of it",
}

# At how many places a file asks whether rows are pictures, and why.
IMAGE_IS_ASKED = {
    "auditing/answers.py": (1, "pretrained weights see photos once for all folds"),
    "auditing/copies.py": (1, "only pictures may be nearly the same"),
    "classifier.py": (4, "pictures are not answered in pieces, nor kept in the folder; one may be an array"),
    "cli/commands/explain.py": (1, "which INPUT there may be"),
    "cli/commands/inspect.py": (1, "only pictures are drawn on a sheet"),
    "cli/commands/predict.py": (1, "which INPUTs there may be"),
    "clustering/cluster.py": (1, "how the report names its rows"),
    "comparing/compare.py": (1, "of two models the one that reads pictures says how rows are shown"),
    "clustering/embed.py": (3, "what sees rows without labels, and at which size"),
    "data/inputs/fitted.py": (3, "which of the two kinds of input reads and hashes"),
    "data/rows/describe.py": (1, "beside pictures no column is used"),
    "data/rows/twins.py": (1, "no pictures are opened for a note"),
    "report/audit.py": (1, "pictures are shown beside a row's path"),
    "explaining/explanation.py": (1, "only of a picture there is a drawing"),
    "report/explained.py": (2, "pictures are shown"),
    "report/card.py": (2, "pictures are shown; hubs have another task for them"),
    "report/clusters.py": (3, "pictures are shown, rows of a table told apart"),
    "report/compared.py": (1, "pictures are shown"),
    "report/mistakes.py": (3, "a mistake is shown by its path, whole, or by its cells"),
    "report/record.py": (1, "pictures that contradict each other are kept to be shown"),
    "resolve.py": (6, "settings that only pictures, or only tables, have"),
    "scale/folder.py": (1, "a folder holds pictures or tables, whichever the model reads"),
    "schema.py": (1, "one picture column at a time"),
    "space.py": (1, "of pictures other settings matter"),
    "train/parting.py": (1, "no two photos are equal by chance"),
    "train/prepare.py": (1, "the size of pictures"),
    "train/run.py": (1, "a batch of pictures is kept to be shown"),
    "train/select.py": (1, "members that read columns are for tables"),
    "train/warm_start.py": (1, "only what sees pictures goes on frozen"),
}

# At how many places a file asks for the sets of a powerset, and why. Elsewhere `target.structure` is asked.
SETS_ARE_ASKED = {
    "model/network.py": (2, "how many there are, and which"),
    "schema.py": (4, "they are checked; whether there are any is the structure"),
    "targets.py": (2, "their table"),
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def trees():
    """The files of the program: pairs of a name, such as `train/fit.py`, and a tree."""
    return [(name_of(path), ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]


def made_up(sources):
    """The same of files that are not there, for tests of these tests."""
    return [(name, ast.parse(text)) for name, text in sources.items()]


def module_of(name):
    """What a file is imported as."""
    return ".".join(("manyhot", *PurePosixPath(name).with_suffix("").parts)).removesuffix(".__init__")


def part(module, package="manyhot"):
    """The part of a package that a module is in; None where it is in none."""
    if module == package:
        return "__init__"
    return module[len(package) + 1 :].split(".")[0] if module.startswith(f"{package}.") else None


def room(name):
    return part(module_of(name))


def inside(name, rooms):
    """Whether a file is in one of some rooms or folders."""
    return any(name == f"{here}.py" or name.startswith(f"{here}/") for here in rooms)


def imported(name, nodes):
    """The modules that some nodes of a file import, each with the name that is taken from it."""
    package = ("manyhot", *PurePosixPath(name).parent.parts)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def run_when_loaded(tree):
    """The nodes of a file that run when it is loaded: not those in functions, nor those for types only."""
    left = deque(tree.body)
    while left:
        node = left.popleft()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            left.extend(node.orelse)
            continue
        yield node
        left.extend(ast.iter_child_nodes(node))


def upward(files, order, inside="manyhot"):
    """Say which imports do not run down an order of the parts of a package, those made late among them."""
    wrong = []
    for name, tree in files:
        here = part(module_of(name), inside)
        if here is None or name == "__init__.py":
            continue
        if here not in order:
            wrong.append(f"{name}: say in the order where {here} stands")
            continue
        for module in sorted({*imported(name, ast.walk(tree))}):
            there = part(module, inside)
            if there in (None, here, "__version__"):
                continue
            if there not in order:
                wrong.append(f"{name} imports {module}, which stands nowhere in the order")
            elif order.index(there) >= order.index(here):
                wrong.append(f"{name} imports {module}")
    return wrong


def circles(files):
    """The modules that cannot be loaded before one another, and those that wait for them."""
    modules = {module_of(name) for name, _ in files} - {"manyhot"}
    needs = {}
    for name, tree in files:
        found = {known(module, modules) for module in imported(name, run_when_loaded(tree))}
        needs[module_of(name)] = found - {None, module_of(name)}
    done = set()
    while ready := [module for module in needs if module not in done and needs[module] <= done]:
        done |= {*ready}
    return sorted(needs.keys() - done)


def known(module, modules):
    """The module of the program that an import names, without what is taken from it."""
    while module and module not in modules:
        module = module.rpartition(".")[0]
    return module or None


def ways_to(unwanted, files, rooms):
    """Say by which imports some rooms, or folders of theirs, reach unwanted packages.

    All imports of these count, and of other modules those that run when they are loaded.
    """
    by_module = {module_of(name): (name, tree) for name, tree in files}
    ways = {module: [module] for module, (name, _) in by_module.items() if inside(name, rooms)}
    wrong, left = [], deque(ways)
    while left:
        module = left.popleft()
        name, tree = by_module[module]
        nodes = ast.walk(tree) if inside(name, rooms) else run_when_loaded(tree)
        for wanted in sorted({*imported(name, nodes)}):
            pieces = wanted.split(".")
            loaded = [".".join(pieces[: i + 1]) for i in range(len(pieces))]  # packages on the way run too
            wrong += [" → ".join([*ways[module], other]) for other in loaded if other in unwanted][:1]
            for other in loaded:
                if other in by_module and other not in ways:
                    ways[other] = [*ways[module], other]
                    left.append(other)
    return [*dict.fromkeys(wrong)]


def test_imports_run_downward():
    assert upward(trees(), ORDER) == []


def test_imports_within_data_run_downward():
    assert upward(trees(), DATA_ORDER, "manyhot.data") == []


def test_every_room_is_in_the_order():
    rooms = {room(name) for name, _ in trees()} - {"__init__"}
    assert rooms == {*ORDER}


def test_every_part_of_data_is_in_its_order():
    parts = {part(module_of(name), "manyhot.data") for name, _ in trees()} - {None}
    assert parts == {*DATA_ORDER}


def test_no_circles_of_modules():
    """Within a package too, no two modules need each other when they are loaded."""
    assert circles(trees()) == []


def test_what_serves_reaches_no_torch():
    assert ways_to(BRINGS_SLOW, trees(), WITHOUT_TORCH) == []
    modules = [module_of(name) for name, _ in trees() if inside(name, WITHOUT_TORCH)]
    assert modules_after("\n".join(f"import {module}" for module in modules)) & SLOW == set()


@pytest.mark.parametrize(
    ("sources", "verdicts"),
    [
        (
            {"export.py": "import manyhot.cli.commands\nfrom manyhot import serve"},
            ["export.py imports manyhot.cli.commands", "export.py imports manyhot.serve"],
        ),
        ({"train/x.py": "def f():\n    from manyhot import export"}, ["train/x.py imports manyhot.export"]),
        ({"train/x.py": "from ..export import onnx"}, ["train/x.py imports manyhot.export.onnx"]),
        ({"serve/x.py": "from manyhot.scale import scale"}, ["serve/x.py imports manyhot.scale.scale"]),
        ({"auditing.py": "from manyhot.classifier import load"}, []),
        ({"attic.py": "import manyhot.errors"}, ["attic.py: say in the order where attic stands"]),
        (
            {"predict.py": "import manyhot.attic"},
            ["predict.py imports manyhot.attic, which stands nowhere in the order"],
        ),
        (
            {"predict.py": "from manyhot import fit, __version__"},
            ["predict.py imports manyhot.fit, which stands nowhere in the order"],
        ),
        ({"predict.py": "import manyhot"}, ["predict.py imports manyhot, which stands nowhere in the order"]),
    ],
)
def test_an_arrow_that_goes_up_is_found(sources, verdicts):
    assert upward(made_up(sources), ORDER) == verdicts


@pytest.mark.parametrize(
    ("sources", "verdicts"),
    [
        ({"data/rows/x.py": "from manyhot.data.table import Table\nimport manyhot.cli"}, []),
        ({"predict.py": "from manyhot.data.rows import infer\nfrom manyhot.data import table"}, []),
        (
            {"data/inputs/x.py": "def f():\n    from manyhot.data.rows.split import split"},
            ["data/inputs/x.py imports manyhot.data.rows.split.split"],
        ),
        ({"data/sources/sets/x.py": "from manyhot.data import inputs"}, None),
        ({"data/table.py": "from .columns import COLUMNS"}, None),
        (
            {"data/attic.py": "import manyhot.errors"},
            ["data/attic.py: say in the order where attic stands"],
        ),
        (
            {"data/rows/x.py": "import manyhot.data.attic"},
            ["data/rows/x.py imports manyhot.data.attic, which stands nowhere in the order"],
        ),
    ],
)
def test_an_arrow_that_goes_up_within_data_is_found(sources, verdicts):
    found = upward(made_up(sources), DATA_ORDER, "manyhot.data")
    assert len(found) == 1 if verdicts is None else found == verdicts


def test_a_circle_is_found():
    files = {"model/a.py": "from manyhot.model import b", "model/b.py": "if b:\n    import manyhot.model.a"}
    assert circles(made_up(files)) == ["manyhot.model.a", "manyhot.model.b"]
    files["model/b.py"] = "def f():\n    import manyhot.model.a"
    assert circles(made_up(files)) == []


@pytest.mark.parametrize(
    ("sources", "verdicts"),
    [
        ({"serve/x.py": "import torch.nn"}, ["manyhot.serve.x → torch"]),
        ({"serve.py": "def f():\n    from scipy.special import expit"}, ["manyhot.serve → scipy"]),
        (
            {
                "serve/x.py": "from manyhot.predict import predict",
                "predict.py": "import numpy\nfrom manyhot import bundle",
                "bundle.py": "try:\n    from safetensors.torch import load_file\nexcept ImportError: pass",
            },
            ["manyhot.serve.x → manyhot.predict → manyhot.bundle → safetensors.torch"],
        ),
        (
            {
                "serve.py": "import manyhot.model.x",
                "model/__init__.py": "import timm",
                "model/x.py": "import numpy",
            },
            ["manyhot.serve → manyhot.model → timm"],
        ),
        (
            {
                "serve.py": "from manyhot.predict import predict",
                "predict.py": "if TYPE_CHECKING:\n    import torch\ndef f():\n    import torch",
                "train/x.py": "import torch",
            },
            [],
        ),
    ],
)
def test_a_way_to_torch_is_found(sources, verdicts):
    assert ways_to(BRINGS_SLOW, made_up(sources), {"serve"}) == verdicts


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
    assert {name for name, tree in trees() if [*asks_for_a_kind(tree)]} == set(KIND_IS_ASKED)


def asks_for_a_picture(tree):
    """Yield the lines on which it is asked whether rows are pictures."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "is_image":
            yield node.lineno


def asks_for_sets(tree):
    """Yield the lines on which the sets of a target are asked for; a setting is called so too."""
    others = {
        node
        for top in ast.walk(tree)
        if isinstance(top, ast.ClassDef) and top.name != "Target"
        for node in ast.walk(top)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr != "label_sets" or node in others:
            continue
        if ast.unparse(node.value).split(".")[-1] != "config":
            yield node.lineno


def places(files, asks, said):
    """Compare how often each file asks for something with what is said; return what is to be written."""
    lines = {name: found for name, tree in files if (found := sorted(asks(tree)))}
    reasons = {name: reason for name, (_, reason) in said.items()}
    now = {name: (len(found), reasons.get(name, "WHY?")) for name, found in lines.items()}
    if now == said and "WHY?" not in reasons.values():
        return ""
    other = [f"{n}:{line}" for n, found in lines.items() if now[n] != said.get(n) for line in found]
    text = [f'    "{name}": ({count}, "{reason}"),' for name, (count, reason) in now.items()]
    return "\n".join(["the dict should be", "{", *text, "}", f"look at {', '.join(other)}"])


@pytest.mark.parametrize(
    ("asks", "said"),
    [(asks_for_a_picture, IMAGE_IS_ASKED), (asks_for_sets, SETS_ARE_ASKED)],
    ids=["is_image", "sets"],
)
def test_places_that_ask(asks, said):
    wrong = places(trees(), asks, said)
    assert not wrong, wrong


def test_a_new_place_that_asks_is_found():
    files = made_up(
        {
            "judge.py": "a = schema.is_image\nb = self.schema.is_image",
            "predict.py": "a = schema.is_image",
            "schema.py": "class Schema:\n    def is_image(self): ...",
        }
    )
    said = {"judge.py": (1, "because"), "predict.py": (1, "so")}
    wrong = places(files, asks_for_a_picture, said)
    assert '    "judge.py": (2, "because"),' in wrong.splitlines()
    assert wrong.endswith("look at judge.py:1, judge.py:2")
    assert places(files, asks_for_a_picture, {**said, "judge.py": (2, "because")}) == ""
    assert '"judge.py": (2, "WHY?")' in places(files, asks_for_a_picture, {})
    assert places(files[2:], asks_for_a_picture, said) == "the dict should be\n{\n}\nlook at "


def test_sets_of_targets_are_told_from_settings():
    files = {
        "train/x.py": ("[t.label_sets for t in targets if config.label_sets or self.config.label_sets]", [1]),
        "model/x.py": ("class Head:\n    def f(self, t):\n        self.label_sets = len(t.label_sets)", [3]),
        "schema.py": ("class Target:\n    def f(self):\n        return self.label_sets", [3]),
    }
    for text, lines in files.values():
        assert [*asks_for_sets(ast.parse(text))] == lines


def forgets_what_computes(files):
    """Say where settings are resolved without a description of what computes."""
    calls = ((name, node) for name, tree in files for node in ast.walk(tree) if isinstance(node, ast.Call))
    found = ((name, call) for name, call in calls if getattr(call.func, "id", "") == "resolve")
    return [
        f"{name}:{call.lineno}"
        for name, call in found
        if len(call.args) < 5 and "device" not in {keyword.arg for keyword in call.keywords}
    ]


def test_all_settings_follow_from_what_computes():
    assert forgets_what_computes(trees()) == []
    files = made_up({"a.py": "resolve(o, s, 3, find)\nresolve(o, s, 3, find, d)\nresolve(o, s, 3, device=d)"})
    assert forgets_what_computes(files) == ["a.py:1"]


def asks_for_none(files):
    """Say where the way from x to logits asks whether something is None: what answers is declared."""
    wrong = []
    for name, tree in files:
        ways = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        ways = [node for node in ways if node.name in ("forward", "answer", "features", "views", "_mean")]
        for way in ways if room(name) == "model" else ():
            compared = [node for node in ast.walk(way) if isinstance(node, ast.Compare)]
            none = [n for n in compared if any(isinstance(op, (ast.Is, ast.IsNot)) for op in n.ops)]
            wrong += [f"{name}:{node.lineno}" for node in none]
    return wrong


def test_nothing_is_none_on_the_way_to_logits():
    assert asks_for_none(trees()) == []
    files = made_up({"model/x.py": "def forward(self, x):\n    return x if self.other is None else x"})
    assert asks_for_none(files) == ["model/x.py:2"]


def open_matches(files):
    """Say which matches on a kind leave one out, or say nothing of a new one."""
    wrong = []
    kinds = {"binary", "multiclass", "multilabel"}
    for name, tree in files:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Match):
                continue
            values = {
                c.value for case in node.cases for c in ast.walk(case.pattern) if isinstance(c, ast.Constant)
            }
            closed = "assert_never" in ast.unparse(node.cases[-1])
            if values & kinds and not (closed and values >= kinds):
                wrong.append(f"{name}:{node.lineno}")
    return wrong


def test_every_match_on_a_kind_is_closed():
    assert open_matches(trees()) == []


def test_an_open_match_is_found():
    two = "match kind:\n    case 'binary': f()\n    case 'multiclass': f()"
    three = f"{two}\n    case 'multilabel': f()"
    closed = "\n    case _: assert_never(kind)"
    files = made_up({"a.py": two, "b.py": three, "c.py": f"{two}{closed}", "d.py": f"{three}{closed}"})
    assert open_matches(files) == ["a.py:1", "b.py:1", "c.py:1"]


def speaking(files):
    """Say which files print, read what is typed, or leave the program, and are not of the command line."""
    wrong = []
    for name, tree in files:
        if room(name) in ("cli", "__main__", "progress"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "exit", "quit", "sys.exit", "os._exit", "input"):
                    wrong.append(f"{name}:{node.lineno} {called}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "sys.stdout",
                "sys.stderr",
                "sys.argv",
            ):
                wrong.append(f"{name}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.Name) and node.id == "SystemExit":
                wrong.append(f"{name}:{node.lineno} SystemExit")
    return wrong


def test_only_cli_prints_or_exits():
    assert speaking(trees()) == []


def test_what_speaks_is_found():
    files = made_up({"export.py": "print(1)", "serve/x.py": "\nsys.exit(1)", "cli/x.py": "print(1)"})
    assert speaking(files) == ["export.py:1 print", "serve/x.py:2 sys.exit"]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def modules_after(code):
    """The modules that are loaded when a fresh Python has run some code."""
    code = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = done.stderr.splitlines()[-1].split()
    return {*names, *(name.split(".")[0] for name in names)}


HELP = "from manyhot.cli import main\ntry:\n    main(['fit', '--help'])\nexcept SystemExit:\n    pass"
SCHEMA = "import manyhot\nmanyhot.Schema, manyhot.Target, manyhot.UserError, dir(manyhot)"
READ = "import manyhot\nmanyhot.infer(manyhot.read({'x': [1, 2], 'y': ['a', 'b']}), ['y'])"
DECIDE = """import numpy as np, manyhot
from manyhot import metrics, targets
tags = manyhot.Target("t", "multilabel", ("a", "b"), ("t",))
chances = np.array([[0.9, 0.2], [0.1, 0.7]])
assert targets.decode(tags, targets.decide(tags, chances)) == ["a", "b"]
assert metrics.scores(tags, np.array([[1, 0], [0, 1]]), chances)"""
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
        ("import manyhot.cli.parser as parser\nparser.build_parser()", HEAVY),
        (SCHEMA, HEAVY),
        ("import manyhot.targets, manyhot.metrics", HEAVY - {"numpy"}),
        (DECIDE, HEAVY - {"numpy"}),
        (READ, SLOW | {"sklearn", "jinja2"}),
        ("import manyhot.cli.commands", SLOW | {"sklearn", "jinja2"}),
    ],
    ids=["import", "help", "parser", "schema", "targets", "decide", "read", "commands"],
)
def test_what_is_not_needed_is_not_loaded(code, unwanted):
    assert modules_after(code) & unwanted == set()


@pytest.mark.parametrize(
    "options", [[], ["--json"], ["--target", "fruit", "--tags", "tags", "--write-schema", "{out}"]]
)
def test_inspect_loads_nothing_slow(tmp_path, options):
    path = str(write_table(tmp_path, "mixed", 12))
    words = ["inspect", path, *(word.format(out=tmp_path / "schema.json") for word in options)]
    code = f"from manyhot.cli import main\nassert main({words!r}) == 0"
    assert modules_after(code) & (SLOW | {"sklearn", "jinja2"}) == set()


AROUND = """import numpy as np
from manyhot.choose import SeenRows
parts, fold = np.full(20_000, "train", object), np.full(20_000, -1, np.int8)
assert len(SeenRows(np.zeros(20_000, np.uint64), parts, np.arange(20_000), fold).as_table()) == 20_000
from manyhot.cli import main
assert main(["inspect", {table!r}, "--target", "fruit", "--json"]) == 0"""


def test_a_fit_imports_what_it_needs_alone(fitted_tables):
    """Beside torch these are what takes longest; trees, which pictures have none of, need some of them."""
    unwanted = {"scipy.stats", "pandas", "sklearn", "jinja2", "huggingface_hub", "timm", "torchvision"}
    assert modules_after("import manyhot.fitting") & unwanted == set()
    assert modules_after(AROUND.format(table=str(fitted_tables / "table.csv"))) & unwanted == set()


TRAINING = SLOW | {"sklearn", "safetensors"}
FOR_MANY = TRAINING | {"pandas", "pyarrow.compute", "pyarrow.parquet", "rich", "jinja2"}
FEW = """import manyhot.predict
from pathlib import Path
from manyhot.data.sources.read import read
from manyhot.data.inputs.images.images import ImageInputs
folder = Path({folder!r})
table = read(folder / "t.csv")
assert table.numbers("size")[1] == 2 and table.cells("colour").values == ("red", "blue")
assert len(table.take(table.rows[:1] - 1)) == 1
row = read({{"size": 1.5, "colour": "red", "ripe": None, "sold": True, "count": 3}})
assert row.numbers("size")[0] == 1.5
x, unreadable = ImageInputs("image", (4, 4), 3).transform(read(folder / "a.jpg"))
assert x.shape == (1, 4, 4, 3) and not unreadable"""


def test_a_few_rows_and_pictures_are_read_without_what_many_need(tmp_path):
    (tmp_path / "t.csv").write_text("size,colour\n1,red\n2,blue\n")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    assert modules_after(FEW.format(folder=str(tmp_path))) & FOR_MANY == set()


ANSWERED = """import sys
sys.modules |= dict.fromkeys({blocked!r})
import numpy as np
from types import SimpleNamespace
from manyhot import bundle, files, targets
from manyhot.cli import main
from manyhot.config import FitConfig
from manyhot.data.inputs import fitted
from manyhot.ensemble import Ensemble

def with_a_graph(folder):
    names = ("config", "inputs", "predictor")
    config, inputs, ensemble = (files.read_json(folder / f"{{name}}.json") for name in names)
    schema = bundle.read_schema(folder)
    def probabilities(x):
        zeros = {{t.name: np.zeros((len(x), 1, targets.num_outputs(t)), np.float32) for t in schema.targets}}
        return {{t.name: targets.probabilities(t, zeros[t.name]) for t in schema.targets}}
    graph = SimpleNamespace(probabilities=probabilities)
    parts = FitConfig.from_json(config), fitted.from_json(inputs), Ensemble.from_json(ensemble)
    return bundle.Bundle(schema, *parts, None, graph)

bundle.load = with_a_graph
assert main({words!r}) == 0"""


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize("kind", ["tables", "pictures"])
def test_what_answers_without_torch_needs_nothing_of_training(command, kind, request):
    folder = request.getfixturevalue(f"fitted_{kind}")
    words = [command, str(folder / "model"), str(folder / "table.csv"), "--json"]
    words += ["--split", "all"] if command == "evaluate" else []
    code = ANSWERED.format(blocked=[*TRAINING, "pandas"], words=words)
    assert modules_after(code) & (FOR_MANY - {"pandas"} - TRAINING) == set()


@pytest.mark.parametrize("command", ["fit", "predict", "demo"])
def test_what_is_missing_is_told_with_what_installs_it(fitted_tables, tmp_path, command):
    model, data, out = str(fitted_tables / "model"), str(fitted_tables / "table.csv"), str(tmp_path / "out")
    words = {
        "fit": ["fit", data, "--target", "fruit", "--out", out],
        "predict": ["predict", model, data],
        "demo": ["demo", "--out", out],
    }[command]
    code = f"import sys\nsys.modules |= dict.fromkeys({[*TRAINING]!r})\nfrom manyhot.cli import main\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}sys.exit(main({words!r}))"], capture_output=True, text=True
    )
    (line,) = done.stderr.splitlines()[-1:]
    assert done.returncode == 2
    assert line.startswith("manyhot: training needs ")
    assert line.endswith("is not exported: pip install 'manyhot[train]'.")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


LACKING = """import sys
sys.modules["torch"] = None
import manyhot
try:
    manyhot.fit
except manyhot.UserError as error:
    assert "pip install 'manyhot[train]'" in str(error)
else:
    raise SystemExit(1)"""


def test_python_too_is_told_what_to_install():
    subprocess.run([sys.executable, "-c", LACKING], check=True)


def test_the_schema_of_a_model_is_read_without_torch(fitted_tables):
    folder = str(fitted_tables / "model")
    code = (
        f"from pathlib import Path\nfrom manyhot import bundle\nbundle.read_schema(Path({folder!r})).targets"
    )
    assert modules_after(code) & SLOW == set()


def test_every_public_name_is_there():
    for name in manyhot.__all__:
        assert getattr(manyhot, name) is not None
        assert name in dir(manyhot)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = manyhot.nothing
