"""The page: what was read, trained and judged enters, one HTML file that needs nothing else leaves.

`report` writes it and `fit` puts it in the bundle. The words and the layout are in page.html, the
colours in page.css; the pictures come from `curves` and `plots`, the rows from `mistakes`.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from manyhot import __version__, metrics
from manyhot.baselines import main_metric
from manyhot.data.rows.leaks import telling_alone
from manyhot.judge import Judged
from manyhot.report import curves, mistakes, plots
from manyhot.report.record import FitRecord
from manyhot.report.verdict import verdict
from manyhot.report.why import Examples, shown
from manyhot.schema import Schema, Target
from manyhot.targets import UNKNOWN, WEIGHT, IntArray

IMPORTANT = 20  # columns that are shown
EXPLAINED = 240  # pixels of the longer side of a picture that is explained
UNFOLDED = 2  # targets whose sections stand open
BARS = 40  # classes whose counts are shown
TOO_GOOD = 0.999  # score from which on a column or a copy may give the answer away
ALONE = 5  # columns of which is told how much they tell alone
CLASS_ORDER = 20  # classes up to which a table keeps their order; beyond, the hardest come first
WORDS = {  # metric → (what people read, what it is)
    "accuracy": ("Accuracy", "share of rows answered right"),
    "balanced_accuracy": ("Balanced accuracy", "mean over the classes of the share answered right"),
    "macro_f1": ("Macro F1", "mean of the F1 of each class or tag, rare and frequent ones alike"),
    "auroc": ("AUROC", "chance that a row of a class is ranked above one that is not; 0.5 is guessing"),
    "log_loss": ("Log loss", "surprise at the truth; 0 is sure and right"),
    "ece": ("Calibration error", "how far the probabilities are from how often they come true"),
    "precision": ("Precision", "share of the answers “yes” that are right"),
    "recall": ("Recall", "share of the rows that are “yes” which are answered so"),
    "f1": ("F1", "the harmonic mean of precision and recall"),
    "exact_match": ("Exact match", "share of rows with every known tag right"),
    "hamming_loss": ("Hamming loss", "share of single tags answered wrong"),
    "micro_f1": ("Micro F1", "F1 over all single tags together"),
    "mean_average_precision": ("Mean average precision", "mean over tags of precision over recall"),
    "lrap": ("Ranking precision", "how near the top of a row's list its tags stand"),
}


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    schema   what the model reads; its targets are shown as judged, so `judged.schema` has them
    fit      what is known of the fit
    picture  gives a judged row's picture as PNG bytes by its place in `judged`, or None
    examples  some judged rows with the reasons for their answers
    """

    title: str
    schema: Schema
    config: Mapping[str, Any]
    fit: FitRecord
    judged: Judged
    picture: Callable[[int], bytes | None] | None = field(default=None, repr=False)
    examples: Examples | None = field(default=None, repr=False)


def render(report: Report) -> str:
    """Return the page as HTML that loads nothing, with everything given by users escaped."""
    scores = report.judged.scores
    judged = report.judged.schema.targets
    targets = [_target(report, number, target) for number, target in enumerate(judged, 1)]
    return template("page.html").render(
        report=report,
        title=report.title,
        **made(),
        allowed="",
        judged_rows=scores.get("rows", len(report.judged.table)),
        overall=scores.get("overall", {}),
        verdict=verdict(report.judged, report.fit.history),
        targets=targets,
        too_good=[_too_good(report, item) for item in targets if (item["main"][1] or 0) >= TOO_GOOD],
        folded=len(targets) > UNFOLDED,
        splits=_splits(report.fit.rows),
        training=curves.training(report.fit.history, judged),
        columns=mistakes.columns(report.schema, report.judged.table),
        config=_flat(report.config),
        command=_command(report.config),
    )


def made() -> dict[str, str]:
    """Return when and by what a page is made, as all of them say it."""
    created = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return {"created": created, "version": __version__}


def with_script(name: str) -> dict[str, Any]:
    """Return a script of this folder, and its hash, by which a page's policy allows it and no other."""
    script = files("manyhot.report").joinpath(name).read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": Markup(script), "allowed": allowed}


def template(name: str) -> Template:
    """Return a page of this folder, to be filled; what is filled in is escaped."""
    return _pages().get_template(name)


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("manyhot", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"score": score, "count": count, "percent": percent, "coded": coded}
    return pages


