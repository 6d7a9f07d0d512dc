"""Pictures that are nearly the same: small grey copies come in, pairs that their pixels confirm leave.

Two pictures may be a pair as they are, mirrored, or where one is a part of the other. Candidates are the
nearest by a coarse band-passed copy, whole or cut; each is laid over the other as well as can be, and counts
only where the fine detail of both agrees. Small pictures (signs, icons) look alike without being copies, so
of them only those count whose pixels are nearly equal as they lie.

No hash is trusted by itself: of 4,000 digits of MNIST 30 % have a partner within 4 bits of a perceptual hash.

Shapes: N pictures · S pixels of the side of a small copy · P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manyhot.data.inputs.images.opening import from_array, open_image
from manyhot.data.inputs.images.paths import (
    Progress,
    Unreadable,
    picture_column,
    pictures_of,
    read_file,
)
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.machine import num_cores
from manyhot.progress import Lines
from manyhot.resolve import SMALL_IMAGE
from manyhot.schema import Schema

Floats = NDArray[np.float32]
S, COARSE = 64, 16  # pixels of the sides of small copies
FRAME = 12  # levels by which the pixels of a frame differ, at most
EDGE = 0.03  # share of a side: of a frame, at least, and of what is not compared at the edge of a picture
FLAT = 4.0  # levels (of 256) by which a picture's pixels differ, below which it shows nothing
NEAREST, LIKE = 2, 0.75  # candidates of each cut, and the correlation that they have at least
MANY, CHECKED = (
    20_000,
    4,
)  # pictures above which coarse copies are cut to a quarter of the numbers; pairs a picture
EQUAL = 6.0  # levels: root mean square of the difference of small pictures that are nearly equal
ITERATIONS, TOGETHER = 8, 256  # steps of an alignment; pairs that are laid over each other at once
ROUGH, FINE = 0.7, 0.955  # correlation of the detail of a pair, at half and at all of the pixels, at least
LEAST = 0.55  # of a picture's side that a part of it has
# What is cut out of a picture to look for one that shows no more: left, top, width, height as shares.
CUTS = (
    (0.0, 0.0, 1.0, 1.0),
    *((0.0375 * i, 0.0375 * j, 0.925, 0.925) for i in range(3) for j in range(3)),
    *((0.075 * i, 0.075 * j, 0.85, 0.85) for i in range(3) for j in range(3)),
    (0.13, 0.13, 0.74, 0.74),
)


class Pair(NamedTuple):
    """A row, the earlier one that it nearly equals, how alike they are in [0, 1], and in which way."""

    row: int
    other: int
    likeness: float
    how: str


class Looked(NamedTuple):
    """Pictures seen small: uint8 (N, S, S), and the rows that cannot be read. Of tables there are none.

    signs   the pictures are so small that only those nearly equal as they lie are copies
    """

    small: NDArray[np.uint8] | None
    unreadable: Unreadable
    signs: bool = False


def look(table: Table, schema: Schema, progress: Progress) -> Looked:
    """Open the pictures of a table, and keep a small grey copy of each."""
    if not schema.is_image:
        return Looked(None, {})
    (column,) = schema.inputs
    signs = max(column.shape[:2]) <= SMALL_IMAGE
    held: Any = (
        table.pixels if table.pixels is not None else pictures_of(table, picture_column(table, column.name))
    )
    small, bad = np.zeros((len(table), S, S), np.uint8), dict[int, str]()

    def one(index: int) -> str:
        try:
            each = held[index]
            image = from_array(each) if isinstance(each, np.ndarray) else open_image(read_file(each), (S, S))
        except UserError as error:
            return str(error)
        small[index] = shrunk(image, trim=not signs)
        return ""

    with ThreadPoolExecutor(num_cores()) as pool:
        for index, why in enumerate(pool.map(one, range(len(table)))):
            if why:
                bad[index] = why
            progress(index + 1, len(table))
    return Looked(small, bad, signs)


def shrunk(image: Image.Image, trim: bool = True) -> NDArray[np.uint8]:
    """Return a small grey copy (S, S) of a picture, without the frame of one colour that it may have."""
    grey = image.convert("L")
    if trim:
        pixels = np.asarray(grey).astype(np.int16)
        inside = np.abs(pixels - pixels[0, 0]) > FRAME
        top, bottom = _span(inside.any(axis=1))
        left, right = _span(inside.any(axis=0))
        grey = grey.crop((left, top, right, bottom))
    return np.asarray(grey.resize((S, S), Image.Resampling.BOX))


def _span(inside: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where a picture begins and ends in its frame, which has two sides and less than half of it."""
    where = np.flatnonzero(inside)
    if len(where) < 2:
        return 0, len(inside)
    start, end = int(where[0]), int(where[-1]) + 1
    thin = min(start, len(inside) - end) < EDGE * len(inside)  # or one-sided, such as a sky of one colour
    return (0, len(inside)) if thin or end - start < len(inside) / 2 else (start, end)


