"""Data sets by name: `data.datasets`, each set's own module, `manyhot data`. No test needs a network."""

import contextlib
import csv
import gzip
import io
import json
import os
import shlex
import shutil
import tarfile
from collections import Counter
from dataclasses import replace
from email.message import Message
from hashlib import md5
from http.client import IncompleteRead
from pathlib import Path
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.response import addinfourl

import numpy as np
import pytest
from making import status_of, write_csv
from PIL import Image
from scipy.io import savemat

import manyhot
from manyhot import progress
from manyhot.cli import document
from manyhot.cli.commands.data import DATASETS
from manyhot.cli.parser import build_parser
from manyhot.data.sources.datasets import OPTIONS, prepare
from manyhot.data.sources.sets import cifar, download, matlab, mnist
from manyhot.data.sources.sets.cars import BRANDS, labels_of
from manyhot.errors import UserError

CARS = ("Audi TTS Coupe 2012", "Dodge Caravan Minivan 1997", "Ford E-Series Wagon Van 2012")
OFFLINE = "Temporary failure in name resolution"


@pytest.fixture
def run(capsys):
    """Run `manyhot data …`: (status, standard output, standard error)."""

    def command(*words):
        capsys.readouterr()
        status = status_of("data", *words)
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def refused(run):
    """Run a command that must be refused in one line; return the line."""

    def command(*words):
        status, out, err = run(*words)
        assert (status, out, len(err.splitlines())) == (2, "", 1), err
        assert err.startswith("manyhot: ")
        return err.strip()

    return command


@pytest.fixture
def network(monkeypatch):
    """A network that has what is put into it, by address, and nothing else; it notes what was asked for."""
    served, asked = {}, []

    def open_url(url):
        asked.append(url)
        if url not in served:
            raise URLError(OSError(-3, OFFLINE))
        return Response(served[url])

    monkeypatch.setattr(download, "open_url", open_url)
    served["asked"] = asked
    return served


class Response(io.BytesIO):
    """What an address answers with."""

    def __init__(self, data):
        super().__init__(data)
        self.headers = Message()
        self.headers["Content-Length"] = str(len(data))


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def entries(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def cars(folder, names=CARS, **more):
    """Write a labels.csv of class names, without the photos."""
    columns = {"image": [f"{number}.jpg" for number in range(len(names))], "class_name": names}
    return write_csv(folder / "labels.csv", {**columns, **more})


# Names


def test_the_parser_names_every_set():
    assert set(DATASETS) == set(OPTIONS)
    for name in DATASETS:
        assert build_parser().parse_args(["data", name, "x"]).name == name


def test_a_misspelt_name_and_a_file_for_a_folder(refused, tmp_path):
    assert "did you mean 'cifar10'" in refused("cifra10", tmp_path)
    (tmp_path / "file").write_text("")
    for name in DATASETS:
        assert "is a file" in refused(name, tmp_path / "file")


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("there", [True, False])
def test_nothing_there_and_no_network(refused, network, tmp_path, monkeypatch, name, there):
    monkeypatch.chdir(tmp_path)  # a long path would take words out of the line
    folder = Path("new")
    if there:
        folder.mkdir()
    line = refused(name, folder)
    assert "by hand" in line
    assert str(folder) in line
    assert entries(tmp_path) == (["new"] if there else [])
    assert all(url.startswith("https://") for url in network["asked"])


def test_a_folder_that_may_not_be_written(refused, tmp_path):
    cars(tmp_path / "cars")
    (tmp_path / "cars").chmod(0o500)
    assert "cannot be written to" in refused("stanford-cars", tmp_path / "cars")


def test_a_table_that_is_read_only_stays_as_it_is(refused, tmp_path):
    path = write_csv(tmp_path / "labels.csv", {"class_name": CARS})
    before = path.read_bytes()
    path.chmod(0o444)  # root may write it all the same
    assert f"{path}: cannot be written to" in refused("stanford-cars", tmp_path)
    assert path.read_bytes() == before


# Stanford Cars: from a class name to three labels


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("Audi TTS Coupe 2012", ("Audi", "Coupe", "from 2010")),
        ("BMW X5 SUV 2007", ("BMW", "SUV", "up to 2009")),
        ("Dodge Caravan Minivan 1997", ("Dodge", "Other", "up to 2009")),
        ("Honda Odyssey Minivan 2012", ("Other", "Other", "from 2010")),
        ("Ford E-Series Wagon Van 2012", ("Ford", "Van", "from 2010")),
        ("Chevrolet Express Cargo Van 2007", ("Chevrolet", "Van", "up to 2009")),
        ("Ram C/V Cargo Van Minivan 2012", ("Other", "Van", "from 2010")),
        ("Rolls-Royce Phantom Drophead Coupe Convertible 2012", ("Other", "Convertible", "from 2010")),
        ("Bentley Continental Supersports Conv. Convertible 2012", ("Other", "Convertible", "from 2010")),
        ("Ford Ranger SuperCab 2011", ("Ford", "Other", "from 2010")),
        ("Audi 100 Wagon 1994", ("Audi", "Other", "up to 2009")),
        ("GMC Savana Van 2012", ("Other", "Van", "from 2010")),
        ("Fordson Major 1952", ("Other", "Other", "up to 2009")),
        ("A Van SUV Coupe 2009", ("Other", "Coupe", "up to 2009")),
        ("A Van SUV 2010", ("Other", "SUV", "from 2010")),
        (" Audi  TTS Coupe 2012 ", ("Audi", "Coupe", "from 2010")),
        ("2012", ("Other", "Other", "from 2010")),
    ],
)
def test_labels_of_a_class_name(name, labels):
    assert labels_of(name) == labels


