"""Pictures: every mode and orientation read alike, whatever is broken skipped, counted and named."""

import html
import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import pyarrow as pa
import pytest
from making import QUICK, ROW_OPTIONS, pixels, write_csv, write_pictures
from PIL import Image

import manyhot
from manyhot.cli import main
from manyhot.data.inputs.fitted import from_json, row_hashes
from manyhot.data.inputs.images import opening
from manyhot.data.inputs.images.headers import is_grey
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.inputs.images.opening import image_input, measure, picture
from manyhot.data.inputs.images.paths import locate, read_file
from manyhot.data.sources.read import read
from manyhot.errors import UserError
from manyhot.schema import Input, Schema

SCENE = np.zeros((8, 8, 3), np.uint8)
SCENE[:4, :, 0], SCENE[:, :4, 1], SCENE[6:, 6:, 2] = 250, 120, 200
YCBCR = ["YCbCr"] if int(PIL.__version__.split(".")[0]) >= 13 else []  # before, Pillow cannot read its own
# What must be done to a picture so that EXIF orientation N brings it back upright
STORED = {
    1: [],
    2: [Image.Transpose.FLIP_LEFT_RIGHT],
    3: [Image.Transpose.ROTATE_180],
    4: [Image.Transpose.FLIP_TOP_BOTTOM],
    5: [Image.Transpose.TRANSPOSE],
    6: [Image.Transpose.ROTATE_90],
    7: [Image.Transpose.TRANSVERSE],
    8: [Image.Transpose.ROTATE_270],
}


def table_of(folder, names):
    return read(write_csv(folder / "t.csv", {"image": names, "n": range(len(names))}))


def transform(folder, names, size=(8, 8), channels=3):
    return ImageInputs("image", size, channels).transform(table_of(folder, names))


def open_image(path):
    return opening.open_image(read_file(path))


def reason(path) -> str:
    with pytest.raises(UserError) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def array(path):
    return np.asarray(open_image(path))


# All ways to store a picture


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_the_eight_orientations_give_equal_arrays(tmp_path, ending):
    big = np.kron(SCENE, np.ones((8, 8, 1), np.uint8))[:, :48]  # (64, 48): not square, so that sides swap
    names = []
    for orientation, steps in STORED.items():
        image = Image.fromarray(big)
        for step in steps:
            image = image.transpose(step)
        exif = Image.Exif()
        exif[0x0112] = orientation
        names.append(f"{orientation}.{ending}")
        lossless = {"lossless": True} if ending == "webp" else {"quality": 95} if ending == "jpg" else {}
        image.save(tmp_path / names[-1], exif=exif, **lossless)
    x, unreadable = transform(tmp_path, names, size=(64, 48))
    assert unreadable == {}
    for other in x[1:]:
        assert np.abs(other.astype(int) - x[0]).max() <= (40 if ending == "jpg" else 0)
        assert np.abs(other.astype(int) - x[0]).mean() < 2
    assert measure(table_of(tmp_path, names), "image") == ((64, 48), (64, 64), (48, 48))
    assert measure(table_of(tmp_path, names[5:6]), "image").usual == (64, 48)


def test_sixteen_bits_keep_their_levels(tmp_path):
    levels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    Image.fromarray(levels).save(tmp_path / "b.tif")
    Image.fromarray(levels).save(tmp_path / "c.pgm")
    wanted = (levels / 65535 * 255).round()
    for name in ("a.png", "b.tif", "c.pgm"):
        assert np.abs(array(tmp_path / name) - wanted).max() <= 1
        assert len(np.unique(array(tmp_path / name))) == 64


def test_floats(tmp_path):
    grey = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "unit.tif")
    Image.fromarray(grey * 255).save(tmp_path / "bytes.tif")
    wanted = (grey * 255).round()
    assert np.abs(array(tmp_path / "unit.tif") - wanted).max() <= 1
    assert np.abs(array(tmp_path / "bytes.tif") - wanted).max() <= 1
    grey[0, 0], grey[0, 1] = np.nan, np.inf
    Image.fromarray(grey).save(tmp_path / "odd.tif")
    assert np.abs(array(tmp_path / "odd.tif")[1:] - wanted[1:]).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "RGBA", "LAB", *YCBCR])
