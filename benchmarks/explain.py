"""Explanations by the deletion test: how soon an answer falls once what spoke for it is taken away.

MANYHOT_DATA=… python benchmarks/explain.py [mnist] [TABLE …]

mnist: 60 test digits and a network that `fit --effort fast` trained on 3,000; areas under the curve of the
answer's probability, as pixels go, filled with black and with the mean picture. Digits answered as the
filling alone are left out: no order takes their answer away. Asked of what `explain` chooses: half of the
best order that knows no model (brightness, distance from the mean picture), in both fillings; and that
explanations by an untrained network do no better than 0.9 times a random order.
TABLE of MANYHOT_DATA/keel (default: heart, vehicle): the same with columns of 60 test rows, replaced by those
of other rows and by the middle of training, against the mean of five random orders.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace

import numpy as np
from race import data, machine

DIGITS, ROWS, RANDOM = 3_000, 60, 5


def digits() -> None:
    """Print areas of 60 digits as multiples of a random order's, by method and filling."""
    import manyhot
    from manyhot.explaining.deletion import area
    from manyhot.explaining.gradients import expected_gradients
    from manyhot.explaining.scores import Scores
    from manyhot.model import network, predictor

    table = manyhot.read(data("mnist/MNIST/raw"))
    order = np.random.default_rng(0).permutation(60_000)
    train, test = table.take(order[:DIGITS]), table.take(60_000 + np.arange(ROWS))
    schema = manyhot.infer(train, ["label"])
    with tempfile.TemporaryDirectory() as folder:
        model = manyhot.fit(train, schema, out=f"{folder}/model", effort="fast", verbose=False)
    scores, (target,) = Scores(model.bundle), model.schema.targets
    x = test.pixels
    background = train.take(np.arange(100))
    mean = background.pixels.astype(np.float64).mean(axis=0)
    fills = {"black": np.zeros_like(x[0]), "mean": mean.round().astype(np.uint8)}
    found = manyhot.explain(model, test, background=background)
    print(f"mnist: {found.told()[0]}")
    numbers = [target.classes.index(reason.name) for reason in found.reasons]
    fresh = network.build(model.bundle.inputs, model.schema.targets, replace(model.bundle.config, seed=9))
    untrained = predictor.of_network(fresh.eval())
    baseline = mean[None].astype(np.float32)
    random = np.random.default_rng(1)
    maps: dict[str, list[np.ndarray]] = {
        "explain": [*found.values("label")],
        "brightness": [each[..., 0].astype(float) for each in x],
        "distance from the mean": [np.abs(each[..., 0] - mean[..., 0]) for each in x],
        "untrained": [
            expected_gradients(untrained, target, number, each, baseline)
            for number, each in zip(numbers, x, strict=True)
        ],
    }
    maps |= {f"random{n}": [random.random(each.shape[:2]) for each in x] for n in range(2)}
    areas = {}
    for name, heats in maps.items():
        for filling, fill in fills.items():
            each = []
            for number, picture, heat in zip(numbers, x, heats, strict=True):

                def chance(pixels: np.ndarray, number: int = number) -> np.ndarray:
                    return 1 / (1 + np.exp(-scores(pixels)["label"][:, number]))

                each.append(area(chance, picture, np.argsort(-heat.reshape(-1)), fill))
            other = np.array(numbers) != scores(fill[None])["label"][0].argmax()
            areas[name, filling] = float(np.mean(np.array(each)[other]))
    for filling in fills:
        usual = np.mean([areas[f"random{n}", filling] for n in range(2)])
        told = {name: areas[name, filling] / usual for name in maps if not name.startswith("random")}
        free = min(told["brightness"], told["distance from the mean"])
        words = ", ".join(f"{name} {value:.2f}" for name, value in told.items())
        print(f"  filled with {filling}, times random: {words}")
        say("of the best order without a model", float(told["explain"] / free), 0.5, least=False)
        say("untrained, times random", float(told["untrained"]), 0.9, least=True)


def columns(name: str) -> None:
    """Print areas of 60 rows of a table as columns are replaced, against random orders."""
    import manyhot
    from manyhot.explaining.scores import Scores

    table = manyhot.read(data(f"keel/{name}.csv"))
    schema = manyhot.infer(table, ["target"])
    order = np.random.default_rng(0).permutation(len(table))
    test, train = table.take(np.sort(order[:ROWS])), table.take(np.sort(order[ROWS:]))
    with tempfile.TemporaryDirectory() as folder:
        model = manyhot.fit(train, schema, out=f"{folder}/model", effort="fast", verbose=False)
    scores, (target,) = Scores(model.bundle), model.schema.targets
    found = manyhot.explain(model, test, background=train)
    x, others = (np.asarray(model.bundle.inputs.transform(each)[0]) for each in (test, train))
    places = model.bundle.inputs.columns
    groups = [[p for column in names for p in places[column]] for names in found.columns]
    random = np.random.default_rng(1)
    fills = {
        "other rows": others[random.permutation(len(others))[:5]],
        "middle": np.zeros((1, x.shape[1]), np.float32),
    }

    def area(row: np.ndarray, number: int, order: list[int], fill: np.ndarray) -> float:
        seen = np.tile(row, (len(order) + 1, len(fill), 1))
        for step, group in enumerate(order, 1):
            seen[step:, :, groups[group]] = fill[:, groups[group]]
        odds = scores(seen.reshape(-1, len(row)))[target.name][:, number]
        chances = (1 / (1 + np.exp(-odds))).reshape(len(order) + 1, -1).mean(axis=1)
        return float(np.trapezoid(chances) / len(order))

    values = found.values(target.name)
    told = []
    for filling, fill in fills.items():
        ours, usual = [], []
        for row, effects, reason in zip(x, values, found.reasons, strict=True):
            number = target.classes.index(reason.name)
            ours.append(area(row, number, [*np.argsort(-effects)], fill))
            orders = [[*random.permutation(len(groups))] for _ in range(RANDOM)]
            usual.append(np.mean([area(row, number, order, fill) for order in orders]))
        told.append(
            f"{filling} {np.mean(ours):.3f} / {np.mean(usual):.3f} = {np.mean(ours) / np.mean(usual):.2f}"
        )
    kinds = ", ".join(sorted({member.name for member in model.bundle.ensemble.members}))
    print(f"{name} ({kinds}; {len(groups)} groups of {len(places)} columns): {'; '.join(told)}")


def say(what: str, value: float, asked: float, least: bool) -> None:
    """Print a number beside what was asked of it."""
    met = value >= asked if least else value <= asked
    sign = "at least" if least else "at most"
    print(f"  {what}: {value:.2f} (asked: {sign} {asked}) {'met' if met else 'NOT MET'}")


def main(names: list[str]) -> None:
    print(machine())
    for name in names or ["mnist", "heart", "vehicle"]:
        if name == "mnist":
            digits()
        else:
            columns(name)


if __name__ == "__main__":
    main(sys.argv[1:])
