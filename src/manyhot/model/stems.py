"""The first layer: from x as the inputs give it to x as a backbone takes it. Part of every graph.

Shapes: N rows · D columns of x · H W C · P prepared columns.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyhot.data.inputs.features import TableInputs
from manyhot.data.inputs.fitted import Inputs
from manyhot.data.inputs.images.images import ImageInputs


class ImageStem(nn.Module):
    """Bring pictures from 0…255 in (N, H, W, C) to normalised float (N, C, H, W)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, inputs: ImageInputs) -> None:
        super().__init__()
        height, width, channels = inputs.shape
        self.shape = (channels, height, width)
        # (x/255 − mean)/std, in one multiplication and one addition
        scale = [1 / (255 * std) for std in inputs.std]
        shift = [-mean / std for mean, std in zip(inputs.mean, inputs.std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("shift", torch.tensor(shift), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, C, H, W), in channels-last layout."""
        return (x.float() * self.scale + self.shift).permute(0, 3, 1, 2)


class TableStem(nn.Module):
    """Bring (N, D) of scaled numbers (NaN for missing) and category codes to (N, P) without NaN.

    A missing number becomes 0 and, where training had missing ones, raises a flag beside it;
    a category becomes one-hot, code 0 (unknown) included. With `piecewise` each number that has more than
    two different values is followed by how far it reaches through each of its pieces, from 0 to 1.

    Source: Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning",
    section 3.2.
    """

    numbers: Tensor
    flagged: Tensor
    in_pieces: Tensor
    left: Tensor
    reach: Tensor
    words: Tensor  # which of the prepared columns are words of texts, bool (P,)

    def __init__(self, inputs: TableInputs, piecewise: bool = False) -> None:
        super().__init__()
        features = list(enumerate(inputs.features))
        numbers = [i for i, f in features if f.kind == "number"]
        flagged = [i for i, f in features if f.kind == "number" and f.has_missing]
        self.categories = [(i, len(f.classes) + 1) for i, f in features if f.kind != "number"]
        width = len(numbers) + len(flagged) + sum(count for _, count in self.categories)
        edges = {i: f.edges for i, f in features if piecewise and len(f.edges) > 2}
        pieces = [(i, left, right - left) for i, each in edges.items() for left, right in pairwise(each)]
        # On the device too: a list of places would be sent there, and waited for, at every step.
        for name, places in (
            ("numbers", numbers),
            ("flagged", flagged),
            ("in_pieces", [i for i, _, _ in pieces]),
        ):
            self.register_buffer(name, torch.tensor(places, dtype=torch.int64), persistent=False)
        self.register_buffer("left", torch.tensor([left for _, left, _ in pieces]), persistent=False)
        self.register_buffer("reach", torch.tensor([reach for _, _, reach in pieces]), persistent=False)
        self.shape = (width + len(pieces),)
        words = torch.zeros(self.shape, dtype=torch.bool)
        words[: len(numbers)] = torch.tensor([inputs.features[i].is_word for i in numbers], dtype=torch.bool)
        self.register_buffer("words", words, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, P)."""
        parts = [torch.nan_to_num(x[:, self.numbers], nan=0.0), torch.isnan(x[:, self.flagged]).float()]
        parts += [F.one_hot(x[:, i].long(), count).float() for i, count in self.categories]
        # Beyond what training had no piece goes on, which would be as steep as the outer ones are narrow.
        into = torch.nan_to_num(x[:, self.in_pieces], nan=0.0) - self.left
        parts.append((into / self.reach).clamp(0, 1))
        return torch.cat(parts, dim=1)


def build_stem(inputs: Inputs, piecewise: bool = False) -> ImageStem | TableStem:
    """Return the first layer for these inputs; `piecewise` is for the numbers of tables."""
    return ImageStem(inputs) if isinstance(inputs, ImageInputs) else TableStem(inputs, piecewise)
