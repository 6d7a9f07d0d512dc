"""manyhot: one classifier for every label structure, from one plain table.

    import manyhot

    table = manyhot.read("photos.csv")
    schema = manyhot.infer(table, targets=["brand", "body"])
    classifier = manyhot.fit(table, schema, out="model")
    classifier.predict("new.csv")

Names are loaded when first used, so that importing manyhot takes no time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# From 1.29 on onnxruntime tells Microsoft which models it runs, and on what, and keeps that in the user's
# home until it is sent, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# The kernel clears and maps the memory of a tensor of some MB anew each time, page by page: on photos a
# tenth of a step's time, unless the pages are large. torch reads this once, at its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from manyhot.auditing.audit import Audit, audit
    from manyhot.classifier import Classifier, explain, load
    from manyhot.clustering.cluster import Clustering, cluster
    from manyhot.comparing.compare import Comparison, compare
    from manyhot.data.rows.infer import infer
    from manyhot.data.rows.long import gather
    from manyhot.data.sources.read import read
    from manyhot.data.table import Table
    from manyhot.errors import RunError, UserError
    from manyhot.estimator import ManyhotClassifier
    from manyhot.explaining.explanation import Explanation
    from manyhot.fitting import fit
    from manyhot.inspection import inspect
    from manyhot.schema import Input, Schema, Target
    from manyhot.searching.search import Search, search
    from manyhot.suggesting import Suggestions, suggest

_PLACES = {
    "Audit": "manyhot.auditing.audit",
    "audit": "manyhot.auditing.audit",
    "Classifier": "manyhot.classifier",
    "explain": "manyhot.classifier",
    "Explanation": "manyhot.explaining.explanation",
    "fit": "manyhot.fitting",
    "Clustering": "manyhot.clustering.cluster",
    "cluster": "manyhot.clustering.cluster",
    "Comparison": "manyhot.comparing.compare",
    "compare": "manyhot.comparing.compare",
    "Search": "manyhot.searching.search",
    "search": "manyhot.searching.search",
    "Suggestions": "manyhot.suggesting",
    "suggest": "manyhot.suggesting",
    "ManyhotClassifier": "manyhot.estimator",
    "load": "manyhot.classifier",
    "gather": "manyhot.data.rows.long",
    "infer": "manyhot.data.rows.infer",
    "inspect": "manyhot.inspection",
    "read": "manyhot.data.sources.read",
    "Table": "manyhot.data.table",
    "RunError": "manyhot.errors",
    "UserError": "manyhot.errors",
    "Input": "manyhot.schema",
    "Schema": "manyhot.schema",
    "Target": "manyhot.schema",
}
__all__ = [
    "Audit",
    "Classifier",
    "Clustering",
    "Comparison",
    "Explanation",
    "Input",
    "ManyhotClassifier",
    "RunError",
    "Schema",
    "Search",
    "Suggestions",
    "Table",
    "Target",
    "UserError",
    "audit",
    "cluster",
    "compare",
    "explain",
    "fit",
    "gather",
    "infer",
    "inspect",
    "load",
    "read",
    "search",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        try:
            return getattr(import_module(_PLACES[name]), name)
        except ModuleNotFoundError as error:
            from manyhot.errors import lacking

            raise lacking(error) or error from None
    raise AttributeError(f"module 'manyhot' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
