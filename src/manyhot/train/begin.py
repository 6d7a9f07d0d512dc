"""What a model answers before it has learned: how often each class is met, and each class with what counts.

`classifier.fit` calls it on a fresh model; the loop then teaches the network what is left over.

Shapes: N rows · D columns · F folds · W outputs of a target.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.data import split
from manyhot.data.features import TableInputs
from manyhot.model import losses
from manyhot.model.network import Model
from manyhot.model.stems import TableStem
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
        own = np.zeros(len(choosing), np.intp) if fold is None else fold
        added = np.stack([judging @ of_fold[:-1] for of_fold in weight])[own, np.arange(len(own))]
        weight[:, :-1] *= _share(target, weight[own, -1], added, answers[target.name])
        weights.append(weight)
    return weights


def _share(target: Target, prior: NDArray[np.float32], added: NDArray[np.float32], y: IntArray) -> float:
    """Return the share of what is added to the prior, both (N, W), with which held-out rows are likeliest."""

    def surprise(share: float) -> float:
        logits = torch.from_numpy(prior + np.float32(share) * added)
        return float(np.nanmean(metrics.row_losses(target, y, losses.probabilities(target, logits).numpy())))

    return min(SHARES, key=surprise) if known(y).any() else 0.0
