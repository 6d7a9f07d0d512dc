"""Pictures of more than 8 bits and drawings on nothing: what there is to see is seen, everywhere alike."""

import json
from dataclasses import replace

import numpy as np
import pytest
from making import QUICK, write_csv
from PIL import Image

import manyhot
from manyhot.data.inputs.fitted import from_json
from manyhot.data.inputs.images.images import image_inputs
from manyhot.data.inputs.images.levels import USUAL, find, to_bytes
from manyhot.errors import UserError
from manyhot.schema import Levels, Schema

SIDE = 12


def rng(seed=0):
    return np.random.default_rng(seed)


def heights(seed, hill):
    found = rng(seed).normal(1500, 5, (SIDE, SIDE))
    found[3:9, 3:9] += 60 * hill
    return found.astype(np.float32)


def with_holes(word):
    def make(seed, hill):
        found = heights(seed, hill)
        found[0, : seed % 5] = word
        return found

    return make


# name → a picture of one of two classes as an array; each was one blank picture for all
DEEP = {
    "heights": heights,
    "heights with -9999": with_holes(-9999),
    "heights with not a number": with_holes(np.nan),
    "heights with infinity": with_holes(np.inf),
    "heights with the least float": with_holes(np.finfo(np.float32).min),
    "whole heights": lambda seed, hill: heights(seed, hill).astype(np.int32),
    "whole heights with -32768": lambda seed, hill: with_holes(-32768)(seed, hill).astype(np.int32),
    "a camera of 12 bits": lambda seed, hill: (heights(seed, hill) / 10).astype(np.uint16),
    "from -1 to 1": lambda seed, hill: (heights(seed, hill) - 1530) / 60,
    "far below 0": lambda seed, hill: heights(seed, hill) - 9000,
    "from 0 to 0.001": lambda seed, hill: (heights(seed, hill) - 1400) / 200_000,
    "32 bits": lambda seed, hill: heights(seed, hill).astype(np.int32) * 100_000,
}


def labelled(folder, pictures, ending="tif"):
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.{ending}")
    names = [f"{number}.{ending}" for number in range(len(pictures))]
    return write_csv(
        folder / "t.csv", {"image": names, "y": [("a", "b")[i % 2] for i in range(len(pictures))]}
    )


def read_as_trained(path):
    """What a network is shown of a table, by inputs that went through JSON."""
    table = manyhot.read(path)
    inputs = image_inputs(manyhot.infer(table, ["y"]), 0)
    again = from_json(json.loads(json.dumps(inputs.to_json())))
    assert again == inputs
    return again.transform(table)[0], again


@pytest.mark.parametrize("name", DEEP)
def test_what_there_is_to_see_is_seen(name, tmp_path):
    pictures = [DEEP[name](seed, seed % 2) for seed in range(20)]
    x, _ = read_as_trained(labelled(tmp_path, pictures))
    middle, rim = x[:, 4:8, 4:8].mean((1, 2, 3)), x[:, 10:, :].mean((1, 2, 3))
    assert ((middle - rim)[1::2] > 80).all()
    assert (np.abs(middle - rim)[::2] < 30).all()
    assert len({picture.tobytes() for picture in x}) == 20


@pytest.mark.parametrize("name", DEEP)
def test_arrays_are_read_as_files_are(name, tmp_path):
    pictures = [DEEP[name](seed, seed % 2) for seed in range(20)]
    x, inputs = read_as_trained(labelled(tmp_path, pictures))
    table = manyhot.read((np.stack(pictures), ["a", "b"] * 10))
    held = image_inputs(manyhot.infer(table), 0)
    assert held.levels == inputs.levels
    assert (held.transform(table)[0] == x).all()


def test_the_range_is_that_of_rows_that_are_not_test(tmp_path):
    pictures = [heights(seed, seed % 2) for seed in range(20)]
    pictures[19] = pictures[19] * 1000
    path = labelled(tmp_path, pictures)
    table = manyhot.read(path).with_columns({"split": ["train"] * 19 + ["test"]})
    (column,) = manyhot.infer(table, ["y"]).inputs
    assert column.levels.real[1] < 2000


def test_a_few_stray_pixels_do_not_stretch_the_range():
    pictures = [rng(seed).integers(100, 200, (300,)) for seed in range(50)]
    pictures[0][:3] = [60_000, 65_535, 40_000]
    low, high = find(pictures, [], []).whole
    assert low == 100
    assert high <= 300


# What was right is as it was, to the bit


AS_THEY_WERE = {
    "16 bits": ([np.arange(0, 65_536, 7, dtype=np.uint16)], []),
    "half of 16 bits": ([np.arange(10_000, 50_000, 7, dtype=np.uint16)], []),
    "floats some to 1 and some to 255": ([], [np.linspace(0, 1, 99), np.linspace(0, 255, 99)]),
}


