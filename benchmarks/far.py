"""Which new rows are called far from all that training saw: how many by chance, and how many that are.

    MANYHOT_DATA=… python benchmarks/far.py [SPLITS] [SET …]

Of tables of KEEL: test rows, test rows with two columns exchanged, with one number put ten times its range
above its largest, with each column shuffled by itself. Of mnist (12,000 digits to learn): test digits, noise,
the same turned by 90 degrees, inverted, pixels shuffled, blank.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
from calibration import rows
from race import machine

import manyhot
from manyhot.ensemble import FAR
from manyhot.fitting import fit
from manyhot.predict import predict

TABLES = ("satimage", "vehicle", "german", "contraceptive", "segment")


def share(model: manyhot.Classifier, table: manyhot.Table) -> float:
    """Return the share of rows that are called far."""
    limits = model.schema.far
    far = predict(model.bundle, table).probabilities[FAR]
    return float(((far[:, 0] > limits.distance) | (far[:, 1] > limits.outside)).mean())


def strange(name: str, table: manyhot.Table, rng: np.random.Generator) -> dict[str, manyhot.Table]:
    if name == "mnist":
        x = np.asarray(table.pixels)
        flat = x.reshape(len(x), -1)
        found = {
            "noise": rng.integers(0, 256, x.shape, dtype=np.uint8),
            "turned": np.ascontiguousarray(np.rot90(x, axes=(1, 2))),
            "inverted": 255 - x,
            "pixels shuffled": flat[:, rng.permutation(flat.shape[1])].reshape(x.shape),
            "blank": np.zeros_like(x[:100]),
        }
        return {what: manyhot.read(pixels) for what, pixels in found.items()}
    columns = [c for c in table.names if c != "target"]
    cells = {c: np.array(table.columns[c].to_pylist(), object) for c in columns}
    numbers = {c: v.astype(float) for c, v in cells.items() if _are_numbers(v)}
    a, b = (
        sorted(numbers, key=lambda c: -np.ptp(numbers[c]))[:2]
        if len(numbers) > 1
        else (columns[0], columns[0])
    )
    beyond = {c: v.copy() for c, v in cells.items()}
    names = [*numbers]
    for row, which in enumerate(rng.integers(0, len(names), len(table))):
        column = names[which]
        low, high = numbers[column].min(), numbers[column].max()
        beyond[column][row] = high + 10 * (high - low)
    shuffled = {c: v[rng.permutation(len(v))] for c, v in cells.items()}
    exchanged = {**cells, a: cells[b], b: cells[a]}
    changed = {"two exchanged": exchanged, "one beyond": beyond, "shuffled": shuffled}
    return {what: table.with_columns({c: [*v] for c, v in each.items()}) for what, each in changed.items()}


def _are_numbers(cells: np.ndarray) -> bool:
    try:
        return bool(np.isfinite(cells.astype(float)).all())
    except (TypeError, ValueError):
        return False


def main(splits: int, names: list[str]) -> None:
    print(machine())
    for name in names:
        found = defaultdict(list)
        for split in range(splits):
            learn, held, targets, options = rows(name, split)
            model = fit(learn, targets, seed=split, verbose=False, **options)
            found["test rows"].append(share(model, held))
            for what, table in strange(name, held, np.random.default_rng(split)).items():
                found[what].append(share(model, table))
        print(name, ", ".join(f"{what} {np.mean(each):.3f}" for what, each in found.items()), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:] or [*TABLES, "mnist"])
