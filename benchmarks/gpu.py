"""Everything that is claimed of a card, in one command of at most eight minutes on a bare machine.

MANYHOT_DATA=… python benchmarks/gpu.py [PART …]

cifar  10,000 pictures of CIFAR-10, every setting left to its default, beside 24 epochs of a hand-written
       ResNet-9 (pictures on the card, bfloat16, channels last): test accuracy, the seconds of training and of
       whole commands, by hand ÷ ours, and how much of the card is used while ours trains.
step   one network, batch and precision: a bare captured loop ÷ our loop, by the time of a step.
mnist  every setting left to its default: test accuracy and the seconds of the whole command.
table  3 million rows of 12 columns at effort fast, beside LightGBM on all cores: their seconds ÷ ours, and
       how far our accuracy is ahead of theirs, with its error.
epoch  MobileNetV2 and ResNet-34 on the cars, an epoch at 128 pixels and batches of 32, by hand ÷ ours.
tests  the project's tests, in as many processes as there are cores, less two (needs pytest-xdist).
best   the cars at effort best from the given weights: mean accuracy, all three, and the minutes.

Each part runs in a process of its own with a limit of its own; one that fails or takes longer is named, and
the others still run. Without a card it says so, and `step` and `table` run in small on the processor.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from race import by_hand, data, machine, scratch, timed

TOTAL = 480.0  # seconds
LIMITS = {"cifar": 100, "step": 45, "mnist": 40, "table": 100, "epoch": 110, "tests": 200, "best": 370}
SMALL = ("step", "table")  # what a processor does too
WHOLE = 24  # epochs by hand
ROWS, TESTED = 3_000_000, 100_000  # of the table, and of those that judge it


def card() -> str:
    """Return the name of the card, nothing where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def fitted(folder: Path, source: Path, *words: str) -> tuple[list[dict[str, Any]], float, float]:
    """Run `manyhot fit`; return its history, the seconds of the command, and the use of the card (%)."""
    command = [
        sys.executable,
        "-m",
        "manyhot",
        "fit",
        str(source),
        "--target",
        "label",
        "--out",
        str(folder / "m"),
    ]
    watching = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    with tempfile.TemporaryFile("w+") as seen:
        watch = subprocess.Popen(watching, stdout=seen, stderr=subprocess.DEVNULL) if card() else None
        try:
            _, whole = timed([*command, *words])
        finally:
            if watch is not None:
                watch.terminate()
                watch.wait()
        seen.seek(0)
        used = [int(line) for line in seen.read().split() if line.isdigit()]
    lines = (folder / "m" / "history.jsonl").read_text().splitlines()
    # Training is the longest stretch of it: the mean of the busiest part of the command as long as it took.
    history = [json.loads(line) for line in lines]
    count = max(1, round(history[-1]["seconds"] / 0.2))
    means = [float(np.mean(used[first : first + count])) for first in range(len(used) - count + 1)]
    return history, whole, max(means, default=float("nan"))


def accuracy(folder: Path, source: Path) -> float:
    """Return what a model reaches on the test rows of its table."""
    printed, _ = timed(
        [sys.executable, "-m", "manyhot", "evaluate", str(folder / "m"), str(source), "--json"]
    )
    return json.loads(printed)["overall"]["exact_match"]


def cifar() -> None:
    hand, hand_whole = by_hand("cifar_resnet9", data("cifar10"), WHOLE, 64, "--device", "cuda")
    hand_seconds = (hand[-1][2] - hand[0][2]) * WHOLE / (WHOLE - 1)  # the first includes reading
    print(
        f"by hand: {hand[-1][1]:.4f}, {hand_seconds:.1f} s of training, {hand_whole:.1f} s in all", flush=True
    )
    with scratch() as folder:
        source = data("cifar10") / "labels.csv"
        history, whole, used = fitted(Path(folder), source, "--set", "cache=0")
        seconds, epochs = history[-1]["seconds"], history[-1]["epoch"]
        score = accuracy(Path(folder), source)
    print(
        f"ours: {score:.4f} (asked 0.83), {seconds:.1f} s of training, {epochs} epochs, {whole:.1f} s in all"
    )
    print(f"training, by hand ÷ ours: {hand_seconds / seconds:.2f} (asked 1.5)")
    print(f"whole command, by hand ÷ ours: {hand_whole / whole:.2f} (asked 1.3)")
    print(f"use of the card while training: {used:.0f} % (asked 60)")


