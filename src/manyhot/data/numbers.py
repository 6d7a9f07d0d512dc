"""Numbers as people write them: texts come in; how all of them are written, and numbers, leave.

`columns` asks which notation the cells of a column share, the schema keeps it, `Table.numbers` reads by it.
What Python itself reads as a number has no notation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import pyarrow as pa

from manyhot.data import arrays
from manyhot.data.arrays import contains, is_one_of, pc
from manyhot.schema import Notation

SAMPLE = 200  # cells looked at before all of them are
EMPTY = ("na", "n/a", "nan", "null", "none", "?", "-", "--", "#n/a")  # in lower case
BLANKS = " \t\u00a0\u2007\u2009\u202f"  # no-break, figure, thin and narrow ones among them
PADDED = r"^0[0-9]+(\.[0-9]+)?$"  # as codes begin, and hardly any number of a quantity
UNSIGNED = r"^[0-9]+(\.[0-9]*)?$"
TIME = r"^([01][0-9]|2[0-3])[0-5][0-9]$"  # 0830
MANY_TIMES = 60  # different ones, from which on four digits that all may be a time are no codes
MINUS = "\u2212-"  # in a class of a regular expression, where the hyphen stands last
MARKS = {".": r"\.", ",": ",", " ": f"[{BLANKS}]", "'": "['\u2019]"}
STYLES = ((".", ","), (".", " "), (".", "'"), (",", "."), (",", " "), (",", "'"))  # decimal, thousands
CODES = "EUR USD GBP CHF JPY CNY INR SEK NOK DKK PLN CZK HUF RON TRY BRL MXN AUD CAD NZD ZAR SGD HKD KRW ILS"
SIGNS = ("%", "‰", "US$", "R$", "A$", "C$", "SFr.", "Fr.", "Rs.", "kr.", "Rs", "kr", "Kč", "zł", "Ft")


def is_number(text: str) -> bool:
    """Tell whether a text is a number as Python reads one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_empty_word(text: str) -> bool:
    """Tell whether a text is a word that other programs write for no number.

    >>> is_empty_word(" N/A "), is_empty_word("unknown")
    (True, False)
    """
    return text.strip().lower() in EMPTY


def is_unknown_word(text: str) -> bool:
    """Tell whether a text is a word for no number that would be an odd name of a class, as - is not.

    >>> is_unknown_word("N/A"), is_unknown_word("-")
    (True, False)
    """
    return is_empty_word(text) and bool(text.strip(" -"))


def code_in(texts: pa.ChunkedArray) -> str:
    """Return a text that shows that all of them are codes in digits, "" where they may be numbers.

    It begins with 0 as 00501 does, and all have as many digits before a point, or all begin so. Behind a
    point codes have more digits or fewer (038.9, 250.00), and numbers that were filled up equally many.

    >>> code_in(pa.chunked_array([["10001", "00501"]])), code_in(pa.chunked_array([["0.5", "0", "10"]]))
    ('00501', '')
    """
    padded = texts.filter(pc.less(texts, arrays.texts(["1"])[0]))  # which blanks and 0 stand before
    padded = pc.utf8_trim_whitespace(padded)
    padded = padded.filter(pc.match_substring_regex(padded, PADDED))
    if not len(padded):
        return ""
    texts = pc.utf8_trim_whitespace(texts)
    each = pc.unique(texts)
    each = each.filter(pc.not_equal(each, "0"))
    if not pc.all(pc.match_substring_regex(each, UNSIGNED)).as_py():
        return ""
    points = pc.find_substring(each, ".")
    lengths = pc.utf8_length(each)
    fractions = pc.if_else(pc.less(points, 0), 0, pc.subtract(lengths, points))
    ends = pc.min_max(fractions).as_py()
    if ends["min"] == ends["max"] != 0:
        return ""
    whole = pc.min_max(pc.subtract(lengths, fractions)).as_py()
    if whole["min"] != whole["max"] and len(padded) < len(texts.filter(pc.not_equal(texts, "0"))):
        return ""
    if len(each) >= MANY_TIMES and pc.all(pc.match_substring_regex(each, TIME)).as_py():
        return ""
    return str(padded[0].as_py())


def alike(missing: Sequence[str]) -> tuple[str, ...]:
    """Return words for an empty cell; where a usual one is among them, all the usual ones.

    >>> "n/a" in alike(["NA"]), alike(["none yet"])
    (True, ('none yet',))
    """
    usual = [word for empty in EMPTY for word in (empty, empty.upper(), empty.title())]
    return (*missing, *(("NaN", *usual) if any(map(is_empty_word, missing)) else ()))


def without_empty_words(texts: pa.ChunkedArray) -> tuple[pa.ChunkedArray, tuple[str, ...]]:
    """Return the texts without the words that mean an empty cell, and these as they are written."""
    trimmed = pc.utf8_trim_whitespace(texts)
    empty = is_one_of(pc.utf8_lower(trimmed), EMPTY)
    return texts.filter(pc.invert(empty)), tuple(sorted(pc.unique(trimmed.filter(empty)).to_pylist()))


def possible(texts: Sequence[str]) -> list[Notation]:
    """Return the notations in which each of a few texts is a number.

    >>> [(found.decimal, found.affix) for found in possible(["1.234,50 €", "0,5 €"])]
    [(',', '€')]
    """
    affix = _affix(texts[0]) if texts else ""
    styles = [Notation(decimal, thousands, affix) for decimal, thousands in STYLES] if texts else []
    return [style for style in styles if all(re.fullmatch(pattern(style), text) for text in texts)]