@pytest.mark.parametrize(
    "name", ["Audi TTS Coupe", "2012 Audi TTS", "Audi TTS 12", "Audi 20122", "Audi ２０１２", "Audi 2012."]
)
def test_a_class_name_without_a_year(refused, tmp_path, name):
    path = cars(tmp_path, [*CARS, name, name])
    before = path.read_bytes()
    line = refused("stanford-cars", tmp_path)
    assert f"labels.csv row 4, column 'class_name': '{name}' does not end in a year" in line
    assert path.read_bytes() == before
    assert entries(tmp_path) == ["labels.csv"]


def test_columns_are_kept_and_three_are_added(run, tmp_path):
    cars(tmp_path, note=["a;b", "=1+1", ""], split=["train", "val", "test"])
    assert run("stanford-cars", tmp_path)[0] == 0
    rows = rows_of(tmp_path / "labels.csv")
    assert [*rows[0]] == ["image", "class_name", "note", "split", "brand", "body", "era"]
    assert [row["brand"] for row in rows] == ["Audi", "Dodge", "Ford"]
    assert [row["body"] for row in rows] == ["Coupe", "Other", "Van"]
    assert [row["era"] for row in rows] == ["from 2010", "up to 2009", "from 2010"]
    assert manyhot.read(tmp_path / "labels.csv").column("note").to_pylist() == ["a;b", "=1+1", None]


def test_running_it_again_changes_nothing(run, tmp_path):
    path = cars(tmp_path)
    assert run("stanford-cars", tmp_path)[0] == 0
    first = path.read_bytes()
    assert run("stanford-cars", tmp_path)[0] == 0
    assert path.read_bytes() == first


def test_another_list_of_brands(run, refused, tmp_path):
    path = cars(tmp_path, [*CARS, "Land Rover LR2 SUV 2012", "Landini 2012"])
    assert run("stanford-cars", tmp_path)[0] == 0
    status, _, err = run("stanford-cars", tmp_path, "--brands", " Land Rover, Dodge ,,Fiat")
    assert status == 0
    assert "no class_name begins with 'Fiat'" in err
    assert [row["brand"] for row in rows_of(path)] == ["Other", "Dodge", "Other", "Land Rover", "Other"]
    assert run("stanford-cars", tmp_path)[0] == 0
    assert [row["brand"] for row in rows_of(path)] == ["Audi", "Dodge", "Ford", "Other", "Other"]
    assert "'ford' (did you mean 'Ford'?)" in run("stanford-cars", tmp_path, "--brands", "ford")[2]
    assert "--brands" in refused("stanford-cars", tmp_path, "--brands", " , ")
    assert "--brands" in refused("mnist", tmp_path, "--brands", "Audi")


@pytest.mark.parametrize(
    ("column", "value"), [("body", "Sedan"), ("era", "2012"), ("brand", "VW"), ("brand", "Aud")]
)
def test_columns_from_elsewhere_are_not_replaced(refused, tmp_path, column, value):
    path = cars(tmp_path, **{column: ["", "Other" if column != "era" else "from 2010", value]})
    before = path.read_bytes()
    assert f"row 3, column '{column}': '{value}' was not written" in refused("stanford-cars", tmp_path)
    assert path.read_bytes() == before


def test_an_empty_class_name_stays_unknown(run, tmp_path):
    path = cars(tmp_path, [CARS[0], "", "  "])
    assert run("stanford-cars", tmp_path)[0] == 0
    assert [row["body"] for row in rows_of(path)] == ["Coupe", "", ""]