def step() -> None:
    """Time steps of our loop, without judging, and of a bare one; both of the default network of `cifar`."""
    import torch
    from torch.nn import functional as F

    from manyhot.config import FitConfig
    from manyhot.data.batches.loader import Loader
    from manyhot.data.inputs.images.images import ImageInputs
    from manyhot.device import autocast, describe, pick
    from manyhot.model.network import build
    from manyhot.model.optim import AdamW
    from manyhot.resolve import precision
    from manyhot.schema import Target
    from manyhot.train.loop import ALONE
    from manyhot.train.step import Step, launched

    device = pick("auto")
    on_card = device.type == "cuda"
    rows, batch, count = (10_000, 512, 300) if on_card else (256, 64, 6)
    halves = precision("resnet9", describe(device))
    target = Target("label", "multiclass", tuple("0123456789"), ("label",))
    options = {"width": "2"} if on_card else {}
    config = FitConfig(
        backbone="resnet9", backbone_options=options, batch_size=batch, precision=halves, channels_last=True
    )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8)
    y = rng.integers(0, 10, rows)

    def network():
        return (
            build(ImageInputs("x", (32, 32), 3, (0.5,) * 3, (0.3,) * 3), (target,), config).to(device).train()
        )

    def seconds(act: Callable[[int], object]) -> float:
        for number in range(10 if on_card else 1):
            act(number)
        found = []
        for turn in range(3):
            if on_card:
                torch.cuda.synchronize()
            start = time.perf_counter()
            for number in range(count):
                act(turn * count + number + 10)
            if on_card:
                torch.cuda.synchronize()
            found.append((time.perf_counter() - start) / count)
        return min(found)

    bare, moved = network(), torch.from_numpy(x).to(device)
    labels = torch.from_numpy(y).to(device)
    adamw = torch.optim.AdamW(bare.parameters(), lr=1e-3, fused=True, capturable=on_card)
    held_x, held_y = moved[:batch].clone(), labels[:batch].clone()

    def plain() -> None:
        adamw.zero_grad()
        with autocast(halves, device):
            logits = bare(held_x)["label"]
        F.cross_entropy(logits.float(), held_y).backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        adamw.step()

    launch: Callable[[], object] = plain
    if on_card:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                plain()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            plain()
        launch = graph.replay

    def by_hand_step(number: int) -> None:
        some = torch.randint(rows, (batch,), device=device)
        held_x.copy_(moved[some])
        held_y.copy_(labels[some])
        launch()

    ours = network()
    loader = Loader(x, {"label": y}, batch, 0, device=device)
    take = launched(Step(ours, AdamW(ours, config), (target,), config, {}, ALONE))
    hand = seconds(by_hand_step)
    here = seconds(lambda number: take(loader.batch(number), number, 1e-3, 0.0))
    print(f"a bare loop {hand * 1e3:.2f} ms a step, ours {here * 1e3:.2f} ms ({halves}, batches of {batch})")
    print(f"a bare loop ÷ ours: {hand / here:.2f} (asked 0.8)")


def mnist() -> None:
    with scratch() as folder:
        _, whole, _ = fitted(Path(folder), data("mnist"))
        score = accuracy(Path(folder), data("mnist"))
    print(f"ours: {score:.4f} (asked 0.9965), the whole command {whole:.1f} s (asked 10)")