def notations(texts: pa.ChunkedArray, decimals: Collection[str] = ()) -> list[Notation]:
    """Return the notation in which every text is a number, or none; two where 1,234 may be either number.

    `decimals` are the marks that the rest of the table shows; a single one decides between two.
    """
    found: dict[str, Notation] = {}
    for style in possible(texts.slice(0, SAMPLE).to_pylist()):
        if style.decimal not in found and _all_match(texts, style):
            found[style.decimal] = style
    every = [style for mark, style in found.items() if len(found) == 1 or {mark} == {*decimals}]
    if every or not found:
        return every
    is_open = pc.any(pc.match_substring_regex(texts, "[.,]")).as_py()
    return [*found.values()] if is_open else [found["."]]


def decimal_of(texts: Iterable[str]) -> str | None:
    """Return the decimal mark that a few cells show, None where they show none or are no numbers.

    >>> decimal_of(["0,5", "12"]), decimal_of(["1,234"]), decimal_of(["a"])
    (',', None, None)
    """
    found = {style.decimal for style in possible([text for text in texts if any(map(str.isdigit, text))])}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=64)
def pattern(notation: Notation) -> str:
    """Return the regular expression, for Python and for Arrow, of a number in some notation."""
    point, mark, affix = MARKS[notation.decimal], MARKS[notation.thousands], re.escape(notation.affix)
    groups = f"[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+"
    if notation.thousands == ",":
        groups += f"|[1-9][0-9]?(?:{mark}[0-9]{{2}})+{mark}[0-9]{{3}}"  # lakh and crore
    number = f"(?:(?:{groups}|[0-9]+)(?:{point}[0-9]+)?|{point}[0-9]+)(?:[eE][-+]?[0-9]+)?"
    blank = f"[{BLANKS}]*"
    signed = f"(?:[+{MINUS}]?{blank}{number}|{number}{blank}[{MINUS}]|\\({blank}{number}{blank}\\))"
    if affix:
        inside = f"{affix}{blank}{number}|{number}{blank}{affix}"
        before = f"(?:[+{MINUS}]{blank}{affix}{blank}{number}|{affix}{blank}{signed})"
        signed = f"(?:{before}|{signed}{blank}{affix}|\\({blank}(?:{inside}){blank}\\))"
    return f"{blank}{signed}{blank}"


def matches(texts: pa.ChunkedArray, notation: Notation) -> pa.ChunkedArray:
    """Tell of each text whether it is a number in some notation; null for null."""
    return contains(texts, f"^(?:{pattern(notation)})$")


def as_plain(texts: pa.ChunkedArray, notation: Notation) -> pa.ChunkedArray:
    """Write numbers in some notation as Arrow reads them.

    >>> as_plain(pa.chunked_array([["($1,234.50)", "$ 5-"]]), Notation(".", ",", "$")).to_pylist()
    ['-1234.50', '-5']
    """
    for mark, plain in ((notation.affix, ""), (notation.thousands, ""), (notation.decimal, ".")):
        texts = pc.replace_substring(texts, mark, plain) if mark not in ("", plain) else texts
    texts = pc.utf8_trim_whitespace(texts)
    if pc.any(pc.match_substring_regex(texts, "[^-0-9.eE]|-$")).as_py():  # what follows is slow, and rare
        texts = pc.replace_substring_regex(texts, f"[{BLANKS}+)\u2019]", "")
        texts = pc.replace_substring_regex(texts, f"[({MINUS[0]}]", "-")
        texts = pc.replace_substring_regex(texts, "^(.*)-$", r"-\1")
    return texts


def example(notation: Notation) -> str:
    """Write a number in some notation.

    >>> example(Notation(",", ".", "€"))
    '1.234,5 €'
    """
    return f"1{notation.thousands}234{notation.decimal}5 {notation.affix}".strip()


def written_like(notation: Notation | None) -> str:
    """Say in a few words, behind what is no number, how those of its column are written."""
    return "" if notation is None else f" written like {example(notation)}"


def told(texts: pa.ChunkedArray, notation: Notation) -> str:
    """Say in a few words how numbers are written, as far as these texts show it."""
    thousands = "blank" if notation.thousands == " " else notation.thousands
    parts = {
        "decimal comma": (notation.decimal == ",", ","),
        f"thousands separator {thousands}": (True, f"[0-9]{MARKS[notation.thousands]}[0-9]"),
        f"{notation.affix} removed": (bool(notation.affix), ""),
        "parentheses negative": (True, r"\("),
    }
    seen = [
        part
        for part, (applies, mark) in parts.items()
        if applies and pc.any(pc.match_substring_regex(texts, mark)).as_py()
    ]
    return ", ".join(seen) or "signs and blanks removed"


def _all_match(texts: pa.ChunkedArray, notation: Notation) -> bool:
    chunks = map(pa.chunked_array, ([chunk] for chunk in texts.chunks))
    return all(pc.all(matches(chunk, notation)).as_py() for chunk in chunks)  # up to the first that is none


def _affix(text: str) -> str:
    """Return the sign of a currency, or %, that a text has."""
    known = next((sign for sign in (*SIGNS, *CODES.split()) if sign in text), "")
    return known or next((letter for letter in text if unicodedata.category(letter) == "Sc"), "")
