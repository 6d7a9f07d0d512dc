"""What it costs to import manyhot and to ask for help, as multiples of `python -c pass`.

python benchmarks/startup.py [REPEATS]

The three commands run in turns; the ratios are of the medians.
"""

from __future__ import annotations

import statistics
import sys

from race import machine, timed

COMMANDS = {
    "pass": ["-c", "pass"],
    "import manyhot": ["-c", "import manyhot"],
    "manyhot --help": ["-m", "manyhot", "--help"],
    "manyhot fit --help": ["-m", "manyhot", "fit", "--help"],
}


def main(repeats: int) -> None:
    print(machine())
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats + 1):
        for name, words in COMMANDS.items():
            seconds[name].append(timed([sys.executable, *words])[1])
    medians = {name: statistics.median(each[1:]) for name, each in seconds.items()}  # the first warms up
    for name in list(COMMANDS)[1:]:
        print(f"{name}: {medians[name] / medians['pass']:.1f} times `python -c pass` (n = {repeats})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
