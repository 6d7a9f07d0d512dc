"""Row B: three columns of the cars from one backbone, by time and by accuracy, beside the script by hand.

MANYHOT_DATA=… python benchmarks/cars.py MODE: one of
epoch [BACKBONE …] | reach [SEED] | best [EFFORT] [SEED] [finer] | freeze | damaged [EFFORT] [SEED] [finer]

epoch: the seconds of the second training epoch at 128 pixels and batches of 32, from nothing. By hand without
       evaluation; ours with that of 2 % of the rows.
reach: three hand-written epochs of MobileNetV2 from the given weights, without evaluation; then ours, whole:
       reading, decoding, training, validation and the report, and what it reaches in that time.
best:  ours at an effort; the accuracy of each head and of all three, and the seconds. With `finer` the 196
       names of the table's own column are a fourth target, whose loss counts half.
freeze: all of a fit with `freeze` at 128 pixels, reading and decoding included, as a multiple of our full
       training epoch.
damaged: with an unreadable photo in a hundred and an empty cell in ten, and without, each on one thread
       beside the other; the difference in accuracy, and how many unreadable ones are named. `finer` as above,
       with empty cells of its own.

The last fifth of the rows in the hand-written script's shuffle is the test set of both; ours cuts its
validation rows from the other four fifths. The weights are those in MANYHOT_DATA/weights.
docs/experiments.md says what rows A to E are.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from race import HERE, data, machine, scratch, timed

WEIGHTS = "mobilenetv2_100_tf2_in1k_same_inorm.safetensors"
PRETRAINED = {"backbone": "mobilenetv2_100", "backbone_options": {"pad_type": "same"}}
BRANDS = ("Audi", "BMW", "Chevrolet", "Dodge", "Ford")
BODIES = ("Convertible", "Coupe", "SUV", "Van")
TARGETS = ["brand", "body", "era"]
# Ours in a race for the accuracy of three hand-written epochs, chosen on validation rows.
QUICK: dict[str, Any] = {
    "effort": "fast",
    "epochs": 2,
    "size": 96,
    "first_size": 96,
    "warmup": 0.15,
    "learning_rate": 1.2e-3,
}


def table():
    """Return the cars with brand, body and era, and a column `split` with the script's last fifth as test."""
    import manyhot

    cars = manyhot.read(data("cars") / "labels.csv")
    words = [name.split() for name in cars.column("class_name").to_pylist()]
    order = list(range(len(cars)))
    random.Random(0).shuffle(order)
    split = np.full(len(cars), "train", dtype=object)
    split[order[len(cars) * 4 // 5 :]] = "test"
    columns = {
        "brand": [w[0] if w[0] in BRANDS else "Other" for w in words],
        "body": [next((b for b in BODIES if b in w), "Other") for w in words],
        "era": ["from 2010" if int(w[-1]) >= 2010 else "up to 2009" for w in words],
        "split": split.tolist(),
    }
    return cars.with_columns(columns)


def ours(on_event=None, finer: str = "", **options) -> tuple[list[float], float, float]:
    """Return the test accuracy of each head, of all three, and the seconds of the whole fit."""
    import manyhot.fitting

    start = time.perf_counter()
    cars = table()
    schema = manyhot.infer(cars, [*TARGETS, *also(finer)], image="image")
    classifier = manyhot.fit(cars, schema, on_event=on_event, **options)
    seconds = time.perf_counter() - start
    return *judged(classifier, cars), seconds


def judged(classifier, cars) -> tuple[list[float], float]:
    """Return the accuracy of each of the three heads on the test rows, and of all three."""
    test = cars.take(np.flatnonzero(np.array(cars.column("split").to_pylist()) == "test"))
    said = classifier.predict(test)
    right = np.array([np.array(said[name]) == np.array(test.column(name).to_pylist()) for name in TARGETS])
    return right.mean(axis=1).tolist(), float(right.all(axis=0).mean())


def ours_epoch(backbone: str) -> float:
    """Return the seconds of our second training epoch, for as many rows as the other side trains on."""
    ends = []

    def tell(line):
        if line["kind"] == "epoch":
            ends.append(line["seconds"])

    options: dict[str, Any] = {"backbone": backbone, "weights": "none", "size": 128, "first_size": 128}
    options |= {"batch_size": 32, "epochs": 2, "augment": "crop", "mixup": 0.0, "random_erasing": 0.0}
    if "mobilenetv2" in backbone:
        options |= PRETRAINED
    ours(tell, validation=0.02, **options)
    return (ends[1] - ends[0]) / 0.98


def by_hand(epochs: int, model: str, *words: str) -> list[list[float]]:
    """Run the script by hand; return the numbers of its lines."""
    script = str(HERE / "by_hand" / "cars_multihead.py")
    printed, _ = timed([sys.executable, script, str(data("cars")), str(epochs), "128", model, *words])
    return [[float(word) for word in line.split()] for line in printed.splitlines()]


def side(*arguments: object):
    """Run one of our sides in a process of its own; return what it printed last."""
    printed, _ = timed([sys.executable, __file__, "--side", *map(str, arguments)])
    return json.loads(printed.splitlines()[-1])


def epoch(*backbones: str) -> None:
    for backbone in backbones or ("resnet34", "mobilenetv2_100"):
        hand = by_hand(2, backbone)[1][3]
        here = side("epoch", backbone)
        print(f"{backbone}: by hand {hand:.1f} s, ours {here:.1f} s, ratio {hand / here:.2f}", flush=True)


def reach(seed: str = "0") -> None:
    _, hand_all, hand_seconds, _, *hand = by_hand(3, f"mobilenetv2_100:{data('weights') / WEIGHTS}")[-1]
    print(
        f"by hand: mean {statistics.mean(hand):.4f}, all three {hand_all:.4f}, {hand_seconds:.1f} s",
        flush=True,
    )
    each, every, seconds = side("reach", seed)
    print(f"ours: mean {statistics.mean(each):.4f}, all three {every:.4f}, {seconds:.1f} s in all")
    print(f"ratio of the times {hand_seconds / seconds:.2f}")


def best(effort: str = "best", seed: str = "0", finer: str = "") -> None:
    def tell(line):
        if line["kind"] == "epoch":
            found = line["validation"]
            held = [f"{found['targets'][name]['accuracy']:.3f}" for name in TARGETS]
            print(line["epoch"], *held, f"{found['overall']['exact_match']:.3f}", line["seconds"], flush=True)

    each, every, seconds = ours(tell, finer, **given(finer), effort=effort, seed=int(seed))
    mean = statistics.mean(each)
    heads = ", ".join(f"{head} {value:.4f}" for head, value in zip(TARGETS, each, strict=True))
    name = ", ".join([effort, f"seed {seed}", *([finer] if finer else [])])
    print(f"{name}: {heads}, mean {mean:.4f}, all three {every:.4f}, {seconds / 60:.1f} min")


def freeze() -> None:
    full = side("epoch", "mobilenetv2_100")
    each, every, seconds = side("freeze")
    print(f"frozen: mean {statistics.mean(each):.4f}, all three {every:.4f}, {seconds:.1f} s in all")
    print(f"a full training epoch: {full:.1f} s; ratio {seconds / full:.2f}")


def damaged(effort: str = "balanced", seed: str = "0", finer: str = "") -> None:
    """Fit the clean table and a damaged copy of it with equal settings."""
    os.environ["OMP_NUM_THREADS"] = "1"  # the two run beside each other, as no time is compared
    names = ("clean", "damaged")
    with ThreadPoolExecutor() as pool:
        found = dict(
            zip(names, pool.map(lambda how: side("damaged", how, effort, seed, finer), names), strict=True)
        )
    means = {}
    for name, (each, every, named) in found.items():
        means[name] = statistics.mean(each)
        print(f"{name}: mean {means[name]:.4f}, all three {every:.4f}; {named} unreadable photos named")
    print(f"difference of the means {means['clean'] - means['damaged']:+.4f}")


def ours_damaged(how: str, effort: str, seed: str, finer: str):
    """Return the test accuracy of each head and of all three, and how many unreadable photos were named."""
    import manyhot

    cars = table()
    test = np.array(cars.column("split").to_pylist()) == "test"
    train = cars.take(np.flatnonzero(~test))
    names = [*TARGETS, *also(finer)]
    with scratch() as folder:
        if how == "damaged":
            train = _damaged(train, names, Path(folder))
        schema = manyhot.infer(train, names, image="image")
        classifier = manyhot.fit(train, schema, **given(finer), effort=effort, seed=int(seed))
    return *judged(classifier, cars), classifier.run.counts["unreadable"]


def _damaged(cars, names: list[str], folder: Path):
    """Copy the photos: every hundredth is cut short, a tenth of the cells is empty."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number, name in enumerate(cars.column("image").to_pylist()):
        photo = data("cars") / name
        if number % 100 == 50:
            (folder / name).write_bytes(photo.read_bytes()[:900])
        else:
            shutil.copy(photo, folder / name)
    cells = {}
    for name in names:
        values = cars.column(name).to_pylist()
        cells[name] = [None if rng.random() < 0.1 else value for value in values]
    return replace(cars.with_columns(cells), root=folder)


def also(finer: str) -> list[str]:
    """Return the targets beside the three, which are learned and not judged."""
    return ["class_name"] if finer else []


def given(finer: str = "") -> dict[str, Any]:
    """Return the options of the given weights, and of a finer target whose loss counts half."""
    weights = PRETRAINED | {"weights": str(data("weights") / WEIGHTS)}
    return weights | {"target_weights": dict.fromkeys(also(finer), 0.5)} if finer else weights


SIDES: dict[str, Any] = {
    "epoch": ours_epoch,
    "reach": lambda seed: ours(**given(), **QUICK, seed=int(seed)),
    "freeze": lambda: ours(**given(), freeze=True, size=128, cache=0),  # the epoch's would be found in it
    "damaged": ours_damaged,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps(SIDES[sys.argv[2]](*sys.argv[3:])))
    else:
        print(machine())
        modes: Any = {"epoch": epoch, "reach": reach, "best": best, "freeze": freeze, "damaged": damaged}
        modes[sys.argv[1]](*sys.argv[2:])
