"""Arrays made without pyarrow.array, and read without to_numpy, are what these would give."""

import numpy as np
import pyarrow as pa
import pytest

from manyhot.data import arrays

COLUMNS = {
    "nothing": [],
    "empty": [None, None],
    "text": ["a", None, "ü", ""],
    "whole": [1, None, -(2**62)],
    "decimal": [1.5, None, float("nan"), float("inf")],
    "flags": [True, None, False],
    "mixed numbers": [1, 2.5],
    "lists": [["a"], None],
    "tuple": (1, 2),
    "an array": np.arange(3),
    "an array with gaps": np.array([1.0, np.nan]),
    "single precision": np.float32([1, np.nan]),
    "every second": np.arange(6, dtype=np.uint8)[::2],
    "no flags": np.array([], bool),
    "flags in an array": np.array([True, False] * 9),
    "words in an array": np.array(["a", "b"]),
    "the other order of bytes": np.arange(3, dtype=">i4"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_an_array_is_the_one_that_pyarrow_makes(name):
    values = COLUMNS[name]
    try:
        wanted = pa.array(values, from_pandas=True)
    except pa.ArrowNotImplementedError:
        with pytest.raises(pa.ArrowNotImplementedError):
            arrays.array(values)
        return
    found = arrays.array(values)
    found.validate(full=True)
    assert found.type == wanted.type
    assert found.equals(wanted)


def test_what_fits_no_type_is_refused_as_pyarrow_does():
    with pytest.raises(OverflowError):
        arrays.array([2**64])
    with pytest.raises(pa.ArrowTypeError):
        arrays.array(["a", 1])
    with pytest.raises(UnicodeEncodeError):
        arrays.array(["\ud800"])


@pytest.mark.parametrize("values", [[1.5, None, float("nan")], [7, None], [True, None], ["a", None]])
def test_few_and_many_values_are_the_same(values):
    many = values * (arrays.MANY // len(values) + 1)
    assert arrays.array(many).slice(0, len(values)).equals(arrays.array(values))


def test_few_and_many_texts_are_the_same():
    words = [None if i % 7 == 0 else f"w{i}" for i in range(arrays.MANY + 5)]
    assert arrays.texts(words).slice(0, arrays.MANY).equals(arrays.texts(words[: arrays.MANY]))
    assert arrays.texts([None]).type == pa.string()


@pytest.mark.parametrize("kind", [pa.float64(), pa.int32(), pa.uint8()])
def test_numbers_are_those_of_to_numpy(kind):
    column = pa.array([*range(20), None, 7, None], kind)
    for part in (column, column.slice(3), column.slice(19, 3), column.slice(2, 9), column.slice(5, 0)):
        wanted = part.to_numpy(zero_copy_only=False)
        found = arrays.numbers(part)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(arrays.numbers(pa.chunked_array([part, part])), np.tile(wanted, 2))
