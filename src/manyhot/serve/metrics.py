"""What the server counts, as Prometheus reads it.

Source: the text format 0.0.4 of https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters that the event loop and the runners share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests: Counter[Labels] = Counter()
        self.seconds: dict[Labels, list[float]] = {}  # by route: a count for each bound and above, the sum
        self.rows: Counter[Labels] = Counter()
        self.model_seconds: Counter[Labels] = Counter()

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        with self.lock:
            self.requests[(("route", route), ("status", str(status)))] += 1
            found = self.seconds.setdefault((("route", route),), [0.0] * (len(BOUNDS) + 2))
            found[bisect_left(BOUNDS, seconds)] += 1
            found[-1] += seconds

    def answered(self, model: str, rows: int, failed: int, seconds: float) -> None:
        """Count the rows of one run of a model, those of them without an answer, and what the run took."""
        with self.lock:
            self.rows[(("model", model), ("result", "answered"))] += rows - failed
            self.rows[(("model", model), ("result", "error"))] += failed
            self.model_seconds[(("model", model),)] += seconds  # type: ignore[assignment]

    def text(self, waiting: Mapping[str, int]) -> str:
        """Write all, with the rows that wait by model."""
        with self.lock:
            return "".join(f"{line}\n" for line in self._lines(waiting))

    def _lines(self, waiting: Mapping[str, int]) -> Iterator[str]:
        queue = {(("model", name),): rows for name, rows in waiting.items()}
        for name, kind, help, values in (
            ("requests_total", "counter", "Requests answered.", self.requests),
            ("rows_total", "counter", "Rows answered, or told what is wrong with them.", self.rows),
            ("queue_rows", "gauge", "Rows that wait for a runner.", queue),
            ("model_seconds_total", "counter", "Time in which runners prepared and answered rows.",
             self.model_seconds),
        ):  # fmt: skip
            yield from _head(name, kind, help)
            yield from (_line(name, labels, value) for labels, value in values.items())
        yield from _head("request_seconds", "histogram", "Time from the head of a request to its answer.")
        for labels, (*counts, total) in self.seconds.items():
            below = 0.0
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
                below += count
                yield _line("request_seconds_bucket", (*labels, ("le", bound)), below)
            yield _line("request_seconds_sum", labels, total)
            yield _line("request_seconds_count", labels, below)


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP manyhot_{name} {help}"
    yield f"# TYPE manyhot_{name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"manyhot_{name}{{{inside}}} {value:.10g}"


def _escaped(text: str) -> str:
    r"""Write the value of a label.

    >>> print(_escaped('a "b" \\ c'))
    a \"b\" \\ c
    """
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
