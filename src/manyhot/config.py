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
Augment = Literal["none", "shift", "crop"]
ClassWeight = Literal["none", "balanced"]
CHOICES: dict[str, tuple[str, ...]] = {
    "effort": get_args(Effort),
    "precision": get_args(Precision),
    "augment": get_args(Augment),
    "class_weight": get_args(ClassWeight),
    "device": ("auto", "cpu", "cuda", "mps"),
    "unknown_class": ("error", "missing"),
}
MAX_SEED = 1 << 32  # seeds of steps are made of it, and must fit into 64 bits
MAX_SETS, ROWS_PER_SET = 256, 20  # where tags are still answered by whole sets
FOLDED_ROWS, FOLDS = (50, 5_000), 5  # tables that are worth a network of members, at effort best
MAX_VIEWS = 5
SMALL_IMAGE = 64  # pixels; up to here images keep their size and have networks of their own


@dataclass(frozen=True)
class FitConfig:
    """Every setting of `fit`; any field can be given as `--set KEY=VALUE`.

    Pictures that take more than `memory` GB are not held but read as they are needed; up to `cache` GB of
    decoded ones are kept on the disk, 0 keeps none.
    Fractions are of rows, rates are per step, `clip` is the largest norm of the gradient,
    `warmup` is the share of steps in which the rate rises, `monitor` is "loss" or "TARGET/METRIC".
    A picture is judged in `views` views, moved by a pixel, whose mean counts.
    With `folds` above 1 a network has as many members, each trained without one part of the rows, and no
    other rows are held out. Tags are answered by whole sets where training has at most `sets` different
    ones, else tag by tag.
    """

    effort: str = "balanced"
    backbone: str = "mlp"
    weights: str = "auto"
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.2
    clip: float = 1.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    augment: str = "none"
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
        for name in ("patience", "size", "sets", "weight_decay", "cache"):
            _require(self, name, at_least=0)
        _require(self, "seed", at_least=0, below=MAX_SEED)
        for name, share in self.target_weights.items():
            if share < 0:
                raise UserError(f"target_weights.{name} must be at least 0, got {share}.")
        for name in ("validation", "test", "label_smoothing", "dropout", "warmup"):
            _require(self, name, at_least=0, below=1)
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
            options[name] = {**options.get(name, {}), entry: _parse(str(key), value, "float")}
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
        base = _for_small_images(base, rows) if small else _for_photos(base, rows)
        base = replace(base, size=0 if small else base.size)
    else:
        base = _for_tables(base, rows)
    base = replace(base, validation=0.2 if rows < 2_000 else 0.1 if rows < 20_000 else 0.05)
    few = FOLDED_ROWS[0] <= rows < FOLDED_ROWS[1] and not schema.is_image and base.effort == "best"
    if few and chosen.get("backbone", "mlp") == "mlp" and "validation" not in chosen:
        base = replace(base, folds=FOLDS)
    for target in chosen.get("target_weights", {}):
        schema.target(target)
    if chosen.get("class_weight", "none") == "none":  # weights are for tags, and sets have none
        base = replace(base, sets=min(MAX_SETS, rows // ROWS_PER_SET))
    config = replace(base, **chosen)
    if config.views > (MAX_VIEWS if schema.is_image else 1):
        raise UserError(f"views must be at most {MAX_VIEWS}, and 1 for tables, got {config.views}.")
    if config.folds > 1 and config.backbone != "mlp":
        raise UserError(f"folds: backbone '{config.backbone}' has no members, only 'mlp' has.")
    if "precision" not in chosen:
        config = replace(config, precision=_precision(config.backbone))
    if "channels_last" not in chosen:
        config = replace(config, channels_last=schema.is_image and "mlp" not in config.backbone)
    monitored, slash, _ = config.monitor.partition("/")
    if slash:
        schema.target(monitored)
    elif config.monitor != "loss":
        raise UserError(f"monitor must be 'loss' or TARGET/METRIC, got '{config.monitor}'.")
    return config


def estimate(config: FitConfig, rows: int, values: int) -> str:
    """Guess how long a run takes, from what its backbone took on one processor with two cores.

    Args:
        rows: how many train. values: how many numbers one of them has.
    """
    per_row = {"mlp": 8e-6, "mnist-mlp": 2e-5, "mnist-cnn": 1.2e-4, "cnn": 1.5e-7 * values}
    per_step = 3e-3  # seconds that a step costs however few its rows are
    steps = rows * config.epochs / config.batch_size
    seconds = 3 + steps * per_step + rows * config.epochs * per_row.get(config.backbone, 4e-7 * values)
    unit = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    return f"about {unit} on 2 cores if no epoch is skipped"


def _for_small_images(base: FitConfig, rows: int) -> FitConfig:
    """Images up to 64 pixels: a convolutional network of our own, trained from nothing."""
    steps = {"fast": 500, "balanced": 2_250, "best": 12_000}[base.effort]
    batch = _power_of_two(rows / 25, 64, 256)
    return replace(
        base,
        backbone="cnn",
        batch_size=batch,
        epochs=_epochs(steps, rows, batch, at_most={"fast": 30, "balanced": 60, "best": 200}[base.effort]),
        learning_rate=4e-3,
        weight_decay=0.02,
        augment="shift",
        views=MAX_VIEWS,
        patience={"fast": 5, "balanced": 15, "best": 50}[base.effort],
    )


def _for_photos(base: FitConfig, rows: int) -> FitConfig:
    """Photos: a network of timm's at a working size that a laptop bears."""
    epochs = {"fast": 4, "balanced": 12, "best": 40}[base.effort]
    return replace(
        base,
        backbone="mobilenetv2_100",
        batch_size=_power_of_two(rows / 50, 16, 32),
        epochs=epochs,
        learning_rate=1e-3,
        weight_decay=0.05,
        augment="crop",
        label_smoothing=0.05,
        size={"fast": 96, "balanced": 128, "best": 160}[base.effort],
        patience=epochs,
    )


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
    return "bfloat16" if dense and "amx_bf16" in _cpu_flags() else "float32"


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
        return {str(name): _parse(f"{key}.{name}", number, "float") for name, number in value.items()}
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


_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def _require(config: FitConfig, name: str, at_least: float, below: float = math.inf) -> None:
    value = getattr(config, name)
    if not at_least <= value < below:
        limit = f" and below {below}" if below < math.inf else ""
        raise UserError(f"{name} must be at least {at_least}{limit}, got {value}.")
