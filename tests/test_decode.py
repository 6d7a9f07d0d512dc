"""One picture to pixels: libjpeg-turbo and Pillow give the same, and what either refuses is refused."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
import torch
from making import QUICK, write_csv
from PIL import Image, ImageOps
from torch.nn.functional import interpolate

import manyhot
from manyhot.bundle import Bundle
from manyhot.data.inputs.images.decode import decode as decode_by
from manyhot.data.inputs.images.decode import fitted
from manyhot.data.inputs.images.headers import Frame
from manyhot.data.inputs.images.images import RULES, ImageInputs
from manyhot.data.inputs.images.opening import MAX_PIXELS, open_image
from manyhot.data.inputs.images.resize import as_torch
from manyhot.errors import UserError
from manyhot.train.prepare import prepare

SIZE = (24, 24)


def decode(data, size, channels, rule=RULES[-1]):
    return decode_by(data, size, channels, rule)


def photo(seed=0, size=(36, 30)):
    """Something with edges and colours, not square, less than twice SIZE."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def saved(image, kind="JPEG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(orientation, image=None):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image or photo(), exif=exif)


def by_pillow(data, mode="RGB"):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert(mode))


@pytest.fixture
def asked(monkeypatch):
    """How libjpeg-turbo was asked to decode."""
    calls, real = [], simplejpeg.decode_jpeg

    def counted(data, *colours, **sizes):
        calls.append(sizes)
        return real(data, *colours, **sizes)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", counted)
    return calls


