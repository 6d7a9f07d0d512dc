"""A network of our own learns from pictures without labels: first to tell them apart, then groups of them.

`cluster` calls both with a backbone that knows nothing yet. `tell_apart` lets it recognise a picture in
two changed copies among all others of a batch, which brings near what looks alike; `teach` then trains
it by the trainer of `fit` on the groups found in that, so that they lie around centroids in its features.
Both see pictures changed as `fit` changes them.

Shapes: N rows · B rows of a batch · F features · P of the projection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyhot.clustering.centroids import Embedding, k_means, means, nearest
from manyhot.clustering.embed import Viewed
from manyhot.clustering.names import target_of
from manyhot.config import FitConfig
from manyhot.data.batches.augment import Augmentation, augment
from manyhot.data.batches.loader import Loader
from manyhot.device import autocast
from manyhot.model import optim
from manyhot.model.inference import device_of, features, logits
from manyhot.model.network import Heads, Network, build
from manyhot.model.predictor import of_network
from manyhot.predict import from_logits
from manyhot.targets import IntArray
from manyhot.train.batch_norm import recalibrate
from manyhot.train.loop import ALONE, STEPS_PER_LINE, Losses, train
from manyhot.train.validation import Validation

OnStep = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much

HIDDEN, PROJECTED = 256, 64
TEMPERATURE = 0.5  # of the similarities; 0.2 gave worse groups of digits
ROUNDS = 4  # of teaching, each by what the one before answers
MARGIN = 0.15  # by which its centroid is nearer than the next, for a row to teach in the next round
CHOOSING = 1_000  # rows by which the best epoch of a round is chosen
VIEWS = 5  # of a picture, whose mean is what a round answers


def tell_apart(seen: Viewed, on_step: OnStep) -> Embedding:
    """Train the backbone of `seen` to know each picture again, and return the pictures' projections.

    Shape:
        out: float32 (N, P), each of length 1.

    Raises:
        RunError: the loss is no longer finite.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning" (SimCLR), equation 1, with
    the few changes that `augment` knows for pictures of the kind.
    """
    config = seen.config
    torch.manual_seed(config.seed)
    stem, backbone, device = seen.network.stem, seen.network.backbone, device_of(seen.network)
    projection = Heads(["projection"], [_projection(backbone.num_features)])
    network = Network(stem, backbone, projection).to(device)
    loader = Loader(seen.x, {}, config.batch_size, config.seed, device=device, numbers=seen.rows + 1)
    optimizer = optim.AdamW(network, config)
    steps = loader.step_after(config.epochs)
    generator, losses = torch.Generator(device), Losses((), loader, "nothing is written")
    for step in range(steps):
        x = loader.batch(step, as_it_is=True).x
        generator.manual_seed(config.seed * 1_000_003 + step)
        pair = torch.cat([augment(x, config.augment, generator) for _ in range(2)])
        network.train()
        with autocast(config.precision, x.device):
            projected = network(pair)["projection"]
        loss = contrast(projected.float())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(optim.rate(step, steps, config))
        losses.add(step, loss.detach()[None])
        if (step + 1) % STEPS_PER_LINE == 0:
            losses.look()
        on_step("learning to tell pictures apart", step + 1, steps)
    losses.look()
    found = logits(network, seen.x)["projection"]
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def contrast(projected: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return how surprising it is that the copy of each row, B further on, is its like; the mean over 2B.

    Shape:
        projected: float (2B, P); rows i and i + B are copies of one picture.

    Two copies that are alike and unlike the others are no surprise:

    >>> apart = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> round(contrast(apart, temperature=0.1).item(), 4)
    0.0
    """
    z = F.normalize(projected, dim=1)
    alike = z @ z.T / temperature
    alike.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(alike, partner)


def teach(seen: Viewed, labels: IntArray, on_step: OnStep) -> tuple[Embedding, IntArray]:
    """Train the backbone on groups as if they were labels, and return its features and its own answers.

    After each round k-means goes on in the features from where the network's answers are, and what it finds
    is learned in the next, from the rows that lie well inside: each mends what the other gets wrong.

    Shape:
        labels: int32 (N,). out: float32 (N, F), int32 (N,).

    Source: self-labelling of confident rows as in Van Gansbeke et al. 2020, "SCAN", section 2.3, by k-means
    as in Caron et al. 2018, "Deep Clustering for Unsupervised Learning".
    """
    target = target_of(int(labels.max()) + 1)
    config, device = _for_teaching(seen), device_of(seen.network)
    heads = build(seen.inputs, (target,), seen.config).heads.to(device)
    network = Network(seen.network.stem, seen.network.backbone, heads)
    sure = np.arange(len(labels))
    for turn in range(ROUNDS):
        loader = Loader(
            seen.x if len(sure) == len(labels) else seen.x[sure],
            {target.name: labels[sure]},
            *(config.batch_size, config.seed + turn, Augmentation(config.augment), device),
            epochs=config.epochs,
        )
        few = sure[:: -(-len(sure) // CHOOSING)]
        validation = Validation(seen.x[few], {target.name: labels[few]})

        def on_event(line: Any, turn: int = turn) -> None:
            if line["kind"] == "epoch":
                done = turn * config.epochs + line["epoch"]
                on_step("learning the groups", done, ROUNDS * config.epochs)

        progress = train(network, loader, validation, (target,), config, on_event)
        recalibrate(network, loader, validation, (target,), config, ALONE, progress.best)
        chances = from_logits((target,), logits(of_network(network, VIEWS), seen.x))[target.name]
        answers = chances.argmax(axis=1).astype(np.int32)
        z = features(network, seen.x)
        count = len(target.classes)
        if len(np.unique(answers)) < count:  # a group was too small to be learned
            return z, labels
        labels, _, margins = nearest(z, k_means(z, count, config.seed, start=means(z, answers)))
        sure = np.flatnonzero(margins >= MARGIN)
        if len(np.unique(labels[sure])) < count:
            break  # there is nothing to learn a group from
    return z, answers


def _projection(num_features: int) -> nn.Module:
    """Return the layers between features and what is compared; they are not kept."""
    return nn.Sequential(
        nn.Linear(num_features, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PROJECTED)
    )


def _for_teaching(seen: Viewed) -> FitConfig:
    """Return the settings of a round: a quarter of the epochs that telling apart has, in half the batch."""
    config = seen.config
    return replace(
        config,
        epochs=max(1, config.epochs // 4),
        batch_size=max(1, config.batch_size // 2),
        learning_rate=config.learning_rate / 2,
        label_smoothing=0.1,
        patience=0,
        monitor="loss",
    )
