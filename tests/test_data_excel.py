"""Workbooks: sheets, dates, merged cells and formulas that nobody computed; what is broken is refused."""

import contextlib
import gzip
import io
import struct
import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from manyhot.cli import main
from manyhot.data.sources import headers, packed, values
from manyhot.data.sources.read import read
from manyhot.errors import UserError

pytest.importorskip("python_calamine")

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
DATE, MOMENT, HOUR = 1, 2, 3  # styles of cells
STYLES = (
    f'<styleSheet xmlns="{MAIN}"><fonts count="1"><font/></fonts><fills count="1"><fill/></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="4">'
    + "".join(f'<xf numFmtId="{kind}" applyNumberFormat="1"/>' for kind in (0, 14, 22, 21))
    + "</cellXfs></styleSheet>"
)


class Formula(str):
    """A cell that holds a formula and, where it was computed, `value`."""

    value = ""


def computed(text, value):
    cell = Formula(text)
    cell.value = value
    return cell


def cell_xml(place, cell):
    """One cell as Excel writes it; (number, style) is a date, {"error": "#N/A"} an error."""
    if isinstance(cell, Formula):
        value = f"<v>{cell.value}</v>" if cell.value else ""
        return f'<c r="{place}"><f>{escape(cell)}</f>{value}</c>'
    if isinstance(cell, dict):
        return f'<c r="{place}" t="e"><v>{cell["error"]}</v></c>'
    if isinstance(cell, tuple):
        return f'<c r="{place}" s="{cell[1]}"><v>{cell[0]}</v></c>'
    if isinstance(cell, bool):
        return f'<c r="{place}" t="b"><v>{cell:d}</v></c>'
    if isinstance(cell, str):
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
    return f'<c r="{place}"><v>{cell}</v></c>'


def sheet_xml(rows, merged=()):
    lines = []
    for number, row in enumerate(rows, 1):
        cells = [cell_xml(f"{chr(65 + i)}{number}", cell) for i, cell in enumerate(row) if cell is not None]
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    ranges = "".join(f'<mergeCell ref="{place}"/>' for place in merged)
    after = f'<mergeCells count="{len(merged)}">{ranges}</mergeCells>' if merged else ""
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData>{after}</worksheet>'


def workbook(path, sheets, merged=(), hidden=()):
    """Write a workbook: rows by the name of their sheet, ranges that are merged in all of them."""
    kind = f"{OFFICE}/worksheet"
    named, relations, types = [], [], []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, rows) in enumerate(sheets.items(), 1):
            state = ' state="hidden"' if name in hidden else ""
            named.append(f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"{state}/>')
            relations.append(
                f'<Relationship Id="rId{number}" Type="{kind}" Target="worksheets/s{number}.xml"/>'
            )
            types.append(f"/xl/worksheets/s{number}.xml")
            archive.writestr(f"xl/worksheets/s{number}.xml", sheet_xml(rows, merged))
        relations.append(f'<Relationship Id="rIdS" Type="{OFFICE}/styles" Target="styles.xml"/>')
        sheets_xml = f"<sheets>{''.join(named)}</sheets>"
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">{sheets_xml}</workbook>'
        )
        archive.writestr("xl/styles.xml", STYLES)
        inside = f'<Relationships xmlns="{PACKAGE}/relationships">{{}}</Relationships>'
        archive.writestr("xl/_rels/workbook.xml.rels", inside.format("".join(relations)))
        top = f'<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", inside.format(top))
        parts = "".join(f'<Override PartName="{part}" ContentType="application/xml"/>' for part in types)
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{PACKAGE}/content-types">{parts}</Types>')
    return path


@pytest.fixture
def book(tmp_path):
    def write(rows, name="t.xlsx", **options):
        return workbook(tmp_path / name, rows if isinstance(rows, dict) else {"Sheet1": rows}, **options)

    return write


def cells(table):
    return {name: column.to_pylist() for name, column in table.columns.items()}


def refused(path: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) - len(str(path)) < 300
    return message


