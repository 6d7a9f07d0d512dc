"""The files about the project agree: pyproject.toml, Makefile, MANIFEST.in, mkdocs.yml and the workflow."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

import manyhot
from manyhot.errors import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
ADDRESS = PROJECT["urls"]["Source"]
# What is of use in the repository alone.
NOT_DISTRIBUTED = re.compile(r"\.ci/|\.git(attributes|ignore)$")


def recipe(target):
    """The commands of a target of the Makefile, as one would type them."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (lines,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    return [line.removeprefix("\t$(BIN)/") for line in lines.splitlines()]


def files():
    """The repository's files, as git knows them; with those that it does not know yet and would take."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    git = ["git", "-C", str(ROOT)]
    top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True)
    if top.returncode or Path(top.stdout.strip()).resolve() != ROOT.resolve():
        pytest.skip("not a checkout")
    listed = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


def test_the_workflow_runs_what_make_check_runs():
    steps = [step["run"] for step in WORKFLOW["jobs"]["check"]["steps"] if "run" in step]
    assert steps == ['python -m pip install --editable ".[test,check]"', *recipe("lint"), *recipe("test")]


def test_the_workflow_covers_the_systems_and_the_versions_that_are_named():
    matrix = WORKFLOW["jobs"]["check"]["strategy"]["matrix"]
    assert set(matrix["os"]) == {"ubuntu-latest", "macos-latest", "windows-latest"}
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert matrix["python"] == named == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_the_workflow_may_read_and_no_more():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in WORKFLOW["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert "secrets." not in str(step)
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/own@v1"))


def test_every_hook_is_a_check_of_make_lint_or_of_the_text():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (local,) = (repo["hooks"] for repo in hooks if repo["repo"] == "local")
    entries = [hook["entry"].removesuffix(" --force-exclude") for hook in local]
    assert entries == [command.removesuffix(" --check") for command in recipe("lint")]


def test_the_text_files_are_as_the_hooks_want_them():
    for name in sorted(name for name in files() if not name.endswith((".npz", ".safetensors"))):
        data = (ROOT / name).read_bytes().replace(b"\r\n", b"\n")
        assert data.endswith(b"\n") or not data, f"{name} does not end with a line's end"
        assert not data.endswith(b"\n\n"), f"{name} ends with empty lines"
        assert not re.search(rb"[ \t]+$", data, re.MULTILINE), f"{name} has blanks at the end of a line"


def brought(requirements):
    """The packages that some requirements bring, as they are imported."""
    called = {"scikit-learn": "sklearn", "pillow": "PIL"}
    names = [re.match(r"[\w-]+", line)[0] for line in requirements]
    return {called.get(name, name.replace("-", "_")) for name in names}


def test_what_is_imported_is_installed_by_what_one_does():
    """Base packages are all that is imported beside extras, and one that is missing names its extra."""
    extras, named = PROJECT["optional-dependencies"], {}
    for extra, (_, *packages) in EXTRAS.items():
        assert brought(extras[extra]) <= {*packages}, extra
        named |= dict.fromkeys(packages, extra)
    base = brought(PROJECT["dependencies"])
    assert base.isdisjoint(named)
    tested = sorted(
        {*EXTRAS, "excel"} - {"dask", "ray"}
    )  # which schedule and no more, see benchmarks/scale.py
    assert {f"manyhot[{','.join(tested)}]"} <= {*extras["test"]}
    others = {"pandas", "umap", "python_calamine"}  # only where they are, see `clustering.layout` and `excel`
    others.add("markupsafe")  # which is jinja2's
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            tops = {module.split(".")[0] for module in modules} - {*sys.stdlib_module_names, "manyhot"}
            assert tops <= {*base, *named, *others}, f"{path.name}: {tops}"


def test_the_project_has_one_address():
    for name in ("README.md", "mkdocs.yml", "pyproject.toml"):
        found = re.findall(
            r"https://github\.com/[\w.-]+/manyhot\b", (ROOT / name).read_text(encoding="utf-8")
        )
        assert set(found) == {ADDRESS}, name


def test_the_licence_is_named_once():
    """Beside an SPDX expression setuptools refuses a classifier of the licence."""
    assert PROJECT["license"] == "Apache-2.0"
    assert not [name for name in PROJECT["classifiers"] if name.startswith("License")]


def test_the_source_distribution_has_all_that_its_tests_read(tmp_path):
    """Built from a copy, as nothing may be written into the checkout; without a network."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs setuptools 77 to build")
    tree, there = tmp_path / "tree", files()
    for name in there:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    build = "from setuptools import build_meta; build_meta.build_sdist('..')"
    done = subprocess.run([sys.executable, "-c", build], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {member.name.partition("/")[2] for member in opened if member.isfile()}
    assert archive.name == f"manyhot-{manyhot.__version__}.tar.gz"
    assert {name for name in there if not NOT_DISTRIBUTED.match(name)} - packed == set()
    made = {name for name in packed - there if not name.startswith("src/manyhot.egg-info/")}
    assert made == {"PKG-INFO", "setup.cfg"}


@pytest.mark.parametrize("given", [None, "0"])
def test_onnxruntime_tells_nobody_what_it_runs(given, tmp_path):
    kept = {"PATH", "PYTHONPATH", "SYSTEMROOT"}  # not CI, where it keeps quiet by itself
    environment = {name: value for name, value in os.environ.items() if name in kept}
    environment["HOME"] = str(tmp_path)
    code = "import manyhot, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    if given is None:
        code += "; import onnxruntime as o, onnxruntime.datasets as d"
        code += "; o.InferenceSession(d.get_example('mul_1.onnx'))"
    else:  # by whoever wants it otherwise
        environment["ORT_DISABLE_TELEMETRY"] = given
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == (given or "1")
    assert list(tmp_path.rglob("*")) == []


def test_the_site_shows_every_page_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def pages(part):
        for entry in part:
            (value,) = entry.values()
            yield from [value] if isinstance(value, str) else pages(value)

    shown = list(pages(site["nav"]))
    there = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(shown) == sorted(there)


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs mkdocs")
def test_the_site_is_built_and_asks_for_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file"]
    command += [str(ROOT / "mkdocs.yml"), "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.relative_to(tmp_path / "site") for path in tmp_path.rglob("*.html")}
    wanted = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert wanted <= built
    for name in built:
        page = (tmp_path / "site" / name).read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*", page) == [], name
