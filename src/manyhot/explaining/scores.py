"""What is explained: the log odds of every class, of whatever answers.

`occlusion`, `columns` and `deletion` ask for them again and again, of rows that are changed.

Shapes: N rows · C classes.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.stream import X
from manyhot.errors import UserError
from manyhot.predict import Answering
from manyhot.targets import log_odds, logits_of, probabilities

if TYPE_CHECKING:
    from manyhot.model.predictor import Predictor

LogOdds = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Scores:
    """The log odds that a model gives rows; a picture is seen in one view, as it is."""

    model: Answering

    @cached_property
    def predictor(self) -> Predictor | None:
        """What answers by torch, in one view; None where only an exported graph does."""
        bundle: Any = self.model
        if not hasattr(type(bundle), "predictor"):  # a graph
            return None
        try:
            found: Predictor = copy(bundle.predictor)
        except (UserError, ImportError):  # an exported file; a folder with one where there is no torch
            if bundle.graph is None:
                raise
            return None
        found.ensemble = replace(found.ensemble, views=1)
        return found.eval()

    def __call__(self, x: X) -> LogOdds:
        """Return the log odds of every class by target, float64 (N, C), for x as the inputs give it."""
        targets = self.model.schema.targets
        if self.predictor is None:
            given = self.model.probabilities(x)
            return {t.name: log_odds(t, logits_of(t, given[t.name])) for t in targets}
        from manyhot.model import inference

        logits = inference.logits(self.predictor, x)
        found = {t.name: probabilities(t, logits[t.name].astype(np.float64)) for t in targets}
        return {t.name: log_odds(t, logits_of(t, found[t.name])) for t in targets}