def test_labels_of_any_table(run, tmp_path):
    """Semicolons and Windows-1252 in, and what `fit` reads out."""
    text = "image;class_name;garage\n0.jpg;Škoda Octavia 2004;Süd\n1.jpg;Audi TTS Coupe 2012;\n"
    (tmp_path / "labels.csv").write_text(text, encoding="cp1252")
    assert run("stanford-cars", tmp_path)[0] == 0
    rows = rows_of(tmp_path / "labels.csv")
    assert [(row["garage"], row["brand"]) for row in rows] == [("Süd", "Other"), ("", "Audi")]


def test_a_table_without_class_names(refused, tmp_path):
    write_csv(tmp_path / "labels.csv", {"image": ["1.jpg"], "class": ["Audi TTS Coupe 2012"]})
    assert "no column 'class_name'" in refused("stanford-cars", tmp_path)


def test_class_names_are_no_feature(run, tmp_path):
    write_csv(tmp_path / "labels.csv", {"price": [1, 2, 3], "class_name": CARS})
    assert json.loads(run("stanford-cars", tmp_path, "--json")[1])["fit"].count("class_name=ignore") == 1


def test_photos_that_are_not_there_are_told(run, tmp_path):
    cars(tmp_path)
    (tmp_path / "1.jpg").write_bytes(b"")
    status, out, err = run("stanford-cars", tmp_path)
    assert status == 0
    assert err == f"note: 2 of 3 pictures are not in {tmp_path}, such as '0.jpg'\n"
    first, second = out.splitlines()
    assert first == (
        f"{tmp_path / 'labels.csv'}: 3 rows with image, class_name, brand, body, era; train on them with:"
    )
    assert second.startswith("  manyhot fit ")


def test_the_fit_line_is_what_fit_takes(run, tmp_path):
    path = cars(tmp_path / "my cars", CARS * 8)
    for number in range(len(CARS) * 8):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path.parent / f"{number}.jpg")
    found = json.loads(run("stanford-cars", path.parent, "--json")[1])
    assert found["name"] == "stanford-cars"
    assert found["out"] == str(path)
    assert found["rows"] == 24
    assert found["columns"] == ["image", "class_name", "brand", "body", "era"]
    program, *words = shlex.split(found["fit"])
    args = build_parser().parse_args(words)
    assert (program, args.command, args.data) == ("manyhot", "fit", str(path))
    schema = manyhot.infer(manyhot.read(args.data), args.target)
    assert [target.kind for target in schema.targets] == ["multiclass", "multiclass", "binary"]
    assert [column.name for column in schema.inputs] == ["image"]


# Stanford Cars: the devkit


def annotations(**columns):
    """A struct array as the devkit has one."""
    marks = np.empty(len(next(iter(columns.values()))), dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        marks[name] = values
    return marks


def cells(names):
    return np.array([*names], dtype=object)


def full_set(folder, **more):
    columns = {
        "relative_im_path": [f"car_ims/00000{number}.jpg" for number in (1, 2, 3)],
        "bbox_x1": [1, 2, 3],
        "class": [3, 1, 2],
        "test": [0, 1, 0],
    }
    folder.mkdir(parents=True, exist_ok=True)
    marks = annotations(**(columns | more))
    savemat(folder / "cars_annos.mat", {"annotations": marks, "class_names": cells(CARS)})


def devkit(folder, parts=("train", "test"), meta=CARS):
    folder.mkdir(parents=True, exist_ok=True)
    if meta:
        savemat(folder / "cars_meta.mat", {"class_names": cells(meta)})
    for part in parts:
        name = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}[part]
        marks = annotations(bbox_x1=[5, 6], **{"class": [2, 1], "fname": ["00001.jpg", "00002.jpg"]})
        savemat(folder / name, {"annotations": marks})


@pytest.mark.parametrize("place", [".", "devkit"])
def test_the_full_set(run, tmp_path, place):
    full_set(tmp_path / place)
    assert run("stanford-cars", tmp_path)[0] == 0
    rows = rows_of(tmp_path / "labels.csv")
    assert [*rows[0]] == ["image", "class_name", "split", "brand", "body", "era"]
    assert [row["image"] for row in rows] == [f"car_ims/00000{number}.jpg" for number in (1, 2, 3)]
    assert [row["class_name"] for row in rows] == [CARS[2], CARS[0], CARS[1]]
    assert [row["split"] for row in rows] == ["train", "test", "train"]
    assert [row["body"] for row in rows] == ["Van", "Coupe", "Other"]