@pytest.mark.parametrize("name", AS_THEY_WERE)
def test_pictures_that_use_their_range_need_nothing(name):
    assert find(*AS_THEY_WERE[name], []) is None


@pytest.mark.parametrize("top", [1, 255])
def test_floats_of_a_usual_range_keep_it(top):
    some = [rng(seed).random(99) * top for seed in range(9)]
    assert find([], some, []).real == (0, top)
    assert (to_bytes(some[0], find([], some, [])) == to_bytes(some[0])).all()


def test_bytes_in_a_wider_type_are_bytes():
    some = [np.arange(256)]
    assert find(some, [], []).whole == (0, 255)
    assert (to_bytes(some[0], find(some, [], [])) == some[0]).all()


def test_labels_of_few_levels_are_no_missing_pixels():
    low, high = find([np.array([0, 1, 2] * 9)], [], []).whole
    assert (low, high) == (0, 2)
    assert find([np.full(9, 7)], [], []).whole == (7, 8)  # one level throughout


def test_a_table_of_8_bits_says_nothing_of_levels(tmp_path):
    noise = [rng(seed).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8) for seed in range(4)]
    for ending in ("png", "jpg", "bmp"):
        (column,) = manyhot.infer(labelled(tmp_path / ending, noise, ending), ["y"]).inputs
        assert column.levels is None


# Drawings on nothing


def drawing(seed, level):
    found = np.zeros((SIDE, SIDE, 4), np.uint8)
    found[..., :3] = level
    found[2 + seed % 8, :, 3] = 255
    return found


@pytest.mark.parametrize(("levels", "ground"), [([255], 0), ([0], 255), ([0, 255], 128), ([90], 255)])
def test_the_ground_is_one_on_which_drawings_are_seen(levels, ground, tmp_path):
    pictures = [drawing(seed, levels[seed % len(levels)]) for seed in range(8)]
    x, inputs = read_as_trained(labelled(tmp_path, pictures, "png"))
    assert inputs.levels.ground == ground
    assert (x.max((1, 2, 3)) - x.min((1, 2, 3)).astype(int) > 60).all()


def test_grey_drawings_with_alpha_and_palettes(tmp_path):
    for kind in ("LA", "P"):
        (tmp_path / kind).mkdir()
        for seed in range(8):
            image = Image.fromarray(drawing(seed, 255)).convert("LA")
            if kind == "P":
                image = Image.fromarray(255 * (drawing(seed, 255)[..., 3] > 0).astype(np.uint8)).convert("P")
                image.save(tmp_path / kind / f"{seed}.png", transparency=0)
            else:
                image.save(tmp_path / kind / f"{seed}.png")
        table = manyhot.read(tmp_path / kind).with_columns({"y": ["a", "b"] * 4})
        (column,) = manyhot.infer(table, ["y"]).inputs
        assert (column.levels.ground, column.shape[2]) == (0, 1 if kind == "LA" else 3)


def test_pictures_with_alpha_that_hide_nothing_lie_on_white(tmp_path):
    opaque = [drawing(seed, 255) | np.uint8([0, 0, 0, 255]) for seed in range(4)]
    (column,) = manyhot.infer(labelled(tmp_path, opaque, "png"), ["y"]).inputs
    assert column.levels is None


# Kept, and the same everywhere


def test_levels_are_kept_in_the_model_and_in_the_schema(tmp_path):
    pictures = [heights(seed, seed % 2) for seed in range(40)]
    path = labelled(tmp_path / "new", pictures)
    fitted = manyhot.fit(path, ["y"], out=tmp_path / "m", **QUICK)
    again = manyhot.load(tmp_path / "m")
    assert again.bundle.inputs.levels == fitted.schema.inputs[0].levels
    assert Schema.from_json(fitted.schema.to_json()) == fitted.schema
    by_file, by_array = again.predict_proba(path)["y"], again.predict_proba(np.stack(pictures))["y"]
    assert np.allclose(by_file, by_array, atol=1e-6)
    assert len(np.unique(by_file[:, 0].round(6))) > 20
    data = (tmp_path / "new" / "1.tif").read_bytes()
    assert (
        again.bundle.inputs.pixels_of(data) == again.bundle.inputs.transform(manyhot.read(path))[0][1]
    ).all()


def test_the_cache_keeps_levels_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("manyhot.data.inputs.images.cache.LEAST", 0)
    path = labelled(tmp_path / "p", [heights(seed, seed % 2) for seed in range(6)])
    x, inputs = read_as_trained(path)
    table = manyhot.read(path)
    assert (inputs.read(table, cache=1.0).x == x).all()
    plain = replace(inputs, levels=USUAL).read(table, cache=1.0)
    assert (plain.x == 255).all()
    assert (inputs.read(table).x == x).all()


