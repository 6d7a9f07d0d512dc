"""The two pages of a bundle: report.html for looking, README.md (a model card) for reading.

`classifier` writes both when it saves, and draws the first anew for other rows; `clustering` has a card of
its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from manyhot import __version__
from manyhot.baselines import main_metric
from manyhot.bundle import Bundle
from manyhot.data.inputs.images.opening import picture
from manyhot.judge import Judged
from manyhot.report.mistakes import PIXELS
from manyhot.report.page import Report, render, score
from manyhot.report.record import FitRecord
from manyhot.report.why import Examples


def report_of(
    bundle: Bundle, judged: Judged, fit: FitRecord, examples: Examples | None = None, own: bool = True
) -> str:
    """Return the page about a model judged by some rows, as HTML.

    Its rows and notes are those of the fit, or where the page is not the model's `own`, of the judged rows.
    """
    if not own or not fit.rows:
        rows = {judged.split: len(judged.table), "unreadable": len(judged.unreadable)}
        notes = bundle.ensemble.notes
        fit = replace(fit, rows=rows, notes=notes, conflicts=(), more_conflicts=0)
    images = bundle.schema.is_image
    return render(
        Report(
            title=judged.table.source,
            schema=bundle.schema,
            config=bundle.config.to_json(),
            fit=fit,
            judged=judged,
            picture=(lambda row: picture(judged.table, bundle.schema, row, PIXELS)) if images else None,
            examples=examples,
        )
    )


def model_card(bundle: Bundle, judged: Judged, source: str, counts: Mapping[str, int]) -> str:
    """Return the README of a bundle: what it answers, from what, how well, and how to use it."""
    config = bundle.config
    title = f"Classifier for {', '.join(target.name for target in bundle.schema.targets)}"
    lines = [
        *front_matter(metadata(bundle, judged, title, source)),
        f"# {title}",
        "",
        f"Trained by manyhot {__version__} on `{source}`: {counts.get('train', 0):,} rows to train, "
        f"{counts.get('val', 0):,} to choose and calibrate. "
        f"Backbone `{config.backbone}`, seed {config.seed}.",
        *(f"{note[:1].upper()}{note[1:]}" for note in bundle.ensemble.notes),
        "",
        "| target | kind | classes | score on the rows held back | one answer for all rows |",
        "|---|---|---|---|---|",
    ]
    for target in bundle.schema.targets:
        metric = main_metric(target)
        value = judged.scores["targets"][target.name].get(metric)
        constant = judged.baselines.get(target.name, {}).get("constant", {}).get(metric)
        names = ", ".join(target.classes[:12]) + (", …" if len(target.classes) > 12 else "")
        lines.append(
            f"| {target.name} | {target.kind} | {names} | {metric} {score(value)} | {score(constant)} |"
        )
    lines += [
        "",
        "These rows chose the best epoch, so the scores lean to the bright side; judge the model on others:",
        "",
        "```",
        "manyhot predict . NEW --out answers.csv",
        "manyhot evaluate . LABELLED",
        "```",
        "",
        "See `report.html` for its curves and its mistakes.",
        "",
    ]
    return "\n".join(lines)


def metadata(bundle: Bundle, judged: Judged, title: str, source: str) -> dict[str, Any]:
    """Return what hubs read of a model: what it does, by which library, and its main score of each target.

    A licence is left out, since only its owner knows it. They are keywords of `ModelCardData`.
    """
    from huggingface_hub import EvalResult

    kind = "image" if bundle.schema.is_image else "tabular"
    task = f"{kind}-classification"
    about: dict[str, Any] = {"dataset_split": judged.split, "dataset_name": source}
    about |= {"dataset_type": "imagefolder" if kind == "image" else "tabular"}
    hub: dict[str, dict[str, Any]] = {
        "accuracy": {"metric_type": "accuracy"},
        "micro_f1": {"metric_type": "f1", "metric_args": {"average": "micro"}},
    }
    results = []
    for target in bundle.schema.targets:
        metric = main_metric(target)
        value = judged.scores["targets"][target.name].get(metric)
        if value is not None:
            named = {
                **hub[metric],
                "metric_value": round(value, 4),
                "metric_name": f"{metric} of {target.name}",
            }
            results.append(EvalResult(task_type=task, **about, **named))
    found: dict[str, Any] = {
        "library_name": "manyhot",
        "pipeline_tag": task,
        "tags": ["manyhot", *dict.fromkeys(target.kind for target in bundle.schema.targets)],
    }
    if results:
        found |= {"metrics": [*dict.fromkeys(each.metric_type for each in results)]}
        found |= {"model_name": title, "eval_results": results}
    return found


def front_matter(fields: Mapping[str, Any]) -> list[str]:
    """Return the lines in YAML that a README begins with."""
    from huggingface_hub import ModelCardData

    return ["---", *ModelCardData(**fields).to_yaml().split("\n"), "---", ""]


def clusters_card(scores: Mapping[str, Any], source: str) -> str:
    """Return the README of a folder of clusters: what they are, how well parted, and how to go on."""
    lines = [
        *front_matter({"library_name": "manyhot", "tags": ["manyhot", "clustering"]}),
        "# Clusters",
        "",
        f"Found by manyhot {__version__} in `{source}`: {scores['rows']:,} rows in "
        f"{scores['clusters']} clusters, {scores['outliers']:,} outliers. "
        f"Silhouette {scores['silhouette']:.3f}.",
        "",
        "| cluster | rows |",
        "|---|---|",
        *(f"| {name} | {size:,} |" for name, size in scores["sizes"].items()),
        "",
    ]
    for name, each in scores["targets"].items():
        shown = ", ".join(f"{key} {'n/a' if v is None else f'{v:.3f}'}" for key, v in each.items())
        lines += [f"Beside the known labels of `{name}`, which were not used: {shown}.", ""]
    lines += ["```", "manyhot predict . NEW --out answers.csv", "manyhot name . 0=NAME 1=NAME", "```", ""]
    return "\n".join([*lines, "See `clusters.html` for a map of them.", ""])