@pytest.mark.parametrize("place", [".", "devkit"])
def test_the_devkit(run, tmp_path, place):
    devkit(tmp_path / place)
    for part in ("train", "test"):
        (tmp_path / f"cars_{part}").mkdir()
        for number in (1, 2):
            Image.new("RGB", (8, 8)).save(tmp_path / f"cars_{part}" / f"0000{number}.jpg")
    status, _, err = run("stanford-cars", tmp_path)
    assert (status, err) == (0, "")
    rows = rows_of(tmp_path / "labels.csv")
    assert [(row["image"], row["split"], row["brand"]) for row in rows] == [
        ("cars_train/00001.jpg", "train", "Dodge"),
        ("cars_train/00002.jpg", "train", "Audi"),
        ("cars_test/00001.jpg", "test", "Dodge"),
        ("cars_test/00002.jpg", "test", "Audi"),
    ]
    first = (tmp_path / "labels.csv").read_bytes()
    assert run("stanford-cars", tmp_path)[0] == 0
    assert (tmp_path / "labels.csv").read_bytes() == first


@pytest.mark.parametrize(("part", "other"), [("train", "test"), ("test", "train")])
def test_half_a_devkit_says_so(run, tmp_path, part, other):
    devkit(tmp_path, (part,))
    status, _, err = run("stanford-cars", tmp_path)
    assert status == 0
    assert f"so {other} rows are not" in err
    assert {row["split"] for row in rows_of(tmp_path / "labels.csv")} == {part}


def test_the_set_whose_photos_are_there(run, tmp_path):
    full_set(tmp_path)
    devkit(tmp_path)
    assert run("stanford-cars", tmp_path)[0] == 0
    assert rows_of(tmp_path / "labels.csv")[0]["image"] == "cars_train/00001.jpg"
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "car_ims").mkdir()
    assert run("stanford-cars", tmp_path)[0] == 0
    assert rows_of(tmp_path / "labels.csv")[0]["image"] == "car_ims/000001.jpg"


def test_a_split_that_is_not_known(run, tmp_path):
    marks = annotations(relative_im_path=["a.jpg", "b.jpg"], **{"class": [1, 2]})
    savemat(tmp_path / "cars_annos.mat", {"annotations": marks, "class_names": cells(CARS)})
    assert run("stanford-cars", tmp_path)[0] == 0
    assert "split" not in rows_of(tmp_path / "labels.csv")[0]


def test_one_photo_of_one_class(run, tmp_path):
    marks = annotations(relative_im_path=["a.jpg"], test=[1], **{"class": [1]})
    savemat(tmp_path / "cars_annos.mat", {"annotations": marks, "class_names": cells(CARS[:1])})
    assert run("stanford-cars", tmp_path)[0] == 0
    assert [row["split"] for row in rows_of(tmp_path / "labels.csv")] == ["test"]


@pytest.mark.parametrize("data", [b"", b"not a .mat file", bytes(200), b"MATLAB 5.0 MAT-file" + bytes(300)])
def test_a_broken_mat_file(refused, tmp_path, data):
    (tmp_path / "cars_annos.mat").write_bytes(data)
    assert "cars_annos.mat: " in refused("stanford-cars", tmp_path)
    assert entries(tmp_path) == ["cars_annos.mat"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_mat_file_cut_short(refused, tmp_path, share):
    full_set(tmp_path)
    data = (tmp_path / "cars_annos.mat").read_bytes()
    (tmp_path / "cars_annos.mat").write_bytes(data[: int(share * len(data))])
    assert "cars_annos.mat: " in refused("stanford-cars", tmp_path)


@pytest.mark.parametrize(
    ("reader", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", "it is broken"),  # as scipy ends at some files
        ("import time; time.sleep(60)", "it takes too long"),
        ("raise ValueError('no such\\ntype')", "type"),
    ],
)
def test_a_mat_file_that_ends_its_reader(refused, tmp_path, monkeypatch, reader, reason):
    full_set(tmp_path)
    monkeypatch.setattr(matlab, "READER", reader)
    monkeypatch.setattr(matlab, "TIMEOUT_SECONDS", 1.0)
    assert f"cannot be read as a .mat file ({reason})" in refused("stanford-cars", tmp_path)


def test_any_changed_byte_of_a_mat_file_is_read_or_refused(tmp_path):
    full_set(tmp_path)
    whole = (tmp_path / "cars_annos.mat").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(12):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "cars_annos.mat").write_bytes(data)
        (tmp_path / "labels.csv").unlink(missing_ok=True)
        with contextlib.suppress(UserError):  # and nothing but a UserError
            assert len(prepare("stanford-cars", tmp_path).table)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"class": [3, 4, 1]}, "annotation 2: class 4 is none of the 3"),
        ({"class": [0, 1, 1]}, "annotation 1: class 0"),
        ({"class": ["a", 1, 1]}, "annotation 1: class a"),
        ({"class": [1, float("nan"), 1]}, "annotation 2: class nan"),
        ({"class": [1, 1, float("inf")]}, "annotation 3: class inf"),
    ],
)
def test_a_class_that_is_none(refused, tmp_path, more, message):
    full_set(tmp_path, **more)
    assert message in refused("stanford-cars", tmp_path)