def near(seen: Looked, exact: Sequence[tuple[int, int]], told: Lines) -> list[Pair]:
    """Return the pairs of pictures that are nearly the same, the likest first, without `exact` ones."""
    if seen.small is None or len(seen.small) < 2:
        return []
    copies = {row for row, _ in exact}
    rows = np.array(
        [r for r in range(len(seen.small)) if r not in copies and r not in seen.unreadable], np.intp
    )
    rows = rows[seen.small[rows].reshape(len(rows), -1).std(axis=1) > FLAT] if len(rows) else rows
    if len(rows) < 2:
        return []
    small = seen.small[rows]
    told.on_step("looking for copies", 0, 0)
    found = _signs(small) if seen.signs else _photos(small, told)
    best: dict[tuple[int, int], Pair] = {}
    for one, other, likeness, how in found:
        later, earlier = max(rows[one], rows[other]), min(rows[one], rows[other])
        pair = Pair(int(later), int(earlier), likeness, how)
        if pair[:2] not in best or best[pair[:2]].likeness < likeness:
            best[pair[:2]] = pair
    return sorted(best.values(), key=lambda pair: (-pair.likeness, pair.row))


def _signs(small: NDArray[np.uint8]) -> Iterator[tuple[int, int, float, str]]:
    for i, j, _, _ in _candidates(small, CUTS[:1], (False,)):
        off = float(np.sqrt(((small[i].astype(np.float32) - small[j]) ** 2).mean()))
        if off <= EQUAL:
            yield i, j, 1 - off / 255, "the same pixels as" if off == 0 else "nearly the pixels of"