def test_colour_modes_look_the_same(tmp_path, mode):
    ending = {"CMYK": "tif", "YCbCr": "tif", "LAB": "tif"}.get(mode, "png")
    image = Image.fromarray(SCENE)
    if mode == "LAB":
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
        image.save(tmp_path / "a.tif")
        assert open_image(tmp_path / "a.tif").mode == "RGB"
        return
    image.convert(mode).save(tmp_path / f"a.{ending}")
    found = open_image(tmp_path / f"a.{ending}")
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found).astype(int) - SCENE).mean() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_modes(tmp_path, mode):
    grey = np.zeros((8, 8), np.uint8)
    grey[:, 4:] = 255
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    x, unreadable = transform(tmp_path, ["a.png"], channels=1)
    assert unreadable == {}
    assert (x[0, ..., 0] == grey).all()


def test_what_is_transparent_is_white(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4, :, 3] = 255
    Image.fromarray(clear).save(tmp_path / "a.png")
    assert (array(tmp_path / "a.png")[:4] == 0).all()
    assert (array(tmp_path / "a.png")[4:] == 255).all()
    palette = Image.fromarray(SCENE).quantize(4)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((7, 7)))
    assert (array(tmp_path / "p.png")[7, 7] == 255).all()


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame(tmp_path, ending):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (50, 200, 120)]
    lossless = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], **lossless)
    assert np.abs(array(tmp_path / f"a.{ending}").astype(int) - 50).max() <= 1


