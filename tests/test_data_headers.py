"""Tables as tools write them: without a header, with lines above it, with labels as many as a row has."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyhot.cli import main
from manyhot.data.columns import split_of
from manyhot.data.inputs.images.paths import pictures_of, read_file
from manyhot.data.rows.infer import infer
from manyhot.data.sources import dialect, headers
from manyhot.data.sources.read import read
from manyhot.errors import UserError

ROWS = 12
TAGS = [["Red"] * (i % 2) + ["Tall"] * (i // 2 % 2) for i in range(ROWS)]
WORDS = ("TRAIN", "TRAIN", "VALIDATION", "TEST")


@pytest.fixture
def folder(tmp_path):
    """A folder with pictures in im/."""
    (tmp_path / "im").mkdir()
    for i in range(ROWS):
        picture = np.full((8, 8, 3), (250, 10, 10) if i % 2 else (10, 10, 250), np.uint8)
        Image.fromarray(picture).save(tmp_path / "im" / f"p{i}.png")
    return tmp_path


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def lines(form, start=0):
    return "".join(form(i) + "\n" for i in range(start, ROWS))


def cells(table):
    return {name: column.to_pylist() for name, column in table.columns.items()}


NAMES = [f"im/p{i}.png" for i in range(ROWS)]

# What is in the file → how its columns are named, and what is in the last one
LISTS = {
    "paths and flags": (
        "t.txt",
        lambda i: f"im\\p{i}.png\t{i % 2},{i // 2 % 2}",
        [[*"12"[: i % 2]] for i in (0, 1)],
    ),
    "paths and flags and a bar": ("t.csv", lambda i: f"im/p{i}.png|{i % 2};0;1", [["3"], ["1", "3"]]),
    "paths and numbers": ("t.txt", lambda i: f"im/p{i}.png {i % 3}", ["0", "1"]),
    "paths and classes": ("t.csv", lambda i: f"im/p{i}.png,{'cat' if i % 2 else 'dog'}", ["dog", "cat"]),
    "paths and tags": ("t.csv", lambda i: ",".join([NAMES[i], "any", *TAGS[i]]), [["any"], ["any", "Red"]]),
    "paths and tags and blanks": ("t.lst.txt", lambda i: "  ".join([NAMES[i], *TAGS[i]]), [[], ["Red"]]),
    "numbers as tags": ("t.txt", lambda i: " ".join([NAMES[i], *"123"[: i % 3]]), [[], ["1"]]),
    "empty fields at the end": (
        "t.csv",
        lambda i: ",".join([NAMES[i], "a", *TAGS[i], ""]),
        [["a"], ["a", "Red"]],
    ),
    "with a number before the tags": (
        "t.csv",
        lambda i: ",".join([NAMES[i], str(i), *TAGS[i]]),
        [[], ["Red"]],
    ),
}


@pytest.mark.parametrize(("name", "form", "last"), LISTS.values(), ids=LISTS)
def test_lists_of_pictures_need_no_header(folder, name, form, last):
    table = read(put(folder, name, lines(form)))
    assert len(table) == ROWS
    assert table.names == tuple(f"column {i + 1}" for i in range(len(table.names)))
    assert table.notes[0] == headers.SURE
    found = [*cells(table).values()]
    assert [text.replace("\\", "/") for text in found[0]] == NAMES
    assert found[-1][:2] == last
    assert table.targets == ((table.names[-1],) if isinstance(last[0], list) else ())


def automl(i, case=str):
    return ",".join([case(WORDS[i % 4]), NAMES[i], *TAGS[i]])


@pytest.mark.parametrize("case", [str, str.lower, str.title])
def test_a_first_field_that_says_the_split_is_the_split(folder, case):
    table = read(put(folder, "t.csv", lines(lambda i: automl(i, case))))
    assert table.names == ("split", "column 2", "column 3")
    assert [*split_of(table)[:4]] == ["train", "train", "val", "test"]
    assert cells(table)["column 3"] == TAGS
    (target,) = infer(table).targets
    assert (target.name, target.kind, target.classes) == ("column 3", "multilabel", ("Red", "Tall"))


def test_a_split_that_is_not_set_everywhere_is_a_column(folder):
    table = read(
        put(folder, "t.csv", lines(lambda i: f"{'UNASSIGNED' if i else 'TRAIN'},{NAMES[i]},x{i % 2}"))
    )
    assert table.names == ("column 1", "column 2", "column 3")


def test_a_row_beyond_the_first_ones_may_be_longer(folder, monkeypatch):
    monkeypatch.setattr("manyhot.data.sources.text.ROWS", 5)
    table = read(put(folder, "t.csv", lines(lambda i: f"{NAMES[i]},a" + ",b" * (i > 8))))
    assert cells(table)["column 2"] == [["a", "b"] if i > 8 else ["a"] for i in range(ROWS)]


# What the first row may be without a picture that is there: names, or said to be in doubt

DOUBTFUL = {
    "numbers above numbers": "5.1,3.5,setosa\n4.9,3.0,setosa\n7.0,3.2,virginica\n",
    "numbers with a comma": "0,5;a\n0,7;b\n1,2;a\n",
    "years": "land,2019,2020\na,1,2\nb,3,4\n",
    "a number above empty cells and numbers": "a,3\nb,\nc,4\n",
    "a split": "train,x,y\nval,a,b\ntest,c,d\n",
    "pictures elsewhere": "a/x.png,cat\na/y.png,dog\n",
    "letters": "p,x,n,t\ne,b,n,t\np,x,w,t\ne,x,n,t\n",
}
EVIDENT = {
    "names": "a,b\n1,x\n2,y\n",
    "names above text": "colour,shape\nred,round\nblue,square\n",
    "numbers of columns": ",0,1,2,label\n0,5,6,7,a\n1,6,7,8,b\n",
    "numbers of columns from 1": "1,2,3\n4,5,6\n7,8,9\n",
    "a number above text": "2020,b\nx,1\ny,2\n",
    "a picture above other text": "x.png,y\na,1\nb,2\n",
    "a class called as its column is": "a,b\na,x\ny,x\n",
}


@pytest.mark.parametrize("text", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_first_row_in_doubt_is_names_and_said_to_be(tmp_path, text):
    path = put(tmp_path, "t.csv", text)
    table = read(path)
    assert headers.DOUBT in table.notes
    assert len(table) == text.count("\n") - 1
    assert headers.DOUBT not in read(path, header="first").notes
    unnamed = read(path, header="none")
    assert len(unnamed) == text.count("\n")
    assert [name.split()[0] for name in unnamed.names][1:] == ["column"] * (len(table.names) - 1)
    assert headers.DOUBT not in unnamed.notes


@pytest.mark.parametrize("text", EVIDENT.values(), ids=EVIDENT)
def test_a_first_row_that_is_names_is_not_doubted(tmp_path, text):
    assert not {headers.DOUBT, headers.SURE} & {*read(put(tmp_path, "t.csv", text)).notes}


@pytest.mark.parametrize(
    "text",
    ["0,0,1\n0,1,1\n", "TRAIN,a.png\nTEST,b.png,cat\n", "1,2\n", "a.png,1\n"],
    ids=["twice", "ragged", "one", "one picture"],
)
def test_what_is_refused_says_how_to_go_on(tmp_path, text):
    path = put(tmp_path, "t.csv", text)
    with pytest.raises(UserError, match='pass header="none"'):
        read(path)
    assert len(read(path, header="none")) == text.count("\n")


def test_rows_that_end_in_no_labels_are_refused(tmp_path):
    path = put(tmp_path, "t.csv", "1,2,3\n4,5\n6,7,8\n")
    with pytest.raises(UserError, match="row 2: 2 fields, the first row has 3"):
        read(path, header="none")
    with pytest.raises(UserError, match="never closed"):
        read(put(tmp_path, "u.csv", 'a.png,b\nb.png,c,d\nc.png,"e\n'), header="none")


def test_header_first_takes_a_picture_for_a_name(folder):
    table = read(put(folder, "t.csv", lines(lambda i: f"{NAMES[i]},{i}")), header="first")
    assert table.names == ("im/p0.png", "0")
    assert len(table) == ROWS - 1


def test_flags_must_all_be_flags_and_as_many(folder):
    for text in ("0,1\n1,2", "0,1\n1,0,1"):
        first, second = text.split("\n")
        table = read(put(folder, "t.txt", f"im/p0.png\t{first}\nim/p1.png\t{second}\n"))
        assert cells(table)["column 2"] == [first, second]


# Lines before the header, and a delimiter that is said

ABOVE = {
    "sep": ("sep=;\na;b\n1;x\n2;y\n", 0),
    "sep in quotes": ('"sep=;"\r\na;b\r\n1;x\r\n2;y\r\n', 0),
    "sep of an odd character": ("SEP=^\na^b\n1^x\n2^y\n", 0),
    "sep of a tab": ("sep=\t\na\tb\n1\tx\n2\ty\n", 0),
    "sep of a tab in letters": ("sep=\\t\na\tb\n1\tx\n2\ty\n", 0),
    "comments": ("# exported 2024\n# by tool\na,b\n1,x\n2,y\n", 1),
    "comments and an empty line": ("# exported\n\n#\na,b\n1,x\n2,y\n", 1),
    "a comment with as many fields": ("# exported 2024, by tool\na,b\n1,x\n2,y\n", 1),
    "a comment with a quote": ('# it is 5" long\na,b\n1,x\n2,y\n', 1),
    "comments below sep": ("sep=;\n# of 2024\na;b\n1;x\n2;y\n", 1),
    "a comment after a mark": ("\ufeff# exported\na,b\n1,x\n2,y\n", 1),
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("text", "notes"), ABOVE.values(), ids=ABOVE)
def test_lines_above_the_table_are_left_out(tmp_path, text, notes, end):
    table = read(put(tmp_path, "t.csv", text.replace("\r\n", "\n").replace("\n", end)))
    assert cells(table) == {"a": ["1", "2"], "b": ["x", "y"]}
    assert len(table.notes) == notes
    assert all("comments before the table" in note for note in table.notes)


def test_a_row_is_counted_from_the_header_on(tmp_path):
    with pytest.raises(UserError, match="row 2: 3 fields, the header has 2"):
        read(put(tmp_path, "t.csv", "# a comment\na,b\n1,2\n1,2,3\n"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("#chrom\tstart\nchr1\t5\nchr2\t7\n", ("#chrom", "start")),
        ("# of 2024\n#id,y\n5,a\n7,b\n", ("#id", "y")),
        ("#one\nx\ny\n", ("#one",)),
        ("# only\n# comments\n", ("# only",)),
    ],
)
def test_a_comment_that_has_the_names_is_the_header(tmp_path, text, names):
    assert read(put(tmp_path, "t.tsv", text)).names == names


def test_the_first_delimiter_that_gives_pictures_a_field_is_taken(tmp_path):
    for text, delimiter in {
        "im/a.png\t0,1\nim/b.png\t1,0\n": "\t",
        "a.png b\nb.png c\n": " ",
        "my photo.png\nyour photo.png\n": ",",
        "hello you\nhow are\n": ",",
    }.items():
        assert dialect.dialect_of(put(tmp_path, "t.txt", text), "utf-8").delimiter == delimiter


# From the command line


def told(words, capsys):
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_says_that_there_is_no_header(folder, capsys):
    path = put(folder, "t.txt", lines(lambda i: f"im\\p{i}.png\t{i % 2},{i // 2 % 2}"))
    found = told(["inspect", str(path)], capsys)
    assert found["rows"] == ROWS
    assert found["inputs"][0]["opened"] == ROWS
    assert found["inputs"][0]["unreadable"] == {}
    assert found["targets"][0]["classes"] == {"1": 6, "2": 6}
    assert any("there is no header" in line for line in found["problems"])


def test_pictures_that_are_elsewhere_ask_for_the_folder_and_the_header(folder, capsys):
    path = put(folder, "t.csv", lines(lambda i: f"p{i}.png,{i % 2}"))
    assert main(["inspect", str(path)]) == 2
    message = capsys.readouterr().err
    assert f"looked for in {folder.resolve()}. Pass --root FOLDER, and --header none" in message
    assert told(["inspect", str(path), "--root", str(folder / "im")], capsys)["rows"] == ROWS


def test_the_options_are_checked(tmp_path, capsys):
    for options, words in (
        (["--header", "non"], "must be first or none (did you mean 'none'?)"),
        (["--sheet-name", "a"], "t.csv: --sheet-name (of workbooks) says nothing about it"),
    ):
        assert main(["inspect", str(put(tmp_path, "t.csv", "a,b\n1,2\n")), *options]) == 2
        assert words in capsys.readouterr().err
    assert main(["inspect", str(put(tmp_path, "t.jsonl", '{"a":1}\n')), "--header", "none"]) == 2
    assert "t.jsonl: --header (of text and workbooks) says nothing" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path), "--header", "none"]) == 2
    assert "says nothing about it" in capsys.readouterr().err
    with pytest.raises(UserError, match="says nothing about it"):
        read({"a": [1, 2]}, header="none")


def test_names_of_windows_and_of_urls_are_found_and_none_leads_out(folder):
    (folder / "im" / "my cat.png").write_bytes((folder / "im" / "p0.png").read_bytes())
    (folder.parent / "out.png").write_bytes(b"x")
    names = [
        "im\\p1.png",
        " im/p2.png ",
        "im/my%20cat.png",
        "im%5Cp0.png",
        f"{folder.resolve()}/im/p3.png",
        "a" * 999 + "%",
        "a\0.png",
    ]
    found = pictures_of(read({"image": names}, root=folder), "image")
    there = ["p1.png", "p2.png", "my cat.png"]
    assert [path.name for path in found[:3]] == there
    assert [path.is_file() for path in found[:5]] == [True, True, True, False, True]
    for picture, reason in zip(found[3:], ("no such file", None, "cannot be read", "no path"), strict=True):
        with pytest.raises(UserError, match=reason) if reason else contextlib.nullcontext():
            read_file(picture)
    for name in ("..\\out.png", "%2e%2e/out.png", " ../out.png", "..%2Fout.png"):
        (found,) = pictures_of(read({"image": [name]}, root=folder), "image")
        with pytest.raises(UserError, match="no such file"):  # which is looked for in the folder alone
            read_file(found)
    with pytest.raises(UserError, match="leaves the folder"):
        pictures_of(read({"image": ["../out.png"]}, root=folder), "image")
