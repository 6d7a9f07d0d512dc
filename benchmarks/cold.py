"""What one answer costs from nothing: `manyhot predict` of one row, as a multiple of `python -c pass`.

python benchmarks/cold.py MODEL DATA [MODEL DATA …] [REPEATS]

Each MODEL is a bundle with its model.onnx, DATA a picture or a table, of which the first row is answered:
such as `cold.py flowers flowers.csv cars photo.jpg 9`. The commands run in turns: `pass`, then each model
by its graph and by torch, from a copy of its bundle without the graph. The first round, which fills the
caches, does not count.
"""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import sys
from pathlib import Path

from load import graph_of
from race import machine, scratch, timed


def without_graph(model: Path, folder: Path) -> Path:
    """Return a copy of a bundle that only torch can answer by."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(graph_of(model).name, "checkpoints"))
    manifest = folder / "manyhot.json"
    told = json.loads(manifest.read_text())
    del told["graph"]
    manifest.write_text(json.dumps(told))
    return folder


def first_row(data: Path, folder: Path) -> Path:
    """Return a table of the first row of a CSV file; a picture as it is."""
    if data.suffix != ".csv":
        return data.resolve()
    with data.open(encoding="utf-8", newline="") as file:
        rows = [row for row, _ in zip(csv.reader(file), range(2))]
    with (folder / data.name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / data.name


def main(words: list[str]) -> None:
    repeats = int(words.pop()) if len(words) % 2 else 9
    print(f"{machine('onnxruntime', 'torch', 'pyarrow')}; n = {repeats}")
    seconds: dict[str, list[float]] = {"pass": []}
    with scratch() as name:
        commands = {"pass": ["-c", "pass"]}
        for number, (model, data) in enumerate(zip(words[::2], words[1::2])):
            place = Path(name) / str(number)
            place.mkdir()
            row, copy = first_row(Path(data), place), without_graph(Path(model), place / "torch")
            for side, bundle in {"graph": Path(model), "torch": copy}.items():
                commands[f"{Path(model).name} by {side}"] = [
                    "-m",
                    "manyhot",
                    "predict",
                    str(bundle),
                    str(row),
                ]
        seconds = {what: [] for what in commands}
        for _ in range(repeats + 1):
            for what, command in commands.items():
                seconds[what].append(timed([sys.executable, *command])[1])
    least = {what: min(each[1:]) for what, each in seconds.items()}
    median = {what: statistics.median(each[1:]) for what, each in seconds.items()}
    for what in commands:
        times = f"{least[what] / least['pass']:.1f} and {median[what] / median['pass']:.1f} times `pass`"
        print(f"{what}: {least[what]:.3f} s at least, {median[what]:.3f} s by the median; {times}")
    for graph in [what for what in commands if what.endswith("by graph")]:
        torch = graph.replace("by graph", "by torch")
        print(
            f"{torch} ÷ by graph: {least[torch] / least[graph]:.1f} by the least, "
            f"{median[torch] / median[graph]:.1f} by medians"
        )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:])
