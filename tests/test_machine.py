"""What is known of a card without torch: by a pretended driver, and by what torch says of its build."""

import json
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from manyhot import machine
from manyhot.cli import main
from manyhot.device import described
from manyhot.errors import UserError
from manyhot.machine import Device

# A driver that answers as the environment says: its version, bytes, capability, name; or with an error.
PRETENDED = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int version, major; static size_t memory; static char name[99];
int cuInit(unsigned flags) {
    const char *seen = getenv("CUDA_VISIBLE_DEVICES"), *said = getenv("PRETENDED");
    sleep(atoi(getenv("SLEEPS") ? getenv("SLEEPS") : "0"));
    if (seen && !*seen) return 100;
    return sscanf(said, "%d %zu %d %98[^~]", &version, &memory, &major, name) == 4 ? 0 : atoi(said);
}
int cuDriverGetVersion(int *out) { *out = version; return 0; }
int cuDeviceGet(int *out, int number) { *out = number; return 0; }
int cuDeviceTotalMem_v2(size_t *out, int card) { *out = memory; return 0; }
int cuDeviceGetAttribute(int *out, int what, int card) { *out = what == 75 ? major : -1; return 0; }
int cuDeviceGetName(char *out, int length, int card) { strncpy(out, name, length); return 0; }
"""
H200 = "13000 150110000000 9 NVIDIA H200"
CPU = machine.processor()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no compiler to make a driver with")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(PRETENDED)
    words = [compiler, "-shared", "-fPIC", "-o", folder / "driver.so", folder / "driver.c"]
    subprocess.run(words, check=True)
    return str(folder / "driver.so")


@pytest.fixture
def pretended(driver, monkeypatch):
    """Let there be a card and a torch, as somebody says; ask anew each time."""

    def pretend(card, torch=("2.14.1+cu130", "13")):
        monkeypatch.setattr(machine, "DRIVER", driver)
        monkeypatch.setattr(machine, "_torch", lambda: torch)
        monkeypatch.setenv("PRETENDED", card)
        machine._card.cache_clear()

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield pretend
    machine._card.cache_clear()


@pytest.mark.parametrize(
    ("said", "device"),
    [
        (H200, Device("cuda", "NVIDIA H200", 150.1, ("bfloat16", "float16"), tf32=True)),
        ("12080 15800000000 7 Tesla T4", Device("cuda", "Tesla T4", 15.8, ("float16",))),
        ("12080 2100000000 6 GeForce GTX 1050", Device("cuda", "GeForce GTX 1050", 2.1)),
        (
            "13000 10200000000 9 NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            Device("cuda", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10.2, ("bfloat16", "float16"), tf32=True),
        ),
    ],
    ids=["H200", "T4", "old", "part"],
)
def test_a_card_is_what_its_driver_says(pretended, said, device):
    pretended(said, ("2.9.0+cu128", "12"))
    assert machine.automatic() == device


@pytest.mark.parametrize("wrong", ["3", "999", "35", "0"], ids=["off", "unknown", "too old", "says nothing"])
def test_a_driver_that_answers_with_an_error_has_no_card(pretended, wrong):
    pretended(wrong)
    assert machine.automatic() == CPU


def test_a_card_that_is_hidden_is_none(pretended, monkeypatch):
    pretended(H200)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.automatic() == CPU


def test_a_driver_that_hangs_is_left(pretended, monkeypatch):
    pretended(H200)
    monkeypatch.setenv("SLEEPS", "30")
    monkeypatch.setattr(machine, "DRIVER_SECONDS", 0.3)
    assert machine.automatic() == CPU


def test_the_program_of_somebody_is_not_started_again(pretended, monkeypatch):
    pretended(H200)
    monkeypatch.setattr("sys.frozen", True, raising=False)
    assert machine.automatic() == CPU


def test_without_a_driver_nothing_is_started(pretended, monkeypatch):
    pretended(H200)
    monkeypatch.setattr(machine, "DRIVER", "libnothing.so.1")
    monkeypatch.setattr(subprocess, "run", None)
    assert machine.automatic() == CPU


@pytest.mark.parametrize(
    ("torch", "why"),
    [
        (("2.14.1+cpu", ""), "torch 2.14.1+cpu has no CUDA in it"),
        (("2.15.0", "14"), "torch 2.15.0 is made for CUDA 14, its driver for 13 at most"),
    ],
)
def test_a_card_that_torch_cannot_take_is_told(pretended, torch, why):
    pretended(H200, torch)
    found = machine.automatic()
    assert found._replace(unused="") == CPU
    assert found.unused == f"NVIDIA H200 is not used: {why} (pytorch.org/get-started has other builds)"


def test_nothing_is_told_where_there_is_no_torch(pretended):
    pretended(H200, ("", ""))
    assert machine.automatic() == CPU


@pytest.mark.parametrize(
    ("system", "chip", "kind"),
    [("Darwin", "arm64", "mps"), ("Darwin", "x86_64", "cpu"), ("Linux", "arm64", "cpu")],
)
def test_apple_s_own_chip_has_a_card(monkeypatch, system, chip, kind):
    monkeypatch.setattr(machine, "_card", lambda: None)
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: chip)
    assert machine.automatic().kind == kind


BUILD = """from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip']
__version__ = '{}'
debug = False
cuda: Optional[str] = {}
git_version = '5c4886908584029761b579af026dcfb627c84070'
"""


@pytest.mark.parametrize(
    ("version", "cuda", "found"),
    [("2.14.1+cu130", "'13.0'", "13"), ("2.14.1+cpu", "None", ""), ("2.10.0a0+git1", "'12.8'", "12")],
)
def test_torch_says_what_it_is_made_for(tmp_path, monkeypatch, version, cuda, found):
    (tmp_path / "version.py").write_text(BUILD.format(version, cuda))
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert machine._torch() == (version, found)


@pytest.mark.parametrize("spec", [None, SimpleNamespace(origin=None), SimpleNamespace(origin="/none/x.py")])
def test_a_torch_that_says_nothing_is_none(monkeypatch, spec):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert machine._torch() == ("", "")


def test_the_torch_that_is_installed_is_what_is_read():
    torch = pytest.importorskip("torch")
    assert machine._torch() == (torch.__version__, (torch.version.cuda or "").split(".")[0])


def test_torch_describes_the_same(on_card):
    code = "from manyhot import machine\nfrom manyhot.device import described\n"
    assert on_card(f"{code}print(machine.automatic() == described())").splitlines()[-1] == "True"


def test_inspect_says_how_fit_would_train_on_a_card(pretended, tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "1,x\n2,z\n" * 50)
    pretended(H200)
    assert main(["inspect", str(path), "--target", "y"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fit would train")]
    assert "with effort balanced: backbone mlp" in line
    assert ", tf32, " in line
    assert line.endswith("batches, rate and numbers for a card: NVIDIA H200, 150 GB")
    assert main(["inspect", str(path), "--target", "y", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    assert found["device"]["name"] == "NVIDIA H200"
    assert found["settings"]["precision"] == "tf32"


def test_who_asks_for_a_card_is_told_why_it_is_not_used(pretended):
    if described().kind != "cpu":
        pytest.skip("there is a card that is used")
    pretended(H200, ("2.14.1+cpu", ""))
    with pytest.raises(
        UserError, match=r"only cpu\. NVIDIA H200 is not used: torch 2\.14\.1\+cpu has no CUDA"
    ):
        described("cuda")


def test_inspect_and_fit_name_a_card_that_is_not_used(pretended, tmp_path, capsys):
    if described().kind != "cpu":
        pytest.skip("there is a card that is used")
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "1,x\n2,z\n" * 50)
    pretended(H200, ("2.14.1+cpu", ""))
    words = [str(path), "--target", "y"]
    assert main(["inspect", *words]) == 0
    assert (
        main(["fit", *words, "--epochs", "1", "--out", str(tmp_path / "m"), "--set", "members=network"]) == 0
    )
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert "if all epochs are run; NVIDIA H200 is not used: torch 2.14.1+cpu has no CUDA in it" in text
    assert main(["fit", *words, "--epochs", "1", "--out", str(tmp_path / "n"), "--device", "cpu"]) == 0
    assert "is not used" not in capsys.readouterr().err