def test_mat_files_of_something_else(refused, tmp_path):
    savemat(tmp_path / "cars_annos.mat", {"annotations": np.arange(3), "class_names": cells(CARS)})
    assert "has no annotations with 'relative_im_path'" in refused("stanford-cars", tmp_path)
    savemat(tmp_path / "cars_annos.mat", {"x": np.arange(3)})
    assert "holds no 'annotations'" in refused("stanford-cars", tmp_path)
    (tmp_path / "cars_annos.mat").unlink()
    devkit(tmp_path, meta=())
    assert "cars_meta.mat" in refused("stanford-cars", tmp_path)  # which is the one that is missing


def test_a_class_name_without_a_year_in_the_devkit(refused, tmp_path):
    devkit(tmp_path, meta=("Audi TTS Coupe 2012", "Dodge Caravan"))
    assert "devkit row 1, column 'class_name': 'Dodge Caravan'" in refused("stanford-cars", tmp_path)


def test_the_real_cars(tmp_path):
    """The counts are those of grep -cw and awk over the file, one class after the other."""
    data = os.environ.get("MANYHOT_DATA")
    if not data:
        pytest.skip("MANYHOT_DATA names no folder with real data")
    shutil.copy(Path(data) / "cars" / "labels.csv", tmp_path)
    (tmp_path / "labels.csv").chmod(0o600)
    table = prepare("stanford-cars", tmp_path).table
    assert len(table) == 6515
    counts = {name: Counter(table.column(name).to_pylist()) for name in ("brand", "body", "era")}
    assert counts == REAL


REAL = {
    "brand": {"Other": 3973, "Chevrolet": 723, "Dodge": 507, "Audi": 494, "BMW": 413, "Ford": 405},
    "body": {"Other": 3434, "SUV": 1144, "Coupe": 875, "Convertible": 804, "Van": 258},
    "era": {"from 2010": 4429, "up to 2009": 2086},
}


# Corel-5k


def corel(folder, labels, **more):
    names = [f"images/{number}.jpeg" for number in range(len(labels))]
    columns = {"file": names, "split": ["train"] * len(labels), "labels": labels}
    return write_csv(folder / "labels.csv", {**columns, **more})


def test_words_become_tags(run, tmp_path):
    path = corel(tmp_path, ["city  mountain sky", "f-16", "sun sun", "", "[]"], mine=list("abcde"))
    found = json.loads(run("corel5k", tmp_path, "--json")[1])
    assert found["columns"] == ["file", "split", "labels", "mine", "tags"]
    assert [row["tags"] for row in rows_of(path)] == ["city;mountain;sky", "f-16", "sun", "", "[]"]
    assert [row["mine"] for row in rows_of(path)] == list("abcde")
    assert found["fit"] == f"manyhot fit {path} --tags tags --out corel5k-model"
    first = path.read_bytes()
    assert run("corel5k", tmp_path)[0] == 0
    assert path.read_bytes() == first


def test_tags_from_elsewhere_are_not_replaced(refused, tmp_path):
    path = corel(tmp_path, ["sky sun", "sea"], tags=["", "sand"])
    before = path.read_bytes()
    assert "labels.csv row 2, column 'tags': 'sand' is not what 'labels' says" in refused("corel5k", tmp_path)
    assert path.read_bytes() == before


def test_corel_without_words(refused, tmp_path):
    write_csv(tmp_path / "labels.csv", {"file": ["1.jpeg"], "label": ["sky"]})
    assert "no column 'labels' (did you mean 'label'?)" in refused("corel5k", tmp_path)


# MNIST and its like


def idx(array):
    return (
        bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    )


@pytest.fixture(scope="module")
def symbols():
    """The four files of a set of the right shape, packed and not: {name: bytes}."""
    rng = np.random.default_rng(0)
    found = {}
    for part, rows in (("train", 60_000), ("t10k", 10_000)):
        pixels = np.zeros((rows, 28, 28), np.uint8)
        pixels[:, 0, 0] = rng.integers(0, 256, rows)
        found[f"{part}-images-idx3-ubyte"] = idx(pixels)
        found[f"{part}-labels-idx1-ubyte"] = idx(rng.integers(0, 10, rows, dtype=np.uint8))
    return found | {f"{name}.gz": gzip.compress(data, 1, mtime=0) for name, data in found.items()}


@pytest.fixture
def published(monkeypatch, symbols):
    """Let these files be what was published under each name; kmnist's sums are of packed files only."""
    packed, unpacked = (
        tuple(md5(symbols[f"{file}{ending}"]).hexdigest() for file in mnist.FILES) for ending in (".gz", "")
    )
    for name, source in mnist.SOURCES.items():
        sums = {"packed": packed} | ({"unpacked": unpacked} if name != "kmnist" else {})
        monkeypatch.setitem(mnist.SOURCES, name, replace(source, **sums))
    return symbols


