"""Logistic regression on the prepared columns of a table: a member beside its network.

`select` offers it. It learns once for each fold, without the rows of the fold.

Shapes: N rows · P prepared columns · M folds · W outputs of a target · K sets.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.model.backbones.base import Backbone
from manyhot.model.network import Heads, PowersetHead, build_heads
from manyhot.schema import Target
from manyhot.targets import IntArray, Weight, num_outputs, set_table
from manyhot.train.examples import NEVER, Columns, examples, of_each_fold
from manyhot.train.prepared import Prepared

Values = NDArray[np.float32]
MOST_SETS = 64  # that are told apart one by one; of more, the tags, since that takes minutes


def regress(prepared: Prepared, columns: Columns) -> Heads:
    """Fit logistic regression for each target, as linear heads on the columns."""
    from sklearn.exceptions import ConvergenceWarning

    targets, folds = prepared.schema.targets, prepared.config.folds
    heads = build_heads(targets, Backbone(torch.nn.Identity(), columns.shape[1], folds))
    layers: dict[str, Any] = dict(zip(heads.names, heads, strict=True))
    for parameter in heads.parameters():
        parameter.requires_grad_(False).zero_()
    for target, parts in examples(prepared):
        layer = layers[target.name]
        width = num_outputs(target)
        if isinstance(layer, PowersetHead) and width > MOST_SETS:
            own = torch.from_numpy(np.stack([_together(target, y, counts) for _, y, counts in parts]))
            layer.sets.get_parameter("bias").copy_(own if folds > 1 else own[0])
            layer, width = layer.tags, len(target.classes)
            parts = [(rows, set_table(target)[y], counts) for rows, y, counts in parts]
        elif isinstance(layer, PowersetHead):
            layer = layer.sets
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one that did not is weighed like others
            lines = of_each_fold(partial(_line, columns, width), parts, prepared.config.threads)
        weights, biases = zip(*lines, strict=True)
        weight, bias = torch.from_numpy(np.stack(weights)), torch.from_numpy(np.stack(biases))
        layer.get_parameter("weight").copy_(weight if folds > 1 else weight[0].T)
        layer.get_parameter("bias").copy_(bias if folds > 1 else bias[0])
    return heads


def _together(target: Target, y: IntArray, counts: Weight) -> Values:
    """Return how much more often each set is met than its tags alone would say, as log odds (K,)."""
    table = set_table(target)
    met = np.bincount(y, counts, minlength=len(table))
    yes = met @ table + 0.5
    return np.asarray(np.log(met + 0.5) - table @ np.log(yes / (met.sum() - yes + 1)), np.float32)


def _line(
    columns: Columns, width: int, rows: NDArray[np.intp], y: IntArray, counts: Weight
) -> tuple[Values, Values]:
    """Return the weights (P, W) and biases (W,) of logistic regression."""
    x = columns[rows]
    weight, bias = np.zeros((x.shape[1], width), np.float32), np.full(width, NEVER, np.float32)
    if y.ndim == 2:
        for tag in range(width):
            weight[:, [tag]], bias[[tag]] = _yes_or_no(x, y[:, tag], counts)
        return weight, bias
    if width == 1:
        return _yes_or_no(x, y, counts)
    model = _fitted(x, y, counts)
    if len(model.classes_) == 2:
        bias[model.classes_] = 0.0
        weight[:, model.classes_[1]], bias[model.classes_[1]] = model.coef_[0], model.intercept_[0]
    else:
        weight[:, model.classes_], bias[model.classes_] = model.coef_.T, model.intercept_
    return weight, bias


def _yes_or_no(x: Values, y: IntArray, counts: Weight) -> tuple[Values, Values]:
    """Return the weights (P, 1) and bias (1,) of one question; of one answer alone, how sure it is."""
    if len(np.unique(y)) < 2:
        no, yes = np.bincount(y, counts, minlength=2) + 1
        odds = np.log(yes / no)
        return np.zeros((x.shape[1], 1), np.float32), np.array([odds], np.float32)
    model = _fitted(x, y, counts)
    return model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)


def _fitted(x: Values, y: IntArray, counts: Weight) -> Any:
    """Return scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, max_iter=300).fit(x, y, counts)
