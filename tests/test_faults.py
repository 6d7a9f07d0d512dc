"""What people get wrong: one line with the remedy, exit status 2, and nothing half-written.

Each row of the table is a case. Their names stand in faults.txt too, so that none vanishes unseen.
"""

import gzip
import json
import os
import shutil
import zipfile

import pytest
from making import (
    QUICK,
    cells,
    changed,
    features,
    label_columns,
    pixels,
    status_of,
    write_csv,
    write_pictures,
)
from PIL import Image

import manyhot
from manyhot.cli import main
from manyhot.errors import UserError

FIT = ["--set", "epochs=1", "--set", "threads=1", "--out", "{out}"]
GROUP = ["--out", "{out}"]
ROWS = 40

# name → words of the command, words of the message
FAULTS = {
    # the command itself
    "no command": ([], "COMMAND"),
    "misspelt command": (["fitt", "{zoo}/good.csv"], "did you mean 'fit'"),
    "no data": (["fit", "--out", "{out}"], "DATA"),
    "no out": (["fit", "{zoo}/good.csv", "--target", "fruit"], "--out"),
    "misspelt option": (["fit", "{zoo}/good.csv", "--tagret", "fruit", *FIT], "did you mean '--target'"),
    "misspelt effort": (["fit", "{zoo}/good.csv", "--effort", "fastest", *FIT], "did you mean 'fast'"),
    "misspelt class weight": (["fit", "{zoo}/good.csv", "--class-weight", "balance", *FIT], "'balanced'"),
    "two tables to predict": (["predict", "{model}", "{zoo}/good.csv", "{zoo}/other.csv"], "one table"),
    "value missing": (["fit", "{zoo}/good.csv", "--target"], "expected one argument"),
    # files
    "no such file": (["fit", "{zoo}/goood.csv", "--target", "fruit", *FIT], "did you mean 'good.csv'"),
    "no such folder": (["inspect", "{zoo}/nowhere/x.csv"], "no such file or folder"),
    "binary file": (["fit", "{zoo}/binary.csv", "--target", "fruit", *FIT], "NUL bytes"),
    "no text of any encoding": (["fit", "{zoo}/bytes.csv", "--target", "fruit", *FIT], "UTF-8"),
    "picture as a table": (["fit", "{zoo}/picture.csv", "--target", "fruit", *FIT], "picture.csv"),
    "empty file": (["fit", "{zoo}/empty.csv", "--target", "fruit", *FIT], "the file is empty"),
    "blank lines only": (["fit", "{zoo}/blank.csv", "--target", "fruit", *FIT], "the file is empty"),
    "header only": (["fit", "{zoo}/header.csv", "--target", "fruit", *FIT], "header and no row"),
    "header without end of line": (["fit", "{zoo}/header2.csv", "--target", "b", *FIT], "header and no row"),
    "ragged row": (
        ["fit", "{zoo}/ragged.csv", "--target", "fruit", *FIT],
        "row 2: 3 fields, the header has 2",
    ),
    "duplicate columns": (["fit", "{zoo}/twice.csv", "--target", "fruit", *FIT], "fruit"),
    "open quote": (["fit", "{zoo}/quote.csv", "--target", "fruit", *FIT], "never closed"),
    "unknown ending": (["fit", "{zoo}/table.docx", "--target", "fruit", *FIT], "'.docx' is no known ending"),
    "no ending": (["inspect", "{zoo}/README"], "no ending"),
    "broken JSON lines": (["fit", "{zoo}/broken.jsonl", "--target", "fruit", *FIT], "line 2"),
    "nested JSON lines": (["fit", "{zoo}/nested.jsonl", "--target", "fruit", *FIT], "nested"),
    "an array of numbers in JSON": (["inspect", "{zoo}/numbers.json"], "item 1: must be a JSON object"),
    "an array cut short in JSON": (
        ["inspect", "{zoo}/short.json"],
        "item 2: is not valid JSON, or cut short",
    ),
    "no Arrow": (["inspect", "{zoo}/bad.arrow"], "cannot be read as Arrow"),
    "no workbook": (["inspect", "{zoo}/bad.xlsx"], "no workbook"),
    "packed and cut short": (["inspect", "{zoo}/short.csv.gz"], "cut short"),
    "packed by its name alone": (["inspect", "{zoo}/plain.csv.zst"], "no .zst file"),
    "packed twice": (["inspect", "{zoo}/twice.csv.gz"], "packed again"),
    "two files packed together": (["inspect", "{zoo}/two.zip"], "holds 2 files"),
    "a packed file of no known ending": (["inspect", "{zoo}/notes.docx.gz"], "'.docx' is no known ending"),
    "a ragged list without a header": (["inspect", "{zoo}/list.csv"], "--header none"),
    "no such header": (["inspect", "{zoo}/good.csv", "--header", "non"], "did you mean 'none'"),
    "a sheet of what is no workbook": (
        ["inspect", "{zoo}/good.csv", "--sheet-name", "a"],
        "--sheet-name (of workbooks) says nothing about it",
    ),
    "no Parquet": (["fit", "{zoo}/bad.parquet", "--target", "fruit", *FIT], "cannot be read as Parquet"),
    "no ARFF": (["fit", "{zoo}/bad.arff", "--target", "fruit", *FIT], "bad.arff"),
    "folder without pictures": (["fit", "{zoo}/hollow", *FIT], "holds no picture"),
    "folder of tables": (["fit", "{zoo}/tables", "--target", "fruit", *FIT], "Name one of these files"),
    "IDX cut short": (["fit", "{zoo}/idx", *FIT], "header promises"),
    "labels that match nothing": (
        ["fit", "{zoo}/good.csv", "--labels", "{zoo}/header.csv", "--target", "fruit", *FIT],
        "header.csv",
    ),
    "no such labels": (["fit", "{zoo}/good.csv", "--labels", "{zoo}/no.csv", *FIT], "no.csv"),
    "no such root": (["fit", "{zoo}/good.csv", "--root", "{zoo}/no", *FIT], "--root"),
    # targets
    "no target named": (["fit", "{zoo}/good.csv", *FIT], "no target is named. Name one with --target NAME"),
    "no such target": (["fit", "{zoo}/good.csv", "--target", "friut", *FIT], "did you mean 'fruit'"),
    "no such tags": (["fit", "{zoo}/good.csv", "--tags", "tag", *FIT], "did you mean 'tags'"),
    "no such 0/1 column": (["fit", "{zoo}/good.csv", "--tags", "t=f1,f9", *FIT], "no column 'f9'"),
    "one 0/1 column": (["fit", "{zoo}/good.csv", "--tags", "t=f1", *FIT], "two columns or more"),
    "0/1 column twice": (["fit", "{zoo}/good.csv", "--tags", "t=f1,f1", *FIT], "named twice"),
    "neither 0 nor 1": (["fit", "{zoo}/flags.csv", "--tags", "t=f1,f2", *FIT], "row 3, column 'f2': '7'"),
    "a quantity": (["fit", "{zoo}/good.csv", "--target", "width", *FIT], "looks like a quantity"),
    "ranges of words": (["inspect", "{zoo}/good.csv", "--target", "fruit", "--bins", "fruit=3"], "is none"),
    "ranges without a number": (
        ["inspect", "{zoo}/good.csv", "--target", "width", "--bins", "width"],
        "must be NAME=N",
    ),
    "ranges of no target": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--bins", "width=3", *FIT],
        "'width' is no target",
    ),
    "more ranges than numbers": (
        ["inspect", "{zoo}/good.csv", "--target", "width", "--bins", "width=900"],
        f"use --bins width={ROWS}",
    ),
    "ranges and a schema": (
        ["fit", "{zoo}/good.csv", "--schema", "{zoo}/schema.json", "--bins", "width=3", *FIT],
        "--bins",
    ),
    "one class only": (["fit", "{zoo}/oneclass.csv", "--target", "fruit", *FIT], "only one class, 'apple'"),
    "one tag only": (["fit", "{zoo}/oneclass.csv", "--tags", "fruit", *FIT], "only one class"),
    "all labels unknown": (["fit", "{zoo}/unknown.csv", "--target", "fruit", *FIT], "all labels are unknown"),
    "all flags unknown": (["fit", "{zoo}/unknown.csv", "--tags", "t=f1,f2", *FIT], "all labels are unknown"),
    "all tags are []": (["fit", "{zoo}/notags.csv", "--tags", "fruit", *FIT], "no row has a tag"),
    "separator that never occurs": (
        ["fit", "{zoo}/good.csv", "--tags", "tags", "--separator", "#", *FIT],
        "never occurs",
    ),
    "empty separator": (
        ["fit", "{zoo}/good.csv", "--tags", "tags", "--separator", "", *FIT],
        "one character",
    ),
    "no such kind": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--kind", "width=nubmer", *FIT],
        "did you mean 'number'",
    ),
    "kind of no column": (["fit", "{zoo}/good.csv", "--target", "fruit", "--kind", "w=number", *FIT], "'w'"),
    "kind without a value": (["fit", "{zoo}/good.csv", "--kind", "width", *FIT], "COLUMN=KIND"),
    "binary of three": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--kind", "fruit=binary", *FIT],
        "this has 3",
    ),
    "nothing to predict from": (["fit", "{zoo}/only.csv", "--target", "fruit", *FIT], "no column is left"),
    "a number that is text": (
        ["fit", "{zoo}/mistyped.csv", "--target", "fruit", "--kind", "width=number", *FIT],
        "row 4, column 'width': 'wide' is not a number",
    ),
    # splits
    "misspelt split": (["fit", "{zoo}/split.csv", "--target", "fruit", *FIT], "did you mean 'val'"),
    "split with an empty cell": (["fit", "{zoo}/splitgap.csv", "--target", "fruit", *FIT], "empty cell"),
    "no train rows": (["fit", "{zoo}/notrain.csv", "--target", "fruit", *FIT], "no row is 'train'"),
    "too few rows": (["fit", "{zoo}/two.csv", "--target", "fruit", *FIT], "rows are left"),
    "train labels unknown": (["fit", "{zoo}/late.csv", "--target", "fruit", *FIT], "unknown"),
    "no such group": (["fit", "{zoo}/good.csv", "--target", "fruit", "--group", "g", *FIT], "no column 'g'"),
    "one group": (["fit", "{zoo}/group.csv", "--target", "fruit", "--group", "g", *FIT], "rows are left"),
    "test of all": (["fit", "{zoo}/good.csv", "--target", "fruit", "--test", "1", *FIT], "below 1"),
    "test and validation of all": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--test", "0.6", "--set", "validation=0.5", *FIT],
        "leave no rows",
    ),
    "no validation": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--set", "validation=0", *FIT],
        "no val rows",
    ),
    # settings
    "no such backbone": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--backbone", "mpl", *FIT],
        "did you mean 'mlp'",
    ),
    "no such backbone for pictures": (
        ["fit", "{zoo}/photos.csv", "--target", "fruit", "--backbone", "resnet-18", *FIT],
        "did you mean 'resnet18",
    ),
    "picture backbone for a table": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--backbone", "cnn", *FIT],
        "takes pictures",
    ),
    "weights for a backbone of our own": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--weights", "x.safetensors", *FIT],
        "x.safetensors",
    ),
    "epochs of text": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--epochs", "many", "--out", "{out}"],
        "whole number",
    ),
    "no epochs": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--epochs", "0", "--out", "{out}"],
        "at least 1",
    ),
    "negative seed": (["fit", "{zoo}/good.csv", "--target", "fruit", "--seed", "-1", *FIT], "seed"),
    "huge seed": (["fit", "{zoo}/good.csv", "--target", "fruit", "--seed", "9" * 30, *FIT], "seed"),
    "seed of text": (["inspect", "{zoo}/good.csv", "--seed", "x"], "seed"),
    "no such device": (["fit", "{zoo}/good.csv", "--device", "gpu", *FIT], "device"),
    "no such objective": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--objective", "micro", *FIT],
        "did you mean 'micro_f1'",
    ),
    "precision without a level": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--objective", "precision", *FIT],
        "objective must be",
    ),
    "no such score": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--monitor", "fruit/acuracy", *FIT],
        "did you mean 'accuracy'",
    ),
    "score of no target": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--monitor", "fruits/accuracy", *FIT],
        "did you mean 'fruit'",
    ),
    "set nonsense": (["fit", "{zoo}/good.csv", "--set", "nonsense", *FIT], "KEY=VALUE"),
    "set no key": (["fit", "{zoo}/good.csv", "--set", "=3", *FIT], "KEY=VALUE"),
    "set an unknown key": (
        ["fit", "{zoo}/good.csv", "--set", "lerning_rate=1", *FIT],
        "did you mean 'learning_",
    ),
    "set a part of a number": (
        ["fit", "{zoo}/good.csv", "--set", "epochs.x=1", *FIT],
        "'epochs' is one value",
    ),
    "set a rate of text": (
        ["fit", "{zoo}/good.csv", "--set", "learning_rate=fast", *FIT],
        "must be a number",
    ),
    "set a rate of nan": (["fit", "{zoo}/good.csv", "--set", "learning_rate=nan", *FIT], "must be a number"),
    "negative target weight": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--set", "target_weights.fruit=-1", *FIT],
        "at least 0",
    ),
    "config with an unknown key": (["fit", "{zoo}/good.csv", "--config", "{zoo}/key.json", *FIT], "'epochs'"),
    "config of a list": (["fit", "{zoo}/good.csv", "--config", "{zoo}/list.json", *FIT], "settings by name"),
    "config that is no JSON": (["fit", "{zoo}/good.csv", "--config", "{zoo}/broken.jsonl", *FIT], "not JSON"),
    "config that is no TOML": (["fit", "{zoo}/good.csv", "--config", "{zoo}/bad.toml", *FIT], "not TOML"),
    "no such config": (["fit", "{zoo}/good.csv", "--config", "{zoo}/no.json", *FIT], "cannot be read"),
    "no such TOML": (["fit", "{zoo}/good.csv", "--config", "{zoo}/no.toml", *FIT], "no such file"),
    "schema and target": (
        ["fit", "{zoo}/good.csv", "--schema", "{zoo}/schema.json", "--target", "fruit", *FIT],
        "--schema says all",
    ),
    "schema with an unknown key": (
        ["fit", "{zoo}/good.csv", "--schema", "{zoo}/key.json", *FIT],
        "unknown key",
    ),
    "no such schema": (["fit", "{zoo}/good.csv", "--schema", "{zoo}/no.json", *FIT], "cannot be read"),
    "schema of another table": (
        ["fit", "{zoo}/only.csv", "--schema", "{zoo}/schema.json", *FIT],
        "width",
    ),
    "schema without targets": (
        ["fit", "{zoo}/good.csv", "--schema", "{zoo}/aimless.json", *FIT],
        "no target",
    ),
    "schema without inputs": (["fit", "{zoo}/good.csv", "--schema", "{zoo}/blind.json", *FIT], "no input"),
    "a class outside the schema": (
        ["fit", "{zoo}/typo.csv", "--schema", "{zoo}/schema.json", *FIT],
        "row 6, column 'fruit': 'appel' is not a known class (did you mean 'apple'?)",
    ),
    # pictures
    "all pictures missing": (["fit", "{zoo}/nophotos.csv", "--target", "fruit", *FIT], "--root FOLDER"),
    "too many pictures missing": (["fit", "{zoo}/fewphotos.csv", "--target", "fruit", *FIT], "more than 5%"),
    "path that leaves the folder": (
        ["fit", "{zoo}/leaving.csv", "--target", "fruit", *FIT],
        "leaves the folder",
    ),
    "path of the system": (["fit", "{zoo}/system.csv", "--target", "fruit", *FIT], "leaves the folder"),
    "two columns of pictures": (
        ["fit", "{zoo}/pairs.csv", "--target", "fruit", *FIT],
        "Choose one with --image",
    ),
    "image column of numbers": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--image", "f1", *FIT],
        "can be read",
    ),
    "no such image column": (
        ["fit", "{zoo}/photos.csv", "--target", "fruit", "--image", "imgae", *FIT],
        "did you mean 'image'",
    ),
    "sheet of a table": (
        ["inspect", "{zoo}/good.csv", "--target", "fruit", "--sheet", "{out}"],
        "draws pictures",
    ),
    # outputs
    "out is a file": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--out", "{zoo}/good.csv"],
        "exists already",
    ),
    "out is a folder": (["fit", "{zoo}/good.csv", "--target", "fruit", "--out", "{zoo}"], "exists already"),
    "overwrite the data": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--overwrite", "--out", "{zoo}/good.csv"],
        "not written by manyhot",
    ),
    "overwrite a folder of photos": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--overwrite", "--out", "{zoo}/pictures"],
        "not written by manyhot",
    ),
    "resume into a folder of photos": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--resume", "--out", "{zoo}/pictures"],
        "not written by manyhot",
    ),
    "demo over a folder of photos": (["demo", "--overwrite", "--out", "{zoo}/pictures"], "not written by"),
    "out below a file": (
        ["fit", "{zoo}/good.csv", "--target", "fruit", "--out", "{zoo}/good.csv/m"],
        "is a file",
    ),
    "answers exist": (["predict", "{model}", "{zoo}/good.csv", "--out", "{zoo}/other.csv"], "exists already"),
    "answers of no kind": (
        ["predict", "{model}", "{zoo}/good.csv", "--out", "{out}.xls"],
        "must end in one of",
    ),
    "report exists": (["report", "{model}", "--out", "{zoo}/other.csv"], "exists already"),
    # models
    "no such model": (["predict", "{zoo}/modle", "{zoo}/good.csv"], "no such model"),
    "model that is a file": (["evaluate", "{zoo}/good.csv", "{zoo}/good.csv"], "is not a manyhot model"),
    "model that is a folder of photos": (
        ["tune", "{zoo}/pictures", "{zoo}/good.csv", "--objective", "micro_f1"],
        "no manyhot.json",
    ),
    "model that was changed": (["evaluate", "{zoo}/changed", "{zoo}/good.csv"], "was changed"),
    "model of a newer format": (["predict", "{zoo}/newer", "{zoo}/good.csv"], "format 99"),
    "unfinished model": (["report", "{zoo}/unfinished", "--out", "{out}"], "--resume"),
    # other rows
    "no such input": (["predict", "{model}", "{zoo}/goood.csv"], "did you mean 'good.csv'"),
    "all features are missing": (
        ["predict", "{model}", "{zoo}/photos.csv"],
        "which the model was trained with",
    ),
    "a weight is mistyped": (
        ["evaluate", "{model}", "{zoo}/mistyped.csv", "--weight", "width"],
        "row 4, column 'width': a weight must be at least 0, and is 'wide'",
    ),
    "pictures for a table model": (["predict", "{model}", "{zoo}/pictures/000.png"], "INPUT must be a table"),
    "a table for a picture model": (["predict", "{pmodel}", "{zoo}/good.csv"], "no column 'image'"),
    "no such picture": (["predict", "{pmodel}", "{zoo}/pictures/00.png"], "no such file"),
    "no picture is there to evaluate": (
        ["evaluate", "{pmodel}", "{zoo}/nophotos.csv", "--split", "all"],
        "nophotos.csv: not one of its 40 pictures is there: 'gone/0.png', 'gone/1.png', 'gone/2.png'",
    ),
    "no labels to evaluate": (["evaluate", "{model}", "{zoo}/bare.csv"], "the labels of target"),
    "no such split": (["evaluate", "{model}", "{zoo}/good.csv", "--split", "tset"], "split 'tset'"),
    "no labels to report": (
        ["report", "{model}", "{zoo}/bare.csv", "--out", "{out}"],
        "the labels of target",
    ),
    "tune to nothing": (
        ["tune", "{zoo}/unfit", "{zoo}/good.csv", "--objective", "best"],
        "objective must be",
    ),
    "tune of several classes": (
        ["tune", "{zoo}/unfit", "{zoo}/good.csv", "--objective", "recall=0.9", "--target", "fruit"],
        "recall is of one class, and there are several; name the one meant",
    ),
    "mistakes of no known ending": (
        ["evaluate", "{model}", "{zoo}/good.csv", "--mistakes", "{zoo}/wrong.txt"],
        "--mistakes",
    ),
    "mistakes that exist": (
        ["evaluate", "{model}", "{zoo}/good.csv", "--mistakes", "{zoo}/good.csv"],
        "choose another --mistakes",
    ),
    # clusters
    "one cluster": (["cluster", "{zoo}/good.csv", "--clusters", "1", *GROUP], "from 2 on, or auto"),
    "half a cluster": (["cluster", "{zoo}/good.csv", "--clusters", "2.5", *GROUP], "from 2 on, or auto"),
    "as many clusters as rows": (["cluster", "{zoo}/two.csv", "--clusters", "2", *GROUP], "2 rows cannot be"),
    "nothing tells rows apart": (
        ["cluster", "{zoo}/same.csv", *GROUP],
        "no column is left to tell rows apart",
    ),
    "fewer different rows than clusters": (
        ["cluster", "{zoo}/pairing.csv", "--clusters", "3", *GROUP],
        "only 2 rows differ",
    ),
    "clusters beside no such column": (
        ["cluster", "{zoo}/good.csv", "--target", "fruits", *GROUP],
        "did you mean 'fruit'",
    ),
    "spread without labels": (["cluster", "{zoo}/good.csv", "--spread", *GROUP], "--target NAME"),
    "features of no file": (
        ["cluster", "{zoo}/good.csv", "--features", "{zoo}/unfitt", *GROUP],
        "did you mean 'unfit'",
    ),
    "weights for a table": (
        ["cluster", "{zoo}/good.csv", "--features", "{zoo}/README", *GROUP],
        "weights are for pictures",
    ),
    "weights of no network": (
        ["cluster", "{zoo}/photos.csv", "--features", "{zoo}/README", *GROUP],
        "--backbone NAME",
    ),
    "features of a model of pictures": (
        ["cluster", "{zoo}/good.csv", "--features", "{pmodel}", *GROUP],
        "image",
    ),
    "a backbone for pictures to cluster a table by": (
        ["cluster", "{zoo}/good.csv", "--backbone", "cnn", *GROUP],
        "knows nothing yet",
    ),
    "two backbones to cluster by": (
        ["cluster", "{zoo}/good.csv", "--features", "{model}", "--backbone", "mlp", *GROUP],
        "leave one out",
    ),
    "clusters of pictures that are not there": (["cluster", "{zoo}/nophotos.csv", *GROUP], "can be read"),
    "clusters over an old folder": (
        ["cluster", "{zoo}/good.csv", "--out", "{zoo}/groups"],
        "--overwrite",
    ),
    "clusters over a folder of somebody's": (
        ["cluster", "{zoo}/good.csv", "--out", "{zoo}/pictures", "--overwrite"],
        "was not written by manyhot",
    ),
    "names in no folder": (["name", "{zoo}/group", "0=a"], "did you mean 'groups'"),
    "names for a model": (["name", "{model}", "0=a"], "holds no clusters"),
    "no names": (["name", "{zoo}/groups"], "no cluster is named"),
    "a name for no cluster": (["name", "{zoo}/groups", "7=a"], "no cluster '7'; there are '0', '1'"),
    "a name that is near": (["name", "{zoo}/groups", "00=a"], "did you mean '0'"),
    "a cluster named twice": (["name", "{zoo}/groups", "0=a", "1+0=b"], "cluster 0 is named twice"),
    "an empty name": (["name", "{zoo}/groups", "0="], "the name is empty"),
    "a name without a cluster": (["name", "{zoo}/groups", "dog"], "must be N=NAME"),
    "a table of three columns of names": (
        ["name", "{zoo}/groups", "{zoo}/bare.csv"],
        "must have two columns",
    ),
    "a label column that is there": (
        ["name", "{zoo}/groups", "0=a", "--label", "fruit"],
        "has a column 'fruit' already",
    ),
    "names into no table": (["name", "{zoo}/groups", "0=a", "--out", "{out}.xlsx"], "must end in"),
    "a column in the way": (["predict", "{model}", "{zoo}/clash.csv"], "in the way"),
    "a given column in the way": (["predict", "{model}", "{zoo}/given.csv"], "in the way"),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, fitted_tables):
    """One of everything that is wrong. Nothing in it may be changed by a command."""
    folder = tmp_path_factory.mktemp("zoo")

    def table(name, **columns):
        write_csv(folder / name, columns)

    def raw(name, content):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    base = features(ROWS)
    labels = label_columns("mixed", ROWS)
    fruit = labels["fruit"]
    table("good.csv", **base, **labels)
    table("other.csv", **base, **labels)
    table("bare.csv", **base)
    table("clash.csv", **base, **{"fruit.pear": fruit})
    table("given.csv", **base, fruit=fruit, fruit_given=fruit)
    raw("binary.csv", bytes(range(256)) * 4)
    raw("bytes.csv", b"a,b\n\x81\x8d\x8f,x\n")
    Image.fromarray(pixels(1)[0, ..., 0]).save(folder / "p.png")
    raw("picture.csv", (folder / "p.png").read_bytes())
    raw("empty.csv", "")
    raw("blank.csv", "\n\n\n")
    raw("header.csv", "width,fruit\n")
    raw("header2.csv", "a,b")
    raw("ragged.csv", "width,fruit\n1,a\n2,b,c\n3,a\n")
    raw("twice.csv", "fruit,fruit\na,b\nb,a\n")
    raw("quote.csv", 'width,fruit\n1,"a\n2,b\n')
    raw("table.docx", b"PK\x03\x04")
    raw("README", "x")
    raw("broken.jsonl", '{"fruit": "a"}\n{"fruit": \n')
    raw("nested.jsonl", '{"fruit": {"a": 1}}\n')
    raw("bad.parquet", b"PAR1 no more")
    raw("bad.arrow", b"ARROW1 no more")
    raw("bad.xlsx", b"PK\x03\x04")
    raw("numbers.json", "[1, 2]")
    raw("short.json", '[{"fruit": "a"}, {"fruit"')
    raw("short.csv.gz", gzip.compress(b"a,b\n1,2\n3,4\n")[:-9])
    raw("plain.csv.zst", "a,b\n1,2\n")
    raw("twice.csv.gz", gzip.compress(gzip.compress(b"a,b\n1,2\n")))
    raw("notes.docx.gz", gzip.compress(b"x"))
    raw("list.csv", "TRAIN,gone/a.png\nTEST,gone/b.png,red\n")
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a,b\n")
        archive.writestr("b.csv", "a,b\n")
    raw("bad.arff", "@relation r\n@attribute a number\n")
    raw("hollow/.DS_Store", b"x")
    raw("tables/a.csv", "a,b\n1,2\n")
    raw("idx/train-images-idx3-ubyte", b"\0\0\x08\x03" + (9).to_bytes(4, "big") * 3 + b"\0" * 20)
    raw("idx/train-labels-idx1-ubyte", b"\0\0\x08\x01" + (9).to_bytes(4, "big") + b"\0" * 9)
    table("flags.csv", width=[1, 2, 3, 4], f1=[0, 1, 0, 1], f2=[1, 0, 7, 0])
    table("oneclass.csv", width=base["width"], fruit=["apple"] * ROWS)
    table("unknown.csv", width=base["width"], fruit=[None] * ROWS, f1=[None] * ROWS, f2=[None] * ROWS)
    table("notags.csv", width=base["width"], fruit=["[]"] * ROWS)
    table("only.csv", fruit=fruit)
    mistyped = [*base["width"][:3], "wide", *base["width"][4:]]
    table("mistyped.csv", **{**base, "width": mistyped}, fruit=fruit)
    half = ["train", "validation"] * (ROWS // 2)
    table("split.csv", **base, fruit=fruit, split=half)
    table("splitgap.csv", **base, fruit=fruit, split=["train", None] * (ROWS // 2))
    table("notrain.csv", **base, fruit=fruit, split=["val", "test"] * (ROWS // 2))
    late = ["train"] * (ROWS // 2) + ["val"] * (ROWS // 2)
    table("late.csv", **base, fruit=[None] * (ROWS // 2) + fruit[ROWS // 2 :], split=late)
    table("two.csv", width=[1, 2], fruit=["a", "b"])
    table("group.csv", **base, fruit=fruit, g=["same"] * ROWS)
    table("typo.csv", **base, fruit=[*fruit[:5], "appel", *fruit[6:]])
    table("same.csv", width=[1.5] * 9, origin=["north"] * 9)
    table("pairing.csv", width=[1, 2] * 9)
    write_pictures(folder, ROWS)
    names = [f"pictures/{i:03d}.png" for i in range(ROWS)]
    table("photos.csv", image=names, fruit=fruit)
    table("nophotos.csv", image=[f"gone/{i}.png" for i in range(ROWS)], **labels)
    table("fewphotos.csv", image=[*names[:-3], "a.png", "b.png", "c.png"], fruit=fruit)
    table("leaving.csv", image=[*names[:-1], "../p.png"], fruit=fruit)
    table("system.csv", image=[*names[:-1], "/etc/passwd.png"], fruit=fruit)
    table("pairs.csv", image=names, second=names, fruit=fruit)
    raw("key.json", '{"epoch": 3}')
    raw("list.json", "[1, 2]")
    raw("bad.toml", "epochs = = 3")
    target = {
        "name": "fruit",
        "kind": "multiclass",
        "classes": ["apple", "pear", "plum"],
        "columns": ["fruit"],
    }
    inputs = [{"name": "width", "kind": "number"}]
    raw("schema.json", json.dumps({"inputs": inputs, "targets": [target]}))
    raw("aimless.json", json.dumps({"inputs": inputs, "targets": []}))
    raw("blind.json", json.dumps({"inputs": [], "targets": [target]}))
    for name in ("changed", "newer", "unfinished", "unfit"):
        shutil.copytree(fitted_tables / "model", folder / name)
    words = ["--out", str(folder / "groups"), "--clusters", "2", "--target", "fruit", "--json"]
    assert main(["cluster", str(folder / "good.csv"), *words]) == 0
    (folder / "changed" / "schema.json").write_text("{}")
    manifest = json.loads((folder / "newer" / "manyhot.json").read_text()) | {"format": 99}
    (folder / "newer" / "manyhot.json").write_text(json.dumps(manifest))
    (folder / "unfinished" / "manyhot.json").unlink()
    (folder / "unfinished" / "checkpoints").mkdir()
    return folder


def contents(folder):
    return {
        path.relative_to(folder): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(words, capsys):
    """Run a command that must be refused; return its message."""
    status = status_of(*words)
    found = capsys.readouterr()
    lines = found.err.strip("\n").split("\n")
    assert status == 2, found.err
    assert found.out == ""
    assert [line for line in lines if line.startswith("manyhot: ")] == lines[-1:]
    assert "Traceback" not in found.err
    assert len(lines[-1]) <= 300
    assert "[…]" not in lines[-1], "what is listed there is to be cut by itself"
    return lines


@pytest.mark.parametrize("name", FAULTS)
def test_one_line_status_2_and_nothing_written(name, zoo, tmp_path, capsys, fitted_tables, fitted_pictures):
    words, wanted = FAULTS[name]
    places = {
        "zoo": zoo,
        "out": tmp_path / "out",
        "model": fitted_tables / "model",
        "pmodel": fitted_pictures / "model",
    }
    before = contents(zoo)
    lines = refused([word.format(**places) for word in words], capsys)
    assert wanted in lines[-1]
    assert lines[-1].rstrip().endswith((".", "`.", ")", "`"))
    assert list(tmp_path.iterdir()) == []
    assert contents(zoo) == before


@pytest.mark.parametrize("name", [n for n, (words, _) in FAULTS.items() if words and words[0] != "fit"])
def test_outside_of_fit_the_line_is_the_only_one(name, zoo, tmp_path, capsys, fitted_tables, fitted_pictures):
    words, _ = FAULTS[name]
    places = {"zoo": zoo, "out": tmp_path / "out"}
    places |= {"model": fitted_tables / "model", "pmodel": fitted_pictures / "model"}
    lines = refused([word.format(**places) for word in words], capsys)
    assert [line for line in lines if not line.startswith("warning: ")] == lines[-1:]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(zoo, tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o500)
    words = ["fit", str(zoo / "good.csv"), "--target", "fruit", "--out", str(tmp_path / "closed" / "m")]
    assert "cannot be written to" in refused(words, capsys)[-1]


def test_the_faults_are_as_listed():
    assert changed(cells(test_one_line_status_2_and_nothing_written), "faults.txt") == []


@pytest.mark.parametrize("name", ["fruit_given", "fruit.apple"])
def test_a_column_in_the_way_of_answers_is_refused_before_training(name):
    """The answers for validation rows could not be written beside it, after all the training."""
    columns = {**features(30), **label_columns("multiclass", 30), name: ["x", "y"] * 15}
    with pytest.raises(UserError, match="is in the way of"):
        manyhot.fit(columns, ["fruit"], **QUICK)


def test_rows_stay_where_no_picture_is_there(zoo, tmp_path, capsys, fitted_pictures):
    out = tmp_path / "answers.csv"
    words = ["predict", str(fitted_pictures / "model"), str(zoo / "nophotos.csv"), "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "not one of its 40 pictures is there: 'gone/0.png', 'gone/1.png', 'gone/2.png'" in said
    assert f"looked for in {zoo}. Pass --root FOLDER." in said
    assert len(out.read_text().splitlines()) == 41