def put(folder, files, ending=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in mnist.FILES:
        (folder / f"{name}{ending}").write_bytes(files[f"{name}{ending}"])
    return folder


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
@pytest.mark.parametrize("place", [".", "MNIST/raw", "FashionMNIST/raw"])
def test_packed_files_are_checked_and_stay(run, network, published, tmp_path, name, place):
    put(tmp_path / place, published)
    before = entries(tmp_path)
    status, out, err = run(name, tmp_path, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        **{"name": name, "out": str(tmp_path), "rows": 70_000, "columns": ["label", "split"]},
        "fit": f"manyhot fit {tmp_path} --out {name}-model",
    }
    assert entries(tmp_path) == before
    assert network["asked"] == []


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_unpacked_files(run, network, published, tmp_path, name):
    put(tmp_path, published, "")
    status, _, err = run(name, tmp_path)
    assert status == 0
    assert err.count("is unchecked") == (4 if name == "kmnist" else 0)


def test_files_packed_otherwise(run, refused, network, published, tmp_path):
    again = {name: gzip.compress(data, 3) for name, data in published.items() if not name.endswith(".gz")}
    put(tmp_path, {f"{name}.gz": data for name, data in again.items()})
    assert run("mnist", tmp_path)[0] == 0
    assert "is not the file of kmnist that was published" in refused("kmnist", tmp_path)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_another_set_is_refused(refused, network, symbols, tmp_path, ending):
    put(tmp_path, symbols, ending)
    assert "train-images" in (line := refused("fashion-mnist", tmp_path))
    assert "not the file of fashion-mnist that was published" in line


def test_unpacked_files_of_another_shape(refused, network, published, tmp_path):
    put(tmp_path, published, "")
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((10, 28, 28), np.uint8)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(10, np.uint8)))
    assert "holds 60,010 pictures, kmnist has 70,000" in refused("kmnist", tmp_path)


@pytest.mark.parametrize("data", [b"", b"no gzip", None])
def test_a_damaged_file(refused, network, published, tmp_path, data):
    put(tmp_path, published)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9] if data is None else data)
    assert str(path) in refused("mnist", tmp_path)


