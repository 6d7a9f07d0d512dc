"""The cache of decoded pictures: never decoded twice, never wrong, never in the way."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from making import QUICK, SIDE, write_csv, write_pictures, write_table

import manyhot
from manyhot.cli import main
from manyhot.config import FitConfig
from manyhot.data.inputs.images import cache
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.errors import UserError
from manyhot.machine import cache_folder, tenth_of_disk
from manyhot.resolve import resolve

INPUTS = ImageInputs("image", (SIDE, SIDE), 1)
EACH = SIDE * SIDE + cache.RECORD.itemsize  # bytes of a picture in a segment
TINY = 1e-7  # GB


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache that keeps however few pictures."""
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LEAST", 0)
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """The pictures that were decoded."""
    calls, real = [], ImageInputs.pixels_of

    def counted(inputs, data):
        calls.append(data)
        return real(inputs, data)

    monkeypatch.setattr(ImageInputs, "pixels_of", counted)
    return calls


def table(folder, rows=30, seed=0):
    names = write_pictures(folder, rows, seed)
    return manyhot.read(write_csv(folder / "t.csv", {"image": names}))


def segments(folder):
    return sorted(folder.rglob(f"*{cache.ENDING}"))


def test_a_second_run_decodes_nothing(tmp_path, folder, decoded):
    data = table(tmp_path / "a")
    first = INPUTS.read(data, cache=1.0)
    assert len(decoded) == 30
    again = INPUTS.read(data, cache=1.0)
    assert len(decoded) == 30
    assert again.x.tobytes() == first.x.tobytes()
    assert (again.hashes == first.hashes).all()
    assert len(segments(folder)) == 1
    assert segments(folder)[0].stat().st_size == 30 * EACH


def test_a_picture_is_known_by_its_bytes(tmp_path, folder, decoded):
    data = table(tmp_path / "a")
    INPUTS.read(data, cache=1.0)
    paths = sorted((tmp_path / "a" / "pictures").iterdir())
    old, new = paths[0].read_bytes(), paths[1].read_bytes()
    paths[0].write_bytes(new)
    paths[1].write_bytes(old)
    (paths[2]).write_bytes(
        (tmp_path / "b" / table(tmp_path / "b", 1, seed=9).column("image")[0].as_py()).read_bytes()
    )
    found = INPUTS.read(data, cache=1.0)
    assert len(decoded) == 31
    assert found.x.tobytes() == INPUTS.read(data, cache=0.0).x.tobytes()


def test_another_size_or_rule_is_another_folder(tmp_path, folder, decoded, monkeypatch):
    data = table(tmp_path / "a")
    INPUTS.read(data, cache=1.0)
    ImageInputs("image", (4, 4), 1).read(data, cache=1.0)
    ImageInputs("image", (SIDE, SIDE), 1, rule=1).read(data, cache=1.0)
    monkeypatch.setattr("simplejpeg.__version__", "99")
    INPUTS.read(data, cache=1.0)
    assert len(decoded) == 120
    assert len({path.parent for path in segments(folder)}) == 4


def test_streamed_pictures_come_from_the_cache(tmp_path, folder, decoded):
    data = table(tmp_path / "a")
    streamed = INPUTS.read(data, memory=TINY, cache=1.0).x
    assert len(decoded) == 30
    x = np.asarray(streamed)
    assert len(decoded) == 30
    assert x.tobytes() == INPUTS.read(data, cache=0.0).x.tobytes()


def test_looking_only_and_off(tmp_path, folder, decoded):
    data = table(tmp_path / "a")
    INPUTS.transform(data)
    INPUTS.read(data, cache=0.0)
    assert not folder.exists()
    INPUTS.read(data, cache=1.0)
    INPUTS.transform(data)
    assert len(decoded) == 90
    INPUTS.read(data, cache=0.0)
    assert len(decoded) == 120