def table() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, tested = (ROWS, TESTED) if card() else (20_000, 5_000)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows + tested, 12)).astype(np.float32)
    bent = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + np.abs(x[:, 3]) - x[:, 4] ** 2 / 2 + 0.5 * x[:, 5]
    y = (bent + rng.normal(size=len(x)) > 0).astype(int)
    columns = {f"x{number}": x[:, number] for number in range(12)}
    with scratch() as folder:
        paths = [Path(folder) / "train.parquet", Path(folder) / "test.parquet"]
        for path, some in zip(paths, (slice(rows), slice(rows, None)), strict=True):
            pq.write_table(pa.table({**{n: v[some] for n, v in columns.items()}, "label": y[some]}), path)
        _, whole, _ = fitted(Path(folder), paths[0], "--effort", "fast")
        printed, _ = timed(
            [sys.executable, "-m", "manyhot", "evaluate", f"{folder}/m", str(paths[1]), "--json"]
        )
    score = json.loads(printed)["overall"]["exact_match"]
    error = float(np.sqrt(score * (1 - score) / tested))
    print(f"ours: {score:.4f} ± {error:.4f}, {whole:.1f} s in all, {rows:,} rows", flush=True)
    try:
        from lightgbm import LGBMClassifier
    except ImportError:
        print("LightGBM is not here: pip install lightgbm")
        return
    start = time.perf_counter()
    peer = LGBMClassifier(verbose=-1, n_jobs=len(os.sched_getaffinity(0))).fit(x[:rows], y[:rows])
    theirs = float((peer.predict(x[rows:]) == y[rows:]).mean())
    seconds = time.perf_counter() - start
    print(f"LightGBM: {theirs:.4f}, {seconds:.1f} s without reading")
    print(
        f"LightGBM ÷ ours: {seconds / whole:.2f} (asked 1.0); ours ahead {score - theirs:+.4f} ± {error:.4f}"
    )


def epoch() -> None:
    import cars

    for backbone, asked in (("mobilenetv2_100", 2), ("resnet34", 1.5)):
        hand = cars.by_hand(2, backbone, "--device", "cuda")[1][3]
        here = cars.side("epoch", backbone)
        print(
            f"{backbone}: by hand {hand:.2f} s, ours {here:.2f} s, ratio {hand / here:.2f} (asked {asked})",
            flush=True,
        )


def tests() -> None:
    words = [
        "-m",
        "pytest",
        "-m",
        "not slow",
        "-q",
        "-rf",
        "-n",
        str(max(1, len(os.sched_getaffinity(0)) - 2)),
    ]
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR"))))
    print(f"the tests end with status {done.returncode}: {lines[-1] if lines else done.stderr[-300:]}")


def best() -> None:
    import cars

    cars.best()


PARTS = {part.__name__: part for part in (cifar, step, mnist, table, epoch, tests, best)}


def main(chosen: list[str]) -> None:
    name = card()
    print(
        machine(),
        name or "no card here: the parts that a processor can do run in small",
        sep="\n",
        flush=True,
    )
    if name:
        import torch

        print(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}", flush=True)
    else:
        chosen = [part for part in chosen if part in SMALL]
    start, failed = time.perf_counter(), []
    for part in chosen:
        left = TOTAL - (time.perf_counter() - start)
        print(f"\n{part}", flush=True)
        began = time.perf_counter()
        child = subprocess.Popen([sys.executable, __file__, "--part", part], start_new_session=True)
        limit = min(LIMITS[part], left)
        try:
            code = child.wait(limit)
            why = f"ended with status {code}" if code else ""
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # and what it started
            child.wait()
            why = f"took longer than {limit:.0f} s"
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)
        if why:
            failed.append(f"{part} {why}")
    print(f"\nin all {time.perf_counter() - start:.0f} s; failed: {', '.join(failed) or 'nothing'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        PARTS[sys.argv[2]]()
    else:
        main(sys.argv[1:] or [*PARTS])
