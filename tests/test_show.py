"""What people see: nothing that steers their terminal, and tables as wide as it is."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from making import ROW_OPTIONS, features, status_of, write_csv, write_table
from PIL import Image

import manyhot
from manyhot.cli import main, show
from manyhot.errors import UserError

NASTY = "a\x1b[31mb\x07c\rd\u202ee\x9bf\u2066g\nh\ud7fb\u200bi\x7f[bold]j"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def seen(capsys):
    """Run a command; its status and all that people see."""

    def command(*words):
        status = status_of(*words)
        found = capsys.readouterr()
        return status, found.out + found.err

    return command


def is_plain(text):
    return not show.UNSEEN.search(text.replace("\n", ""))


def test_what_steers_a_terminal_is_written_out():
    assert show.visible(NASTY) == (
        "a\\x1b[31mb\\x07c\\rd\\u202ee\\x9bf\\u2066g\\nh\ud7fb\\u200bi\\x7f[bold]j"
    )
    persian, family = "می‌خواهم", "\U0001f468‍\U0001f467"  # of joiners are their words and pictures made
    assert show.visible(f"é 茶 {persian} {family} \\ 'x'") == f"é 茶 {persian} {family} \\ 'x'"


def test_names_and_classes_reach_no_terminal_as_they_are(seen, tmp_path):
    columns = {
        **{f"{NASTY}{name}": cells for name, cells in features(60).items()},
        f"{NASTY}y": [f"{NASTY}{i % 3}" for i in range(60)],
        "k": [f"{NASTY}{i}" for i in range(60)],
    }
    table, model = write_csv(tmp_path / "t\x1b[31m.csv", columns), tmp_path / "m\x1b[31m"
    label = f"{NASTY}y"
    fit = ["fit", table, "--target", label, "--kind", f"{NASTY}x=number", *ROW_OPTIONS]
    for words, status in [
        (["inspect", table], 0),
        (["inspect", table, "--target", label], 0),
        (["inspect", table, "--target", label, "--json"], 0),
        ([*fit, "--out", model], 2),
        ([*fit[:4], *fit[6:], "--out", model], 0),
        (["evaluate", model, table], 0),
        (["evaluate", model, write_csv(tmp_path / "u.csv", {**columns, label: [f"{NASTY}!"] * 60})], 0),
        (
            ["tune", model, table, "--objective", "macro_f1", "--split", "all"],
            2,
        ),  # a target of several classes
        (["predict", model, write_csv(tmp_path / "v.csv", {"x": [1, 2]})], 2),
        (["predict", model, tmp_path / "t\x1b[32m.csv"], 2),
        (["cluster", table, "--clusters", "2", "--target", label, "--out", tmp_path / "c\x1b[31m"], 0),
        (["inspect", table, f"--{NASTY}"], 2),
        (["fit", table, "--effort", NASTY, "--out", model], 2),
        (["fit", table, "--set", f"{NASTY}=1", "--out", model], 2),
    ]:
        found, text = seen(*words)
        assert found == status, text
        assert is_plain(text), words
    (target,) = json.loads(seen("inspect", table, "--target", label, "--json")[1])["targets"]
    assert [*target["classes"]] == [f"{NASTY}{i}" for i in range(3)]  # JSON's own escapes


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def drawn(monkeypatch):
    """Run a command on a terminal of some columns; the lines that it shows, without colours."""

    def command(columns, *words):
        terminal = Terminal()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main([str(word) for word in words]) == 0
        return [line.rstrip() for line in ANSI.sub("", terminal.getvalue()).split("\n")]

    return command


@pytest.mark.parametrize("columns", [30, 40, 80, 200])
def test_tables_are_as_wide_as_the_terminal(drawn, fitted_tables, tmp_path, columns):
    table, model = fitted_tables / "table.csv", fitted_tables / "model"
    long = write_table(tmp_path, "mixed", 60, extra={"name " * 20: [f"{i} " * 9 for i in range(60)]})
    for words in (["inspect", long], ["inspect", long, "--target", "fruit", "--target", "ripe"]):
        lines = drawn(columns, *words)
        assert max(map(len, lines)) <= columns
        assert columns < 200 or max(map(len, lines)) > show.WIDTH
    lines = drawn(columns, "evaluate", model, table)
    assert max(map(len, lines[1:])) <= columns  # the first is the warning, a line of its own
    text = "\n".join(lines)
    for name, scores in manyhot.load(model).evaluate(table)["targets"].items():
        shown = " ".join(line for line in lines if line.startswith(name))
        assert all(show.number(value) in shown for value in scores.values())
    assert text.count("balanced_accuracy") == 1


def test_scores_stand_above_those_of_a_constant_and_what_is_wrong_below(seen, fitted_tables):
    status, text = seen("evaluate", fitted_tables / "model", fitted_tables / "table.csv")
    assert status == 0
    lines = text.splitlines()
    ripe = next(i for i, line in enumerate(lines) if line.startswith("ripe"))
    own, same = lines[ripe].split(), lines[ripe + 1].split()
    assert same[0] == "constant"
    assert len(own) == len(same)
    assert any(line.startswith("note: 'ripe': accuracy") for line in lines)  # of one epoch


def test_pictures_have_a_width_a_height_and_ranges_of_both(seen, tmp_path):
    for name, size in {"a": (30, 20), "b": (40, 20), "c": (30, 50)}.items():
        Image.new("L", size).save(tmp_path / f"{name}.png")
    write_csv(tmp_path / "t.csv", {"image": ["a.png", "b.png", "c.png"]})
    assert (
        "usually 30 × 20 pixels, grey (width 30 … 40, height 20 … 50)"
        in seen("inspect", tmp_path / "t.csv")[1]
    )
    write_csv(tmp_path / "t.csv", {"image": ["b.png", "b.png"]})
    assert re.search(r"  40 × 20 pixels, grey *\n", seen("inspect", tmp_path / "t.csv")[1])


@pytest.mark.parametrize("columns", [34, 40, 60])
def test_no_cell_of_a_table_is_broken_in_a_word(drawn, tmp_path, columns):
    colours = ["ultramarine", "vermilion", "chartreuse"]
    cells = {"a_number": range(60), "bodywork_colour": [colours[i % 3] for i in range(60)]}
    lines = drawn(columns, "inspect", write_csv(tmp_path / "t.csv", cells), "--target", "bodywork_colour")
    words = " ".join(lines).replace(",", "").split()
    assert {*colours, "bodywork_colour", "multiclass", "60", "0", "a_number", "distinct"} <= {*words}
    assert max(map(len, lines)) <= columns


def test_a_pipe_gets_long_lines_unless_columns_ask_for_others(seen, fitted_tables, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    words = ["evaluate", fitted_tables / "model", fitted_tables / "table.csv"]
    assert max(map(len, seen(*words)[1].splitlines()[1:])) > 70
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, seen(*words)[1].splitlines()[1:])) <= 40


def test_sentences_are_broken_between_words_and_only_for_people_at_a_terminal(monkeypatch):
    for columns, lines in (
        ("20", ["note: one note that", "is long and has", "a_word_that_is_longer_than_that"]),
        ("", 1),
    ):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        show.notes(["one note that is long and has a_word_that_is_longer_than_that"])
        found = sys.stderr.getvalue().splitlines()
        assert (found == lines) if columns else len(found) == lines
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        show.prose("  then go on with the next", stderr=False)
        indented = sys.stdout.getvalue().splitlines()
        assert indented == (
            ["  then go on with", "  the next"] if columns else ["  then go on with the next"]
        )


def test_answers_on_a_terminal_are_plain_too(drawn, model, tmp_path):
    table = write_csv(tmp_path / "t.csv", {**features(3), "note": ["\x1b[31m", "b", "c"]})
    assert any("\\x1b[31m" in line for line in drawn(80, "predict", model, table))


def test_a_message_is_short_however_long_what_was_found():
    error = UserError(f"{'x' * 10_000}: is wrong; pass --right.")
    assert len(f"manyhot: {error}") <= 300
    assert error.typed.endswith(": is wrong; pass --right.")


def test_what_is_printed_goes_through_one_door():
    files = Path(show.__file__).parent.rglob("*.py")
    printing = [
        path.name
        for path in files
        if re.search(r"(?<![.\w])print\(|std(out|err)\.write", path.read_text("utf-8"))
    ]
    assert sorted(printing) == ["document.py", "show.py"]
