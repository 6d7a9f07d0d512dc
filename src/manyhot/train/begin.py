"""What a model answers before it has learned: how often each class is met, and each class with what counts.

`classifier.fit` calls it on a fresh model; the loop then teaches the network what is left over.

Shapes: N rows · D columns · F folds · W outputs of a target.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.data.inputs.features import TableInputs
from manyhot.data.rows import split
from manyhot.model import losses
from manyhot.model.network import Model
from manyhot.model.stems import TableStem
from manyhot.predict import from_logits, of_fold
from manyhot.schema import Target
from manyhot.targets import IntArray, known
from manyhot.train.prepare import Prepared

# Of naive Bayes' logarithms, which are too sure where counts come together. Where they want a smaller share
# still, such as of the pixels of digits (a sixteenth), a network learns more without them.
SHARES = (0.0, 0.25, 0.5, 1.0)


def begin_at_frequencies(prepared: Prepared, model: Model) -> None:
    """Let a model answer with the frequencies of the training rows' labels.

    Where all columns are counts, with those of each count too (naive Bayes), as far as the rows that choose
    epochs bear them out.

    Source: Wang and Manning 2012, "Baselines and Bigrams", section 2.
    """
    weights = _of_counts(prepared, model)
    if any(weight[:, :-1].any() for weight in weights):
        device = next(model.parameters()).device
        model.begin_with([torch.from_numpy(weight).to(device) for weight in weights])
    else:
        y = prepared.labels(prepared.rows(split.TRAIN))
        model.begin_at({t.name: losses.log_odds(t, y[t.name]) for t in prepared.schema.targets})


def _of_counts(prepared: Prepared, model: Model) -> list[NDArray[np.float32]]:
    """Return what counts add to the logits of each target, float32 (F, D + 1, W); nothing without counts."""
    inputs, stem = prepared.inputs, model.stem
    if not isinstance(inputs, TableInputs) or not isinstance(stem, TableStem) or not inputs.all_count:
        return []
    device = next(model.parameters()).device
    with torch.inference_mode():
        counts = stem.counts(torch.from_numpy(prepared.x).to(device)).cpu().numpy()
    rows, (choosing, _) = prepared.rows(split.TRAIN), prepared.held_out()
    lessons, answers, fold = prepared.lessons(rows), prepared.labels(choosing), prepared.fold_of(choosing)
    learned, judging, weights = counts[rows], counts[choosing], []
    for target in prepared.schema.targets:
        shape = (len(rows), prepared.config.folds, *answers[target.name].shape[1:])
        each = lessons[target.name].reshape(shape).swapaxes(0, 1)
        weight = np.stack([losses.naive_bayes(target, learned, y) for y in each])
        weight[:, :-1] *= _share(target, weight, judging, fold, answers[target.name])
        weights.append(weight)
    return weights


def _share(
    target: Target,
    weight: NDArray[np.float32],
    counts: NDArray[np.float32],
    fold: NDArray[np.int8] | None,
    y: IntArray,
) -> float:
    """Return the share of what counts add with which held-out rows are likeliest, each by its own fold."""
    added: NDArray[np.float32] = np.stack([counts @ of_each[:-1] for of_each in weight], axis=1)  # (N, F, W)

    def surprise(share: float) -> float:
        raw = {target.name: weight[:, -1] + np.float32(share) * added}
        chances = from_logits((target,), of_fold(raw, fold, len(weight), len(weight)))[target.name]
        return float(np.nanmean(metrics.row_losses(target, y, chances)))

    return min(SHARES, key=surprise) if known(y).any() else 0.0
