"""How every setting follows from the few that a user gave, from the data, and from the machine.

`train.prepare` calls `resolve`; a default, and its reason, stand here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from manyhot.config import FitConfig, parse_options
from manyhot.errors import UserError
from manyhot.machine import Device, half_of_memory, num_cores, processor, tenth_of_disk
from manyhot.schema import Schema

# Where tags are answered by whole sets: where these are few, and many where it is whole sets that count.
FEW_SETS, ROWS_PER_SET, MANY_SETS = 256, 4, 1_000
BY_TAGS = {"class_weight": "none", "tag_loss": "cross_entropy"}  # set otherwise, of tags one by one
WIDE, SMALL_TABLE = 20, 5_000  # columns from which, and rows up to which, a network learns too much by heart
WIDE_STEPS = 450  # of such a network: a rate that has come down by then beats one that is stopped on its way
# By effort: how many members a network has, and for how many rows this is worth its time.
FOLDED = {"balanced": (5, 50, SMALL_TABLE), "best": (10, 50, SMALL_TABLE)}
ENOUGH = 200_000  # held-out rows: the standard error of a share of them is about 0.001
LAST = 0.2  # of the rows, which test a model where they are parted by a column
MAX_VIEWS = 6  # of pictures that are mirrored; 5 of others
FOR_TABLES = ("mlp", "tabm", "linear")
FROM_NOTHING = (*FOR_TABLES, "cnn", "resnet9")  # our own
PHOTO_BACKBONES = {  # the defaults, and why each is one
    "resnet50": "of middling size, for a graphics card",
    "mobilenetv2_100": "small, for a processor",
    "mobilenetv3_small_100": "very small, for more than 100,000 photos on a processor",
}
PHOTO_SIDES = {"fast": 112, "balanced": 144, "best": 160}  # pixels
# What a card bears in the time of a processor for less: larger photos, more of them at once, more epochs of a
# wider network for small ones. Chosen by what its memory holds and by what others use; not measured yet.
CARD_SIDES = {"fast": 128, "balanced": 192, "best": 224}
CARD_EPOCHS = {"fast": (480, 24, 30), "balanced": (1_600, 24, 60), "best": (9_000, 60, 300)}  # see `_epochs`
CARD_BATCH = {"photo": 128, "small": 512, "table": 2_048}
CARD_WIDTH = 2  # of our residual network
BYTES_PER_PIXEL = 2_000  # of a photo that trains ResNet-50 in halves; 100 MB at 224 × 224
CONVOLUTIONAL = ("mobilenet", "resnet", "efficientnet", "convnext", "regnet", "vgg")  # take any size
TRIAL_STEPS, TRIAL_BATCH = 300, 64  # of `train.mirror`: 2 to 5 s for pictures of 32 pixels on two cores
SMALL_IMAGE = 64  # pixels; up to here images keep their size and have networks of their own
# Rows of coloured photos up to which a network of timm's learns less from nothing than ours from small ones.
FEW_PHOTOS = 1_000


class Pretrained(NamedTuple):
    """What there is of a backbone's pretrained weights.

    weights  their file, "none" where there is none, "auto" where nobody has looked
    side     pixels of the pictures that they were made for
    options  of the backbone, that they want
    """

    weights: str
    side: int = 224
    options: Mapping[str, str] = MappingProxyType({})


def resolve(
    options: Mapping[str, Any],
    schema: Schema,
    rows: int,
    find_weights: Callable[[str, str], Pretrained] = lambda backbone, asked: Pretrained(asked),
    device: Device | None = None,
) -> FitConfig:
    """Turn the options somebody gave into every number of a run; what they gave stays as it is.

    Args:
        options: fields of FitConfig, all optional; `effort` sets those that are not given.
        schema: decides between images and tables, and between small images and photos.
        rows: how many rows there are to train on.
        find_weights: returns what there is of a backbone's weights; it is told what the user said of them.
        device: what computes; without it, what the option `device` says of its kind.

    >>> from manyhot.schema import Input, Target
    >>> target = Target("y", "binary", ("no", "yes"), ("y",))
    >>> resolve({"epochs": 3}, Schema((Input("a", "number"),), (target,)), 1000).epochs
    3
    """
    chosen = parse_options(options)
    if device is None:
        kind = chosen.get("device", "auto")
        device = processor() if kind in ("auto", "cpu") else Device(kind)
    base = FitConfig(effort=chosen.get("effort", "balanced"), threads=num_cores())
    base = replace(base, memory=half_of_memory(), cache=tenth_of_disk())
    if schema.is_image:
        height, width, channels = schema.inputs[0].shape
        frozen = chosen.get("freeze", False)
        small = not frozen and chosen.get("size", max(height, width)) <= SMALL_IMAGE
        ours = "cnn" if channels == 1 else "resnet9"
        backbone = ours if small else _photo_backbone(rows, device)
        base = replace(base, backbone=backbone, device=chosen.get("device", "auto"))
        found = find_weights(chosen.get("backbone", backbone), chosen.get("weights", "auto"))
        scarce = found.weights == "none" and rows <= FEW_PHOTOS and channels > 1 and schema.targets
        if scarce and not (small or frozen or chosen.keys() & {"backbone", "size"}):
            small, backbone, chosen = True, ours, {**chosen, "size": SMALL_IMAGE}
            base, found = replace(base, backbone=ours), Pretrained("none")
        options_of = {**found.options, **chosen.get("backbone_options", {})}
        chosen = {**chosen, "weights": found.weights}
        if frozen:
            base = replace(_for_features(base, rows), size=found.side)
        elif not small:
            base = _for_photos(base, rows, chosen, schema)
            base = _photos_on_card(base, rows, device) if device.memory else base
        elif chosen.get("backbone", backbone) == "resnet9":
            base = _for_small_photos(base, rows, schema)
            base = _small_photos_on_card(base, rows) if device.memory else base
        else:
            base = _for_small_images(base, rows)
        base = replace(base, size=0 if small else base.size)
        chosen["backbone_options"] = {**base.backbone_options, **options_of}
    else:
        columns = sum(WIDE if each.kind == "text" else 1 for each in schema.inputs)  # of many words
        base = _for_tables(base, rows, columns)
        base = _table_on_card(base, rows) if device.memory else base
    few = 10_000 if base.effort == "best" else 20_000  # rows of which a twentieth does not say enough
    share = 0.2 if rows < 2_000 else 0.1 if rows < few else 0.05
    base = replace(base, validation=min(share, round(ENOUGH / max(rows, 1), 4)))
    base = replace(base, test=LAST if chosen.get("split_by") else 0.0)
    usual = base.freeze or chosen.get("backbone", base.backbone) == base.backbone
    if usual and "validation" not in chosen:
        base = replace(base, folds=_folds(base, rows))
    for target in chosen.get("target_weights", {}):
        schema.target(target)
    if all(chosen.get(name, plain) == plain for name, plain in BY_TAGS.items()):
        whole = chosen.get("objective", base.objective) == "exact_match"
        base = replace(base, label_sets=MANY_SETS if whole else min(FEW_SETS, rows // ROWS_PER_SET))
    if chosen.get("class_weight") == "balanced":  # probabilities stay true; rare classes are answered more
        base = replace(base, objective="balanced_accuracy")
    config = _by_backbone(replace(base, **chosen), chosen, schema, device)
    _check(config, schema)
    return config


def _folds(base: FitConfig, rows: int) -> int:
    """Return how many folds a default or frozen backbone has, 1 where rows may as well be held out."""
    folded = base.backbone == "mlp" or base.freeze
    folds, least, most = FOLDED.get(base.effort, (1, 0, 0)) if folded else (1, 0, 0)
    return folds if least <= rows < most else 1


def _by_backbone(config: FitConfig, chosen: Mapping[str, Any], schema: Schema, device: Device) -> FitConfig:
    """Set what follows from the kind of backbone, which the user may have chosen."""
    name = config.backbone
    grows = name.startswith(CONVOLUTIONAL)  # transformers take pictures of one size only
    found: dict[str, Any] = {
        "first_size": min(config.first_size, config.size or config.first_size) if grows else 0,
        "linear_probe": config.linear_probe and name not in FROM_NOTHING,
        "precision": precision(name, device),
        "channels_last": schema.is_image and "mlp" not in name,
        "tabm_members": 16 if name == "tabm" else 1,
        "piecewise": name == "tabm" or (config.piecewise and name == "mlp"),
    }
    return replace(config, **{key: value for key, value in found.items() if key not in chosen})


def precision(backbone: str, device: Device) -> str:
    """Return in which numbers a backbone learns: in halves where they save time.

    On a processor depthwise convolutions gain nothing from them, and small networks for tables lose in
    conversions; on a card all pictures gain, and tables are multiplied in tf32, which costs no conversion.
    """
    dense = backbone == "cnn" or backbone.startswith(("resnet", "vgg"))
    if device.halves and (dense or (device.kind != "cpu" and backbone not in FOR_TABLES)):
        return device.halves[0]
    return "tf32" if device.tf32 else "float32"


def _check(config: FitConfig, schema: Schema) -> None:
    """Refuse settings that do not go together, or not with the data."""
    alone = "freeze" if config.freeze else "linear_probe" if config.linear_probe else ""
    if alone and (not schema.is_image or config.backbone in FROM_NOTHING):
        raise UserError(
            f"{alone}: backbone '{config.backbone}' starts from nothing; only timm's have weights. "
            "Leave it out."
        )
    if config.freeze and config.weights == "none":
        raise UserError(
            f"freeze: backbone '{config.backbone}' has no pretrained weights here, and heads on a random "
            "network learn little; give --weights FILE (safetensors), or leave --freeze out."
        )
    if config.folds > 1 and schema.is_image and not config.freeze:
        raise UserError(
            f"folds={config.folds}: folds are for tables and for frozen backbones (freeze); leave it out, "
            "and some of the pictures are held out."
        )
    if config.views > (MAX_VIEWS if schema.is_image else 1):
        raise UserError(f"views must be at most {MAX_VIEWS}, and 1 for tables, got {config.views}.")
    if config.mirror != "no" and not schema.is_image:
        raise UserError(f"mirror={config.mirror}: only pictures are mirrored.")
    clash = next((name for name, plain in BY_TAGS.items() if getattr(config, name) != plain), None)
    if config.label_sets and clash:
        raise UserError(
            f"label_sets={config.label_sets} with {clash}={getattr(config, clash)}: not for tags one by one."
        )
    if (config.tabm_members > 1) != (config.backbone == "tabm"):
        raise UserError(
            f"tabm_members={config.tabm_members} with backbone '{config.backbone}': 'tabm' has 2 at least, "
            "others 1; the members of others are folds."
        )
    target, _ = config.monitored
    if target:
        schema.target(target)
    elif config.monitor != "loss":
        raise UserError(f"monitor must be 'loss' or TARGET/METRIC, got '{config.monitor}'.")


def estimate(config: FitConfig, rows: int, values: int, device: Device | None = None) -> str:
    """Guess how long a run takes, from what its backbone took on one processor with two cores.

    Of a card, which may be a hundred times as fast as another, how many steps it will make.

    Args:
        rows: how many train. values: how many numbers one of them has.
    """
    if device is not None and device.kind != "cpu":
        card = f"{device.name}, {device.memory:.0f} GB" if device.memory else device.kind
        count = max(config.epochs, round(rows * config.epochs / config.batch_size))
        return f"{count:,} steps if all epochs are run, with batches, rate and numbers for a card: {card}"
    per_row = {"mlp": 8e-6, "cnn": 1.5e-7 * values, "resnet9": 2e-7 * values}
    per_step = 3e-3  # seconds that a step costs however few its rows are
    steps = rows * config.epochs / config.batch_size
    # of growing photos
    area = ((config.first_size / config.size + 1) / 2) ** 2 if config.size and config.first_size else 1.0
    learning = 0.65 if config.frozen_stages else 1.0  # of the time of a network all of which learns
    a_row = per_row.get(config.backbone, 4e-7 * values * area * learning) * config.folds
    if config.freeze:  # the backbone sees a row once, without learning, and the heads are nothing
        seconds = 3 + rows * a_row / 3 + steps * per_step / 3
    else:
        seconds = 3 + steps * per_step + rows * config.epochs * a_row
        seconds += 2 * rows * a_row / 3 if config.linear_probe else 0.0  # for the heads, and for neighbours
    if config.mirror == "auto":
        seconds += TRIAL_STEPS * (per_step + min(TRIAL_BATCH, rows) * per_row["cnn"])
    unit = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    unused = f"; {device.unused}" if device is not None and device.unused else ""
    return f"about {unit} on 2 cores if all epochs are run{unused}"


def _for_small_images(base: FitConfig, rows: int) -> FitConfig:
    """Images up to 64 pixels: a convolutional network of our own, trained from nothing."""
    steps = {"fast": 500, "balanced": 3_500, "best": 6_000}[base.effort]  # of each member, at best
    batch = _power_of_two(rows / 25, 64, 256)
    return replace(
        base,
        batch_size=batch,
        epochs=_epochs(steps, rows, batch, at_most={"fast": 30, "balanced": 60, "best": 200}[base.effort]),
        learning_rate=8e-3 if batch == 256 else 4e-3,
        weight_decay=0.02,
        augment="shift",
        views=5,
        patience={"fast": 5, "balanced": 15, "best": 50}[base.effort],
    )


def _for_small_photos(base: FitConfig, rows: int, schema: Schema) -> FitConfig:
    """Colour pictures up to 64 pixels, which show things rather than signs: a small residual network.

    The rate always comes all the way down, since that is where most of what it knows comes from.
    """
    steps, least, most = {"fast": (320, 4, 20), "balanced": (1_260, 12, 60), "best": (9_000, 60, 300)}[
        base.effort
    ]
    batch = _power_of_two(rows / 25, 64, 256)
    return replace(
        base,
        batch_size=batch,
        epochs=max(least, _epochs(steps, rows, batch, at_most=most)),
        learning_rate=8e-3 if batch == 256 else 4e-3,
        weight_decay=0.05,
        label_smoothing=0.1 if all(target.exclusive for target in schema.targets) else 0.0,
        augment="move",
        mirror="auto",
        mixup={"fast": 0.0, "balanced": 0.3, "best": 0.5}[base.effort],
        views=MAX_VIEWS,
    )


def _for_photos(base: FitConfig, rows: int, chosen: Mapping[str, Any], schema: Schema) -> FitConfig:
    """Photos: a network of timm's at a working size that a laptop bears, from pretrained weights if any.

    What is mixed and painted over grows with the effort, since it pays only over many epochs.
    """
    pretrained = chosen.get("weights", "auto") != "none"
    effort = base.effort
    return replace(
        base,
        batch_size=_power_of_two(rows / 50, 16, 64 if rows >= 20_000 else 32),
        epochs={"fast": 4, "balanced": 12, "best": 40}[effort] * (1 if pretrained else 2),
        learning_rate=8e-4 if pretrained else 2e-3,
        weight_decay=0.05,
        warmup=0.1,
        linear_probe=pretrained,
        frozen_stages=2 if pretrained else 0,
        augment="crop",
        mixup=0.2 if effort == "best" else 0.0,
        random_erasing=0.1 if effort == "best" else 0.0,
        views=2,
        # Of a tag that a hundredth of the photos has, smoothing would make more than twice as many.
        label_smoothing=0.05 if all(target.exclusive for target in schema.targets) else 0.0,
        size=PHOTO_SIDES[effort],
        first_size=80 if effort == "fast" else 96,
    )


def _faster(base: FitConfig, batch: int, width: int = 1) -> FitConfig:
    """Return settings with batches for a card, and the rate that goes with them and with a wider network.

    Source: the square root of the batch, for Adam, Malladi et al. 2022, "On the SDEs and Scaling Rules for
    Adaptive Gradient Algorithms"; the inverse of the width, Yang et al. 2021, "Tensor Programs V", table 3.
    """
    rate = base.learning_rate * (batch / base.batch_size) ** 0.5 / width
    return replace(base, batch_size=batch, learning_rate=float(f"{rate:.2g}"))


def _photos_on_card(base: FitConfig, rows: int, device: Device) -> FitConfig:
    """Photos on a card: larger ones, as many at once as its memory holds."""
    side = CARD_SIDES[base.effort]
    room = _power_of_two(0.5e9 * device.memory / (BYTES_PER_PIXEL * side**2) / 2**0.5, 8, CARD_BATCH["photo"])
    batch = max(base.batch_size, _power_of_two(rows / 50, 16, CARD_BATCH["photo"]))
    return replace(_faster(base, min(batch, room)), size=side)


def _small_photos_on_card(base: FitConfig, rows: int) -> FitConfig:
    """Small colour pictures on a card: a wider network, for which a processor would take hours."""
    steps, least, most = CARD_EPOCHS[base.effort]
    batch = _power_of_two(rows / 25, 64, CARD_BATCH["small"])
    epochs = max(least, _epochs(steps, rows, batch, at_most=most))
    return replace(
        _faster(base, batch, CARD_WIDTH), epochs=epochs, backbone_options={"width": str(CARD_WIDTH)}
    )


def _table_on_card(base: FitConfig, rows: int) -> FitConfig:
    """Tables on a card: larger batches where there are rows for many of them, and as many of them."""
    batch = _power_of_two(rows / 200, base.batch_size, CARD_BATCH["table"])
    return replace(_faster(base, batch), epochs=base.epochs * batch // base.batch_size)


def _for_features(base: FitConfig, rows: int) -> FitConfig:
    """Heads alone on the features of a backbone that rests: seconds, so many epochs.

    `resolve` lets it see pictures as large as its weights were made for, since it sees each only once.
    """
    return replace(
        base,
        freeze=True,
        batch_size=_power_of_two(rows / 30, 16, 128),
        epochs={"fast": 20, "balanced": 50, "best": 200}[base.effort],
        learning_rate=3e-3,
        weight_decay=0.5,
        dropout=0.5,
        patience={"fast": 3, "balanced": 8, "best": 25}[base.effort],
        views=2,
        augment="crop",  # which the heads do not see; photos are judged mirrored too
    )


def of_heads(config: FitConfig, rows: int) -> FitConfig:
    """Return the settings with which the heads of a run learn alone before it, on so many rows.

    Source: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution": heads that know nothing yet would first spoil what the backbone knows.
    """
    return _for_features(config, rows)


def _photo_backbone(rows: int, device: Device) -> str:
    """Return the backbone for so many photos on a device."""
    if device.kind != "cpu":
        return "resnet50"
    return "mobilenetv3_small_100" if rows > 100_000 else "mobilenetv2_100"


def _for_tables(base: FitConfig, rows: int, columns: int) -> FitConfig:
    """Tables: a small multilayer perceptron, stopped early, which a forest and a linear model answer beside.

    Small ones get members rather than more epochs, which only fit them closer. It is regularised little:
    where a table wants more, the others are picked.
    """
    base = replace(base, backbone="mlp", learning_rate=2e-3, weight_decay=0.1, dropout=0.1)
    base = replace(base, patience={"fast": 6, "balanced": 16, "best": 50}[base.effort])
    steps, batch = {"fast": 600, "balanced": 2_500, "best": 10_000}[base.effort], rows / 30
    if columns >= WIDE and rows < SMALL_TABLE:
        base, steps, batch = _for_wide_tables(base), WIDE_STEPS, rows / 12
    size = _power_of_two(batch, 16, 512)
    at_most = 30 if base.effort == "fast" else 60
    return replace(base, batch_size=size, epochs=_epochs(steps, rows, size, at_most))


def _for_wide_tables(base: FitConfig) -> FitConfig:
    """Small tables of many columns, which a network learns by heart unless it is kept from that.

    One that sees each column in pieces and forgets half of what it sees answers better.
    """
    return replace(
        base,
        piecewise=True,
        dropout=0.5,
        learning_rate=3e-3,
        patience=8 if base.effort == "balanced" else base.patience,
    )


def _epochs(steps: int, rows: int, batch: int, at_most: int) -> int:
    """Return how many epochs come to about `steps` steps."""
    return max(1, min(at_most, round(steps * batch / max(rows, 1))))


def _power_of_two(value: float, low: int, high: int) -> int:
    return int(min(high, max(low, 2 ** round(math.log2(max(value, 1))))))
