"""The first layer: from x as the inputs give it to x as a backbone takes it. Part of every graph.

Shapes: N rows · D columns of x · H W C · P prepared columns.
"""

from __future__ import annotations

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
    section 3.2, by its authors' package.
    """

    def __init__(self, inputs: TableInputs, piecewise: bool = False) -> None:
        super().__init__()
        features = list(enumerate(inputs.features))
        self.numbers = [i for i, f in features if f.kind == "number"]
        self.flagged = [i for i, f in features if f.kind == "number" and f.has_missing]
        self.categories = [(i, len(f.classes) + 1) for i, f in features if f.kind != "number"]
        width = len(self.numbers) + len(self.flagged) + sum(count for _, count in self.categories)
        edges = {i: torch.tensor(f.edges) for i, f in features if piecewise and len(f.edges) > 2}
        self.in_pieces = list(edges)
        self.pieces: nn.Module = nn.Identity()  # of no columns
        if edges:
            from rtdl_num_embeddings import PiecewiseLinearEncoding

            self.pieces = PiecewiseLinearEncoding(list(edges.values()))
            width += sum(len(each) - 1 for each in edges.values())
        self.shape = (width,)

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, P)."""
        parts = [torch.nan_to_num(x[:, self.numbers], nan=0.0), torch.isnan(x[:, self.flagged]).float()]
        parts += [F.one_hot(x[:, i].long(), count).float() for i, count in self.categories]
        # The package lets the outer pieces go on beyond what training had, as steeply as they are narrow.
        parts.append(self.pieces(torch.nan_to_num(x[:, self.in_pieces], nan=0.0)).clamp(0, 1))
        return torch.cat(parts, dim=1)


def build_stem(inputs: Inputs, piecewise: bool = False) -> ImageStem | TableStem:
    """Return the first layer for these inputs; `piecewise` is for the numbers of tables."""
    return ImageStem(inputs) if isinstance(inputs, ImageInputs) else TableStem(inputs, piecewise)