def _photos(small: NDArray[np.uint8], told: Lines) -> Iterator[tuple[int, int, float, str]]:
    candidates = _candidates(small, CUTS, (False, True))
    for start in range(0, len(candidates), TOGETHER):
        told.on_step("comparing pictures", start, len(candidates))
        some = candidates[start : start + TOGETHER]
        one, other = _beside(small, some)
        at = np.array([(CUTS[c][2], CUTS[c][0] * S, CUTS[c][3], CUTS[c][1] * S) for _, _, c, _ in some])
        halves = [each.reshape(-1, S // 2, 2, S // 2, 2).mean(axis=(2, 4)) for each in (one, other)]
        rough, at = laid(halves[0], halves[1], at * [1, 0.5, 1, 0.5])
        good = np.flatnonzero(rough >= ROUGH)
        likeness, at = laid(one[good], other[good], at[good] * [1, 2, 1, 2])
        for place, like, where in zip(good, likeness, at, strict=True):
            if like >= FINE:
                i, j, _, mirrored = some[place]
                part = max(abs(where[0] - 1), abs(where[2] - 1)) > 0.04
                how = "a part or an extension of" if part else "nearly the same as"
                yield i, j, min(1.0, float(like)), f"mirrored, {how}" if mirrored else how


def _beside(small: NDArray[np.uint8], pairs: Sequence[tuple[int, int, int, bool]]) -> tuple[Floats, Floats]:
    """Return the pictures of some pairs, a little softened, the second mirrored where the pair says so."""
    from scipy.ndimage import gaussian_filter

    one = small[[i for i, _, _, _ in pairs]].astype(np.float32)
    other = np.stack([small[j, :, ::-1] if mirrored else small[j] for _, j, _, mirrored in pairs])
    soft = (0, 0.8, 0.8)
    return gaussian_filter(one, soft), gaussian_filter(other.astype(np.float32), soft)


def _candidates(
    small: NDArray[np.uint8], cuts: Sequence[tuple[float, ...]], mirrors: Sequence[bool]
) -> list[tuple[int, int, int, bool]]:
    """Return pairs to be looked at, the likest first: the place of one, of the other, the cut, mirrored."""
    side = COARSE if len(small) <= MANY else COARSE // 2
    whole = coarse(small, CUTS[0], side)
    found: dict[tuple[int, int], tuple[float, int, bool]] = {}
    for number, cut in enumerate(cuts):
        for mirrored in mirrors:
            query = coarse(small[:, :, ::-1] if mirrored else small, cut, side)
            for start in range(0, len(small), 1024):
                like = query[start : start + 1024] @ whole.T
                like[np.arange(len(like)), np.arange(start, start + len(like))] = -1
                for _ in range(min(NEAREST, len(small) - 1)):
                    best = like.argmax(axis=1)
                    value = like[np.arange(len(like)), best]
                    for place in np.flatnonzero(value >= LIKE).tolist():  # the cut one is the larger picture
                        pair, likeness = (start + place, int(best[place])), float(value[place])
                        if found.get(pair, (0.0,))[0] < likeness:
                            found[pair] = (likeness, number, mirrored)
                    like[np.arange(len(like)), best] = -1
    ranked = sorted(found.items(), key=lambda item: -item[1][0])[: CHECKED * len(small)]
    kept: dict[tuple[int, int], tuple[int, int, int, bool]] = {}
    for (i, j), (_, number, mirrored) in ranked:
        kept.setdefault((min(i, j), max(i, j)), (i, j, number, mirrored))
    return [*kept.values()]


def coarse(small: NDArray[np.uint8], cut: Sequence[float], side: int) -> Floats:
    """Return a part of each picture as a few numbers without what changes slowly, of length 1; (N, side²)."""
    from scipy.ndimage import gaussian_filter

    left, top, width, height = (share * S for share in cut)
    part = small[:, round(top) : round(top + height), round(left) : round(left + width)]
    out = np.empty((len(small), side * side), np.float32)
    for start in range(0, len(small), 2048):
        block = part[start : start + 2048].astype(np.float32)
        block = _shrunk(block, side)
        block = gaussian_filter(block, (0, 0.7, 0.7)) - gaussian_filter(block, (0, side / 5, side / 5))
        flat = block.reshape(len(block), -1)
        flat -= flat.mean(axis=1, keepdims=True)
        out[start : start + 2048] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return out


def _shrunk(block: Floats, side: int) -> Floats:
    """Return pictures (N, H, W) as means over side × side areas of equal size."""
    rows, columns = (_areas(length, side) for length in block.shape[1:])
    return np.asarray(np.einsum("ah,nhw,bw->nab", rows, block, columns, optimize=True), np.float32)


def _areas(length: int, side: int) -> Floats:
    """Return the share of each of `length` pixels in each of `side` areas; (side, length), lines sum to 1."""
    edges = np.linspace(0, length, side + 1)
    pixels = np.arange(length)
    inside = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.maximum(inside, 0) * side / length, np.float32)


def laid(
    one: Floats, other: Floats, at: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lay pictures over parts of others as well as can be; return how alike their detail is, and where.

    Scale and shift are found by Gauss–Newton, brightness and contrast left free.

    Source: Lucas and Kanade 1981, "An iterative image registration technique".

    Shape:
        one, other: float (P, R, R). at: float (P, 4), scale and shift of x, of y, in pixels.
        out: float (P,), the correlation of what is finer than three pixels of 64; 0 where they do not meet.
    """
    from scipy.ndimage import gaussian_filter

    side = one.shape[1]
    if not len(one):
        return np.zeros(0), at
    at, alive = at.copy(), np.ones(len(one), bool)
    slope_y, slope_x = (np.asarray(each, np.float32) for each in np.gradient(one, axis=(1, 2)))
    grid = np.arange(side, dtype=np.float32)
    xs, ys = np.broadcast_to(grid, (side, side)).ravel(), np.repeat(grid, side)
    wanted = other.reshape(len(other), -1)
    for _ in range(ITERATIONS):
        weight, seen, gx, gy = _sampled(at, xs, ys, one, slope_x, slope_y)
        steps = np.stack([gx * xs, gx, gy * ys, gy, seen, np.ones_like(seen)], axis=1) * weight[:, None]
        size = np.linalg.norm(steps, axis=2, keepdims=True) + 1e-6
        steps = (steps / size).astype(np.float64)
        square = steps @ steps.transpose(0, 2, 1) + 1e-5 * np.eye(6)
        solved = np.linalg.solve(square, steps @ (wanted * weight)[..., None])[..., 0] / size[..., 0]
        gain = np.where(np.abs(solved[:, 4]) > 0.05, solved[:, 4], 1.0)[:, None]
        most = np.array([0.05, 0.05 * side, 0.05, 0.05 * side])
        at = np.where(alive[:, None], at + np.clip(solved[:, :4] / gain, -most, most), at)
        alive &= ((at[:, ::2] > LEAST) & (at[:, ::2] < 1 / LEAST)).all(axis=1) & (
            weight.mean(axis=1) > LEAST**2
        )
    weight, seen = _sampled(at, xs, ys, one)
    soft = (0, 3.0 * side / S, 3.0 * side / S)
    fine = (each - gaussian_filter(each, soft) for each in (seen.reshape(one.shape), other))
    u, v = (each.reshape(len(one), -1) for each in fine)
    total = np.maximum(weight.sum(axis=1), 1)
    u, v = ((each - ((each * weight).sum(axis=1) / total)[:, None]) * weight for each in (u, v))
    sizes = [np.sqrt((each**2).sum(axis=1) / total) for each in (u, v)]
    like = (u * v).sum(axis=1) / total / np.maximum(sizes[0] * sizes[1], 1e-6)
    there = alive & (np.minimum(*sizes) > 1.0) & (weight.mean(axis=1) > LEAST**2)
    return np.where(there, like, 0.0), at


def _sampled(at: NDArray[np.float64], xs: Floats, ys: Floats, *images: Floats) -> list[Floats]:
    """Return which pixels of a grid lie inside, and some pictures read at all of them; (P, R²) each."""
    side = images[0].shape[1]
    px = (at[:, :1] * xs + at[:, 1:2]).astype(np.float32)
    py = (at[:, 2:3] * ys + at[:, 3:]).astype(np.float32)
    least, most = EDGE * side, (1 - EDGE) * side - 1
    inside = (px >= least) & (px <= most) & (py >= least) & (py <= most)
    inside &= (xs >= least) & (xs <= most) & (ys >= least) & (ys <= most)
    x0, y0 = (np.clip(np.floor(p), 0, side - 2).astype(np.int32) for p in (px, py))
    fx, fy = np.clip(px - x0, 0, 1), np.clip(py - y0, 0, 1)
    place = y0 * side + x0
    out = [inside.astype(np.float32)]
    for image in images:
        flat = image.reshape(len(image), -1)
        corners = [np.take_along_axis(flat, place + more, axis=1) for more in (0, 1, side, side + 1)]
        upper, lower = (a + (b - a) * fx for a, b in (corners[:2], corners[2:]))
        out.append(upper + (lower - upper) * fy)
    return out


def groups(rows: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number the rows so that those of a pair, and of pairs that share a row, have the same number."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = np.array(pairs, np.intp).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), (rows, rows))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
