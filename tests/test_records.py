"""The records are whole: results.csv reads, the claims that are shown stand in it, links lead to headings."""

import csv
import re
from dataclasses import fields
from pathlib import Path

import pytest

from manyhot.config import FitConfig

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.csv"
COLUMNS = ["claim", "value", "unit", "asked", "commit", "machine", "seed", "date", "command", "note"]
PAGES = [ROOT / name for name in ("docs/decisions.md", "docs/experiments.md", "benchmarks/README.md")]
FORMER = "was:"  # begins the note of a number that is no longer so
NUMBER = re.compile(r"\d+(?:\.\d+)?")
STATUSES = ("holds", "one data set only", "in doubt", "not measured", "deleted")
VERDICTS = ("Kept", "Not kept", "Found", "Begun", "Overruled")

MACHINE = {"device", "deterministic", "threads", "memory", "cache"}
GIVEN = {  # that only a user can know, so that there is no default to decide on
    *("backbone_options", "weights", "target_weights", "test", "group", "weight", "unknown_class", "seed"),
    *("split_by", "time_series", "coverage", "start", "share"),
}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def results() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def tables(text: str) -> list[list[str]]:
    """Return the cells of each row of a page's tables, without heads and rules."""
    lines = text.splitlines()
    rows = [line for line, after in zip(lines, [*lines[1:], ""]) if not after.startswith("|--")]
    rows = [line for line in rows if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in rows]


def claims() -> dict[str, list[str]]:
    """Return the rows of the tables of claims, by the claim's name."""
    text = read(ROOT / "benchmarks" / "README.md")
    shown = text[text.index("## Current claims") : text.index("## Machines")]
    return {cells[0].strip("`"): cells for cells in tables(shown)}


def titles(path: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", read(path), flags=re.M | re.S), re.M)


def anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def entries() -> dict[str, str]:
    """Return the text of each entry of the log, by its title."""
    text = re.sub(r"^```.*?^```$", "", read(ROOT / "docs" / "experiments.md"), flags=re.M | re.S)
    parts = re.split(r"^## (?=\d)", text, flags=re.M)[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def test_results_have_their_columns():
    with RESULTS.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file, strict=True)
    assert head == COLUMNS
    assert {len(row) for row in rows} == {len(COLUMNS)}


def test_results_are_numbers_of_something():
    machines = set(re.findall(r"^\| \*\*(\w)\*\*", read(ROOT / "benchmarks" / "README.md"), re.M))
    for number, row in enumerate(results(), start=2):
        where = f"results.csv line {number}"
        assert row["claim"], where
        assert row["unit"], where
        float(row["value"])
        assert row["machine"] in {*machines, ""}, where
        assert re.fullmatch(r"(\d{4}-\d\d-\d\d)?", row["date"]), where
        assert re.fullmatch(r"([0-9a-f]{7,40})?", row["commit"]), where
        assert re.fullmatch(r"(\d+(-\d+)?)?", row["seed"]), where
        script = row["command"].partition(" ")[0]
        assert not script or (ROOT / "benchmarks" / script).is_file(), where


def test_claims_shown_are_those_that_results_hold():
    now = {row["claim"] for row in results() if not row["note"].startswith(FORMER)}
    former = {row["claim"] for row in results()} - now
    assert set(claims()) == now, f"only in one of the two; former ones are {former}"


def test_claims_show_numbers_that_results_hold():
    for claim, cells in claims().items():
        held = [row for row in results() if row["claim"] == claim and not row["note"].startswith(FORMER)]
        held_numbers = set(NUMBER.findall(" ".join(f"{row['value']} {row['note']}" for row in held)))
        shown = NUMBER.findall(re.sub(r"(\d),(\d{3})\b", r"\1\2", cells[2]))
        assert set(shown) <= held_numbers, f"{claim}: not in results.csv"
        asked = {row["asked"] for row in held}
        assert set(NUMBER.findall(cells[3])) <= asked, f"{claim}: asked is not so in results.csv"
        script = cells[5].strip("`").partition(" ")[0]
        assert script in {row["command"].partition(" ")[0] for row in held}, claim


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_headings(page):
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]*)\)", text)
    assert links
    for link in links:
        if link.startswith("http"):
            continue
        file, _, name = link.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), f"{page.name}: {link}"
        assert not name or name in map(anchor, titles(place)), f"{page.name}: no heading for {link}"


def test_the_log_has_one_heading_for_an_anchor():
    anchors = list(map(anchor, titles(ROOT / "docs" / "experiments.md")))
    assert len(anchors) == len(set(anchors))


def test_the_log_has_a_verdict_in_each_title_and_the_newest_on_top():
    for title, text in entries().items():
        assert re.match(rf"\d{{4}}-\d\d-\d\d ({'|'.join(VERDICTS)})\b[^:]*: .", title), title
        if "verruled" in title:
            assert re.search(r"^> Overruled (in part )?by \[[^]]+\]\(#", text, re.M), f"{title}: by what?"
    dates = [title[:10] for title in entries()]
    assert dates == sorted(dates, reverse=True)


def test_rows_a_to_e_are_told():
    rows = {cells[0][2] for cells in tables(read(ROOT / "docs" / "experiments.md")) if cells[0][:2] == "**"}
    assert rows == set("ABCDE")


@pytest.mark.parametrize("name", [f.name for f in fields(FitConfig) if f.name not in MACHINE | GIVEN])
def test_each_default_is_among_the_decisions(name):
    first = [cells[0] for cells in tables(read(ROOT / "docs" / "decisions.md"))]
    assert any(f"`{name}`" in cell or f"`{name} " in cell for cell in first), f"{name} has no row"


def test_settings_without_a_default_exist():
    assert {f.name for f in fields(FitConfig)} >= MACHINE | GIVEN


def test_each_decision_has_a_status():
    text = read(ROOT / "docs" / "decisions.md")
    for cells in tables(text):
        assert len(cells) == 5, cells
        assert cells[4].replace("*", "").startswith(STATUSES), f"{cells[0]}: {cells[4]}"
