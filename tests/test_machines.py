"""The blocks of docs/guide/machines.md that no machine here can run are read, and their names checked."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from manyhot.cli.parser import build_parser

PAGE = Path(__file__).parents[1] / "docs/guide/machines.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
YAML = {text.split()[1]: yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"}


@pytest.mark.parametrize("text", SHELL)
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_shell_reads_it(text):
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, capture_output=True)


def commands():
    """The words of each command of manyhot that a block has."""
    every = [*SHELL, YAML["manyhot"]["run"]]
    for text in every:
        for found in re.findall(r"manyhot ((?:fit|search) .*)", text.replace("\\\n", " ")):
            yield shlex.split(re.sub(r"[\"'].*$", "", found), comments=True)
    replicas = YAML["kubeflow.org/v1"]["spec"]["pytorchReplicaSpecs"]
    for replica in replicas.values():
        yield replica["template"]["spec"]["containers"][0]["args"]


def test_its_commands_are_commands():
    found = [build_parser().parse_args(words) for words in commands()]
    assert {args.command for args in found} == {"fit", "search"}
    assert len(found) == 8
    for args in found:
        assert args.out.startswith(("/shared/", "~/"))
        assert args.command == "search" or args.resume


def test_the_job_of_kubernetes_has_the_fields_of_its_operator():
    """Those of Kubeflow's PyTorchJob v1; without the name of the container its environment is not set."""
    job = YAML["kubeflow.org/v1"]
    assert job["kind"] == "PyTorchJob"
    assert set(job["spec"]) == {"nprocPerNode", "pytorchReplicaSpecs"}
    assert isinstance(job["spec"]["nprocPerNode"], str)
    assert set(job["spec"]["pytorchReplicaSpecs"]) == {"Master", "Worker"}
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        assert replica["restartPolicy"] == "OnFailure"
        [container] = replica["template"]["spec"]["containers"]
        assert container["name"] == "pytorch"
        [volume] = replica["template"]["spec"]["volumes"]
        assert container["volumeMounts"][0]["name"] == volume["name"]


def test_the_task_of_skypilot_has_its_fields():
    task = YAML["manyhot"]
    assert set(task) == {"name", "num_nodes", "resources", "file_mounts", "setup", "run"}
    known = {"SKYPILOT_NODE_IPS", "SKYPILOT_NUM_NODES", "SKYPILOT_NUM_GPUS_PER_NODE", "SKYPILOT_NODE_RANK"}
    assert set(re.findall(r"\$(SKYPILOT_\w+)", task["run"])) == known
    assert set(task["file_mounts"]["/shared"]) == {"name", "mode"}
