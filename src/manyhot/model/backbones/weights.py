"""Pretrained weights of timm's networks: where they are, how they get in, which pixels they expect.

`train.prepare` asks `find` and `pixels` before it reads pictures, `timm.create` calls `load`. Only
safetensors are read, wherever they come from.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from manyhot.errors import UserError, listed

log = logging.getLogger("manyhot")
ANSWER_SECONDS = 10  # how long the hub may take to answer; a download may take longer
HEADS = ("classifier.", "fc.", "head.")
AS_TENSORFLOW = re.compile("(^|[^a-z])(tf|same)([^a-z]|$)")  # in the name of a file
USUAL = (  # what weights are tried with that do not fit, and whose name does not say whose they are
    *("mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100"),
    *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3"),
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "regnety_004"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "vgg16", "convnext_tiny"),
    *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_small_patch14_dinov2"),
)


def find(name: str) -> str:
    """Return the file of timm's pretrained weights for a backbone, "none" where there is none to be had.

    A file in the hub's cache needs no network. Where the hub does not answer, one line says so.
    """
    import timm
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    known = timm.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        log.warning("timm has no pretrained weights for '%s'", name)
        return "none"
    place = (known.hf_hub_id, "model.safetensors")
    cached = try_to_load_from_cache(*place)
    if isinstance(cached, str):
        return cached
    reason = _asked(lambda: get_hf_file_metadata(hf_hub_url(*place), timeout=ANSWER_SECONDS))
    if not reason:
        try:
            return str(hf_hub_download(*place))
        except Exception as error:  # the hub's client raises what its transport raises
            reason = _line(error)
    log.warning(
        "no pretrained weights for '%s': %s (%s). Pass --weights FILE with a safetensors file; with "
        "--weights none nobody is asked, and it starts from nothing.",
        *(name, "the hub does not answer", reason),
    )
    return "none"


def pixels(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and deviation (on the scale 0 to 1) that timm's weights of this name expect."""
    import timm

    known = timm.get_pretrained_cfg(name)
    return None if known is None else (tuple(known.mean), tuple(known.std))


def side(name: str) -> int:
    """Return the side (pixels) of the pictures that timm's weights of this name were trained on."""
    import timm

    known = timm.get_pretrained_cfg(name)
    return 224 if known is None else int(known.input_size[-1])


def padding(name: str, path: Path) -> dict[str, str]:
    """Return the option of a backbone that its weights want, where the name of their file says so.

    TensorFlow pads pictures at the right and below first; what was trained so misses its edges otherwise.
    """
    import timm

    if name.startswith("tf_") or not AS_TENSORFLOW.search(path.stem.casefold()):
        return {}
    try:
        with torch.device("meta"):
            timm.create_model(name, pad_type="same")
    except TypeError:  # a network that is not of TensorFlow's
        return {}
    log.info("%s pads as TensorFlow does, by its name: backbone_options.pad_type=same", path.name)
    return {"pad_type": "same"}


def check(path: Path) -> None:
    """Refuse a file that is not there, before any picture is read."""
    if not path.is_file():
        raise UserError(f"--weights {path}: no such file; give a safetensors file, 'auto' or 'none'.")


def _read(path: Path) -> dict[str, Any]:
    check(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError):
        raise UserError(f"--weights {path}: not a safetensors file.") from None


def _fitting(path: Path) -> str:
    """Return the name of the backbone that all weights of a file fit, "" where it is none of the usual."""
    import timm

    stem = path.stem.casefold()
    named = sorted((name for name in timm.list_models() if name in stem), key=len, reverse=True)
    shapes = _shapes(_read(path))
    for name in (*named, *USUAL):
        # Shapes alone, in no memory; a network that cannot be built so is passed over.
        with suppress(RuntimeError), torch.device("meta"):
            if _shapes(timm.create_model(name).state_dict()) == shapes:
                return str(name)
    return ""


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    """Return the shapes of what is neither a classifier nor a count."""
    apart = "num_batches_tracked"
    return {
        key: value.shape
        for key, value in state.items()
        if not key.startswith(HEADS) and not key.endswith(apart)
    }


def load(model: Any, path: Path, channels: int) -> None:
    """Take weights from a safetensors file; a classifier in it is passed over, other misfits are named.

    Raises:
        UserError: there is no such file, or it is one of another network.
    """
    state = _adapted(model, _read(path), channels)
    own = model.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    odd = [key for key in {*state, *own} if key not in fitting and not key.startswith(HEADS)]
    odd = sorted(key for key in odd if not key.endswith("num_batches_tracked"))
    if len(odd) > len(own) // 2:
        fitting_one = _fitting(path)
        remedy = (
            f"they fit '{fitting_one}', so pass that as --backbone"
            if fitting_one
            else "name it by --backbone"
        )
        raise UserError(
            f"--weights {path}: made for another backbone, since {listed(odd, 2)} do not fit; {remedy}."
        )
    if odd:
        log.warning("--weights %s: %s do not fit and start from nothing", path, listed(odd, len(odd)))
    model.load_state_dict(fitting, strict=False)


def _adapted(model: Any, state: dict[str, Any], channels: int) -> dict[str, Any]:
    """Bring weights to this network as timm does: other names and sizes, and as many channels."""
    from timm.models import adapt_input_conv

    rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if rename is not None:
        try:
            state = rename(state, model)
        except (KeyError, RuntimeError, AttributeError):  # not of this network; the misfits will be named
            return state
    first = model.pretrained_cfg.get("first_conv")
    weight = state.get(f"{first}.weight") if isinstance(first, str) else None
    if weight is not None and weight.ndim == 4 and weight.shape[1] == 3 and channels != 3:
        state = {**state, f"{first}.weight": adapt_input_conv(channels, weight)}
    return state


def _asked(ask: Callable[[], object]) -> str:
    """Return why a question to the network was not answered in time, '' where it was."""
    reasons: list[str] = []

    def run() -> None:
        try:
            ask()
            reasons.append("")
        except Exception as error:
            reasons.append(_line(error))

    asking = Thread(target=run, daemon=True)  # some clients try again for minutes
    asking.start()
    asking.join(ANSWER_SECONDS)
    return reasons[0] if reasons else f"not within {ANSWER_SECONDS} seconds"


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