def test_grey_and_colour_of_one_column(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "c.png")
    Image.fromarray(SCENE[..., 0]).save(tmp_path / "g.png")
    table = table_of(tmp_path, ["c.png", "g.png"])
    assert image_input(table, "image").shape == (8, 8, 3)
    x, _ = transform(tmp_path, ["c.png", "g.png"])
    assert (x[1] == SCENE[..., :1]).all()
    assert image_input(table_of(tmp_path, ["g.png"]), "image").shape == (8, 8, 1)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_one_coloured_picture_among_very_many_makes_a_column_coloured(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(opening, "SAMPLE", 3)
    names = [f"{number:02}.{ending}" for number in range(25)]
    for name in names:
        Image.fromarray(SCENE[..., 0]).save(tmp_path / name)
    (tmp_path / names[4]).write_bytes(b"no picture")
    colourless = 3 if ending == "webp" else 1  # WebP knows no grey
    assert image_input(table_of(tmp_path, names), "image").shape[2] == colourless
    Image.fromarray(SCENE).save(tmp_path / names[17])
    assert image_input(table_of(tmp_path, names), "image").shape[2] == 3


def test_headers_that_say_little_at_the_beginning_are_read_whole(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "x" * 20_000
    for name, mode in (("g.jpg", "L"), ("c.jpg", "RGB")):
        Image.fromarray(SCENE).convert(mode).save(tmp_path / name, exif=exif)
        assert is_grey((tmp_path / name).read_bytes()[:4096]) is None
        assert is_grey((tmp_path / name).read_bytes()) == (mode == "L")
    assert image_input(table_of(tmp_path, ["g.jpg", "g.jpg"]), "image").shape[2] == 1
    assert image_input(table_of(tmp_path, ["g.jpg", "c.jpg"]), "image").shape[2] == 3


# Names spelled otherwise than their files

NFC, NFD = "Gr\u00f6\u00dfe.png", "Gro\u0308\u00dfe.png"
SPELLED = {  # what a cell says: the files that are there, and which one is meant
    "composed": (NFC, [NFD], NFD),
    "decomposed": (NFD, [NFC], NFC),
    "another case of the ending": ("a.jpg", ["a.JPG"], "a.JPG"),
    "another case": ("Cat/A.png", ["cat/a.png"], "cat/a.png"),
    "two cases": ("A.png", ["a.PNG", "a.png"], None),
    "two cases, one as it is": ("a.png", ["a.PNG", "a.png"], "a.png"),
    "without its ending": ("img_001", ["img_001.jpg"], "img_001.jpg"),
    "without its ending, of two": ("img_001", ["img_001.jpg", "img_001.png"], None),
    "without its ending, beside a text": ("img_001", ["img_001.jpg", "img_001.txt"], "img_001.jpg"),
    "with a point": ("a.b", ["a.b.png"], "a.b.png"),
    "JPEG in full": ("a.jpeg", ["a.jpg"], "a.jpg"),
    "of Windows": (r"cat\1.png", ["cat/1.png"], "cat/1.png"),
    "of Windows and another case": (r".\Cat\1.PNG", ["cat/1.png"], "cat/1.png"),
    "with blanks around it": (" a.png ", ["a.png"], "a.png"),
    "of a URL": ("a%20b.png", ["a b.png"], "a b.png"),
    "a per cent sign of its own": ("a%20b.png", ["a%20b.png", "a b.png"], "a%20b.png"),
    "another ending": ("a.png", ["a.jpg"], None),
    "a folder": ("a", ["a/1.png"], None),
}


@pytest.mark.parametrize("name", SPELLED)
def test_a_path_means_the_one_file_that_fits(tmp_path, name):
    said, there, meant = SPELLED[name]
    for path in there:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.fromarray(SCENE).save(tmp_path / path, "PNG")
    if len(list(tmp_path.rglob("*.*"))) < len(there):
        pytest.skip("the file system does not tell these names apart")
    found = locate(manyhot.Table({"image": pa.chunked_array([[said]])}, root=tmp_path), "image")
    (path,) = found.pictures
    if meant is None:
        assert found.respelled == {}
        with pytest.raises(UserError):
            read_file(path)
        return
    assert path == tmp_path / meant
    assert found.respelled == ({} if said == meant else {said: meant})
    assert len(found.told()) == (said != meant)


def test_names_spelled_otherwise_are_told_by_every_command(tmp_path, capsys):
    names = write_pictures(tmp_path, 40)
    upper = [name.upper() for name in names]
    table = write_csv(tmp_path / "t.csv", {"image": upper, "y": ["a", "b"] * 20})
    told = "40 paths are not spelled as the one file that fits: 'PICTURES/000.PNG' is 'pictures/000.png'"
    model = tmp_path / "m"
    for words in (
        ("inspect", table),
        ("fit", table, "--target", "y", "--out", model, *ROW_OPTIONS),
        ("predict", model, table),
        ("evaluate", model, table, "--split", "all"),
    ):
        assert main([str(word) for word in words]) == 0
        found = capsys.readouterr()
        assert told in " ".join((found.out + found.err).split())


def test_a_column_of_names_without_endings_is_one_of_pictures(tmp_path):
    names = [f"pictures/{number:03}" for number in range(30)]
    write_pictures(tmp_path, 30)
    table = read(write_csv(tmp_path / "t.csv", {"id": names, "n": range(30), "y": ["a", "b"] * 15}))
    (column,) = manyhot.infer(table, ["y"]).inputs
    assert (column.name, column.kind) == ("id", "image")
    bare = {"key": [name[-3:] for name in names], "n": range(30), "y": ["a", "b"] * 15}
    table = read(write_csv(tmp_path / "u.csv", bare), root=tmp_path / "pictures")
    assert "image" not in [column.kind for column in manyhot.infer(table, ["y"]).inputs]  # it may be a number
    (column,) = manyhot.infer(table, ["y"], image="key").inputs
    assert column.kind == "image"
    assert ImageInputs("key", (8, 8), 1).transform(table)[1] == {}


# What cannot be read


@pytest.fixture
def broken(tmp_path):
    """One picture that is right and all kinds that are not: name → a word of the reason."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    (tmp_path / "right.png").write_bytes(buffer.getvalue())
    (tmp_path / "short.png").write_bytes(buffer.getvalue()[:2000])
    jpeg = io.BytesIO()
    Image.fromarray(noise).save(jpeg, "JPEG")
    (tmp_path / "short.jpg").write_bytes(jpeg.getvalue()[:1000])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "page.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "folder.png").mkdir()
    huge = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    claim = struct.pack(">I", 13) + huge + struct.pack(">I", zlib.crc32(huge))
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue()[:8] + claim + buffer.getvalue()[33:])
    Image.fromarray(noise).save(tmp_path / "other.pdf")
    (tmp_path / "pdf.png").write_bytes((tmp_path / "other.pdf").read_bytes())
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    return {
        **({"pipe.png": "is no file"} if hasattr(os, "mkfifo") else {}),
        "short.png": "damaged",
        "short.jpg": "damaged",
        "empty.png": "empty file",
        "text.png": "not a picture",
        "page.png": "not a picture",
        "pdf.png": "not a picture",
        "folder.png": "is a folder",
        "missing.png": "no such file",
        "x" * 300 + ".png": "too long",
        "a b%20" + "x" * 300 + ".png": "too long",
        " ": "no path",
        "bomb.png": "pixels",
    }


def test_whatever_is_broken_is_named_with_its_reason(tmp_path, broken):
    names = ["right.png", *broken]
    x, unreadable = transform(tmp_path, names)
    assert set(unreadable) == set(range(1, len(names)))
    for index, text in unreadable.items():
        assert broken[names[index]] in text
        assert "\n" not in text
        assert not x[index].any()
    assert x[0].any()


def test_whatever_is_broken_is_skipped_counted_and_named_everywhere(tmp_path, broken, capsys):
    """In `inspect`, `fit`, the report, `predict` and `evaluate`, among enough pictures that are right."""
    names = [*broken, *write_pictures(tmp_path, 20 * len(broken))]
    labels = [("a", "b")[i % 2] for i in range(len(names))]
    path, model = str(write_csv(tmp_path / "t.csv", {"image": names, "y": labels})), str(tmp_path / "m")

    def run(*words):
        assert main([*words]) == 0
        return capsys.readouterr()

    (column,) = json.loads(run("inspect", path, "--target", "y", "--json").out)["inputs"]
    assert (column["opened"], len(column["unreadable"])) == (len(names), len(broken))
    reasons = [f"{name}: {why}" for name, why in column["unreadable"].items()]
    shown = run("inspect", path, "--target", "y").out
    assert f"{len(broken)} of {len(names)} pictures cannot be read" in shown
    assert f"cannot be read: {reasons[0]}" in shown
    fitted = run("fit", path, "--target", "y", "--out", model, *ROW_OPTIONS)
    assert f"note: left out: {reasons[0]}" in fitted.err
    page = html.unescape(Path(model, "report.html").read_text(encoding="utf-8"))
    assert f"unreadable <b>{len(broken)}</b>" in page
    assert all(f"left out: {reason}" in page for reason in reasons)
    answers = json.loads(run("predict", model, path, "--json").out)["rows"]
    errors = [row["error"] for row in answers]
    assert [f"{name}: {why}" for name, why in zip(column["unreadable"], errors)] == reasons
    assert [bool(error) for error in errors] == [i < len(broken) for i in range(len(names))]
    scores = run("evaluate", model, path, "--split", "all", "--json")
    assert json.loads(scores.out)["rows"] == len(names) - len(broken)
    assert f"{len(broken)} pictures cannot be read" in scores.err
    for line, (_, why) in zip(reasons, broken.items(), strict=True):
        assert why in line


def test_of_very_many_pictures_a_sample_is_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(opening, "MOST", 10)
    names = write_pictures(tmp_path, 35)
    (tmp_path / names[8]).write_bytes(b"")
    path = str(write_csv(tmp_path / "t.csv", {"image": names}))
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    assert "of 35 pictures an even sample of 9 was opened" in out
    assert "1 of 9 pictures cannot be read" in out
    assert "cannot be read: row 9, pictures/008.png: empty file" in out


def test_every_kind_of_picture_is_learned_from_and_answered(tmp_path):
    levels = np.linspace(0, 65535, 144).astype(np.uint16).reshape(12, 12)
    colour = Image.fromarray(np.kron(SCENE, np.ones((2, 2, 1), np.uint8))[:12, :12])
    kinds = {
        "deep.png": Image.fromarray(levels),
        "deep.tif": Image.fromarray(levels),
        "float.tif": Image.fromarray((levels / 65535).astype(np.float32)),
        **{f"{mode}.png": colour.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
        **{f"{mode}.tif": colour.convert(mode) for mode in ("CMYK", *YCBCR)},
        **{f"{mode}.jpg": colour.convert(mode) for mode in ("CMYK", "L", "RGB")},
        **{f"a.{ending}": colour for ending in ("bmp", "gif", "ppm", "webp")},
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
    colour.save(tmp_path / "moving.gif", save_all=True, append_images=[colour.rotate(90)])
    colour.save(tmp_path / "progressive.jpg", progressive=True)
    (tmp_path / "jpeg.png").write_bytes((tmp_path / "RGB.jpg").read_bytes())
    names = [*kinds, "moving.gif", "progressive.jpg", "jpeg.png"]
    path = write_csv(
        tmp_path / "t.csv", {"image": names * 3, "y": [("a", "b")[i % 2] for i in range(3 * len(names))]}
    )
    fitted = manyhot.fit(path, ["y"], **QUICK)
    assert fitted.run.counts["unreadable"] == 0
    answers = fitted.answers(path)
    assert "error" not in answers.columns
    cells = answers.column("y.a").to_pylist()
    assert cells[: len(names)] == cells[len(names) : 2 * len(names)]


def test_a_wrong_ending_is_no_matter(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    assert (array(tmp_path / "a.jpg") == SCENE).all()


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    monkeypatch.setattr(opening, "MAX_PIXELS", 63)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert reason(tmp_path / "a.png") == "8 × 8 pixels are more than 63"


def test_pillows_own_bomb_error_is_one_of_ours(tmp_path, monkeypatch):
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    assert "pixels" in reason(tmp_path / "a.png")


@pytest.mark.parametrize(
    "path", ["../a.png", "sub/../../a.png", "/etc/hostname.png", "link/a.png", "a-link.png"]
)
def test_a_path_that_leaves_the_folder(tmp_path, path):
    folder = tmp_path / "data"
    write_pictures(folder, 2)
    (tmp_path / "out").mkdir()
    Image.fromarray(SCENE).save(tmp_path / "out" / "a.png")
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(tmp_path / "out")
    (folder / "a-link.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"t.csv row 2: .*leaves the folder .*root"):
        transform(folder, ["pictures/000.png", path])


def test_links_and_absolute_paths_inside_are_allowed(tmp_path):
    write_pictures(tmp_path, 2)
    (tmp_path / "link.png").symlink_to(tmp_path / "pictures" / "001.png")
    (tmp_path / "folder").symlink_to(tmp_path / "pictures")
    names = ["link.png", str(tmp_path / "pictures/001.png"), "folder/001.png", "folder/../pictures/001.png"]
    x, unreadable = transform(tmp_path, names)
    assert unreadable == {}
    assert (x == x[:1]).all()


def test_root(tmp_path):
    write_pictures(tmp_path / "data", 2)
    path = write_csv(tmp_path / "tables" / "t.csv", {"image": ["000.png", "001.png"]})
    x, unreadable = ImageInputs("image", (8, 8), 1).transform(read(path, root=tmp_path / "data" / "pictures"))
    assert unreadable == {}
    assert (x == pixels(2)).all()


# In training and answering


def photos(folder, rows=60, bad=0):
    names = write_pictures(folder, rows)
    for number in range(bad):
        (folder / names[number * 7 + 1]).write_bytes(b"")
    return write_csv(folder / "t.csv", {"image": names, "y": [("a", "b")[i % 2] for i in range(rows)]})


def test_a_few_are_skipped_counted_and_named(tmp_path):
    fitted = manyhot.fit(str(photos(tmp_path, bad=3)), ["y"], out=tmp_path / "m", **QUICK)
    assert fitted.run.counts["unreadable"] == 3
    assert sum(fitted.run.counts.values()) == 60
    told = [note for note in fitted.run.notes if note.startswith("left out: row")]
    assert told[0] == "left out: row 2, pictures/001.png: empty file"
    assert len(told) == 3


def test_more_than_a_twentieth_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"4 of 60 pictures cannot be read, more than 5%.*row 2, .*root"):
        manyhot.fit(str(photos(tmp_path, bad=4)), ["y"], out=tmp_path / "m", **QUICK)
    assert not (tmp_path / "m").exists()


def test_in_answers_the_row_stays_and_says_why(tmp_path):
    fitted = manyhot.fit(str(photos(tmp_path / "a")), ["y"], **QUICK)
    answers = fitted.answers(str(photos(tmp_path / "b", bad=2)))
    assert len(answers) == 60
    errors = answers.column("error").to_pylist()
    assert [i for i, error in enumerate(errors) if error] == [1, 8]
    assert errors[1] == "empty file"
    for name in ("y", "y.a", "y.b"):
        cells = answers.column(name).to_pylist()
        assert [i for i, cell in enumerate(cells) if cell is None] == [1, 8]
    assert fitted.predict(str(tmp_path / "b" / "t.csv"))["y"][1] == ""


def test_in_scores_they_are_left_out_and_named(tmp_path, log_lines):
    fitted = manyhot.fit(str(photos(tmp_path / "a")), ["y"], **QUICK)
    judged = fitted.judge(str(photos(tmp_path / "b", bad=2)))
    assert (judged.scores["rows"], len(judged.table)) == (58, 58)
    assert judged.unreadable == {"row 2": "empty file", "row 9": "empty file"}
    assert any("2 pictures cannot be read" in line for line in log_lines)


def test_training_and_answering_read_a_turned_photo_alike(tmp_path):
    names = write_pictures(tmp_path, 60)
    image = Image.open(tmp_path / names[0]).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    fitted = manyhot.fit(str(photos(tmp_path)), ["y"], **QUICK)
    two = read(write_csv(tmp_path / "two.csv", {"image": [names[0], "turned.png"]}))
    x, _ = fitted.bundle.inputs.transform(two)
    assert x[0].tobytes() == x[1].tobytes()
    p = fitted.predict_proba(two)["y"]
    assert np.allclose(p[0], p[1], atol=1e-6)  # rows of a batch may differ in the last bit


# The rest


def test_json_and_back():
    inputs = ImageInputs("image", (8, 9), 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert from_json(inputs.to_json()) == inputs
    assert inputs.shape == (8, 9, 3)
    for wrong in (
        {},
        [],
        None,
        {"kind": "sound"},
        {"kind": "image", "x": 1},
        {**inputs.to_json(), "rule": 3},
    ):
        with pytest.raises(UserError, match="not the inputs of a model"):
            from_json(wrong)


def test_a_model_keeps_the_rule_that_it_was_trained_by():
    """What is trained now is trained by the last; a document that names none is of the first."""
    now = ImageInputs("image", (5, 5), 3)
    assert now.to_json()["rule"] == 2
    then = from_json({name: value for name, value in now.to_json().items() if name != "rule"})
    assert then.rule == 1
    assert from_json(then.to_json()).rule == 1
    table = read((pixels(20, channels=3, side=9), ["a", "b"] * 10))
    first, second = (inputs.transform(table)[0].astype(int) for inputs in (then, now))
    assert 0 < np.abs(first - second).max() <= 2


def test_mean_and_deviation_are_those_of_the_training_rows():
    x = pixels(40, channels=3)
    inputs = ImageInputs("image", (8, 8), 3).standardised(x, np.arange(len(x)))
    assert inputs.mean == pytest.approx((x / 255).mean(axis=(0, 1, 2)), abs=1e-4)
    assert inputs.std == pytest.approx((x / 255).std(axis=(0, 1, 2)), abs=1e-4)
    black = np.zeros((3, 8, 8, 1), np.uint8)
    assert min(ImageInputs("image", (8, 8), 1).standardised(black, np.arange(3)).std) > 0


def test_a_picture_to_look_at(tmp_path):
    schema = Schema((Input("image", "image", (8, 8, 3)),), ())
    Image.fromarray(np.kron(SCENE, np.ones((50, 100, 1), np.uint8))).save(tmp_path / "large.png")
    Image.fromarray(SCENE).save(tmp_path / "small.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    table = table_of(tmp_path, ["large.png", "small.png", "bad.png"])
    with Image.open(io.BytesIO(picture(table, schema, 0))) as image:
        assert (image.format, image.size) == ("PNG", (160, 80))
    with Image.open(io.BytesIO(picture(table, schema, 1))) as image:
        assert image.size[0] > 8
        assert image.getpixel((0, 0)) == tuple(SCENE[0, 0])
    assert picture(table, schema, 2) is None
    held = manyhot.Table({}, pixels=pixels(2))
    assert picture(held, Schema((Input("pixels", "image", (8, 8, 1)),), ()), 1).startswith(b"\x89PNG")


def test_hashes_are_of_the_bytes_whatever_the_name(tmp_path):
    write_pictures(tmp_path, 3)
    (tmp_path / "copy.png").write_bytes((tmp_path / "pictures/000.png").read_bytes())
    table = table_of(tmp_path, ["pictures/000.png", "copy.png", "pictures/001.png", "none.png", "none.png"])
    hashes = row_hashes(Schema((Input("image", "image", (8, 8, 1)),), ()), table)
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 4


def test_a_column_without_a_single_picture(tmp_path):
    with pytest.raises(UserError, match=r"none of the pictures in column 'image' can be read.*root"):
        measure(table_of(tmp_path, ["a.png", "b.png"]), "image")