def score(value: float | None) -> str:
    """Write a score for people: three decimals, n/a for None."""
    return "n/a" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Write a share for people: per cent with one decimal, n/a for None."""
    return "n/a" if value is None else f"{value * 100:.1f} %"


def count(value: int) -> str:
    """Write a number of rows with its thousands apart."""
    return f"{value:,}"


def coded(words: str) -> Markup:
    """Write what stands between backquotes as code; the rest is escaped."""
    parts = [escape(part) for part in words.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def _target(report: Report, number: int, target: Target) -> dict[str, Any]:
    """Gather what the page shows of one target."""
    judged = report.judged
    y, chances = judged.y[target.name], judged.probabilities[target.name]
    assert chances.shape[1] == target.outcomes, "the schema must be the judged one"
    scores = judged.scores.get("targets", {}).get(target.name, {})
    classes = metrics.per_class(target, y, chances, judged.y.get(WEIGHT))
    hidden = target.exclusive and len(target.classes) > plots.DRAWN  # the matrix that would show the pairs
    hardest_first = len(classes) > CLASS_ORDER
    if hardest_first:
        classes = sorted(classes, key=lambda row: (row["f1"] is None, row["f1"]))
    known = int((y != UNKNOWN).reshape(len(y), -1).any(axis=1).sum()) if len(y) else 0
    main, others = main_metric(target), judged.baselines.get(target.name, {})
    return {
        "id": f"target-{number}",
        "target": target,
        "main": (WORDS[main][0], scores.get(main)),
        "scores": [
            (*WORDS.get(k, (k, "")), v, _better(k), [(name, found.get(k)) for name, found in others.items()])
            for k, v in scores.items()
        ],
        "constant": others.get("constant", {}).get(main),
        "importance": _importance(judged.importance.get(target.name, {})),
        "known": known,
        "unknown": len(y) - known,
        "unknown_entries": 0 if target.exclusive else int((y == UNKNOWN).sum()),
        "counts": _counts(target, y, judged.taught.get(target.name, {})),
        "more": max(0, len(target.classes) - BARS),
        "classes": classes,
        "hardest_first": hardest_first,
        "figures": plots.judged(target, y, chances),
        "pairs": metrics.confused(target, y, chances) if hidden else [],
        "together": plots.together(target, y, chances),
        "examples": _examples(report, target),
        "worst": mistakes.worst(target, report.schema, judged, report.picture),
    }


def _examples(report: Report, target: Target) -> list[dict[str, Any]]:
    """Return the rows of a target that are explained."""
    found = []
    for each in report.examples.rows if report.examples else ():
        if each.target == target.name:
            png = None if report.picture is None else report.picture(each.place)
            about = {name: getattr(each, name) for name in ("kind", "number", "given", "answer")}
            panels = [shown(panel, png, EXPLAINED) for panel in each.panels]
            found.append({**about, "picture": mistakes.source(png, EXPLAINED), "panels": panels})
    return found


def _too_good(report: Report, item: Mapping[str, Any]) -> tuple[str, list[tuple[str, float]]]:
    """Return the name of a target whose score raises doubts, and how much columns alone tell of it."""
    target, judged = item["target"], report.judged
    alone = telling_alone(judged.table, report.schema, target, judged.y[target.name])
    return target.name, alone[:ALONE]


def _counts(
    target: Target, y: IntArray, taught: Mapping[str, int]
) -> list[tuple[str, int | None, int, float]]:
    """Count each class among the training and the judged rows, the most frequent first, with a bar's length.

    The training rows are left out where they are those that were judged, as with folds.
    """
    totals = dict(zip(target.classes, metrics.support(target, y), strict=True))
    learned = {} if totals == taught else taught
    order = sorted(totals, key=lambda name: (-totals[name], -learned.get(name, 0)))[:BARS]
    largest = max(1, *totals.values()) if totals else 1
    return [
        (name, learned.get(name, 0) if learned else None, totals[name], totals[name] / largest)
        for name in order
    ]


def _importance(found: Mapping[str, tuple[float, float]]) -> dict[str, Any] | None:
    """Return the most important columns with a bar's length, and how many others there are."""
    largest = max((rise for rise, _ in found.values()), default=0.0)
    if largest <= 0:
        return None
    shown = [(name, *rises, rises[0] / largest) for name, rises in found.items() if rises[0] > rises[1]]
    return {"columns": shown[:IMPORTANT], "others": len(found) - len(shown[:IMPORTANT]), "tried": len(found)}


def _better(metric: str) -> str:
    return "↑" if metric in WORDS and metrics.higher_is_better(metric) else "↓"


def _splits(rows: Mapping[str, int]) -> list[tuple[str, int, float]]:
    """Return name, count and share of each part that has rows."""
    total = max(1, sum(rows.values()))
    return [(name, number, number / total) for name, number in rows.items() if number]


def _flat(config: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Write nested settings as lines with dotted names; the command stands apart."""
    lines: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{above}{key}.")
        elif above or key != "command":
            lines.append((f"{above}{key}", "–" if value is None else str(value)))
    return lines


def _command(config: Mapping[str, Any]) -> str:
    command = config.get("command")
    return shlex.join(map(str, command)) if isinstance(command, (list, tuple)) else str(command or "")
