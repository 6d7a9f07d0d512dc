"""Class folders and IDX files: what is a class, what is left out, and which files are refused."""

import contextlib
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyhot.data.sources.folder import read_folder
from manyhot.data.sources.idx import find_idx, read_idx
from manyhot.data.table import Table
from manyhot.errors import UserError


def make(folder: Path, *paths: str) -> Path:
    for path in paths:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x")
    return folder


def lists(table: Table) -> dict[str, list]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


def idx(images: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{images.ndim}I", 0, 0, 8, images.ndim, *images.shape) + images.tobytes()


def test_class_folders_are_sorted_and_nested_pictures_belong_to_the_top_class(tmp_path):
    table = read_folder(make(tmp_path, "dog/b.JPG", "cat/2.png", "cat/deep/er/1.jpeg", "dog/a.webp"))
    assert lists(table) == {
        "image": ["cat/2.png", "cat/deep/er/1.jpeg", "dog/a.webp", "dog/b.JPG"],
        "label": ["cat", "cat", "dog", "dog"],
    }
    assert (table.root, table.targets, table.notes) == (tmp_path, ("label",), ())


def test_litter_and_empty_folders_are_no_classes_and_are_counted(tmp_path):
    litter = [".ipynb_checkpoints/a.png", "__MACOSX/._b.png", "@eaDir/c.png", ".DS_Store"]
    inside = ["cat/Thumbs.db", "cat/.hidden.png", "cat/desktop.ini", "cat/._1.png", "cat/notes.txt"]
    make(tmp_path, "cat/1.png", "dog/1.png", "readme.md", *litter, *inside)
    (tmp_path / "cow").mkdir()
    table = read_folder(tmp_path)
    assert lists(table) == {"image": ["cat/1.png", "dog/1.png"], "label": ["cat", "dog"]}
    assert table.notes == (
        "left out: empty folders (1)",
        "left out: files that are not pictures by their ending (2)",
        "left out: hidden or system entries (8)",
    )


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "TEST"), ("train", "validation")]
)
def test_split_folders_become_a_column(tmp_path, names):
    make(tmp_path, *(f"{name}/{label}/1.png" for name in names for label in "ab"))
    table = read_folder(tmp_path)
    expected = [
        {"valid": "val", "validation": "val"}.get(name.lower(), name.lower()) for name in sorted(names)
    ]
    assert lists(table)["split"] == [split for split in expected for _ in "ab"]
    assert lists(table)["label"] == ["a", "b"] * len(names)


