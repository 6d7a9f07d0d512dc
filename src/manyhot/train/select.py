"""Ensemble selection: which candidates answer beside the network, found out on held-out rows.

`run` calls it on the trained network. Members are chosen from features at hand, forward, each only where the
held-out rows are then answered better.

Source: Caruana et al. 2004, "Ensemble Selection from Libraries of Models", here of few candidates in a fixed
order, each with the weight of all others.

Shapes: N rows · F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from manyhot.data.inputs.images.paths import Progress
from manyhot.data.rows import split
from manyhot.ensemble import NETWORK, PRETRAINED, Ensemble, MemberKind, equally
from manyhot.judge import document
from manyhot.model.inference import device_of, features
from manyhot.model.neighbours import Neighbours
from manyhot.model.network import Heads, Network
from manyhot.model.predictor import Predictor
from manyhot.predict import from_logits
from manyhot.priors import votes
from manyhot.train.calibrate import fit_temperatures
from manyhot.train.distributed import World
from manyhot.train.prepared import Prepared
from manyhot.train.validation import monitored

Features = NDArray[np.float32]
Answerer = Heads | Neighbours
Members = tuple[tuple[str, Answerer], ...]  # the encoder whose features each reads, and it

MAX_ROWS = 10_000  # of training; the features of more take more room than many a network
# Of cosines, which differ little where features have no negatives.
TEMPERATURES = (0.02, 0.03, 0.04, 0.05, 0.07, 0.1)


@dataclass
class Selection:
    """What is chosen from, and the rows that choose.

    networks  by the encoder that each is: the trained one, and what it was before it was tuned
    features  the features (N, F) that an encoder gives all rows, where they are at hand
    progress  is told how many rows have passed through a network
    """

    prepared: Prepared
    networks: Mapping[str, Network]
    world: World
    progress: Progress
    features: dict[str, Features] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.choosing, _ = self.prepared.choosing_and_calibrating()
        self.y = self.prepared.labels(self.choosing)
        self.few = len(self.prepared.of_part(split.TRAIN)) <= MAX_ROWS

    @torch.no_grad()
    def best(self) -> Predictor:
        """Return the predictor that answers the held-out rows best."""
        members: Members = ((NETWORK, self.networks[NETWORK].heads),)
        candidates = list(self._candidates())
        if not candidates:
            return self.predictor(members)
        value = self.score(self.predictor(members))
        for with_candidate in candidates:
            more = with_candidate(members)
            found = self.score(self.predictor(more))
            if found > value:
                members, value = more, found
        return self.predictor(members)

    def _candidates(self) -> Iterator[Callable[[Members], Members]]:
        """Give what may join, in order.

        Beside neighbours, what the network was before hardly lowers the loss, while it still helps much to
        bring rare tags into order; so it comes first.
        """
        config = self.prepared.config
        if PRETRAINED in self.networks:
            yield self._with_pretrained
        tells_alike = (
            config.freeze or config.linear_probe
        )  # features of a network that saw many pictures before
        if "neighbours" in config.candidates and tells_alike and self.few and config.class_weight == "none":
            yield self._with_neighbours

    def _with_pretrained(self, members: Members) -> Members:
        return *members, (PRETRAINED, self.networks[PRETRAINED].heads)

    def _with_neighbours(self, members: Members) -> Members:
        """Return the members with neighbours by the features of each, at the temperature that suits it."""
        more: Members = ()
        for encoder, heads in members:
            alike = self._neighbours(encoder)
            pair = self.predictor(((encoder, heads), (encoder, alike)))
            alike.temperature.fill_(max(TEMPERATURES, key=partial(self._score_at, pair, alike)))
            more += ((encoder, alike),)
        return members + more

    def _score_at(self, predictor: Predictor, alike: Neighbours, temperature: float) -> float:
        alike.temperature.fill_(temperature)
        return self.score(predictor)

    def score(self, predictor: Predictor) -> float:
        """Tell how well rows are answered, with temperatures: several are less sure, and not worse."""
        seen = {name: self._on_device(name, self.choosing) for name in predictor.ensemble.encoders}
        raw = {name: logits.float().cpu().numpy() for name, logits in predictor.answer(seen).items()}
        warm = fit_temperatures(self.prepared.schema.targets, raw, self.y)
        scores = document(warm, self.y, from_logits(warm, raw))
        return self.world.agree(monitored(scores, self.prepared.config, 0.0))

    def predictor(self, members: Members) -> Predictor:
        """Return a predictor of these members, which count alike."""
        config, first = self.prepared.config, self.networks[NETWORK]
        declared = [(_kind(who), encoder, _rows(who)) for encoder, who in members]
        shared = equally(declared, first.heads.names)
        ensemble = Ensemble(shared, config.views, config.augment in ("crop", "photo"))
        encoders = {name: self.networks[name].backbone for name in ensemble.encoders}
        return Predictor(ensemble, first.stem, encoders, [who for _, who in members])

    def _neighbours(self, encoder: str) -> Neighbours:
        """Return the training rows as neighbours, whose temperature is still to be chosen."""
        rows = self.prepared.of_part(split.TRAIN)
        keys, y = F.normalize(self._on_device(encoder, rows)), self.prepared.labels(rows)
        targets = self.prepared.schema.targets
        values = {t.name: torch.from_numpy(np.stack(votes(t, y[t.name]))) for t in targets}
        return Neighbours(keys, values).to(keys.device)

    def _on_device(self, encoder: str, rows: NDArray[np.intp]) -> torch.Tensor:
        if encoder not in self.features:
            self.features[encoder] = self._features(encoder)
        return torch.from_numpy(self.features[encoder][rows]).to(device_of(self.networks[encoder]))

    def _features(self, encoder: str) -> Features:
        """Return the features of all rows where their neighbours may answer, else of those that choose."""
        x, network = self.prepared.x, self.networks[encoder]
        if self.few:
            return features(network, x, self.progress)  # without a copy of the pictures
        found = np.empty((len(x), network.backbone.num_features), np.float32)
        found[self.choosing] = features(network, x[self.choosing], self.progress)
        return found


def _kind(who: Answerer) -> MemberKind:
    return "heads" if isinstance(who, Heads) else "neighbours"


def _rows(who: Answerer) -> int:
    return 0 if isinstance(who, Heads) else len(who.keys)