def test_cells_have_the_values_that_a_table_of_text_would_have(book):
    rows = [
        ["n", "x", "s", "b", "day", "moment", "hour", "odd"],
        [1, 1.5, "007", True, (45293, DATE), (45293.5, MOMENT), (0.5, HOUR), 1],
        [2, None, " a ", False, (45294, DATE), (45294, MOMENT), None, "x"],
        [],
        [3, 2, "<&>", None, None, (45295.25, MOMENT), None, 2.5],
    ]
    table = read(book(rows))
    found = cells(table)
    assert found["n"] == [1, 2, 3]
    assert found["x"] == [1.5, None, 2.0]
    assert found["s"] == ["007", " a ", "<&>"]
    assert found["b"] == [True, False, None]
    assert found["day"] == ["2024-01-02", "2024-01-03", None]
    assert [moment[:10] for moment in found["moment"]] == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert found["moment"][2] == "2024-01-04 06:00:00"
    assert found["hour"] == ["12:00:00", None, None]
    assert found["odd"] == ["1", "x", "2.5"]
    assert table.notes == ()


def test_types_may_change_after_many_rows(book, monkeypatch):
    monkeypatch.setattr(values, "BATCH", 2)
    assert cells(read(book([["a", "b"], [1, 1], [2, 2], [2.5, "x"], [None, None], [4, None]]))) == {
        "a": [1.0, 2.0, 2.5, 4.0],
        "b": ["1", "2", "x", None],
    }


def test_a_table_may_begin_anywhere(book):
    table = read(book([[], [None, None, "a", "b"], [None, None, 1, "x"], [None, None, 2, "y"]]))
    assert cells(table) == {"a": [1, 2], "b": ["x", "y"]}


def test_titles_above_the_table_are_left_out(book):
    table = read(book([["Report of May"], [], ["by me"], ["a", "b"], [1, "x"], [2, "y"]]))
    assert cells(table) == {"a": [1, 2], "b": ["x", "y"]}
    assert [*table.notes] == [
        f"left out: a title above the table ('{title}')" for title in ("Report of May", "by me")
    ]
    only = read(book([["a"], [1], [2]]))
    assert cells(only) == {"a": [1, 2]}


def test_merged_cells_have_their_value_in_each_row(book):
    rows = [["kind", "x", "y"], ["cat", 1, 5], [None, 2], [None, 3], ["dog", 4], [None, 5]]
    table = read(book(rows, merged=("A2:A4", "A5:A6", "C2:C3")))
    assert cells(table) == {
        "kind": ["cat"] * 3 + ["dog"] * 2,
        "x": [1, 2, 3, 4, 5],
        "y": [5, 5, None, None, None],
    }
    assert table.notes == ("merged cells (3 times): each of their rows has the value",)


def test_formulas_that_nobody_computed_are_counted(book):
    rows = [
        ["a", "b", "c"],
        [1, Formula("A2*2"), computed("A2*3", 3)],
        [2, Formula("A3<5"), computed("A3*3", 6)],
    ]
    table = read(book({"other": [], "data": rows}))
    assert cells(table) == {"a": [1, 2], "b": [None, None], "c": [3, 6]}
    (note,) = table.notes
    assert note.startswith("formulas without a value (2 cells, such as B2) are empty")
    assert read(book([["a", "b"], [1, computed("A2", 1)], [2, 3]])).notes == ()


def test_formulas_are_counted_whatever_lies_between_two_blocks(book, monkeypatch):
    monkeypatch.setattr("manyhot.data.sources.xlsx.BLOCK", 100)
    rows = [["a", "b"], *([i, Formula(f"A{i + 2}*2")] for i in range(50))]
    assert read(book(rows)).notes[0].startswith("formulas without a value (50 cells, such as B2)")


def test_errors_in_cells_are_empty(book):
    table = read(book([["a", "b"], [{"error": "#N/A"}, 1], [2, 2]]))
    assert cells(table)["a"] == [None, 2]
    assert table.notes == ("errors such as #N/A (1 cells) are empty",)


def test_of_several_sheets_one_is_named(book):
    sheets = {"first": [["a"], [1], [2]], "second": [["b"], [3], [4]], "empty": [], "hidden": [["c"], [5]]}
    path = book(sheets, hidden=("hidden",))
    assert "has rows in sheets 'first', 'second'. Choose one with sheet=\"NAME\"" in refused(path)
    assert read(path, sheet="second").names == ("b",)
    assert read(path, sheet="hidden").names == ("c",)
    assert "has no sheet 'secnd' (did you mean 'second'?)" in refused(path, sheet="secnd")
    assert "sheet 'empty': has no rows" in refused(path, sheet="empty")
    assert read(book({"a": [], "b": [["x"], [1]]})).names == ("x",)


