"""Every number of a training run, and how it is read from what a user wrote.

`resolve.resolve` makes a FitConfig in which nothing is open; `train` obeys it, the bundle keeps it.
Only what training needs stands here; what a prediction needs is on the Target.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from manyhot.ensemble import CANDIDATES, NETWORK
from manyhot.errors import UserError, listed, suggest
from manyhot.schema import check_objective

log = logging.getLogger("manyhot")
Effort = Literal["fast", "balanced", "best"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
Augment = Literal["none", "shift", "warp", "move", "crop", "photo"]
Mirror = Literal["auto", "yes", "no"]
TagLoss = Literal["cross_entropy", "focal", "asymmetric"]
ClassWeight = Literal["none", "balanced"]
CHOICES: dict[str, tuple[str, ...]] = {
    "effort": get_args(Effort),
    "precision": get_args(Precision),
    "augment": get_args(Augment),
    "mirror": get_args(Mirror),
    "tag_loss": get_args(TagLoss),
    "class_weight": get_args(ClassWeight),
    "device": ("auto", "cpu", "cuda", "mps"),
    "unknown_class": ("error", "missing"),
}
APART = ("group", "weight", "split_by")  # settings that name a column, which is then no input
HERE = ("threads", "memory", "cache", "device")  # where a run computes, which may change between its parts
RENAMED = {  # settings of the release before
    "heads_first": "linear_probe",
    "mixing": "mixup",
    "erasing": "random_erasing",
    "sets": "label_sets",
}
MAX_SEED = 1 << 32  # seeds of steps are made of it, and must fit into 64 bits


@dataclass(frozen=True)
class FitConfig:
    """Every setting of `fit`; any field can be given as `--set KEY=VALUE`.

    Pictures that take more than `memory` GB are not held but read as they are needed; up to `cache` GB of
    decoded ones are kept on the disk, 0 keeps none. Of a table what takes more than a quarter is mapped.
    Fractions are of rows, rates are per step, `clip` is the largest norm of the gradient,
    `warmup` is the share of steps in which the rate rises, `monitor` is "loss" or "TARGET/METRIC".
    Labels are smoothed by `label_smoothing`, but by no more than the share of held-out rows that are wrong.
    Test-time augmentation: a picture is judged in `views` views, whose mean counts: moved by a pixel, or
    mirrored. `random_erasing` and `mixup` are the shares of training pictures a part of which is painted
    over, and which are mixed with another; `first_size` is the side in the first epoch, growing to `size`.
    `mirror` says whether pictures are mirrored too; "auto" finds out whether that keeps their labels (crop
    and photo mirror always).
    With `linear_probe` the heads learn alone before the backbone learns with them; with `freeze` it never
    does. Of a pretrained one, the layers that see pictures halved `frozen_stages` times or less do not.
    `backbone_options` go to timm, such as backbone_options.pad_type=same.
    TabM has `tabm_members` that share weights and rows; with `piecewise` (linear encoding) a network is also
    told through which pieces of its range each number reaches.
    With `folds` above 1 a network has as many members, each trained without one part of the rows
    (cross-fitting), and no other rows are held out. Tags are answered by whole sets, as a label powerset,
    where training has at most `label_sets` different ones, else tag by tag.
    Rows with an equal cell in the column `group` stay in one part; each row counts as often as the column
    `weight` says.
    A precision or a recall that is the `objective` holds for new rows with this `confidence`, where rows
    suffice for that; 0 takes the best threshold on the held-out rows. With `coverage` the classes that stay
    possible are told for each row, so that the right one is among them in such a share of new rows.
    `members` names who may take part in the answer, with commas between: network, pretrained (what the
    network was before it was tuned), neighbours (training rows that look alike; their features and labels are
    then part of the model).
    In the `precision` "tf32" a card multiplies float32 with shorter fractions; in "float16" the loss is
    scaled, so that small gradients are not lost. A processor gives the same weights for the same seed; a card
    only where it is told to be `deterministic`, which takes longer.
    `start` is the model that a run goes on from; it then takes `share` of the epochs of a run from nothing.
    """

    effort: str = "balanced"
    backbone: str = "mlp"
    backbone_options: Mapping[str, str] = field(default_factory=dict)
    weights: str = "auto"
    freeze: bool = False
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.2
    linear_probe: bool = False
    frozen_stages: int = 0
    clip: float = 1.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    members: str = ",".join(CANDIDATES)
    tabm_members: int = 1
    piecewise: bool = False
    tag_loss: str = "cross_entropy"
    augment: str = "none"
    mirror: str = "no"
    random_erasing: float = 0.0
    mixup: float = 0.0
    first_size: int = 0
    views: int = 1
    class_weight: str = "none"
    target_weights: Mapping[str, float] = field(default_factory=dict)
    monitor: str = "loss"
    patience: int = 0
    size: int = 0
    objective: str = "hamming"
    confidence: float = 0.9
    coverage: float = 0.0
    label_sets: int = 0
    validation: float = 0.1
    folds: int = 1
    test: float = 0.0
    group: str = ""
    weight: str = ""
    split_by: str = ""
    time_series: bool = False
    unknown_class: str = "error"
    start: str = ""
    share: float = 1.0
    seed: int = 0
    device: str = "auto"
    deterministic: bool = False
    precision: str = "float32"
    channels_last: bool = False
    threads: int = 1
    memory: float = 1.0
    cache: float = 0.0

    @property
    def monitored(self) -> tuple[str, str]:
        """The target and the score that choose the best epoch; ("", "loss") for all targets' loss."""
        target, _, score = self.monitor.rpartition("/")
        return target, score

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UserError(
                    f"{name} must be one of {listed(choices)}, got '{value}'{suggest(value, choices)}."
                )
        for name in ("epochs", "batch_size", "tabm_members", "folds", "views", "threads"):
            _require(self, name, at_least=1)
        for name in (
            "patience",
            "size",
            "first_size",
            "label_sets",
            "frozen_stages",
            "weight_decay",
            "cache",
        ):
            _require(self, name, at_least=0)
        _require(self, "seed", at_least=0, below=MAX_SEED)
        for name, share in self.target_weights.items():
            if share < 0:
                raise UserError(f"target_weights.{name} must be at least 0, got {share}.")
        for name in (
            *("validation", "test", "label_smoothing", "dropout", "warmup"),
            *("confidence", "coverage"),
        ):
            _require(self, name, at_least=0, below=1)
        for name in ("random_erasing", "mixup"):
            _require(self, name, at_least=0, at_most=1)
        for name in ("learning_rate", "clip", "memory", "share"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.validation + self.test >= 1:
            raise UserError(f"validation {self.validation} and test {self.test} leave no rows to train on.")
        check_objective(self.objective)
        _check_members(self.candidates)

    @property
    def mirrored(self) -> bool:
        """Whether pictures are mirrored while they train, and so when they are judged in several views."""
        return self.augment in ("crop", "photo") or self.mirror == "yes"

    @property
    def candidates(self) -> tuple[str, ...]:
        """Who may take part in the answer."""
        return tuple(name.strip() for name in self.members.split(","))

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` reads back unchanged."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> FitConfig:
        """Read what `to_json` gave. Raises UserError for an unknown key or a value of the wrong type."""
        return cls(**parse_options(data, note=False))


def parse_options(data: object, note: bool = True) -> dict[str, Any]:
    """Check options against the fields of FitConfig and read their values from text where need be.

    Names of the release before are read too, with a note.

    Raises:
        UserError: a key is no field, or a value cannot be read as the field's type.

    >>> parse_options({"epochs": "3", "target_weights.species": "2"})
    {'epochs': 3, 'target_weights': {'species': 2.0}}
    """
    if not isinstance(data, Mapping):
        raise UserError(f"config: must be an object of settings, got {type(data).__name__}.")
    kinds = {item.name: str(item.type) for item in fields(FitConfig)}
    options: dict[str, Any] = {}
    for key, value in data.items():
        name, dot, entry = str(key).partition(".")
        old, name = name, _name_of(name, value)
        if note and name != old:
            log.warning(
                "the setting '%s' is called '%s' now; the old name goes with the next release", old, name
            )
        if name not in kinds:
            raise UserError(f"no setting '{key}'{suggest(str(key), kinds)}; there are {listed(kinds, 40)}.")
        if dot and not kinds[name].startswith("Mapping"):
            raise UserError(f"{key}: '{name}' is one value and has no '{entry}'.")
        if dot:
            options[name] = {**options.get(name, {}), entry: _parse(str(key), value, _entry(kinds[name]))}
        else:
            options[name] = _parse(name, value, kinds[name])
    return options


def _name_of(name: str, value: object) -> str:
    """Return what a setting is called now."""
    if name == "members" and str(value).isdecimal():  # once the number of TabM's
        return "tabm_members"
    return RENAMED.get(name, name)


def _parse(key: str, value: object, kind: str) -> Any:
    """Read one value, which may be text from the command line, as the type of its field."""
    what = _WORDS.get(kind, f"set by name, as in {key}.NAME=VALUE")
    wrong = UserError(f"{key}: must be {what}, got '{value}'.")
    if kind.startswith("Mapping"):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise wrong from None
        if not isinstance(value, Mapping):
            raise wrong
        return {str(name): _parse(f"{key}.{name}", entry, _entry(kind)) for name, entry in value.items()}
    try:
        match kind:
            case "bool" if isinstance(value, bool):
                return value
            case "bool":
                return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                    str(value).lower()
                ]
            case "int" if not isinstance(value, bool) and float(str(value)).is_integer():
                return int(float(str(value)))
            case "float" if not isinstance(value, bool) and math.isfinite(float(str(value))):
                return float(str(value))
            case "str" if isinstance(value, str):
                return value
    except (ValueError, KeyError):
        pass
    raise wrong


def _entry(kind: str) -> str:
    """Return the type of the values of a mapping, such as Mapping[str, float]."""
    return kind.removesuffix("]").rpartition(", ")[2]


_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def _check_members(candidates: tuple[str, ...]) -> None:
    strange = [name for name in candidates if name not in CANDIDATES]
    if strange or NETWORK not in candidates:
        raise UserError(
            f"members must be '{NETWORK}', or it and others of {listed(CANDIDATES)} with commas between, "
            f"got '{','.join(candidates)}'{suggest(strange[0], CANDIDATES) if strange else ''}."
        )


def _require(
    config: FitConfig, name: str, at_least: float, below: float = math.inf, at_most: float = math.inf
) -> None:
    value = getattr(config, name)
    if not (at_least <= value < below and value <= at_most):
        limit = f" and below {below}" if below < math.inf else ""
        limit += f" and at most {at_most}" if at_most < math.inf else ""
        raise UserError(f"{name} must be at least {at_least}{limit}, got {value}.")
