"""What `search` tries: of the settings of a run those that change its score, each with its range and why.

`searching` asks for the space of a run as `resolve` settled it. Ranges stand around the default, which is so
always in them, and is the first trial. What follows from the effort (`epochs`, `patience`, `folds`, the size
of pictures), from the aim (`objective`, `class_weight`, `tag_loss`) or from the data is no matter of trying;
nor is a network of timm's, whose weights have to be there.

Source: few settings make nearly all of the difference, and the rate most of it: Bergstra and Bengio 2012,
"Random Search for Hyper-Parameter Optimization"; those of tables as in Gorishniy et al. 2021, "Revisiting
Deep Learning Models for Tabular Data", table 14.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from manyhot.config import FitConfig
from manyhot.schema import Schema

Value = float | str | bool
DIGITS = 3  # to which a number is rounded, so that it can be typed again


@dataclass(frozen=True)
class Dimension:
    """A setting that is searched: from `low` to `high`, in equal factors where `log`, or one of `choices`."""

    name: str
    default: Value
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` reads back unchanged."""
        return asdict(self) | {"choices": list(self.choices)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Dimension:
        """Read what `to_json` gave."""
        return cls(**{**data, "choices": tuple(data["choices"])})


@dataclass(frozen=True)
class Trial:
    """A point of the space, and how it went.

    number    from 1 on; the first is the default
    state     "done", "pruned" (its epochs were worse than those of others), "failed" or "running"
    score     of the finished model on the held-out rows; of one that was pruned, of its last epoch
    settings  those that are not the default; `values` has all that are searched
    seconds   of the process that ended it
    why       it failed
    """

    number: int
    state: str
    score: float | None = None
    settings: dict[str, Value] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


@dataclass(frozen=True)
class Trials:
    """The trials of a search, and what came of them.

    source      the name of the table
    score       the name of the score on held-out rows by which models were chosen; more of it is better where
                `maximize`
    importance  by setting, the share that it has in being among the better trials; {} where they are few
    test        the scores of the best model on the test rows, None where there are none
    """

    source: str
    score: str
    maximize: bool
    space: Sequence[Dimension]
    trials: Sequence[Trial]
    importance: Mapping[str, float]
    test: Mapping[str, Any] | None

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best score, the first of several."""
        return best_of(self.trials, self.maximize)

    @property
    def default(self) -> Trial:
        """The first trial, in which no setting is another than `fit` has."""
        return self.trials[0]


def best_of(trials: Sequence[Trial], maximize: bool) -> Trial | None:
    """Return the finished trial with the best score, the first of several."""
    done = [(each.score, each) for each in trials if each.state == "done" and each.score is not None]
    sign = -1 if maximize else 1
    return min(done, key=lambda pair: sign * pair[0])[1] if done else None


def space(config: FitConfig, schema: Schema, fixed: Collection[str]) -> tuple[Dimension, ...]:
    """Return what is searched for a run, without the settings that somebody gave.

    >>> from manyhot.schema import Input, Target
    >>> schema = Schema((Input("a", "number"),), (Target("y", "binary", ("no", "yes"), ("y",)),))
    >>> [each.name for each in space(FitConfig(), schema, {"dropout", "backbone"})]
    ['learning_rate', 'weight_decay', 'batch_size', 'piecewise']
    """
    every = [*_of_all(config), *(_of_pictures(config, schema) if schema.is_image else _of_tables(config))]
    return tuple(each for each in every if each.name not in fixed)


def settings_of(dimensions: Collection[Dimension], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings that a point of a space stands for: those that are not the default.

    >>> settings_of([Dimension("dropout", 0.1, 0, 0.6)], {"dropout": 0.23456})
    {'dropout': 0.235}
    """
    found = {name: _rounded(value) for name, value in values.items()}
    return {e.name: found[e.name] for e in dimensions if e.name in found and found[e.name] != e.default}


def _rounded(value: Value) -> Value:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _of_all(config: FitConfig) -> Iterator[Dimension]:
    """Whatever learns by gradient descent has a rate, a batch, and something that holds its weights small."""
    rate, decay, batch = config.learning_rate, config.weight_decay, config.batch_size
    yield Dimension("learning_rate", rate, rate / 5, rate * 5, log=True)
    if decay:
        yield Dimension("weight_decay", decay, decay / 10, decay * 10, log=True)
    yield Dimension("batch_size", batch, choices=(max(1, batch // 2), batch, batch * 2))


def _of_tables(config: FitConfig) -> Iterator[Dimension]:
    """How much a network forgets on the way, and whether it sees numbers in pieces; trees choose themselves.

    Networks with folds are judged by other rows than TabM, which has none: there only the first is tried.
    """
    if config.backbone == "mlp" and config.folds == 1:
        yield Dimension("backbone", "mlp", choices=("mlp", "tabm"))
    if config.backbone in ("mlp", "tabm"):
        yield Dimension("dropout", config.dropout, 0.0, max(0.6, config.dropout))
    if config.backbone == "mlp":
        yield Dimension("piecewise", config.piecewise, choices=(False, True))


def _of_pictures(config: FitConfig, schema: Schema) -> Iterator[Dimension]:
    """How much pictures are changed; of frozen features, which never change, only what heads forget."""
    if config.freeze:
        yield Dimension("dropout", config.dropout, 0.0, max(0.8, config.dropout))
        return
    for names in (("shift", "warp"), ("crop", "photo")):
        if config.augment in names:
            yield Dimension("augment", config.augment, choices=names)
    yield Dimension("mixup", config.mixup, 0.0, max(0.5, config.mixup))
    yield Dimension("random_erasing", config.random_erasing, 0.0, max(0.4, config.random_erasing))
    if all(target.exclusive for target in schema.targets):  # of rare tags it would make twice as many
        yield Dimension("label_smoothing", config.label_smoothing, 0.0, max(0.2, config.label_smoothing))
    if config.frozen_stages:
        yield Dimension("frozen_stages", config.frozen_stages, choices=(0, 1, 2, 3))
