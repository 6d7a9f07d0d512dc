"""The run of a fit: prepared rows go in, a bundle, scores and a history come out.

`fitting.fit` calls `run`. What a run does is the list that `stages` returns; each stage takes the run as
the one before left it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot import files, metrics
from manyhot.baselines import Scores
from manyhot.bundle import Bundle, of_predictor
from manyhot.config import FitConfig
from manyhot.data.batches.augment import Augmentation
from manyhot.data.batches.loader import Loader
from manyhot.data.inputs.images.stream import X
from manyhot.data.rows import split
from manyhot.data.rows.conflicts import Conflict
from manyhot.data.table import Table
from manyhot.ensemble import COLUMNS, NETWORK, PRETRAINED
from manyhot.errors import WriteError
from manyhot.importance import Importance, Probabilities, importance
from manyhot.judge import Judged, constants, document
from manyhot.model import inference
from manyhot.model.network import Network, PowersetHead, build
from manyhot.model.predictor import Predictor
from manyhot.predict import from_logits, out_of_fold
from manyhot.priors import log_odds
from manyhot.resolve import of_heads
from manyhot.schema import Target
from manyhot.targets import WEIGHT
from manyhot.train import examples, mirror
from manyhot.train.batch_norm import recalibrate
from manyhot.train.calibrate import Fitted, calibrate
from manyhot.train.checkpoint import Checkpoints, State
from manyhot.train.distributed import World
from manyhot.train.far import fit_far
from manyhot.train.growth import growth
from manyhot.train.linear_probe import heads_on_features
from manyhot.train.loop import LoopState, OnEvent, train
from manyhot.train.prepared import Prepared
from manyhot.train.preview import BatchPreview, preview
from manyhot.train.select import Selection
from manyhot.train.validation import Validation

# Of rows through all that answers to shuffle columns, for each time that a row taught. It took a sixth of the
# time of a default fit at most, on contraceptive, vehicle, german, heart and iris of benchmarks/suite.py.
PASSES = 1 / 10
FEW = 3  # tags that miss their aim, said one by one
log = logging.getLogger("manyhot")
Stage = Callable[["Training"], None]
Logits = Mapping[str, NDArray[np.float32]]  # by target


@dataclass(frozen=True)
class Run:
    """What a fit leaves beside the bundle: for judging, for the report, for the record.

    counts   rows by what became of them: train, val, test, unreadable
    preview  some of a training batch as the network saw it; None where it saw no pictures
    conflicts  the sets of equal rows with different labels, and a table of the first row of each
    origin   how the rows were read, see `Table`
    """

    history: list[dict[str, Any]]
    judged: Judged
    counts: dict[str, int]
    notes: list[str]
    source: str
    preview: BatchPreview | None = None
    conflicts: tuple[Sequence[Conflict], Table] = ((), Table({}))
    origin: Sequence[Mapping[str, Any]] = ()


@dataclass
class Training:
    """A run under way.

    state       where a stopped run stood, None at a beginning
    features    the features (N, F) that an encoder gives all rows, where they are at hand
    pretrained  the network before it was tuned, with heads that learned on it
    answered    its logits for all held-out rows, where choosing it has left them
    baselines   target → a plain member of its ensemble → the scores of that member alone
    learned_by  the batches and the held-out rows by which the network was fine-tuned
    """

    prepared: Prepared
    network: Network
    world: World
    on_event: OnEvent
    folder: Path | None = None
    checkpoints: Checkpoints | None = None
    state: State | None = None
    loop: LoopState = field(default_factory=LoopState)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    pretrained: Network | None = None
    learned_by: tuple[Loader, Validation] | None = None
    predictor: Predictor | None = None
    answered: Logits = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    preview: BatchPreview | None = None

    @property
    def config(self) -> FitConfig:
        """Every setting of the run."""
        return self.prepared.config

    def passed(self, done: int, rows: int) -> None:
        """Tell how many rows have passed through a network that does not learn."""
        self.on_event({"kind": "features", "done": done, "rows": rows})


def stages(config: FitConfig) -> tuple[Stage, ...]:
    """Return what a run does, in order. One that goes on from a model begins with what that has learned."""
    if config.start and config.freeze:
        return learn_heads, select_ensemble
    if config.start:
        return probe, fine_tune, recalibrate_batch_norms, select_ensemble
    first = (begin_at_priors,) if config.mirror != "auto" else (begin_at_priors, try_mirrored)
    if config.freeze:
        return *first, learn_heads, select_ensemble
    if config.linear_probe:
        return *first, probe, fine_tune, recalibrate_batch_norms, select_ensemble
    return *first, fine_tune, recalibrate_batch_norms, select_ensemble


def run(training: Training, source: str) -> tuple[Bundle, Run]:
    """Go through the stages, calibrate, and judge by the held-out rows.

    Raises:
        RunError: training failed, such as by a loss that is not finite.
    """
    for stage in stages(training.config):
        training.on_event({"kind": "stage", "name": stage.__name__.replace("_", " ")})
        stage(training)
    return _calibrated(training, source)


@torch.no_grad()
def begin_at_priors(training: Training) -> None:
    """Let the heads answer with how often each class is met, before they have learned anything.

    Rare classes then need not be unlearned first, which takes longer than many a run.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4.1.
    """
    prepared, heads = training.prepared, training.network.heads
    y = prepared.labels(prepared.of_part(split.TRAIN))
    for target, layer in zip(prepared.schema.targets, heads, strict=True):
        last = layer.tags if isinstance(layer, PowersetHead) else layer
        last.get_parameter("bias").copy_(torch.from_numpy(log_odds(target, y[target.name], y.get(WEIGHT))))


def try_mirrored(training: Training) -> None:
    """Find out whether mirrored pictures keep their labels, and say so in the settings from here on.

    Each process finds the same by itself, and so does a run that goes on.
    """
    prepared, device = training.prepared, inference.device_of(training.network)
    order = np.random.default_rng(training.config.seed)
    rows = order.permutation(prepared.of_part(split.TRAIN))[: mirror.MAX_ROWS]
    held = order.permutation(prepared.choosing_and_calibrating()[0])[: mirror.MAX_HELD]
    config = mirror.of_trial(training.config, len(rows))
    network = build(prepared.inputs, prepared.schema.targets, config).to(device)
    begin_at_priors(replace(training, network=network))
    learning = (prepared.x, prepared.labels(rows), config.batch_size, config.seed)
    loader = Loader(*learning, Augmentation(config.augment), device, rows=rows, epochs=config.epochs)
    x = np.require(prepared.x[held], requirements="C")
    judging = (x, prepared.labels(held), prepared.schema.targets, config)
    found = training.world.agree(float(mirror.keeps_labels(network, loader, *judging))) > 0
    settings = replace(training.config, mirror="yes" if found else "no")
    training.prepared = replace(prepared, config=settings)


def learn_heads(training: Training) -> None:
    """Train the heads on the features of a backbone that is frozen."""
    x = training.features[NETWORK] = inference.features(
        training.network, training.prepared.x, training.passed, training.config.memory
    )
    with heads_on_features(training.prepared, training.network, x, training.config) as (rows, heads):
        _train(training, rows, heads)


def probe(training: Training) -> None:
    """Train the heads on the features of the pretrained backbone, before it learns with them; keep a copy.

    What a pretrained network knows of rare labels is lost while all of it learns, so that both together often
    make fewer mistakes than either.

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", with answers averaged rather
    than weights; docs/experiments.md compares the two.
    """
    prepared = training.prepared
    network = training.network if training.pretrained is None else training.pretrained
    if prepared.config.start and training.pretrained is None:
        return  # the model that it goes on from is no longer what it was before it was tuned
    if training.state is None:
        seen = (network, prepared.x, training.passed, training.config.memory)
        x = training.features[PRETRAINED] = inference.features(*seen)
        config = of_heads(training.config, len(prepared.of_part(split.TRAIN)))
        with heads_on_features(prepared, network, x, config) as (rows, heads):
            loader, silent = _loader(rows, heads, training.world), lambda line: None
            targets = prepared.schema.targets
            train(heads, loader, _validation(rows), targets, rows.config, silent, world=training.world)
    if PRETRAINED not in training.config.candidates:
        return
    if training.pretrained is None:
        training.pretrained = deepcopy(network)
    training.pretrained.requires_grad_(False)
    if training.state is not None:
        training.pretrained.load_state_dict(training.state.pretrained)
    if training.checkpoints is not None:
        training.checkpoints.pretrained = training.pretrained.state_dict()


def fine_tune(training: Training) -> None:
    """Train the whole network."""
    loader, validation = _train(training, training.prepared, training.network)
    training.learned_by = loader, validation
    if training.prepared.schema.is_image:
        middle = loader.batch(loader.step_after(training.config.epochs) // 2)
        training.preview = preview(training.prepared.schema.targets, middle)


def recalibrate_batch_norms(training: Training) -> None:
    """Take the statistics of batch norms anew, where that helps."""
    assert training.learned_by is not None, "it stands after fine_tune"
    loader, validation = training.learned_by
    targets, config = training.prepared.schema.targets, training.config
    recalibrate(training.network, loader, validation, targets, config, training.world, training.loop.best)


def select_ensemble(training: Training) -> None:
    """Find out who answers beside the network: the pretrained one, training rows that look alike."""
    networks = {NETWORK: training.network}
    if training.pretrained is not None:
        networks[PRETRAINED] = training.pretrained
    rows = (training.prepared, networks, training.world, training.passed)
    selection = Selection(*rows, training.features)
    training.predictor = selection.best()
    training.answered = selection.answered
    training.baselines = selection.baselines()


def _train(training: Training, prepared: Prepared, network: Network) -> tuple[Loader, Validation]:
    """Run the loop on the training rows, writing history.jsonl as it goes; return what it learned by."""
    loader, validation = _loader(prepared, network, training.world), _validation(prepared)
    with ExitStack() as stack:
        file: TextIO | None = None  # opened at the first line, so that a refused --resume leaves the old one
        kept = True

        def on_event(line: Mapping[str, Any]) -> None:
            nonlocal file, kept
            if training.folder is not None and training.world.leads and kept:
                path = training.folder / "history.jsonl"
                try:
                    with files.writing(path):
                        file = file or stack.enter_context(path.open("w", encoding="utf-8"))
                        file.write(json.dumps(line) + "\n")
                        file.flush()
                except WriteError as error:
                    kept = False
                    log.warning("%s Training goes on without it.", error.typed)
            training.on_event(line)

        learning = (network, loader, validation, prepared.schema.targets, prepared.config)
        where = (training.checkpoints, training.state, training.world)
        training.loop = train(*learning, on_event, *where)
    return loader, validation


def _validation(prepared: Prepared) -> Validation:
    choosing, _ = prepared.choosing_and_calibrating()
    held = (prepared.x[choosing], prepared.labels(choosing))
    return Validation(*held, prepared.fold_of(choosing), prepared.config.folds)


def _loader(prepared: Prepared, network: Network, world: World) -> Loader:
    """Return the training rows, a share of each batch where there are several processes."""
    rows, config = prepared.of_part(split.TRAIN), prepared.config
    fold = prepared.fold_of(rows)
    return Loader(
        prepared.x,
        prepared.labels(rows),
        config.batch_size,
        config.seed,
        Augmentation(
            config.augment, config.random_erasing, config.mixup, config.first_size, config.mirror == "yes"
        ),
        inference.device_of(network),
        rows=rows,
        numbers=prepared.rows.table.rows,
        share=(world.rank, world.size),
        epochs=config.epochs,
        members=config.tabm_members if fold is None else config.folds,
        fold=fold,
    )


def _calibrated(training: Training, source: str) -> tuple[Bundle, Run]:
    """Calibrate on the held-out rows that did not choose the epoch, and judge by all of them."""
    prepared, predictor = training.prepared, training.predictor
    assert predictor is not None, "every list of stages ends with one"
    held, (_, calibrating) = prepared.held_out(), prepared.choosing_and_calibrating()
    members = training.network.backbone.members

    def logits(x: X) -> dict[str, NDArray[np.float32]]:
        return inference.logits(predictor, x, training.passed)

    def of_own_fold(rows: NDArray[np.intp], every: Logits) -> Logits:
        return out_of_fold(every, prepared.fold_of(rows), prepared.config.folds, members)

    def chances(rows: NDArray[np.intp], x: X) -> Logits:
        return from_logits(targets, of_own_fold(rows, logits(x)))

    raw = of_own_fold(held, training.answered or logits(prepared.x[held]))
    y, part = prepared.labels(held), np.isin(held, calibrating)
    fitting = {name: values[part] for name, values in y.items()}
    asked = (fitting.get(WEIGHT), prepared.config.confidence, prepared.config.coverage)
    fitted = [calibrate(t, raw[t.name][part], fitting[t.name], *asked) for t in prepared.schema.targets]
    targets = tuple(each.target for each in fitted)
    for each in fitted:
        _warn_of_short(each)
    schema = replace(prepared.schema, targets=targets)
    probabilities = from_logits(targets, raw)
    name = "val" if prepared.rows.fold is None else "folds"
    scores, table = document(targets, y, probabilities), prepared.rows.table.take(held)
    judged = Judged(
        name,
        table,
        schema,
        y,
        dict(probabilities),
        scores,
        unreadable={},
        baselines={t: {**each, **training.baselines.get(t, {})} for t, each in constants(targets, y).items()},
        importance=_importance(prepared, targets, chances),
        taught=_taught(prepared),
    )
    if "forest" in prepared.config.candidates and prepared.inputs.columns:
        stem: Any = training.network.stem
        judged = replace(judged, growth=growth(prepared, inference.run(stem, prepared.x), judged))
    far = fit_far(prepared, predictor)
    if far is not None:
        by, limits = far
        predictor.far = by.to(inference.device_of(predictor))
        predictor.ensemble = replace(predictor.ensemble, far=True)
        schema = replace(schema, far=limits)
    counts = {name: len(prepared.of_part(number)) for number, name in enumerate(split.PARTS)}
    counts["unreadable"] = len(prepared.unreadable)
    notes = [*prepared.notes, *predictor.ensemble.notes]
    notes += examples.told(prepared) if COLUMNS in predictor.ensemble.encoders else []
    notes += [f"left out: {name}: {why}" for name, why in prepared.unreadable.items()]
    bundle = of_predictor(schema, prepared.config, prepared.inputs, predictor)
    firsts = prepared.rows.table.take(np.array([each.index[0] for each in prepared.conflicts], np.intp))
    found = (prepared.conflicts, firsts)
    left = (training.loop.history, judged, counts, notes, source, training.preview, found)
    return bundle, Run(*left, prepared.rows.table.origin)


def _warn_of_short(fitted: Fitted) -> None:
    """Say which classes or tags miss the aim, or reach it without a promise, and how they are answered."""
    instead = (
        "it is answered from a probability of one half on"
        if fitted.target.exclusive
        else "so it stays at 0.5"
    )
    for unpromised in fitted.unpromised[:FEW]:
        log.warning("%s", unpromised)
    if len(fitted.unpromised) > FEW:
        log.warning("and so it is of %d more of the tags.", len(fitted.unpromised) - FEW)
    for short in fitted.short[:FEW]:
        log.warning("%s; %s.", short, instead)
    if len(fitted.short) > FEW:
        more, name = len(fitted.short) - FEW, fitted.target.name
        log.warning("and so it is of %d more of the tags of '%s', which stay at 0.5.", more, name)


def _importance(prepared: Prepared, targets: Sequence[Target], answers: Probabilities) -> Importance:
    """Return how much each column of a table is needed to answer the held-out rows."""
    columns, held = prepared.inputs.columns, prepared.held_out()
    if not columns:
        return {}
    x, y, config = prepared.x[held], prepared.labels(held), prepared.config
    passes = int(PASSES * len(prepared.of_part(split.TRAIN)) * config.epochs)
    return importance(
        lambda rows, seen: answers(held[rows], seen), x, columns, targets, y, config.seed, passes
    )


def _taught(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Count the training rows of each class, by target."""
    y = prepared.labels(prepared.of_part(split.TRAIN))
    counts = {t: metrics.support(t, y[t.name]) for t in prepared.schema.targets}
    return {t.name: dict(zip(t.classes, found, strict=True)) for t, found in counts.items()}
