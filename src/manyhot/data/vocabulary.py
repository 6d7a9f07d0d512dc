"""Texts: cells of prose, names or addresses into words, and words into what a network can read.

`columns` asks whether a column says something by its words, `features` counts them.

Shapes: N rows · W words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from manyhot.targets import Cells, text_of

HOW = ("word", "piece")  # what is counted: words, or pieces of words
LENGTH = "length"  # of a text, beside its words
LETTERS = 0.7  # share of letters among letters and digits, below which cells are codes
AGAIN = 0.5  # share of words that stand in other cells too, below which they say nothing of new ones
FEWEST = 3  # cells that have a word which is kept
SEEN = 1_000  # cells that tell whether words are met again
MOST = 1_000  # words of a column that are kept, the most frequent ones
PIECE = (2, 3, 4)  # letters of a piece of a word, its beginning and end among them
FAR = 20_000  # letters of a cell that are read
SIZE = 3.0  # the length of a row's words as a vector, as far from 0 as a few standardised numbers


def tokens(text: str, how: str) -> Iterator[str]:
    """Give the words of a text in lower case, or the pieces of which these are made.

    >>> [*tokens("Free tickets!", "word")], [*tokens("Ann", "piece")][:5]
    (['free', 'tickets'], ['^a', 'an', 'nn', 'n$', '^an'])
    """
    words = re.findall(r"\w+", text[:FAR].lower())
    if how == "word":
        yield from words
        return
    for word in words:
        whole = f"^{word}$"
        for size in PIECE:
            yield from (whole[at : at + size] for at in range(len(whole) - size + 1))


def told_by(texts: Iterable[str]) -> str | None:
    """Return whether whole words or pieces of words stand in several of some texts; None where neither do.

    Codes, in which there are many digits, tell nothing by their letters.

    >>> told_by(["a big dog", "a big cat", "the big dog", "a cat"] * 2), told_by(["A7 93", "B2 77", "K1 02"])
    ('word', None)
    """
    kept = [text for text in texts if text.strip()]
    letters = sum(character.isalpha() for text in kept for character in text[:FAR])
    digits = sum(character.isdigit() for text in kept for character in text[:FAR])
    if letters < LETTERS * (letters + digits) or not letters:
        return None
    for how in HOW:
        met = _met(kept, how)
        if sum(count for count in met.values() if count >= FEWEST) >= AGAIN * met.total():
            return how
    return None


def of(texts: Sequence[str], how: str) -> dict[str, float]:
    """Return the most frequent words, in order, each with how much it counts: the rarer, the more.

    Source: Sparck Jones 1972, "A Statistical Interpretation of Term Specificity", smoothed as scikit-learn's.
    """
    found = sorted(_met(texts, how).items(), key=lambda pair: (-pair[1], pair[0]))[:MOST]
    rows = len(texts) + 1
    return {word: float(np.log(rows / (count + 1)) + 1) for word, count in found if count >= FEWEST}


def counted(cells: Cells, words: Sequence[str], counts: Sequence[float], how: str) -> NDArray[np.float32]:
    """Return how much of each word is in each row, as vectors of SIZE; 0 of empty cells.

    A word counts by the logarithm of how often it is there, and by what `of` says.

    Shape:
        counts: (W,). out: float32 (N, W).
    """
    place = {word: number for number, word in enumerate(words)}
    each = np.zeros((len(cells.values) + 1, len(words)), np.float32)
    for row, value in zip(each, cells.values, strict=False):
        for word, count in Counter(tokens(text_of(value), how)).items():
            if word in place:
                row[place[word]] = (1 + np.log(count)) * counts[place[word]]
    each *= SIZE / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-9)
    return each[cells.codes]


def lengths(cells: Cells) -> NDArray[np.float64]:
    """Return the logarithm of how many letters each row has, NaN of empty cells; float64 (N,)."""
    each = [np.log1p(len(text_of(value))) for value in cells.values]
    return np.array([*each, np.nan], np.float64)[cells.codes]


def _met(texts: Iterable[str], how: str) -> Counter[str]:
    """Count the texts that have each word."""
    return Counter(word for text in texts for word in {*tokens(text, how)})