def test_few_pictures_are_not_worth_a_file(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(cache, "LEAST", 30 * EACH + 1)
    INPUTS.read(table(tmp_path / "a"), cache=1.0)
    assert not folder.exists()


def test_what_cannot_be_read_says_why_each_time(tmp_path, folder):
    data = table(tmp_path / "a")
    (tmp_path / "a" / "pictures" / "003.png").write_bytes(b"no picture")
    for _ in range(2):
        assert INPUTS.read(data, cache=1.0).unreadable == {3: "not a picture that can be read"}


# Room


def test_there_is_an_end_to_it(tmp_path, folder, decoded, log_lines):
    data = table(tmp_path / "a")
    room = 10 * EACH
    found = INPUTS.read(data, memory=TINY, cache=room / 1e9)
    assert [line for line in log_lines if "full" in line] == log_lines
    assert len(log_lines) == 1
    assert sum(path.stat().st_size for path in segments(folder)) <= room
    assert np.asarray(found.x).tobytes() == INPUTS.read(data, cache=0.0).x.tobytes()
    assert len(decoded) == 30 + 20 + 30


def test_the_longest_unused_goes_first(tmp_path, folder, decoded):
    room = 25 * EACH / 1e9
    tables = [table(tmp_path / name, 10, seed) for seed, name in enumerate("abc")]
    for age, data in enumerate(tables[:2]):
        INPUTS.read(data, cache=room)
        for path in segments(folder):
            os.utime(path, (0, time.time() - 1000 + age))
    INPUTS.read(tables[0], cache=room)  # so that the second is the longest unused
    INPUTS.read(tables[2], cache=room)
    decoded.clear()
    INPUTS.read(tables[0], cache=room)
    INPUTS.read(tables[2], cache=room)
    assert decoded == []
    INPUTS.transform(tables[1])
    assert len(decoded) == 10


def test_many_segments(tmp_path, folder, decoded, monkeypatch):
    monkeypatch.setattr(cache, "SEGMENT", 7 * EACH)
    data = table(tmp_path / "a")
    INPUTS.read(data, cache=1.0)
    assert len(segments(folder)) == 5
    x = np.asarray(INPUTS.read(data, memory=TINY, cache=1.0).x)
    assert len(decoded) == 30
    assert x.tobytes() == INPUTS.read(data, cache=0.0).x.tobytes()


# Whatever goes wrong


@pytest.mark.parametrize("place", [5, -5], ids=["pixels", "records"])
def test_a_damaged_segment_is_not_believed(tmp_path, folder, place):
    data = table(tmp_path / "a")
    right = INPUTS.read(data, cache=1.0).x
    (path,) = segments(folder)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        assert INPUTS.read(data, cache=1.0).x.tobytes() == right.tobytes()


def test_damage_is_told_once_and_mended(tmp_path, folder, log_lines, decoded):
    data = table(tmp_path / "a")
    INPUTS.read(data, cache=1.0)
    (path,) = segments(folder)
    path.write_bytes(bytes(len(path.read_bytes()) - 30 * 12) + path.read_bytes()[-30 * 12 :])
    INPUTS.read(data, cache=1.0)
    assert [line for line in log_lines if "damaged" in line] == log_lines
    assert len(log_lines) == 1
    decoded.clear()
    INPUTS.read(data, cache=1.0)
    assert decoded == []


@pytest.mark.parametrize("length", [0, 1, 75, 76, 1000])
def test_a_segment_cut_short_is_passed_over(tmp_path, folder, length):
    data = table(tmp_path / "a")
    right = INPUTS.read(data, cache=1.0).x
    (path,) = segments(folder)
    path.write_bytes(path.read_bytes()[:length])
    assert INPUTS.read(data, cache=1.0).x.tobytes() == right.tobytes()


def test_a_full_disk_costs_a_line(tmp_path, folder, log_lines, monkeypatch):
    def full(path, write, sync=True):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.files, "write_with", full)
    monkeypatch.setattr(cache, "SEGMENT", 7 * EACH)
    found = INPUTS.read(table(tmp_path / "a"), cache=1.0)
    assert found.x.any(axis=(1, 2, 3)).all()
    assert len(log_lines) == 1
    assert "No space left on device" in log_lines[0]


