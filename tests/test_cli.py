"""Every command, with and without --json; exit statuses; what goes to which stream; interruptions."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import (
    ROW_OPTIONS,
    features,
    flags_of,
    label_columns,
    pixels,
    status_of,
    write_csv,
    write_pictures,
    write_table,
)
from PIL import Image

import manyhot
from manyhot.cli import main
from manyhot.cli.commands import COMMANDS, demo
from manyhot.cli.parser import build_parser


@pytest.fixture
def run(capfdbinary):
    """Run a command in this process: (status, standard output, standard error)."""

    def command(*words):
        status = status_of(*words)
        found = capfdbinary.readouterr()
        return status, found.out.decode(), found.err.decode()

    return command


@pytest.fixture
def done(run):
    """Run a command that must succeed; its standard output, read as one JSON document with --json."""

    def command(*words):
        status, out, err = run(*words)
        assert status == 0, err
        assert "Traceback" not in err
        return json.loads(out) if "--json" in words else out

    return command


# Each command


def test_a_report_needs_no_scores_of_training_but_refuses_broken_ones(run, model, fitted_tables, tmp_path):
    words = ["report", model, fitted_tables / "table.csv", "--overwrite", "--out", tmp_path / "page.html"]
    metrics = model / "metrics.json"
    for text in ('{"rows": 1}', None):
        metrics.unlink() if text is None else metrics.write_text(text)
        assert run(*words)[0] == 0
        assert "how many train" not in (tmp_path / "page.html").read_text()
    for text in ("[]", '{"training": 5}', '{"training": {"ripe": {"yes": "many"}}}', "{"):
        metrics.write_text(text)
        status, _, err = run(*words)
        assert status == 2
        assert f"{metrics}: not " in err


@pytest.mark.parametrize("image", [False, True])
def test_the_whole_way(done, tmp_path, image):
    table, model = write_table(tmp_path, "mixed", 60, image=image, empty=0.1), tmp_path / "m"
    flags = flags_of("mixed")
    found = done("inspect", table, *flags, "--json")
    assert found["rows"] == 60
    assert {target["name"]: target["kind"] for target in found["targets"]} == {
        **{"ripe": "binary", "fruit": "multiclass", "tags": "multilabel", "flags": "multilabel"}
    }
    schema = tmp_path / "schema.json"
    assert done("inspect", table, *flags, "--write-schema", schema)
    found = done("fit", table, "--schema", schema, *ROW_OPTIONS, "--test", "0.2", "--out", model, "--json")
    assert set(found) == {"model", "rows", "epochs", "validation", "baselines", "config"}
    assert set(found["validation"]) == {"rows", "targets", "overall"}
    assert found["baselines"]["fruit"]["constant"]["auroc"] == 0.5
    assert sum(found["rows"].values()) == 60
    assert found["config"]["epochs"] == 1
    scores = done("evaluate", model, table, "--json")
    assert scores["rows"] == found["rows"]["test"]
    assert set(scores) == {
        *("rows", "targets", "overall", "split", "baselines", "known", "intervals", "classes", "confused"),
        "ece_floor",
    }
    assert "overall" in done("evaluate", model, table)
    assert done("tune", model, table, "--objective", "macro_f1", "--split", "train", "--json")["objective"]
    assert "precision" in done("tune", model, table, "--objective", "hamming", "--split", "all")
    page = tmp_path / "new" / "page.html"
    assert done("report", model, table, "--out", page, "--json") == {"out": str(page)}
    assert "<html" in page.read_text()
    assert ("<h3>Columns" in page.read_text()) == (not image)
    assert "how many train" in page.read_text()
    assert done("report", model, "--out", page, "--overwrite") == ""
    answers = tmp_path / "new" / "answers.csv"
    assert done("predict", model, table, "--out", answers, "--json") == {"rows": 60, "out": str(answers)}
    assert manyhot.read(answers).column("fruit").to_pylist() == manyhot.load(model).predict(table)["fruit"]
    assert done("predict", model, table).splitlines()[0] == answers.read_text().splitlines()[0]
    rows = done("predict", model, table, "--json")["rows"]
    assert len(rows) == 60
    assert {"fruit", "fruit_given", "fruit.apple", "tags"} <= set(rows[0])


def test_a_quantity_in_ranges_the_whole_way(done, tmp_path):
    cells = features(60)
    cells |= {"price": [f"{width * 100:.1f}" for width in cells["width"]]}
    table, model = write_csv(tmp_path / "t.csv", cells), tmp_path / "m"
    found = done(
        "fit", table, "--target", "price", "--bins", "price=3", "--out", model, *ROW_OPTIONS, "--json"
    )
    assert found["validation"]["targets"]["price"]["accuracy"] is not None
    (target,) = manyhot.load(model).schema.targets
    assert (target.kind, len(target.classes), len(target.edges)) == ("multiclass", 3, 2)
    new = {name: [*values[:2], None] for name, values in features(2).items()} | {"price": ["1e9", "-7", ""]}
    new = write_csv(tmp_path / "new.csv", new)
    assert done("evaluate", model, new, "--json")["rows"] == 3
    rows = done("predict", model, new, "--json")["rows"]
    assert {row["price"] for row in rows} <= {*target.classes}
    assert [row["price_given"] for row in rows] == ["1e9", "-7", None]


def test_predict_pictures_by_name_and_by_folder(done, fitted_pictures, tmp_path, monkeypatch):
    model = fitted_pictures / "model"
    write_pictures(tmp_path / "a", 4)
    names = sorted((tmp_path / "a" / "pictures").iterdir())
    rows = done("predict", model, *names, "--json")["rows"]
    assert [row["image"] for row in rows] == [str(name) for name in names]  # as typed
    folder = done("predict", model, tmp_path / "a" / "pictures", "--json")["rows"]
    assert [row["fruit.apple"] for row in folder] == [row["fruit.apple"] for row in rows]
    (tmp_path / "a" / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "a" / "sub")
    shutil.copy(names[0], "here.png")
    again = done("predict", model, "../pictures/000.png", "here.png", "--json")["rows"]
    assert again[0]["fruit.apple"] == again[1]["fruit.apple"] == rows[0]["fruit.apple"]
    assert len(done("predict", model, "../pictures/000.png").splitlines()) == 2


def test_predict_says_what_it_could_not_read(run, fitted_pictures, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    status, out, err = run("predict", fitted_pictures / "model", tmp_path / "bad.png")
    assert status == 0
    (row,) = csv.DictReader(out.splitlines())
    assert row["error"] == "empty file"
    assert row["fruit"] == row["fruit.pear"] == ""
    assert "1 of 1 rows cannot be read" in err
    write_pictures(tmp_path / "new", 2)
    (tmp_path / "new" / "pictures" / "phone.heic").write_bytes(b"")
    _, _, err = run("predict", fitted_pictures / "model", tmp_path / "new" / "pictures")
    assert "left out: files that are not pictures by their ending (1): 1 .heic" in " ".join(err.split())


def test_infinite_cells_make_valid_json(done, fitted_tables, tmp_path):
    inputs = {"width": [float("inf"), float("nan")], "weight": [1.0, 2.0], "origin": ["north", "south"]}
    pq.write_table(pa.table(inputs), tmp_path / "t.parquet")
    rows = done("predict", fitted_tables / "model", tmp_path / "t.parquet", "--json")["rows"]
    assert [row["width"] for row in rows] == ["Infinity", None]


def test_evaluate_leaves_nothing_behind(done, fitted_tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done("evaluate", fitted_tables / "model", fitted_tables / "table.csv")
    done("predict", fitted_tables / "model", fitted_tables / "table.csv")
    assert list(tmp_path.iterdir()) == []


def test_inspect_without_a_target_and_with_a_sheet(done, fitted_pictures, fitted_tables, tmp_path):
    found = done("inspect", fitted_tables / "table.csv", "--json")
    assert found["rows"] == 60
    sheet = tmp_path / "sheet.png"
    done("inspect", fitted_pictures / "table.csv", "--target", "fruit", "--sheet", sheet, "--seed", "3")
    with Image.open(sheet) as image:
        assert image.width > 100


def test_fit_from_a_folder_of_class_folders(done, tmp_path):
    for i, array in enumerate(pixels(60)[..., 0]):
        folder = tmp_path / "data" / ("even", "odd")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / f"{i}.png")
    for litter in (".ipynb_checkpoints/a.png", "__MACOSX/._a.png", "even/.DS_Store", "even/Thumbs.db"):
        path = tmp_path / "data" / litter
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "data" / "empty").mkdir()
    found = done("fit", tmp_path / "data", *ROW_OPTIONS, "--out", tmp_path / "m", "--json")
    assert sum(found["rows"].values()) == 60
    assert manyhot.load(tmp_path / "m").schema.target("label").classes == ("even", "odd")
    assert done("evaluate", tmp_path / "m", tmp_path / "data", "--json")["rows"] == 60


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig", "utf-32"])
def test_any_common_encoding_is_simply_read(done, tmp_path, encoding):
    columns = {**features(40), "frucht": [("Äpfel", "Nüsse", "Öl")[i % 3] for i in range(40)]}
    plain = write_csv(tmp_path / "plain.csv", columns)
    other = tmp_path / "t.csv"
    other.write_bytes(plain.read_text(encoding="utf-8").encode(encoding))
    done("fit", other, "--target", "frucht", *ROW_OPTIONS, "--out", tmp_path / "m")
    assert manyhot.load(tmp_path / "m").schema.target("frucht").classes == ("Nüsse", "Äpfel", "Öl")
    assert done("evaluate", tmp_path / "m", plain, "--json") == done(
        "evaluate", tmp_path / "m", other, "--json"
    )


def test_settings_come_from_a_file_then_flags_then_set(done, tmp_path):
    table = write_table(tmp_path, "multiclass", 60)
    (tmp_path / "c.json").write_text('{"epochs": 3, "batch_size": 9, "dropout": 0.3, "threads": 1}')
    (tmp_path / "c.toml").write_text("epochs = 3\nbatch_size = 9\ndropout = 0.3\nthreads = 1\n")
    for name in ("json", "toml"):
        words = ["--config", tmp_path / f"c.{name}", "--epochs", "2", "--set", "dropout=0.1"]
        found = done("fit", table, "--target", "fruit", *words, "--out", tmp_path / name, "--json")
        config = found["config"]
        assert (config["epochs"], config["batch_size"], config["dropout"]) == (2, 9, 0.1)
    words = ["--config", tmp_path / "toml" / "config.json", "--out", tmp_path / "again", "--json"]
    assert done("fit", table, "--target", "fruit", *words)["config"] == config


def test_a_group_given_by_any_way_is_no_feature(done, tmp_path):
    table = write_table(tmp_path, "multiclass", 60, extra={"g": [f"g{i % 12}" for i in range(60)]})
    for number, words in enumerate((["--group", "g"], ["--set", "group=g"])):
        out = tmp_path / str(number)
        done("fit", table, "--target", "fruit", *words, *ROW_OPTIONS, "--out", out)
        assert "g" not in [column.name for column in manyhot.load(out).schema.inputs]


def test_overwrite_and_resume(done, run, tmp_path):
    table = write_table(tmp_path, "multiclass", 60)
    words = ["fit", table, "--target", "fruit", *ROW_OPTIONS, "--out", tmp_path / "m"]
    done(*words)
    before = (tmp_path / "m" / "weights.safetensors").read_bytes()
    assert run(*words)[0] == 2
    done(*words, "--overwrite")
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == before
    status, _, err = run(*words, "--resume")
    assert status == 0
    assert "finished already" in err
    assert done(*words, "--resume", "--json")["epochs"] is None
    done(*words[:-1], tmp_path / "fresh", "--resume")
    assert (tmp_path / "fresh" / "weights.safetensors").read_bytes() == before


def test_the_end_of_a_fit_says_which_epoch_is_kept_who_answers_and_how_long_it_took(run, tmp_path):
    table = write_table(tmp_path, "multiclass", 60)
    words = ["fit", table, "--target", "fruit", "--effort", "fast", "--epochs", "3", "--set", "folds=1"]
    words += ["--set", "validation=0.6", "--members", "network,linear", "--set", "threads=1"]
    status, out, err = run(*words, "--out", tmp_path / "m")
    assert status == 0
    starred = [line for line in err.splitlines() if line.endswith(" *")][-1]
    (kept,) = [line for line in err.splitlines() if line.startswith("kept: ")]
    assert kept.split()[2].rstrip(",") == re.search(r"epoch (\d+)/3", starred)[1]
    assert re.search(r"exact match (\S+)", starred)[1] in kept
    assert "logistic regression" in kept
    assert re.search(r"^all of it took \d+\.\d s$", err, re.MULTILINE)
    assert f"manyhot evaluate {tmp_path}/m NEW\n" in out


def test_a_table_with_test_rows_is_judged_by_these(run, tmp_path):
    table = write_table(tmp_path, "multiclass", 60)
    words = ["fit", table, "--target", "fruit", *ROW_OPTIONS, "--test", "0.2", "--out", tmp_path / "m"]
    out = run(*words)[1]
    assert f"manyhot evaluate {tmp_path}/m {table}\n" in out
    assert f"manyhot predict {tmp_path}/m NEW --out answers.csv\n" in out


def test_options_name_columns_by_a_range_or_a_glob(done, tmp_path):
    columns = {
        "x": range(20),
        "y": range(20, 0, -1),
        **{name: [0, 1] * 10 for name in ("a_1", "a_2", "b", "c")},
    }
    table = write_csv(tmp_path / "t.csv", columns)
    words = ["--tags", "t=a_*", "--target", "b:c", "--kind", "y*=ignore", "--json"]
    found = done("inspect", table, *words)
    assert {each["name"]: each["columns"] for each in found["targets"]} == {
        **{"t": ["a_1", "a_2"], "b": ["b"], "c": ["c"]}
    }
    assert [each["name"] for each in found["inputs"]] == ["x"]


def test_the_command_printed_at_the_end_reads_a_table_like_it(done, tmp_path):
    write_pictures(tmp_path / "photos", 60)
    table = write_csv(
        tmp_path / "my tables" / "t.csv",
        {"image": [f"pictures/{i:03d}.png" for i in range(60)], **label_columns("multiclass", 60)},
    )
    words = ["--target", "fruit", "--root", tmp_path / "photos", *ROW_OPTIONS, "--out", tmp_path / "m"]
    out = done("fit", table, *words)
    line = next(line for line in out.splitlines() if line.strip().startswith("manyhot evaluate"))
    assert "overall" in done(*(table if word == "NEW" else word for word in shlex.split(line)[1:]))


def test_answers_are_safe_for_a_spreadsheet(done, tmp_path):
    columns = {**features(40), "y": [("=1+1", "-1", "+x")[i % 3] for i in range(40)]}
    table = write_csv(tmp_path / "t.csv", columns)
    done("fit", table, "--target", "y", *ROW_OPTIONS, "--out", tmp_path / "m")
    out = done("predict", tmp_path / "m", table)
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["y"] for row in rows} <= {"'=1+1", "-1", "'+x"}
    assert {row["y_given"] for row in rows} == {"'=1+1", "-1", "'+x"}
    (tmp_path / "answers.csv").write_text(out)
    assert set(manyhot.read(tmp_path / "answers.csv").column("y_given").to_pylist()) == {"=1+1", "-1", "+x"}


def test_demo_writes_where_it_is_told(done, tmp_path, monkeypatch):
    def few(folder, seed=0):
        return write_table(folder, "mixed", 60, image=True).rename(folder / "labels.csv")

    monkeypatch.setattr("manyhot.data.sources.datasets.write_digits", few)
    done_words = []

    def step(words):
        done_words.append(words[0])
        if words[0] == "predict":
            (tmp_path / "d" / "answers.csv").write_text("image,digit\n")
        return 0

    monkeypatch.setattr("manyhot.cli.main", step)
    arguments = build_parser().parse_args(["demo", "--out", str(tmp_path / "d"), "--json"])
    demo.run(arguments)
    assert done_words == ["inspect", "fit", "evaluate", "report", "predict"]


# Statuses and streams


def test_help_of_every_command(run):
    for verb in COMMANDS:
        status, out, err = run(verb, "--help")
        assert (status, err) == (0, "")
        assert f"manyhot {verb}" in out
    assert run("--help")[0] == 0
    status, out, _ = run("--version")
    assert (status, out.strip()) == (0, f"manyhot {manyhot.__version__}")
    with pytest.raises(SystemExit):
        build_parser().parse_args(["nothing"])


@pytest.mark.parametrize(
    ("error", "status"), [(OSError(28, "No space left on device"), 1), (MemoryError(), 1)]
)
def test_a_failed_run_is_status_1_in_one_line(run, tmp_path, fitted_tables, monkeypatch, error, status):
    def full(*args):
        raise error

    monkeypatch.setattr("manyhot.data.sources.write.write_to", full)
    out = tmp_path / "a.csv"
    found = run("predict", fitted_tables / "model", fitted_tables / "table.csv", "--out", out)
    assert found[0] == status
    assert found[2].startswith("manyhot: ")
    assert len(found[2].splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_diverging_run_is_status_1(run, tmp_path):
    table = write_table(tmp_path, "multiclass", 60)
    words = [
        "--target",
        "fruit",
        "--set",
        "learning_rate=1e30",
        "--set",
        "threads=1",
        "--out",
        tmp_path / "m",
    ]
    status, out, err = run("fit", table, *words, "--epochs", "3")
    assert (status, out) == (1, "")
    assert "learning_rate" in err.splitlines()[-1]
    assert not (tmp_path / "m" / "manyhot.json").exists()
    assert run("predict", tmp_path / "m", table)[0] == 2


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(manyhot.UserError):
        main(["predict", str(tmp_path / "no"), "x.csv", "--debug"])


# In a process of its own


def process(*words, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "manyhot", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def test_a_pipe_that_closes_is_no_error(fitted_tables):
    running = process("predict", fitted_tables / "model", fitted_tables / "table.csv")
    running.stdout.close()
    error = running.stderr.read()
    running.stderr.close()
    assert running.wait(60) == 0
    assert error == ""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_fit_says_how_to_go_on(tmp_path, sent, status):
    table, model = write_table(tmp_path, "multiclass", 60), tmp_path / "a model"
    words = ["fit", table, "--target", "fruit", "--seed", "5", "--set", "threads=1", "--set", "patience=0"]
    with process(*words, "--set", "batch_size=4", "--epochs", "100000", "--out", model) as running:
        deadline = time.monotonic() + 120
        while not list(model.glob("checkpoints/*.json")):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(sent)
        out, err = running.communicate(timeout=60)
    assert running.returncode == status
    assert out == ""
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("stopped; go on with: manyhot fit ")
    assert last.endswith("--resume")
    assert f"'{model}'" in last
    assert list(model.glob("checkpoints/*.json"))


def test_an_interrupted_command_that_cannot_go_on(fitted_tables, monkeypatch, run):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("manyhot.classifier.load", interrupted)
    status, out, err = run("evaluate", fitted_tables / "model", fitted_tables / "table.csv")
    assert (status, out, err.strip()) == (130, "", "stopped")


def test_the_module_runs_as_a_program(tmp_path):
    with process("inspect", tmp_path / "none.csv") as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (2, "")
    assert err.startswith("manyhot: ")


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_sleep_while_they_wait_unless_somebody_wants_otherwise(done, monkeypatch, given):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    done("cache")
    assert os.environ["OMP_WAIT_POLICY"] == (given or "PASSIVE")


def test_an_option_of_another_command_is_told(run, monkeypatch):
    words = ["evaluate", "model", "x.csv", "--freeze"]
    monkeypatch.setattr("sys.argv", ["manyhot", *words])
    status, _, said = run(*words)
    assert status == 2
    assert (
        "`manyhot evaluate` takes no --freeze; it is an option of 'fit', 'search'. See `manyhot evaluate"
        in said
    )