def test_a_workbook_may_have_no_header(book, tmp_path):
    rows = [[5.1, "a"], [4.9, "b"], [6.0, "a"]]
    path = book(rows)
    assert headers.DOUBT in read(path).notes
    assert cells(read(path, header="none")) == {"column 1": [5.1, 4.9, 6.0], "column 2": ["a", "b", "a"]}
    (tmp_path / "p.png").write_bytes(b"x")
    table = read(book([["TRAIN", "p.png", "x"], ["TEST", "p.png", "y"]]))
    assert cells(table) == {"split": ["train", "test"], "column 2": ["p.png"] * 2, "column 3": ["x", "y"]}
    assert table.notes[0] == headers.SURE


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "has no rows"),
        ([["a", "b"]], "a header and no row"),
        ([["a", "a"], [1, 2]], "more than one column is called 'a'"),
    ],
)
def test_sheets_that_are_no_tables_are_refused(book, rows, words):
    assert words in refused(book(rows))


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def changed(path, change):
    """Change the XML of the first sheet of a workbook."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/s1.xml"
    path.write_bytes(zipped({**members, sheet: change(members[sheet].decode())}))
    return path


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no workbook"),
        (b"a,b\n1,2\n", "no workbook"),
        (b"PK\3\4", "no workbook"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "has a password"),
        (zipped({"a.txt": b"x"}), "cannot be read as a workbook"),
    ],
)
def test_what_is_no_workbook_is_refused(tmp_path, data, words):
    path = tmp_path / "t.xlsx"
    path.write_bytes(data)
    assert words in refused(path)


def test_a_workbook_that_is_cut_short_is_refused(book):
    path = book([["a"], [1], [2]])
    path.write_bytes(path.read_bytes()[:-200])
    assert "no workbook" in refused(path)


def test_a_bomb_is_refused(book, monkeypatch):
    monkeypatch.setattr(packed, "SMALL", 1 << 16)
    assert "would become" in refused(changed(book([["a"], [1]]), lambda sheet: sheet + " " * (1 << 22)))


def test_a_cell_without_an_end_is_refused(book):
    path = changed(book([["a"], [1]]), lambda sheet: sheet + "<c " + "\n" * (5 << 20) + 'r="XFD1048576"/>')
    assert "a cell has no end" in refused(path)


@pytest.mark.parametrize("prefix", ["", "x:"])
def test_a_cell_far_away_does_not_cost_the_memory_of_all_between(book, prefix):
    """Of the reader it would end the process."""
    far = f'<{prefix}c s="1" r="XFD1048576"><{prefix}v>1</{prefix}v></{prefix}c></row></sheetData>'
    path = changed(book([["a", "b"], [1, "x"]]), lambda sheet: sheet.replace("</row></sheetData>", far))
    assert "its last cell is in row 1,048,576, so a sheet has 17,179,869,184 cells" in refused(path)


def test_a_size_that_lies_is_refused(book):
    path = book([["a" * 30], *([1] for _ in range(2000))])
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(mark) + at, 100)
    path.write_bytes(data)
    assert "is damaged" in refused(path)


def test_any_byte_may_be_wrong(book, capfd):
    path = book([["a", "b"], [1, "x"], [2, "y"]])
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        with contextlib.suppress(UserError):  # and nothing but a UserError
            assert len(read(path)) > 0
    capfd.readouterr()


@pytest.mark.parametrize(
    "part",
    ["<worksheet", "<", "<worksheet><sheetData><row><c r='ZZZZ99999999'/></row></sheetData></worksheet>", ""],
)
def test_parts_that_are_no_sheet_are_refused(book, part, capfd):
    path = changed(book([["a", "b"], [1, "x"]]), lambda sheet: part)
    assert str(path) in refused(path)
    capfd.readouterr()


def test_without_the_reader_one_line_says_what_to_install(book, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert main(["inspect", str(book([["a"], [1]]))]) == 2
    assert "pip install 'manyhot[excel]'" in capsys.readouterr().err


def test_a_packed_workbook_and_one_of_labels_are_read(book, tmp_path):
    path = book([["row", "kind"], [1, "a"], [2, "b"]])
    (tmp_path / "u.xlsx.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read(tmp_path / "u.xlsx.gz").names == ("row", "kind")
    (tmp_path / "t.csv").write_text("x\n5\n7\n")
    assert cells(read(tmp_path / "t.csv", labels=path)) == {"x": ["5", "7"], "kind": ["a", "b"]}
