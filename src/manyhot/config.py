"""Every number of a training run: what the user set, and what follows from the data for the rest.

`resolve` turns a few options into a FitConfig in which nothing is open; `train` obeys it, the
bundle keeps it. Only what training needs stands here; what a prediction needs is on the Target.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Schema, check_objective

Effort = Literal["fast", "balanced", "best"]
Precision = Literal["float32", "bfloat16"]
Augment = Literal["none", "shift", "crop", "photo"]
TagLoss = Literal["cross_entropy", "focal", "asymmetric"]
ClassWeight = Literal["none", "balanced"]
CHOICES: dict[str, tuple[str, ...]] = {
    "effort": get_args(Effort),
    "precision": get_args(Precision),
    "augment": get_args(Augment),
    "tag_loss": get_args(TagLoss),
    "class_weight": get_args(ClassWeight),
    "device": ("auto", "cpu", "cuda", "mps"),
    "unknown_class": ("error", "missing"),
}
MAX_SEED = 1 << 32  # seeds of steps are made of it, and must fit into 64 bits
MAX_SETS, ROWS_PER_SET = 256, 20  # where tags are still answered by whole sets
FOLDS = 5  # members of a network at effort best
FOLDED_TABLES, FOLDED_PICTURES = (50, 5_000), (500, 100_000)  # rows for which it is worth one
MAX_VIEWS = 5
FROM_NOTHING = ("mlp", "cnn", "mnist-mlp", "mnist-cnn")  # our own
PHOTO_BACKBONES = {  # the defaults, and why each is one
    "resnet50": "of middling size, for a graphics card",
    "mobilenetv2_100": "small, for a processor",
    "mobilenetv3_small_100": "very small, for more than 100,000 photos on a processor",
}
CONVOLUTIONAL = ("mobilenet", "resnet", "efficientnet", "convnext", "regnet", "vgg")  # take any size
SMALL_IMAGE = 64  # pixels; up to here images keep their size and have networks of their own


@dataclass(frozen=True)
class FitConfig:
    """Every setting of `fit`; any field can be given as `--set KEY=VALUE`.

    Pictures that take more than `memory` GB are not held but read as they are needed; up to `cache` GB of
    decoded ones are kept on the disk, 0 keeps none.
    Fractions are of rows, rates are per step, `clip` is the largest norm of the gradient,
    `warmup` is the share of steps in which the rate rises, `monitor` is "loss" or "TARGET/METRIC".
    A picture is judged in `views` views, whose mean counts: moved by a pixel, a photo mirrored.
    `erasing` and `mixing` are the shares of training pictures a part of which is painted over, and which
    are mixed with another; `first_size` is the side in the first epoch, growing to `size`.
    A backbone learns at `backbone_rate` of the rate, after resting for a share `rest` of the steps;
    with `freeze` it does not learn at all. `average` is the decay of the moving average of the weights
    that is kept, 0 for none. `backbone_options` go to timm, such as backbone_options.pad_type=same.
    With `folds` above 1 a network has as many members, each trained without one part of the rows, and no
    other rows are held out. Tags are answered by whole sets where training has at most `sets` different
    ones, else tag by tag.
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
    backbone_rate: float = 1.0
    rest: float = 0.0
    average: float = 0.0
    clip: float = 1.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    tag_loss: str = "cross_entropy"
    augment: str = "none"
    erasing: float = 0.0
    mixing: float = 0.0
    first_size: int = 0
    views: int = 1
    class_weight: str = "none"
    target_weights: Mapping[str, float] = field(default_factory=dict)
    monitor: str = "loss"
    patience: int = 0
    size: int = 0
    objective: str = "hamming"
    sets: int = 0
    validation: float = 0.1
    folds: int = 1
    test: float = 0.0
    group: str = ""
    unknown_class: str = "error"
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    channels_last: bool = False
    threads: int = 1
    memory: float = 1.0
    cache: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UserError(
                    f"{name} must be one of {listed(choices)}, got '{value}'{suggest(value, choices)}."
                )
        for name in ("epochs", "batch_size", "folds", "views", "threads"):
            _require(self, name, at_least=1)
        for name in ("patience", "size", "first_size", "sets", "weight_decay", "backbone_rate", "cache"):
            _require(self, name, at_least=0)
        _require(self, "seed", at_least=0, below=MAX_SEED)
        for name, share in self.target_weights.items():
            if share < 0:
                raise UserError(f"target_weights.{name} must be at least 0, got {share}.")
        for name in ("validation", "test", "label_smoothing", "dropout", "warmup", "rest", "average"):
            _require(self, name, at_least=0, below=1)
        for name in ("erasing", "mixing"):
            _require(self, name, at_least=0, at_most=1)
        for name in ("learning_rate", "clip", "memory"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.validation + self.test >= 1:
            raise UserError(f"validation {self.validation} and test {self.test} leave no rows to train on.")
        check_objective(self.objective)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` reads back unchanged."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> FitConfig:
        """Read what `to_json` gave. Raises UserError for an unknown key or a value of the wrong type."""
        return cls(**parse_options(data))


def parse_options(data: object) -> dict[str, Any]:
    """Check options against the fields of FitConfig and read their values from text where need be.

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
        if name not in kinds:
            raise UserError(f"no setting '{key}'{suggest(str(key), kinds)}; there are {listed(kinds, 40)}.")
        if dot and not kinds[name].startswith("Mapping"):
            raise UserError(f"{key}: '{name}' is one value and has no '{entry}'.")
        if dot:
            options[name] = {**options.get(name, {}), entry: _parse(str(key), value, _entry(kinds[name]))}
        else:
            options[name] = _parse(name, value, kinds[name])
    return options


def resolve(options: Mapping[str, Any], schema: Schema, rows: int) -> FitConfig:
    """Turn the options somebody gave into every number of a run; what they gave stays as it is.

    Args:
        options: fields of FitConfig, all optional; `effort` sets those that are not given.
        schema: decides between images and tables, and between small images and photos.
        rows: how many rows there are to train on.

    >>> from manyhot.schema import Input, Target
    >>> target = Target("y", "binary", ("no", "yes"), ("y",))
    >>> resolve({"epochs": 3}, Schema((Input("a", "number"),), (target,)), 1000).epochs
    3
    """
    chosen = parse_options(options)
    base = FitConfig(effort=chosen.get("effort", "balanced"), threads=num_cores())
    base = replace(base, memory=half_of_memory(), cache=tenth_of_disk())
    if schema.is_image:
        height, width, _ = schema.inputs[0].shape
        small = chosen.get("size", max(height, width)) <= SMALL_IMAGE
        base = replace(base, device=chosen.get("device", "auto"))
        base = _for_small_images(base, rows) if small else _for_photos(base, rows, chosen)
        base = replace(base, size=0 if small else base.size)
    else:
        base = _for_tables(base, rows)
    base = replace(base, validation=0.2 if rows < 2_000 else 0.1 if rows < 20_000 else 0.05)
    least, most = FOLDED_PICTURES if base.backbone == "cnn" else FOLDED_TABLES
    worth = base.effort == "best" and base.backbone in ("cnn", "mlp") and least <= rows < most
    if worth and chosen.get("backbone", base.backbone) == base.backbone and "validation" not in chosen:
        base = replace(base, folds=FOLDS)
    for target in chosen.get("target_weights", {}):
        schema.target(target)
    if chosen.get("class_weight", "none") == "none":  # weights are for tags, and sets have none
        base = replace(base, sets=min(MAX_SETS, rows // ROWS_PER_SET))
    config = replace(base, **chosen)
    if "first_size" not in chosen:  # transformers take pictures of one size only
        grows = config.backbone.startswith(CONVOLUTIONAL)
        config = replace(config, first_size=min(config.first_size, config.size) if grows else 0)
    if "precision" not in chosen:
        config = replace(config, precision=_precision(config.backbone))
    if "channels_last" not in chosen:
        config = replace(config, channels_last=schema.is_image and "mlp" not in config.backbone)
    _check(config, schema)
    return config


def _check(config: FitConfig, schema: Schema) -> None:
    """Refuse settings that do not go together, or not with the data."""
    if config.freeze and (not schema.is_image or config.backbone in FROM_NOTHING):
        raise UserError(
            f"freeze: backbone '{config.backbone}' starts from nothing; only timm's have weights."
        )
    if config.views > (MAX_VIEWS if schema.is_image else 1):
        raise UserError(f"views must be at most {MAX_VIEWS}, and 1 for tables, got {config.views}.")
    monitored, slash, _ = config.monitor.partition("/")
    if slash:
        schema.target(monitored)
    elif config.monitor != "loss":
        raise UserError(f"monitor must be 'loss' or TARGET/METRIC, got '{config.monitor}'.")


def estimate(config: FitConfig, rows: int, values: int) -> str:
    """Guess how long a run takes, from what its backbone took on one processor with two cores.

    Args:
        rows: how many train. values: how many numbers one of them has.
    """
    per_row = {"mlp": 8e-6, "mnist-mlp": 2e-5, "mnist-cnn": 1.2e-4, "cnn": 1.5e-7 * values}
    per_step = 3e-3  # seconds that a step costs however few its rows are
    steps = rows * config.epochs / config.batch_size
    area = ((config.first_size / config.size + 1) / 2) ** 2 if config.first_size else 1.0  # of growing photos
    a_row = per_row.get(config.backbone, 4e-7 * values * area) * config.folds
    if config.freeze:  # the backbone sees a row once, without learning, and the heads are nothing
        seconds = 3 + rows * a_row / 3 + steps * per_step / 3
    else:
        seconds = 3 + steps * per_step + rows * config.epochs * a_row
    unit = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"about {unit} on 2 cores if no epoch is skipped"


def _for_small_images(base: FitConfig, rows: int) -> FitConfig:
    """Images up to 64 pixels: a convolutional network of our own, trained from nothing."""
    steps = {"fast": 500, "balanced": 3_500, "best": 6_000}[base.effort]  # of each member, at best
    batch = _power_of_two(rows / 25, 64, 256)
    return replace(
        base,
        backbone="cnn",
        batch_size=batch,
        epochs=_epochs(steps, rows, batch, at_most={"fast": 30, "balanced": 60, "best": 200}[base.effort]),
        learning_rate=8e-3 if batch == 256 else 4e-3,
        weight_decay=0.02,
        augment="shift",
        views=MAX_VIEWS,
        patience={"fast": 5, "balanced": 15, "best": 50}[base.effort],
    )


def _for_photos(base: FitConfig, rows: int, chosen: Mapping[str, Any]) -> FitConfig:
    """Photos: a network of timm's at a working size that a laptop bears, from pretrained weights if any.

    What is changed, mixed and averaged grows with the effort, since it pays only over many epochs.
    """
    if chosen.get("freeze"):
        return _for_features(base, rows)
    pretrained = chosen.get("weights", "auto") != "none"
    effort = base.effort
    return replace(
        base,
        backbone=_photo_backbone(rows, base.device),
        batch_size=_power_of_two(rows / 50, 16, 64 if rows >= 20_000 else 32),
        epochs={"fast": 4, "balanced": 12, "best": 40}[effort] * (1 if pretrained else 2),
        learning_rate=1e-3 if pretrained else 2e-3,
        weight_decay=0.05,
        backbone_rate=0.5 if pretrained else 1.0,
        rest=0.02 if pretrained else 0.0,
        average=0.0 if effort == "fast" else 0.998,
        augment="crop" if effort == "fast" else "photo",
        mixing={"fast": 0.0, "balanced": 0.25, "best": 0.5}[effort],
        erasing={"fast": 0.0, "balanced": 0.1, "best": 0.2}[effort],
        views=2,
        label_smoothing=0.05,
        size={"fast": 112, "balanced": 144, "best": 160}[effort],
        first_size={"fast": 80, "balanced": 96, "best": 96}[effort],
    )


def _for_features(base: FitConfig, rows: int) -> FitConfig:
    """Heads alone on the features of a backbone that rests: seconds, so many epochs."""
    return replace(
        base,
        backbone=_photo_backbone(rows, base.device),
        freeze=True,
        batch_size=_power_of_two(rows / 30, 16, 128),
        epochs={"fast": 20, "balanced": 50, "best": 200}[base.effort],
        learning_rate=3e-3,
        weight_decay=0.5,
        dropout=0.2,
        size={"fast": 112, "balanced": 144, "best": 160}[base.effort],
        patience={"fast": 3, "balanced": 8, "best": 25}[base.effort],
        views=2,
        augment="crop",  # which the heads do not see; photos are judged mirrored too
    )


def _photo_backbone(rows: int, device: str) -> str:
    """Return the backbone for so many photos on a device."""
    if device in ("cuda", "mps"):
        return "resnet50"
    return "mobilenetv3_small_100" if rows > 100_000 else "mobilenetv2_100"


def _for_tables(base: FitConfig, rows: int) -> FitConfig:
    """Tables: a small multilayer perceptron, stopped early."""
    steps = {"fast": 600, "balanced": 2_500, "best": 10_000}[base.effort]
    batch = _power_of_two(rows / 30, 16, 512)
    return replace(
        base,
        backbone="mlp",
        batch_size=batch,
        epochs=_epochs(steps, rows, batch, at_most={"fast": 30, "balanced": 100, "best": 300}[base.effort]),
        learning_rate=2e-3,
        weight_decay=2.0,
        dropout=0.1,
        patience={"fast": 6, "balanced": 16, "best": 50}[base.effort],
    )


def _epochs(steps: int, rows: int, batch: int, at_most: int) -> int:
    """Return how many epochs come to about `steps` steps."""
    return max(1, min(at_most, round(steps * batch / max(rows, 1))))


def _power_of_two(value: float, low: int, high: int) -> int:
    return int(min(high, max(low, 2 ** round(math.log2(max(value, 1))))))


def num_cores() -> int:
    """Return the cores this process may use: OMP_NUM_THREADS where it is set, else those it is given.

    In a container these are fewer than the machine's.
    """
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def half_of_memory() -> float:
    """Return half of the memory that this process may use, in GB."""
    try:
        amount = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not on Windows
        amount = 8 << 30
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    words = limit.read_text().strip() if limit.exists() else "max"
    return round((min(amount, int(words)) if words.isdigit() else amount) / 2e9, 1)


def cache_folder() -> Path | None:
    """Return the folder for what can be made again, None where there is no home for it.

    MANYHOT_CACHE names it, else it is where the system keeps such things.
    """
    if os.environ.get("MANYHOT_CACHE"):
        return Path(os.environ["MANYHOT_CACHE"]).absolute()
    try:
        home = Path.home()
    except RuntimeError:
        return None
    places = {
        "Windows": os.environ.get("LOCALAPPDATA", ""),
        "Darwin": str(home / "Library" / "Caches"),
    }
    place = Path(places.get(platform.system(), os.environ.get("XDG_CACHE_HOME", "")))
    return (place if place.is_absolute() else home / ".cache") / "manyhot"


def tenth_of_disk() -> float:
    """Return a tenth of what is free on the disk of `cache_folder`, at most 10, in GB."""
    folder = cache_folder()
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None) if folder else None
    return round(min(10.0, shutil.disk_usage(there).free / 1e10), 1) if there else 0.0


def _precision(backbone: str) -> Precision:
    """Choose bfloat16 where the processor multiplies it in hardware and the backbone is dense.

    Depthwise convolutions gain nothing from it, and the small networks for tables lose more in
    conversions.
    """
    dense = backbone in ("cnn", "mnist-mlp") or backbone.startswith(("resnet", "vgg"))
    return "bfloat16" if dense and _cpu_flags() & {"amx_bf16", "avx512_bf16"} else "float32"


def _cpu_flags() -> frozenset[str]:
    path = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not path.exists():
        return frozenset()
    lines = (line for line in path.read_text().splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").split())


def _parse(key: str, value: object, kind: str) -> Any:
    """Read one value, which may be text from the command line, as the type of its field."""
    wrong = UserError(f"{key}: must be {_WORDS.get(kind, kind)}, got '{value}'.")
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


def _require(
    config: FitConfig, name: str, at_least: float, below: float = math.inf, at_most: float = math.inf
) -> None:
    value = getattr(config, name)
    if not (at_least <= value < below and value <= at_most):
        limit = f" and below {below}" if below < math.inf else ""
        limit += f" and at most {at_most}" if at_most < math.inf else ""
        raise UserError(f"{name} must be at least {at_least}{limit}, got {value}.")
