"""Ensemble selection: who answers beside the network, found out on rows that no member has learned.

`run` calls it on the trained network. Of photos, candidates join in a fixed order, each only where held-out
rows are then answered better, and all count alike. Of tables, each target weighs the members, greedily.

Source: Caruana et al. 2004, "Ensemble Selection from Libraries of Models".

Shapes: N rows · F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from manyhot import metrics
from manyhot.baselines import Scores
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.rows import split
from manyhot.ensemble import COLUMNS, NETWORK, PRETRAINED, Ensemble, Member, MemberKind, equally
from manyhot.judge import document
from manyhot.model import inference
from manyhot.model.inference import device_of, features
from manyhot.model.neighbours import FoldedNeighbours, Neighbours
from manyhot.model.network import Heads, Network
from manyhot.model.predictor import Answerer, Predictor, columns_of, views
from manyhot.predict import from_logits, out_of_fold
from manyhot.priors import votes
from manyhot.schema import Target
from manyhot.targets import WEIGHT, FloatArray, IntArray, Labels, Weight, known, probabilities, weight_of
from manyhot.train import logistic, trees
from manyhot.train.calibrate import calibrate, fit_temperature, fit_temperatures
from manyhot.train.distributed import World
from manyhot.train.examples import Columns
from manyhot.train.prepared import Prepared
from manyhot.train.validation import monitored

Features = NDArray[np.float32]
Members = tuple[tuple[str, Answerer], ...]  # the encoder whose features each reads, and it

MAX_ROWS = 10_000  # of training; the features of more take more room than many a network
BASELINES = ("forest", "logistic regression")  # members that people try first
FEWEST = 30  # rows by which members of a table are weighed
ROUNDS = 25
LEAST = 0.06  # of the rounds, for a member to stay
DRAWN = 20  # rows at which half of a weight would be an equal one
# Of cosines, which differ little where features have no negatives.
TEMPERATURES = (0.02, 0.03, 0.04, 0.05, 0.07, 0.1)


@dataclass
class Selection:
    """What is chosen from, and the rows that choose.

    networks  by the encoder that each is: the trained one, and what it was before it was tuned
    features  the features (N, F) that an encoder gives all rows, where they are at hand
    progress  is told how many rows have passed through a network
    alone     of a table, the members that are baselines → their logits for the rows that choose
    answered  the logits of the best predictor for all held-out rows, where they are at hand
    """

    prepared: Prepared
    networks: Mapping[str, Network]
    world: World
    progress: Progress
    features: dict[str, Features] = field(default_factory=dict)
    alone: dict[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)
    answered: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.choosing, _ = self.prepared.choosing_and_calibrating()
        self.y = self.prepared.labels(self.choosing)
        self.few = len(self.prepared.of_part(split.TRAIN)) <= MAX_ROWS

    @torch.no_grad()
    def best(self) -> Predictor:
        """Return the predictor that answers the held-out rows best."""
        wanted = {"forest", "boosted", "linear"} & {*self.prepared.config.candidates}
        enough = len(self.prepared.held_out()) >= FEWEST
        if wanted and enough and not self.prepared.schema.is_image:
            return self._weighed(wanted)
        return self._in_views(self.predictor(self._joined()))

    def _joined(self) -> Members:
        """Return the network with those who, one after the other, let held-out rows be answered better."""
        members: Members = ((NETWORK, self.networks[NETWORK].heads),)
        candidates = list(self._candidates())
        if not candidates:
            return members
        value = self.score(self.predictor(members))
        for with_candidate in candidates:
            more = with_candidate(members)
            found = self.score(self.predictor(more))
            if found > value:
                members, value = more, found
        return members

    def _in_views(self, predictor: Predictor) -> Predictor:
        """Return it with the several views of the settings, or with one where that makes rows likelier."""
        whole = predictor.ensemble
        if whole.views == 1:
            return predictor
        predictor.ensemble = replace(whole, pooled="probabilities")  # which leaves them beside each other
        held = self.prepared.held_out()  # of which some choose, and calibration wants all
        every = inference.logits(predictor, self.prepared.x[held], self.progress)
        count = len(views(torch.zeros(1, 1, 3, 3), whole.views, whole.mirrored))
        each = {n: y.reshape(len(y), count, -1, y.shape[-1]) for n, y in every.items()}
        pooled = {
            whole.views: {n: y.mean(1) for n, y in each.items()},
            1: {n: y[:, 0] for n, y in each.items()},
        }
        chooses, losses = np.isin(held, self.choosing), dict[int, float]()
        for number, logits in pooled.items():
            losses[number] = self.world.agree(self._loss({n: y[chooses] for n, y in logits.items()}))
        best = min(losses, key=lambda number: losses[number])
        predictor.ensemble, self.answered = replace(whole, views=best), pooled[best]
        return predictor

    def _loss(self, every: Mapping[str, NDArray[np.float32]]) -> float:
        """Return the log loss of all targets on the rows that choose, at temperatures that suit them."""
        return float(metrics.overall(*self._warmed(every))["loss"] or 0.0)

    def _warmed(
        self, every: Mapping[str, NDArray[np.float32]]
    ) -> tuple[tuple[Target, ...], Labels, dict[str, NDArray[np.float32]]]:
        """Return targets at temperatures that suit the rows that choose, their labels and probabilities."""
        folds, targets = self.prepared.config.folds, self.prepared.schema.targets
        raw = out_of_fold(every, self.prepared.fold_of(self.choosing), folds, folds)
        warm = fit_temperatures(targets, raw, self.y)
        return warm, self.y, from_logits(warm, raw)

    def _weighed(self, wanted: set[str]) -> Predictor:
        """Return the network with members that read a table's columns, each target's by greedy selection."""
        network, config = self.networks[NETWORK], self.prepared.config
        stem: Any = network.stem
        columns = Columns(self.prepared, stem)
        encoders = {NETWORK: network.backbone, COLUMNS: columns_of(stem.shape, config.folds)}
        grown: list[tuple[str, MemberKind, Answerer]] = [(NETWORK, "heads", network.heads)]
        growers: dict[MemberKind, Any] = {"forest": trees.grow, "boosted": trees.boost}
        for kind, grow in growers.items():
            if kind in wanted:
                forest = grow(self.prepared, columns).to(device_of(network))
                grown += [(COLUMNS, kind, forest)] if forest.trees else []
        if "linear" in wanted:
            grown.append((COLUMNS, "heads", logistic.regress(self.prepared, columns).to(device_of(network))))

        names, folds = network.heads.names, self.prepared.fold_of(self.choosing)

        def of(chosen: Sequence[tuple[Member, Answerer]]) -> Predictor:
            ensemble = Ensemble(tuple(member for member, _ in chosen))
            there = {name: encoders[name] for name in ensemble.encoders}
            return Predictor(ensemble, network.stem, there, [who for _, who in chosen])

        alone = [(Member(kind, encoder, dict.fromkeys(names, 1.0)), who) for encoder, kind, who in grown]
        held = self.prepared.x[self.choosing]
        raw = []
        for pair in alone:
            every = inference.logits(of([pair]), held, self.progress)
            raw.append(out_of_fold(every, folds, config.folds, encoders[pair[0].encoder].members))
        named = zip((member.name for member, _ in alone), raw, strict=True)
        self.alone = {name: logits for name, logits in named if name in BASELINES}
        weights = {
            t.name: greedy(t, [logits[t.name] for logits in raw], self.y[t.name], self.y.get(WEIGHT))
            for t in self.prepared.schema.targets
        }
        chosen = [
            (replace(member, weights={name: weights[name][k] for name in names}), who)
            for k, (member, who) in enumerate(alone)
        ]
        return of([pair for k, pair in enumerate(chosen) if k == 0 or any(pair[0].weights.values())])

    def baselines(self) -> dict[str, dict[str, Scores]]:
        """Return by target the scores of each plain member alone, calibrated as the ensemble is."""
        targets = self.prepared.schema.targets
        found: dict[str, dict[str, Scores]] = {t.name: {} for t in targets}
        for name, logits in self.alone.items():
            own = [calibrate(t, logits[t.name], self.y[t.name], self.y.get(WEIGHT)).target for t in targets]
            scores = document(tuple(own), self.y, from_logits(own, logits))["targets"]
            for t in targets:
                found[t.name][name] = scores[t.name]
        return found

    def _candidates(self) -> Iterator[Callable[[Members], Members]]:
        """Give what may join, in order.

        Beside neighbours, what the network was before hardly lowers the loss, while it still helps much to
        bring rare tags into order; so it comes first.
        """
        config = self.prepared.config
        if PRETRAINED in self.networks:
            yield self._with_pretrained
        tells_alike = config.freeze or config.linear_probe  # features of a network that had learned before
        if "neighbours" in config.candidates and tells_alike and self.few:
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
        every = {name: logits.float().cpu().numpy() for name, logits in predictor.answer(seen).items()}
        scores = document(*self._warmed(every))
        return self.world.agree(monitored(scores, self.prepared.config, 0.0))

    def predictor(self, members: Members) -> Predictor:
        """Return a predictor of these members, which count alike."""
        config, first = self.prepared.config, self.networks[NETWORK]
        declared = [(_kind(who), encoder, _rows(who)) for encoder, who in members]
        shared = equally(declared, first.heads.names)
        ensemble = Ensemble(shared, config.views, config.mirrored)
        encoders = {name: self.networks[name].backbone for name in ensemble.encoders}
        return Predictor(ensemble, first.stem, encoders, [who for _, who in members])

    def _neighbours(self, encoder: str) -> Neighbours:
        """Return the training rows as neighbours, whose temperature is still to be chosen."""
        rows = self.prepared.of_part(split.TRAIN)
        keys, y = F.normalize(self._on_device(encoder, rows)), self.prepared.labels(rows)
        targets = self.prepared.schema.targets
        counts = np.float32(1) if WEIGHT not in y else y[WEIGHT][:, None]
        values = {t.name: torch.from_numpy(np.stack(votes(t, y[t.name])) * counts) for t in targets}
        fold = self.prepared.fold_of(rows)
        if fold is not None:
            return FoldedNeighbours(keys, values, torch.from_numpy(fold)).to(keys.device)
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


def greedy(
    target: Target, logits: Sequence[NDArray[np.float32]], y: IntArray, weight: Weight = None
) -> list[float]:
    """Return what each member's logits are multiplied by, so that rows none of them learned are likeliest.

    Each is first brought to a temperature of its own. Then, in each round, the member joins with which the
    mean of all picked so far answers best; one may be picked again. Of few rows the weights of those picked
    are drawn towards equal ones. What is hardly ever picked is left out.

    Shape:
        logits: by member float (N, M, W) or (N, W). y: as `targets.encode` gives it.
    """
    there = known(y)
    if there.sum() < FEWEST:
        return [1.0] + [0.0] * (len(logits) - 1)
    y, own = y[there], [values[there] if values.ndim == 3 else values[there][:, None] for values in logits]
    weight = weight_of(weight, there)
    warm = [fit_temperature(target, values, y, weight).decision.temperature for values in own]
    scaled = [values / np.float32(temperature) for values, temperature in zip(own, warm, strict=True)]
    plain = target.deciding(temperature=1.0)

    def loss(values: FloatArray) -> float:
        losses = metrics.row_losses(plain, y, probabilities(plain, values))
        return float(np.average(losses, weights=weight))

    picked, total = np.zeros(len(own)), np.zeros((1, 1, 1), np.float32)
    for number in range(1, ROUNDS + 1):
        best = int(np.argmin([loss((total + values) / number) for values in scaled]))
        picked[best] += 1
        total = total + scaled[best]
    picked[picked < ROUNDS * LEAST] = 0
    share, few = picked / picked.sum(), min(0.5, DRAWN / len(y))
    share = (1 - few) * share + few * (picked > 0) / (picked > 0).sum()
    return [float(part / temperature) for part, temperature in zip(share, warm, strict=True)]


def _kind(who: Answerer) -> MemberKind:
    return "heads" if isinstance(who, Heads) else "neighbours"


def _rows(who: Answerer) -> int:
    return len(who.keys) if isinstance(who, Neighbours) else 0