def test_the_missing_files_are_fetched(run, network, published, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SILENT", 0)
    address = mnist.SOURCES["kmnist"].address
    for file in mnist.FILES:
        network[f"{address}{file}.gz"] = published[f"{file}.gz"]
    put(tmp_path / "here", published)
    (tmp_path / "here" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert run("kmnist", tmp_path / "here")[0] == 0
    assert network["asked"] == [f"{address}t10k-labels-idx1-ubyte.gz"]
    status, _, err = run("kmnist", tmp_path / "new")
    assert status == 0
    assert f"fetching {mnist.FILES[0]}.gz, MB" in err
    assert entries(tmp_path / "new") == sorted(f"{file}.gz" for file in mnist.FILES)


def test_what_is_missing_is_named(refused, network, published, tmp_path):
    put(tmp_path, published)
    for file in mnist.FILES[2:]:
        (tmp_path / f"{file}.gz").unlink()
    line = refused("mnist", tmp_path)
    assert OFFLINE in line
    assert f"Put 't10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz' into {tmp_path} by hand." in line


def test_the_real_mnist(run, network):
    data = os.environ.get("MANYHOT_DATA")
    if not data:
        pytest.skip("MANYHOT_DATA names no folder with real data")
    status, out, err = run("mnist", Path(data) / "mnist", "--json")
    assert (status, err) == (0, "")  # packed otherwise than the published files, with the same contents
    assert json.loads(out)["rows"] == 70_000
    assert network["asked"] == []


# CIFAR


def records(rows, num_labels, seed):
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 256, (rows, num_labels + 3072), dtype=np.uint8)
    found[:, :num_labels] = rng.integers(0, 3, (rows, num_labels))
    return found


def members_of(name):
    """The files of a small set and what is in them."""
    source = cifar.SOURCES[name]
    parts = (*source.parts[0], *source.parts[1])
    data = {file: records(4, len(source.columns), seed) for seed, file in enumerate(parts)}
    names = {file: f"{column}-a\n{column}-b\n{column}-c\n\n" for column, file in source.columns.items()}
    return data, {file: array.tobytes() for file, array in data.items()} | {
        file: text.encode() for file, text in names.items()
    }


def pack(path, folder, members, more=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for member in more:
            tar.addfile(member)
        for name, data in members.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path.read_bytes()


def unpacked(folder, members):
    folder.mkdir()
    for name, data in members.items():
        (folder / name).write_bytes(data)


@pytest.fixture
def archive(monkeypatch):
    """Write a small archive of a set into a folder and let its sum be the published one."""

    def write(name, folder, members=None, more=()):
        source = cifar.SOURCES[name]
        path = folder / source.archive
        data = pack(path, source.folder, members_of(name)[1] if members is None else members, more)
        monkeypatch.setitem(cifar.SOURCES, name, replace(source, md5=md5(data).hexdigest()))
        return path

    return write


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [True, False])
def test_pictures_and_labels(run, network, archive, tmp_path, name, packed):
    data, members = members_of(name)
    source = cifar.SOURCES[name]
    if packed:
        archive(name, tmp_path)
    else:
        unpacked(tmp_path / source.folder, members)
    status, out, err = run(name, tmp_path, "--json")
    assert status == 0
    assert ("is unchecked" in err) != packed
    found = json.loads(out)
    labels = ["label"] if name == "cifar10" else ["fine", "coarse"]
    assert found["columns"] == ["image", *labels, "split"]
    assert found["fit"].endswith(" ".join(f"--target {label}" for label in labels) + f" --out {name}-model")
    rows = rows_of(tmp_path / "labels.csv")
    assert len(rows) == found["rows"] == sum(map(len, data.values()))
    for row, record in zip(rows, np.concatenate([*data.values()]), strict=True):
        with Image.open(tmp_path / row["image"]) as image:
            planes = np.asarray(image).transpose(2, 0, 1)
        assert np.array_equal(planes.ravel(), record[len(source.columns) :])
        for number, column in enumerate(source.columns):
            assert row[column] == f"{column}-{'abc'[record[number]]}"
    assert [row["split"] for row in rows].count("test") == 4
    table = manyhot.read(found["out"])
    assert len(manyhot.infer(table, labels).targets) == len(labels)


def test_what_was_unpacked_stays(run, network, archive, tmp_path):
    archive("cifar10", tmp_path)
    assert run("cifar10", tmp_path)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.png")}
    table = manyhot.read(tmp_path / "labels.csv")
    columns = {name: table.column(name).to_pylist() for name in table.names}
    write_csv(tmp_path / "labels.csv", {**columns, "mine": ["x"] * len(table)})
    status, _, err = run("cifar10", tmp_path)
    assert status == 0
    assert "is there already" in err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.png")} == before
    assert rows_of(tmp_path / "labels.csv")[0]["mine"] == "x"
    assert rows_of(tmp_path / "labels.csv")[0]["label"] == columns["label"][0]


def test_the_archive_is_fetched(run, network, archive, tmp_path):
    path = archive("cifar100", tmp_path / "server")
    network[f"{cifar.ADDRESS}{path.name}"] = path.read_bytes()
    assert run("cifar100", tmp_path / "new")[0] == 0
    assert entries(tmp_path / "new")[:2] == ["cifar-100-binary.tar.gz", "images"]


def test_pictures_of_others_are_not_replaced(refused, network, archive, tmp_path):
    archive("cifar10", tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat.png").write_bytes(b"mine")
    assert "is there already, without labels.csv" in refused("cifar10", tmp_path)
    assert (tmp_path / "images" / "cat.png").read_bytes() == b"mine"
    (tmp_path / "labels.csv").write_text("image,pet\nimages/cat.png,cat\n")
    assert "no column 'label'" in refused("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_batch.bin": None}, "lacks 'test_batch.bin'"),
        ({"batches.meta.txt": b"cat\n"}, "batches.meta.txt: has 1 names"),
        ({"data_batch_2.bin": bytes(3072)}, "data_batch_2.bin: 3,072 bytes are no whole number of pictures"),
        ({"data_batch_3.bin": b""}, "data_batch_3.bin: 0 bytes"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_set_with_something_wrong(refused, network, archive, tmp_path, change, message, packed):
    members = {name: data for name, data in (members_of("cifar10")[1] | change).items() if data is not None}
    if packed:
        archive("cifar10", tmp_path, members)
    else:
        unpacked(tmp_path / "cifar-10-batches-bin", members)
    before = entries(tmp_path)
    assert message in refused("cifar10", tmp_path)
    assert entries(tmp_path) == before


def test_an_archive_that_was_not_published(refused, network, archive, tmp_path):
    path = archive("cifar10", tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert "is not the file that was published" in refused("cifar10", tmp_path)


@pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(b"no archive" * 99)])
def test_no_archive_at_all(refused, network, monkeypatch, tmp_path, data):
    source = cifar.SOURCES["cifar10"]
    monkeypatch.setitem(cifar.SOURCES, "cifar10", replace(source, md5=md5(data).hexdigest()))
    (tmp_path / source.archive).write_bytes(data)
    assert str(tmp_path / source.archive) in refused("cifar10", tmp_path)


def test_members_that_lead_elsewhere(run, refused, network, archive, tmp_path):
    def special(name, kind, link=""):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        return member

    more = [special("../evil", tarfile.REGTYPE), special("/evil", tarfile.REGTYPE)]
    more += [special("cifar-10-batches-bin/device", tarfile.CHRTYPE)]
    archive("cifar10", tmp_path / "in", more=more)
    assert run("cifar10", tmp_path / "in")[0] == 0
    assert entries(tmp_path) == sorted(["in", *(f"in/{name}" for name in entries(tmp_path / "in"))])
    (tmp_path / "secret").write_bytes(bytes(3073))
    members = members_of("cifar10")[1]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        left = {name: data for name, data in members.items() if name != "test_batch.bin"}
        link = special("cifar-10-batches-bin/test_batch.bin", kind, str(tmp_path / "secret"))
        archive("cifar10", tmp_path / "link", left, [link])
        assert "lacks 'test_batch.bin'" in refused("cifar10", tmp_path / "link")


def test_pickles_are_not_read(refused, network, tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"cposix\nsystem\n(S'touch pwned'\ntR.")
    assert "the version for Python is not read" in refused("cifar10", tmp_path)


# The network


def test_a_wrong_sum_leaves_nothing(run, network, tmp_path):
    network[f"{cifar.ADDRESS}cifar-10-binary.tar.gz"] = b"something else"
    status, _, err = run("cifar10", tmp_path / "new")
    assert status == 2
    line = err.splitlines()[-1]
    assert "what came is not what was published" in line
    assert f"Put cifar-10-binary.tar.gz into {tmp_path / 'new'} by hand" in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "error", [TimeoutError("timed out"), ConnectionResetError(104, "reset"), IncompleteRead(b"")]
)
def test_a_connection_that_breaks_leaves_nothing(monkeypatch, tmp_path, error):
    class Breaking(Response):
        def read(self, size=-1):
            if self.tell():
                raise error
            return super().read(5)

    monkeypatch.setattr(download, "open_url", lambda url: Breaking(bytes(100)))
    with pytest.raises(UserError, match="cannot be fetched"):
        prepare("cifar10", tmp_path)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError(OSError(-3, OFFLINE)), f"({OFFLINE})"),
        (URLError("unknown url type: http"), "(unknown url type: http)"),
        (HTTPError("https://a", 404, "Not Found", Message(), None), "Not Found"),
        (TimeoutError("timed out"), "(timed out)"),
        (ConnectionRefusedError(111, "Connection refused"), "(Connection refused)"),
    ],
)
def test_why_an_address_gives_nothing(refused, monkeypatch, tmp_path, error, reason):
    def fail(url):
        raise error

    monkeypatch.setattr(download, "open_url", fail)
    line = refused("cifar10", tmp_path)
    assert f"{cifar.ADDRESS}cifar-10-binary.tar.gz: cannot be fetched (" in line
    assert reason in line
    assert entries(tmp_path) == []