def test_a_place_that_cannot_be_written_costs_a_line(tmp_path, log_lines, folder, monkeypatch):
    path = write_table(tmp_path / "a", "multiclass", 30, image=True)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "file"))
    fitted = manyhot.fit(path, ["fruit"], **QUICK, cache=1.0)
    assert fitted.run.counts["unreadable"] == 0
    assert len([line for line in log_lines if "no longer kept" in line]) == 1
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_stopped_run_leaves_what_it_decoded(tmp_path, folder, decoded):
    def stop(done, rows):
        if done == 12:
            raise KeyboardInterrupt

    data = table(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        INPUTS.read(data, stop, cache=1.0)
    decoded.clear()
    INPUTS.read(data, cache=1.0)
    assert len(decoded) == 18


def test_leftovers_of_killed_runs_are_swept(tmp_path, folder):
    INPUTS.read(table(tmp_path / "a"), cache=1.0)
    place = segments(folder)[0].parent
    old, fresh = place / ".1.part", place / ".2.part"
    for path in (old, fresh):
        path.write_bytes(b"x")
    os.utime(old, (0, time.time() - 2 * cache.STALE))
    INPUTS.read(table(tmp_path / "b", seed=1), cache=1.0)
    assert not old.exists()
    assert fresh.exists()  # somebody may be writing it


def test_two_runs_at_once(tmp_path, folder):
    data = table(tmp_path / "a")
    right, found = INPUTS.read(data, cache=0.0).x, []
    runs = [
        threading.Thread(target=lambda: found.append(INPUTS.read(data, memory=TINY, cache=1.0).x))
        for _ in range(4)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [np.asarray(x).tobytes() for x in found] == [right.tobytes()] * 4
    assert len(segments(folder)) == 1


def test_the_cache_may_go_while_it_is_used(tmp_path, folder):
    data = table(tmp_path / "a")
    streamed = INPUTS.read(data, memory=TINY, cache=1.0).x
    cache.clear()
    assert np.asarray(streamed).tobytes() == INPUTS.read(data, cache=0.0).x.tobytes()


# In a fit


def test_the_weights_are_the_same_whichever_way(tmp_path, folder, decoded):
    path = write_table(tmp_path / "a", "mixed", 60, image=True)
    ways = [
        {"cache": 0.0},
        {"cache": 0.0, "memory": TINY},
        {"cache": 1.0},
        {"cache": 1.0, "memory": TINY},
        {},
    ]
    models = [manyhot.fit(path, ["fruit", "ripe"], **{**QUICK, "epochs": 2}, **way) for way in ways]
    weights = [model.bundle.predictor.state_dict() for model in models]
    for other in weights[1:]:
        assert all(torch.equal(weights[0][name], other[name]) for name in weights[0])
    decoded.clear()
    manyhot.fit(path, ["fruit", "ripe"], **{**QUICK, "epochs": 2}, memory=TINY)
    scores = models[0].evaluate(path)
    assert decoded == []
    assert scores == models[3].evaluate(path)


def test_a_run_may_go_on_without_it(tmp_path, folder):
    path = write_table(tmp_path / "a", "multiclass", 60, image=True)
    manyhot.fit(path, ["fruit"], out=tmp_path / "m", **QUICK, cache=1.0)
    whole = (tmp_path / "m" / "weights.safetensors").read_bytes()
    (tmp_path / "m" / "manyhot.json").unlink()
    manyhot.fit(path, ["fruit"], out=tmp_path / "m", resume=True, **QUICK, cache=0.0)
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == whole


# Where it is


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setenv("MANYHOT_CACHE", "here")
    assert cache_folder() == Path("here").absolute()
    monkeypatch.delenv("MANYHOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "manyhot"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() == Path.home() / ".cache" / "manyhot"
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "manyhot"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder() is None
    assert tenth_of_disk() == 0
    assert cache.usage() == {"folder": "", "pictures": 0, "bytes": 0}


def test_how_large_it_may_be(fitted_pictures, monkeypatch):
    usage = type("usage", (), {"free": 35e9})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert tenth_of_disk() == 3.5
    schema = manyhot.load(fitted_pictures / "model").schema
    assert resolve({}, schema, 100).cache == 3.5
    assert resolve({"cache": "20"}, schema, 100).cache == 20
    usage.free = 1e12
    assert tenth_of_disk() == 10
    with pytest.raises(UserError, match="cache must be at least 0"):
        FitConfig(cache=-1)


EMPTY = {"pictures": 0, "bytes": 0, "tables": 0, "bytes_of_tables": 0}


def test_the_command(tmp_path, folder, capsys):
    def command(*words):
        assert main(["cache", *words]) == 0
        return capsys.readouterr().out

    assert json.loads(command("--json")) == EMPTY | {"folder": str(folder)}
    INPUTS.read(table(tmp_path / "a"), cache=1.0)
    found = EMPTY | {"folder": str(folder), "pictures": 30, "bytes": 30 * EACH}
    assert json.loads(command("--json")) == found
    assert command() == f"{folder}: 30 decoded pictures, 0.0 MB\n"
    others = [folder / "x.pixels", folder / "pictures" / "x.pixels", segments(folder)[0].parent / "mine.txt"]
    others += [folder / "pictures" / "maxixi-x" / "x.pixels"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert json.loads(command("--clear", "--json"))["pictures"] == 0
    assert all(path.read_text() == "mine" for path in others)
    assert len(segments(folder)) == 3