def test_split_folders_without_classes_have_no_labels(tmp_path):
    table = read_folder(make(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png"))
    assert lists(table)["label"] == [None, "a", "b"]
    bare = read_folder(make(tmp_path / "bare", "train/1.png", "test/1.png"))
    assert (bare.names, bare.targets) == (("image", "split"), ())


def test_a_class_may_be_called_train_beside_others(tmp_path):
    table = read_folder(make(tmp_path, "train/1.png", "plane/1.png"))
    assert lists(table)["label"] == ["plane", "train"]


def test_bare_pictures_have_no_label_and_loose_ones_are_left_out(tmp_path):
    assert lists(read_folder(make(tmp_path, "b.png", "a.png"))) == {"image": ["a.png", "b.png"]}
    table = read_folder(make(tmp_path, "cat/1.png", "dog/1.png"))
    assert lists(table)["label"] == ["cat", "dog"]
    assert table.notes == ("left out: pictures outside the class folders (2)",)


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    make(tmp_path, "secret/1.png", "data/cat/1.png", "data/dog/1.png")
    (tmp_path / "data/cat/out.png").symlink_to(tmp_path / "secret/1.png")
    (tmp_path / "data/cow").symlink_to(tmp_path / "secret")
    (tmp_path / "data/loop").symlink_to(tmp_path / "data")
    (tmp_path / "data/dog/in.png").symlink_to("1.png")
    table = read_folder(tmp_path / "data")
    assert lists(table)["image"] == ["cat/1.png", "dog/1.png", "dog/in.png"]
    assert table.notes == ("left out: links to folders or out of the folder (3)",)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no picture \(left out: files .* \(1\)\)"):
        read_folder(make(tmp_path, "cat/1.doc"))


def test_a_name_that_is_not_utf8_is_left_out(tmp_path):
    make(tmp_path, "cat/1.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    assert read_folder(tmp_path).notes == ("left out: files with a name that is not UTF-8 (1)",)


@pytest.fixture
def mnist(tmp_path):
    """A folder with the four files of a very small MNIST, two of them packed."""
    rng = np.random.default_rng(0)
    for part, size in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (size, 4, 5), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        with gzip.open(tmp_path / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(idx(np.arange(size, dtype=np.uint8)))
    return tmp_path


def test_idx_with_both_parts(mnist):
    table = read_idx(mnist)
    assert table.pixels.shape == (9, 4, 5, 1)
    assert table.pixels.dtype == np.uint8
    assert lists(table) == {"label": [*"012345", *"012"], "split": ["train"] * 6 + ["test"] * 3}
    assert table.targets == ("label",)


@pytest.mark.parametrize("place", ["raw", "MNIST/raw", "FashionMNIST/raw", "."])
def test_idx_files_are_found_where_downloads_put_them(mnist, tmp_path, place):
    folder = tmp_path / "outer" / place
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*mnist.glob("*ubyte*")]:
        path.rename(folder / path.name)
    assert find_idx(tmp_path / "outer").resolve() == folder.resolve()
    assert find_idx(make(tmp_path / "empty", "x.png")) is None


def test_idx_with_some_of_the_files(mnist):
    (mnist / "train-labels-idx1-ubyte.gz").unlink()
    assert lists(read_idx(mnist))["label"] == [None] * 6 + [*"012"]
    (mnist / "train-images-idx3-ubyte").unlink()
    assert lists(read_idx(mnist)) == {"label": [*"012"]}
    (mnist / "t10k-labels-idx1-ubyte.gz").unlink()
    assert (read_idx(mnist).names, len(read_idx(mnist))) == ((), 3)


def test_an_unpacked_file_may_lie_beside_its_packed_one(mnist):
    path = mnist / "train-images-idx3-ubyte"
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(path.read_bytes())
    assert len(read_idx(mnist)) == 9
    (mnist / "letters-train-images-idx3-ubyte").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="more than one train set"):
        read_idx(mnist)


def damaged(mnist: Path, change, name: str = "train-images-idx3-ubyte") -> str:
    path = mnist / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        read_idx(mnist)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:7],
        lambda data: b"",
        lambda data: b"\0\0\x08\x01" + data[4:],
        lambda data: b"\0\0\x0d\x03" + data[4:],
        lambda data: data[:4] + b"\xff" * 12 + data[16:],
        lambda data: data[:4] + struct.pack(">I", 7) + data[8:],
    ],
)
def test_a_cut_or_lying_idx_file_is_named(mnist, change):
    assert "train-images-idx3-ubyte" in damaged(mnist, change)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-9], lambda data: b"PK" + data, lambda data: data[:12]]
)
def test_a_damaged_packed_file_is_named(mnist, change):
    assert "train-labels-idx1-ubyte.gz" in damaged(mnist, change, "train-labels-idx1-ubyte.gz")


def test_labels_without_images_and_counts_that_differ(mnist):
    (mnist / "train-labels-idx1-ubyte.gz").unlink()
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(UserError, match="5 labels for the 6 images"):
        read_idx(mnist)
    (mnist / "train-images-idx3-ubyte").unlink()
    with pytest.raises(UserError, match="labels without images"):
        read_idx(mnist)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.integers(0, 130), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(tmp_path, position, value):
    data = bytearray(idx(np.ones((6, 4, 5), np.uint8)))
    data[position] = value
    (tmp_path / "train-images-idx3-ubyte").write_bytes(data)
    with contextlib.suppress(UserError):  # and nothing but a UserError
        assert len(read_idx(tmp_path)) > 0


def test_real_mnist():
    data = os.environ.get("MANYHOT_DATA")
    if not data:
        pytest.skip("MANYHOT_DATA names no folder with real data")
    table = read_idx(find_idx(Path(data) / "mnist"))
    assert table.pixels.shape == (70_000, 28, 28, 1)
    assert table.cells("label").values[0] == "5"