def test_a_full_disk_is_no_network(run, network, monkeypatch, tmp_path):
    network[f"{cifar.ADDRESS}cifar-10-binary.tar.gz"] = bytes(10)

    def full(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("manyhot.files.write_with", full)
    status, _, err = run("cifar10", tmp_path)
    assert status == 1
    assert "No space left" in err


def test_no_other_protocol_is_spoken():
    for url in ("http://127.0.0.1:9/x", "file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"):
        with pytest.raises(URLError, match="unknown url type"):
            download.open_url(url)


def test_no_redirection_leads_to_another_protocol(monkeypatch):
    class Redirecting(request.BaseHandler):
        def https_open(self, asked):
            headers = Message()
            headers["Location"] = "http://127.0.0.1:9/x"
            found = addinfourl(io.BytesIO(), headers, asked.full_url, 302)
            found.msg = "Found"
            return found

    monkeypatch.setattr(request, "HTTPSHandler", Redirecting)
    with pytest.raises(URLError, match="unknown url type: http"):
        download.open_url("https://example.invalid/x")


def test_a_name_that_does_not_exist(tmp_path):
    """The real way to the network, by a name that is promised to lead nowhere."""
    with pytest.raises(UserError, match="cannot be fetched"):
        download.fetch("https://example.invalid/x", tmp_path / "x", "", "Put x there.", print)
    assert entries(tmp_path) == []


def test_brands_are_those_of_the_help():
    (option,) = (a for a in document.commands()["data"]._actions if a.dest == "brands")
    assert ",".join(BRANDS) in option.help
