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
from making import write_csv

from manyhot.data.inputs.images.paths import pictures_of
from manyhot.data.sources.folder import read_folder
from manyhot.data.sources.idx import find_idx, read_idx
from manyhot.data.sources.read import read
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
        "left out: files that are not pictures by their ending (2): 1 .md, 1 .txt",
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


def test_bare_and_loose_pictures_have_no_label(tmp_path):
    assert lists(read_folder(make(tmp_path, "b.png", "a.png"))) == {"image": ["a.png", "b.png"]}
    table = read_folder(make(tmp_path, "cat/1.png", "dog/1.png"))
    assert lists(table) == {
        "image": ["a.png", "b.png", "cat/1.png", "dog/1.png"],
        "label": [None, None, "cat", "dog"],
    }
    assert table.notes == ("2 pictures outside the class folders: without a label",)


def test_pictures_beside_the_folders_of_a_split_are_left_out(tmp_path):
    table = read_folder(make(tmp_path, "sheet.png", "train/a/1.png", "train/b/1.png", "test/a/2.png"))
    assert lists(table)["split"] == ["test", "train", "train"]
    assert table.notes == ("left out: 1 picture outside the folders of the split",)


def test_new_pictures_beside_a_folder_called_test_are_all_there(tmp_path):
    table = read_folder(make(tmp_path, "1.png", "2.png", "test/3.png"))
    assert lists(table) == {"image": ["1.png", "2.png", "test/3.png"], "label": [None, None, "test"]}


def test_endings_that_are_left_out_are_counted_by_kind(tmp_path):
    names = [*(f"cat/{i}.HEIC" for i in range(3)), "cat/a.txt", "dog/b.mp4", "dog/README"]
    table = read_folder(make(tmp_path, "cat/1.png", "dog/1.png", *names))
    assert table.notes == (
        "left out: files that are not pictures by their ending (6): 3 .heic, 1 .mp4, 1 .txt, "
        "1 without ending; convert .heic to JPEG, PNG or TIFF",
    )


def linked(folder: Path) -> Path:
    """Class folders of which all but two pictures are links: into a store, to a folder, to themselves."""
    make(folder, "store/1.png", "more/2.png", "more/3.png", "data/cat/1.png", "data/dog/1.png")
    (folder / "data/cat/out.png").symlink_to(folder / "store/1.png")
    (folder / "data/cow").symlink_to(folder / "more")
    (folder / "data/loop").symlink_to(folder / "data")
    (folder / "data/cat/up").symlink_to("..")
    (folder / "data/cat/self.png").symlink_to("self.png")
    (folder / "data/dog/in.png").symlink_to("1.png")
    (folder / "data/dog/gone.png").symlink_to(folder / "store/gone.png")
    (folder / "data/dog/annex.png").symlink_to("../.git/annex/objects/x/SHA256E-s1--2.png")
    (folder / "data/dog/dvc.png").symlink_to("../.dvc/cache/files/md5/2a/b1")
    return folder / "data"


def test_links_are_followed_and_end(tmp_path):
    table = read_folder(linked(tmp_path))
    assert lists(table)["image"] == [
        *("cat/1.png", "cat/out.png", "cow/2.png", "cow/3.png", "dog/1.png", "dog/in.png"),
    ]
    assert lists(table)["label"] == ["cat", "cat", "cow", "cow", "dog", "dog"]
    assert table.notes == (
        "left out: broken links (2)",
        "left out: links to a folder that they are in (2)",
        "left out: links to files that DVC has not fetched, see `dvc pull` (1)",
        "left out: links to files that git-annex has not fetched, see `git annex get` (1)",
    )
    assert all(isinstance(found, Path) for found in pictures_of(table, "image"))


def test_folders_that_lead_to_each_other_end(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    assert len(read_folder(tmp_path)) == 4


def test_links_of_a_named_folder_are_not_those_of_a_table(tmp_path):
    """The same paths, written down by somebody, may not leave the folder; nor may a column put over them."""
    folder = linked(tmp_path)
    table = read_folder(folder)
    write_csv(folder / "t.csv", lists(table))
    with pytest.raises(UserError, match="leaves the folder"):
        pictures_of(read(folder / "t.csv"), "image")
    with pytest.raises(UserError, match="leaves the folder"):
        pictures_of(table.with_columns({"image": lists(table)["image"]}), "image")
    with pytest.raises(UserError, match="leaves the folder"):
        pictures_of(table.with_columns({"other": lists(table)["image"]}), "other")
    assert len(pictures_of(read([str(folder / "cat/out.png"), str(folder / "cow/2.png")]), "image")) == 2


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no picture \(left out: files .* \(1\): 1 \.doc\)"):
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
