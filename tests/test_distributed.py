"""Several processes of one run: the gradients of one, every row once, and an end when one is gone."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import manyhot
from manyhot.config import FitConfig
from manyhot.data.batches.augment import Augmentation
from manyhot.data.batches.loader import Loader
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.errors import RunError
from manyhot.model import losses
from manyhot.model.network import build
from manyhot.schema import Target
from manyhot.targets import WEIGHT
from manyhot.train import distributed
from manyhot.train.distributed import World

TARGETS = (
    Target("kind", "multiclass", ("a", "b", "c"), ("kind",)),
    Target("tags", "multilabel", ("x", "y"), ("tags",)),
)


def loader(rank: int, size: int) -> Loader:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (50, 8, 8, 1)).astype(np.uint8)
    y = {"kind": rng.integers(-1, 3, 50), "tags": rng.integers(-1, 2, (50, 2))}
    y[WEIGHT] = rng.random(50).astype(np.float32)
    return Loader(
        x, y, 20, seed=1, changes=Augmentation("photo", random_erasing=0.5, mixup=0.5), share=(rank, size)
    )


def gradients(rank: int, size: int, backbone: str) -> torch.Tensor:
    """The gradient of one step, as the loop takes it."""
    config = FitConfig(backbone=backbone, weights="none", seed=3)
    model = build(ImageInputs("x", (8, 8), 1, (0.5,), (0.3,)), TARGETS, config)
    world = World(rank, size)
    distributed.share_statistics(model, world)
    batch = loader(rank, size).batch(2)
    mixed = (batch.y2, batch.lam)
    loss, _ = losses.total(TARGETS, model(batch.x), batch.y, add_up=world.sum, mixed=mixed)
    loss.backward()
    world.sum_gradients(model)
    values = [p.grad.reshape(-1) for p in model.parameters()]
    statistics = [b.reshape(-1).float() for b in model.buffers()]
    return torch.cat([*values, *statistics]).detach()


def share(rank: int, size: int, port: int, folder: str, backbone: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start()
    torch.save(gradients(rank, size, backbone), f"{folder}/{rank}.pt")
    distributed.finish()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("backbone", ["cnn", "test_efficientnet"])  # timm's norms have activations in them
def test_gradients_and_batch_statistics_are_those_of_one_process(tmp_path: Path, backbone: str) -> None:
    context = torch.multiprocessing.get_context("fork")
    port = free_port()
    ranks = [
        context.Process(target=share, args=(rank, 2, port, str(tmp_path), backbone)) for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        assert process.exitcode == 0
    alone = gradients(0, 1, backbone)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def slow(rank: int, port: int, folder: str, seconds: float, dies: bool) -> None:
    """The first of two processes is at work for long at the end, or dies; the other waits for it."""
    distributed.TIMEOUT_SECONDS, distributed.BEAT_SECONDS, distributed.DEAD_SECONDS = 1, 0.2, 1.5
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world = distributed.start()
    assert world.agree(float(rank)) == 0
    began = time.monotonic()
    if dies and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if not dies and rank == 0:
        time.sleep(seconds)
    try:
        distributed.finish()
        said = "done"
    except RunError as error:
        said = str(error)
    Path(folder, str(rank)).write_text(f"{time.monotonic() - began:.1f} {said}")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("dies", [False, True])
def test_who_is_busy_is_waited_for_and_who_is_dead_is_not(tmp_path: Path, dies: bool) -> None:
    """One that works on its own for longer than a step may wait; one that is killed meanwhile."""
    context, port = torch.multiprocessing.get_context("fork"), free_port()
    ranks = [context.Process(target=slow, args=(rank, port, str(tmp_path), 4.0, dies)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(30)
    seconds, said = (tmp_path / str(0 if dies else 1)).read_text().split(" ", 1)
    if dies:
        assert "process 2 of 2 shows no sign of life" in said
        assert "resume=True goes on" in said
        assert float(seconds) < 5
    else:
        assert said == "done"
        assert float(seconds) > 3


def test_every_row_once_whatever_the_number_of_processes() -> None:
    hashes = set()
    for size in (1, 2, 4):
        order = []
        for step in range(10):  # ten batches of 20 are four epochs of 50 rows
            shares = [loader(rank, size).batch(step).rows for rank in range(size)]
            batch = np.zeros(20, dtype=int)
            for rank, rows in enumerate(shares):
                batch[rank::size] = rows
            order.extend(batch.tolist())
        for epoch in range(4):
            assert sorted(order[epoch * 50 : epoch * 50 + 50]) == list(range(50))
        hashes.add(hashlib.sha256(str(order).encode()).hexdigest())
    assert len(hashes) == 1


def torchrun(*words: str) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    return [sys.executable, *launcher, "-m", "manyhot", *words]


def fit_words(data: Path, out: Path, epochs: int) -> list[str]:
    settings = ["--set", "batch_size=16", "--set", "patience=0", "--set", "dropout=0"]
    targets = ["--target", "color", "--tags", "tags"]
    return ["fit", str(data), *targets, "--out", str(out), "--epochs", str(epochs), *settings]


def test_torchrun_writes_once_and_resumes_with_another_number(tmp_path: Path) -> None:
    data = tmp_path / "t.csv"
    lines = (f"{i % 7},{'rg'[i % 2]},{'u;v' if i % 3 else '[]'}\n" for i in range(60))
    data.write_text("a,color,tags\n" + "".join(lines))
    done = subprocess.run(
        torchrun(*fit_words(data, tmp_path / "two", 3)), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model written to") == 1
    lines = (tmp_path / "two" / "history.jsonl").read_text().splitlines()
    assert sum('"kind": "epoch"' in line for line in lines) == 3

    table = manyhot.read(data)
    options = {"epochs": 3, "batch_size": 16, "patience": 0, "dropout": 0.0}
    schema = manyhot.infer(table, ["color"], tags={"tags": None})

    class StopError(Exception):
        pass

    def stop(line: dict) -> None:
        if line["kind"] == "epoch" and line["epoch"] == 2:
            raise StopError

    with pytest.raises(StopError):
        manyhot.fit(table, schema, out=tmp_path / "one", on_event=stop, **options)
    done = subprocess.run(
        torchrun(*fit_words(data, tmp_path / "one", 3), "--resume"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_killed_rank_ends_the_run(tmp_path: Path) -> None:
    data = tmp_path / "t.csv"
    data.write_text("a,y\n" + "".join(f"{i % 7},{'rg'[i % 2]}\n" for i in range(400)))
    words = torchrun("fit", str(data), "--target", "y", "--out", str(tmp_path / "m"), "--epochs", "5000")
    run = subprocess.Popen(
        [*words, "--set", "patience=0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    history = tmp_path / "m" / "history.jsonl"
    deadline = time.monotonic() + 90
    while not (history.exists() and history.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    ranks = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    assert run.wait(timeout=90) != 0


@pytest.mark.parametrize(
    ("cards", "here", "rank", "backend", "own", "warned"),
    [
        (2, 2, 1, "cpu:gloo,cuda:nccl", 1, False),
        (4, 2, 1, "cpu:gloo,cuda:nccl", 1, False),
        (1, 2, 1, "gloo", 0, False),  # the first of them says it
        (1, 2, 0, "gloo", 0, True),
        (2, 4, 0, "gloo", 0, True),
    ],
)
def test_who_adds_up_follows_from_cards(monkeypatch, log_lines, cards, here, rank, backend, own, warned):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    assert distributed._backend(torch.device("cuda"), 8) == backend
    assert taken == [own]
    assert bool(log_lines) == warned
    if warned:
        assert f"{here} processes share {cards} card" in log_lines[0]
        assert log_lines[0].endswith(f"{cards} of them take less time")


def test_more_processes_than_cores_are_told(monkeypatch, log_lines):
    monkeypatch.setattr(distributed, "given_cores", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert distributed._backend(torch.device("cpu"), 3) == "gloo"
    (line,) = log_lines
    assert line.startswith("3 processes share 2 cores and wait for each other")


@pytest.mark.slow
def test_two_machines_end_in_the_weights_of_two_processes_of_one(tmp_path: Path) -> None:
    """The line of docs/guide/machines.md, by two agents on this machine."""
    page = (Path(__file__).parents[1] / "docs/guide/machines.md").read_text(encoding="utf-8")
    line = (
        page[page.index("torchrun --nnodes 2") :].split("```")[0].replace("\\\n", "").split(" -m manyhot")[0]
    )
    options = line.replace("first:29500", f"127.0.0.1:{free_port()}").split()[1:]
    assert "--rdzv-endpoint" in options
    data = tmp_path / "t.csv"
    lines = (f"{i % 7},{'rg'[i % 2]},{'u;v' if i % 3 else '[]'}\n" for i in range(60))
    data.write_text("a,color,tags\n" + "".join(lines))
    launcher = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "manyhot"]
    agents = [
        subprocess.Popen([*launcher, *fit_words(data, tmp_path / "two", 3)], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [agent.wait(timeout=240) for agent in agents] == [0, 0]
    subprocess.run(torchrun(*fit_words(data, tmp_path / "one", 3)), check=True, timeout=240)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        np.testing.assert_array_equal(two[name], value)
