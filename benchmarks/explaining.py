"""What baselines and the importance of columns add to the default fit of a table.

MANYHOT_DATA=… python benchmarks/explaining.py [NAME …]

Tables of MANYHOT_DATA/keel (default: five of 270 to 2,310 rows). What both take is timed within each fit by
the processor's time: their share of the rest of it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from race import data, machine

NAMES = ("heart", "german", "vehicle", "contraceptive", "segment")
spent = 0.0


def timed(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same call, whose time is added up."""

    def run(*args: Any, **options: Any) -> Any:
        global spent
        start = time.process_time()
        try:
            return call(*args, **options)
        finally:
            spent += time.process_time() - start

    return run


def main() -> None:
    global spent
    import manyhot
    from manyhot import judge
    from manyhot.baselines import constant
    from manyhot.importance import importance
    from manyhot.train import run, select

    vars(run)["importance"] = timed(importance)
    vars(judge)["constant"] = timed(constant)
    select.Selection.baselines = timed(select.Selection.baselines)  # type: ignore[method-assign]
    print(machine())
    shares = []
    for name in sys.argv[1:] or NAMES:
        table = manyhot.read(data("keel") / f"{name}.csv")
        spent, start = 0.0, time.process_time()
        manyhot.fit(table, "target", verbose=False)
        whole = time.process_time() - start
        shares.append(spent / (whole - spent))
        print(f"  {name}: {len(table):,} rows, {spent:.2f} s beside {whole - spent:.1f} s: {shares[-1]:.2f}")
    print(f"share of a fit: median {statistics.median(shares):.2f}, the most {max(shares):.2f}")


if __name__ == "__main__":
    main()