PLAIN = {
    "usual": saved(photo()),
    "progressive": saved(photo(), progressive=True),
    "full colour": saved(photo(), subsampling=0),
    "poor": saved(photo(), quality=10),
    "optimised": saved(photo(), optimize=True),
    "restarts": saved(photo(), restart_marker_rows=1),
    "grey": saved(photo().convert("L")),
    "upright by EXIF": turned(1),
    "with a comment": saved(photo(), comment=b"\xff\xda" * 40),
    "RGB without a change of colours": saved(photo(), keep_rgb=True),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("rule", RULES)
def test_libjpeg_decodes_as_pillow_does(name, rule, asked):
    wanted = by_pillow(PLAIN[name])
    found = decode(PLAIN[name], wanted.shape[:2], 3, rule)
    assert len(asked) == 1
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert found.flags.c_contiguous
    assert found.flags.writeable


def test_a_grey_jpeg_in_a_grey_column(asked):
    wanted = by_pillow(PLAIN["grey"], "L")
    assert np.abs(decode(PLAIN["grey"], wanted.shape, 1)[..., 0].astype(int) - wanted).max() <= 1
    assert len(asked) == 1


XMP = b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>'
SPECIAL = {
    **{f"orientation {number}": turned(number) for number in range(2, 9)},
    "orientation in XMP": b"\xff\xd8\xff\xe1" + struct.pack(">H", len(XMP) + 2) + XMP + saved(photo())[2:],
    "CMYK, inverted as Adobe does": saved(photo().convert("CMYK")),
    "PNG": saved(photo(), "PNG"),
    "WebP": saved(photo(), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_what_is_special_is_pillows(name, asked):
    wanted = by_pillow(SPECIAL[name])
    assert (decode(SPECIAL[name], wanted.shape[:2], 3) == wanted).all()
    assert asked == []


def test_the_colours_of_cmyk_are_right():
    plain, cmyk = (
        decode(PLAIN["full colour"], SIZE, 3),
        decode(SPECIAL["CMYK, inverted as Adobe does"], SIZE, 3),
    )
    assert np.abs(plain.astype(int) - cmyk).mean() < 8


def test_colour_in_a_grey_column_is_pillows(asked):
    grey = decode(PLAIN["usual"], (30, 36), 1)[..., 0]
    assert (grey == by_pillow(PLAIN["usual"], "L")).all()
    assert asked == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("times", [2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
def test_a_large_jpeg_is_decoded_at_a_fraction_as_pillow_does(times, options, rule, asked):
    size = (13, 17)
    data = saved(photo(size=(17 * times + 3, 13 * times + 2)), **options)
    opened = open_image(data, near=size)
    assert (decode(data, size, 3, rule) == fitted(opened, size, 3, rule)).all()
    (factor,) = [sizes["min_factor"] for sizes in asked]
    assert opened.height == -(-(13 * times + 2) // factor)


@pytest.mark.parametrize("size", [(60, 72), (30, 36), (20, 24), (12, 13), (24, 24)])
def test_the_size_is_reached_by_means_of_triangles(size):
    wanted = np.asarray(photo().resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(decode(SPECIAL["PNG"], size, 3).astype(int) - wanted).max() <= 1


def by_torch(pixels, size):
    """What rule 1 was made of."""
    x = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = interpolate(x, size, mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1)[0].numpy()


def test_the_first_rule_resizes_to_the_bit_as_torch_does():
    rng = np.random.default_rng(0)
    for number in range(150):
        height, width, *size = (int(side) for side in rng.integers(1, 90, 4))
        height *= 20 if number % 10 == 0 else 1
        pixels = rng.integers(0, 256, (height, width, (1, 3)[number % 2]), dtype=np.uint8)
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8) if number % 3 == 0 else pixels
        assert (as_torch(pixels, tuple(size)) == by_torch(pixels, size)).all(), (pixels.shape, size)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("size", [(24, 24), (61, 70), (30, 20)])
def test_the_first_rule_gives_the_pixels_that_old_models_learned(name, size):
    assert (decode(PLAIN[name], size, 3, 1) == by_torch(by_pillow(PLAIN[name]).copy(), size)).all()


def test_the_second_rule_resizes_as_pillow_does():
    wanted = np.asarray(photo().resize((20, 24), Image.Resampling.BILINEAR))
    assert (decode(SPECIAL["PNG"], (24, 20), 3) == wanted).all()
    assert (decode(SPECIAL["PNG"], (24, 20), 3, 1) != wanted).any()


def test_threads_decode_beside_each_other():
    every = [saved(photo(seed, (400, 300)), quality=95) for seed in range(8)] * 8
    alone = [decode(data, (290, 390), 3) for data in every]
    with ThreadPoolExecutor(8) as pool:
        together = [*pool.map(lambda data: decode(data, (290, 390), 3), every)]
    assert all((a == b).all() for a, b in zip(alone, together, strict=True))


# What cannot be read


@pytest.mark.parametrize("name", ["usual", "progressive", "grey", "upright by EXIF"])
def test_a_truncated_jpeg_is_refused_whatever_decodes_it(name):
    data = PLAIN[name]
    for length in (*range(2, len(data) - 2, 7), len(data) - 3):
        with pytest.raises(UserError, match=r"damaged|not a picture"):
            decode(data[:length], SIZE, 3)


def outcome(data):
    try:
        return decode(data, SIZE, 3).shape
    except UserError as error:
        return str(error)


def test_broken_bytes_are_read_or_refused():
    rng = np.random.default_rng(0)
    for data in (*PLAIN.values(), *SPECIAL.values()):
        for _ in range(20):
            broken = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                broken[place] = rng.integers(256)
            found = outcome(bytes(broken))
            assert found == (24, 24, 3) or "\n" not in found


def bomb(kind):
    """A small file that claims 60,000 × 60,000 pixels."""
    if kind == "jpeg":
        data = bytearray(PLAIN["usual"])
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
        return bytes(data)
    if kind == "png":
        header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        body = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        return b"\x89PNG\r\n\x1a\n" + body + saved(photo(), "PNG")[33:]
    return b"P6 60000 60000 255\n" + b"\0" * 100


@pytest.mark.parametrize("kind", ["jpeg", "png", "ppm"])
def test_a_bomb_is_refused_before_it_is_decoded(kind, monkeypatch, asked):
    data = bomb(kind)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UserError, match="pixels"):
        decode(data, SIZE, 3)
    assert asked == []
    assert MAX_PIXELS < 60_000**2


def test_a_photo_of_many_pixels_takes_little_memory(monkeypatch):
    monkeypatch.setattr("manyhot.data.inputs.images.headers.MOST_BYTES", 8 * 100_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # of Pillow, which refuses twice as many
    data = saved(Image.new("RGB", (600, 500), (200, 180, 190)))
    for channels in (1, 3):
        assert decode(data, SIZE, channels).shape == (*SIZE, channels)
    assert np.abs(decode(data, SIZE, 3).astype(int) - (200, 180, 190)).max() <= 6
    assert decode(turned(6, Image.new("RGB", (600, 500))), SIZE, 3).shape == (*SIZE, 3)
    with pytest.raises(UserError, match="600 × 500 pixels of a JPEG take too much memory"):
        open_image(data)


@pytest.mark.parametrize(
    ("width", "height", "progressive", "size", "large"),
    [
        (16_320, 12_240, False, (224, 224), False),  # 200 megapixels, as phones have
        (16_320, 12_240, True, (224, 224), False),
        (16_320, 12_240, True, None, True),
        (30_000, 16_000, True, (224, 224), True),  # 1.4 GB of values before the first pixel
        (30_000, 16_000, False, (224, 224), False),
        (60_000, 60_000, False, (8, 8), True),
        (10_000, 10_000, False, None, False),
    ],
)
def test_the_limit_is_what_decoding_takes(width, height, progressive, size, large):
    assert Frame(height, width, 3, 1.5, progressive, True).is_too_large(size) == large


def test_grey_may_have_more_pixels_than_colour(monkeypatch):
    monkeypatch.setattr("manyhot.data.inputs.images.opening.MAX_PIXELS", 400)
    pixels = np.zeros((30, 30), np.uint8)
    assert decode(saved(Image.fromarray(pixels), "PNG"), SIZE, 1).shape == (24, 24, 1)
    with pytest.raises(UserError, match="30 × 30 pixels are more than 400"):
        decode(saved(Image.fromarray(pixels).convert("RGB"), "PNG"), SIZE, 3)


# The one rule


def zoo(folder, rows=40):
    """A table of pictures of every kind, one of them empty; the photos first."""
    kinds = {**PLAIN, **SPECIAL, "large": saved(photo(size=(400, 300))), "empty": b""}
    names = []
    for number, data in zip(range(rows), [*kinds.values(), *(saved(photo(i)) for i in range(rows))]):
        names.append(f"{number}.jpg")  # whatever they are
        (folder / names[-1]).write_bytes(data)
    return write_csv(folder / "t.csv", {"image": names, "y": [("a", "b")[i % 2] for i in range(rows)]})


def test_every_way_to_the_pixels_gives_the_same_bits(tmp_path, monkeypatch):
    """Held, streamed, cached, by themselves, with other hashes known: one rule."""
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("manyhot.data.inputs.images.cache.LEAST", 0)
    table = manyhot.read(zoo(tmp_path))
    inputs = ImageInputs("image", SIZE, 3)
    held = inputs.read(table, cache=0.0)
    (bad,) = held.unreadable
    good = np.delete(np.arange(len(table)), bad)
    ways = [
        inputs.read(table, memory=1e-7, cache=0.0).x,
        inputs.read(table, memory=1e-7, cache=1.0).x,  # decoded, then read from what was just kept
        inputs.read(table, cache=1.0).x,
        inputs.read(table, memory=1e-7).x,
        inputs.transform(table, hashes=held.hashes)[0],
    ]
    for x in ways:
        assert np.asarray(x[good]).tobytes() == held.x[good].tobytes()
    for row in good:
        assert inputs.pixels_of((tmp_path / f"{row}.jpg").read_bytes()).tobytes() == held.x[row].tobytes()
        alone = inputs.transform(table.take(np.array([row])))[0]
        assert alone[0].tobytes() == held.x[row].tobytes()


def test_training_judging_and_predicting_see_the_same(tmp_path, monkeypatch):
    path = zoo(tmp_path)
    fitted = manyhot.fit(path, ["y"], size=24, backbone="cnn", **QUICK)
    table = manyhot.read(path)
    trained = prepare(table, fitted.schema, fitted.bundle.config.to_json())
    seen, real = [], Bundle.probabilities
    monkeypatch.setattr(
        Bundle, "probabilities", lambda model, x, *fold: seen.append(x) or real(model, x, *fold)
    )
    fitted.judge(path, "all")
    fitted.predict(path)
    assert len(trained.x) == 39
    assert [x.tobytes() for x in seen] == [trained.x.tobytes()] * 2