@pytest.mark.parametrize(
    "wrong", [{"whole": [5, 5]}, {"real": [0]}, {"ground": 300}, {"real": [0, float("inf")]}, {"depth": 8}]
)
def test_levels_that_are_none_are_refused(wrong):
    document = {"kind": "image", "column": "image", "size": [8, 8], "channels": 1, "levels": wrong}
    with pytest.raises(UserError, match="levels"):
        from_json(document)


def test_rows_of_another_range_than_8_bits_are_refused_by_a_model_of_8_bits():
    pixels = rng().integers(0, 255, (8, SIDE, SIDE), dtype=np.uint8)
    inputs = image_inputs(manyhot.infer(manyhot.read((pixels, ["a", "b"] * 4))), 0)
    with pytest.raises(UserError, match=r"floats in \[0, 1\].*from -1"):
        inputs.transform(manyhot.read(pixels / 127.5 - 1))
    assert (inputs.transform(manyhot.read(pixels.astype(int)))[0][..., 0] == pixels).all()
    assert (inputs.transform(manyhot.read(pixels / 255))[0][..., 0] == pixels).all()


def test_grey_arrays_of_several_sizes_keep_their_range():
    arrays = [heights(0, 1), heights(1, 0)[:9], heights(2, 1).astype(np.int16), heights(3, 1)[:, :7]]
    table = manyhot.read(arrays).with_columns({"y": ["a", "b"] * 2})
    levels = manyhot.infer(table, ["y"]).inputs[0].levels
    assert levels.real[0] > 1400
    assert levels.whole[0] > 1400
    with pytest.raises(UserError, match="colours must be uint8"):
        manyhot.read([np.full((4, 4, 3), -1.0), np.zeros((5, 5, 3))])


# Alike after reading


def test_pictures_that_become_one_are_told_before_and_after(tmp_path, capsys, log_lines):
    path = labelled(tmp_path, [np.full((SIDE, SIDE), 60_000 + i % 30, np.uint16) for i in range(40)], "png")
    table = manyhot.read(path)
    schema = manyhot.infer(table, ["y"])
    blind = Schema((replace(schema.inputs[0], levels=Levels()),), schema.targets)
    fitted = manyhot.fit(table, blind, **QUICK)
    told = "pictures differ as files and are"
    assert any(told in line and "of one colour throughout" in line for line in log_lines)
    assert any(told in note for note in fitted.run.notes)
    found = manyhot.inspect(path, ["y"])
    assert not any(told in note for note in found.notes)  # whose levels are found


def test_inspect_tells_what_is_alike(tmp_path, capsys):
    for number in range(20):
        info = Image.Exif()
        info[0x010E] = f"number {number}"
        Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / f"{number:02}.png", exif=info)
    assert status("inspect", tmp_path) == 0
    assert (
        "20 of 20 pictures differ as files and are one and the same when read at 12 × 12 pixels, of one "
        "colour throughout: '00.png', '01.png', '02.png' and 17 more"
    ) in capsys.readouterr().out.replace("\n", " ")


def test_one_picture_saved_in_several_ways_is_told_to_who_learns_alone(tmp_path, log_lines):
    noise = [rng(seed).integers(0, 255, (SIDE, SIDE), dtype=np.uint8) for seed in range(20)]
    names = []
    for number, picture in enumerate(noise):
        for ending in ("png", "bmp", "tif"):
            names.append(f"{number}.{ending}")
            Image.fromarray(picture).save(tmp_path / names[-1])
    path = write_csv(tmp_path / "t.csv", {"image": names, "y": ["a", "b"] * 30})
    told = "60 of 60 pictures differ as files and are only 20 different ones when read at 12 × 12 pixels: "
    fitted = manyhot.fit(path, ["y"], **QUICK)
    assert [note for note in fitted.run.notes if told in note and "copies" in note]
    assert [note for note in manyhot.inspect(path, ["y"]).notes if told in note]
    log_lines.clear()
    fitted.predict(path)
    assert log_lines == []


def test_copies_and_few_alike_are_no_matter(tmp_path):
    noise = [rng(seed).integers(0, 255, (SIDE, SIDE), dtype=np.uint8) for seed in range(10)]
    path = labelled(tmp_path, [*noise, *noise], "png")
    assert not [note for note in manyhot.inspect(path, ["y"]).notes if "differ as files" in note]


def status(*words):
    from manyhot.cli import main

    return main([str(word) for word in words])
