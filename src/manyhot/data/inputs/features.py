"""Columns of numbers, categories and dates into one float array, by rules fitted on training rows.

`fitting.fit` fits TableInputs and calls `transform`, which refuses what it cannot read; `evaluate`, `predict`
and the server call `read`, by the same rules, which goes on without such cells and notices them.

Shapes: N rows · D features. A number stands in x scaled, NaN where it is missing; a category as
its code, 0 for a missing, rare or never-seen one. The model's first layer takes it from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence, Sized
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data import arrays, dates, disk, vocabulary
from manyhot.data.inputs.images.paths import Progress, by_columns
from manyhot.data.inputs.noticed import Noticed, Odd, What
from manyhot.data.numbers import alike, notations, written_like
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Notation, Schema, checked
from manyhot.targets import Cells, IntArray, by_meaning, flag_of, text_of, value_of

LARGEST = 1e100  # what is larger counts as so large, since squares of it overflow
PIECES = 4  # of a number's range
BOUND = 3  # of scaled numbers, which no bent one reaches
FAR = 2_000  # scaled numbers beyond which 32 bits no longer tell bent ones apart by some per cent
TEXTS = 20_000  # training rows whose words are kept
QUANTILES = 1_000_000  # training rows that tell where numbers lie
MAX_CATEGORIES = 255  # the most frequent ones; the rest share the unknown bucket


@dataclass(frozen=True)
class Feature:
    """One number with its centre and scale, or one category with its known classes.

    Of a date, `part` says which of its parts the number is, see `dates.part`. Of a text it says "length", or
    of which word it is how much is there: "word free", or "piece ^fr", a part of one. These count by `scale`.

    A number is `long_tailed` where some values are so far out that only their logarithms tell them apart.

    `edges` part the scaled values of a number into pieces of equally many training rows. `notation` and
    `missing` are those of its column; see `schema.Input`. `novelty` is the share of cells that are expected
    to have none of the classes.
    """

    name: str
    kind: str
    center: float = 0.0
    scale: float = 1.0
    classes: tuple[str, ...] = ()
    has_missing: bool = False
    edges: tuple[float, ...] = ()
    part: str = ""
    notation: Notation | None = None
    missing: tuple[str, ...] = ()
    novelty: float = 0.0
    long_tailed: bool = False

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of a number between ±BOUND, small ones about as they are by its scale."""
        with np.errstate(over="ignore"):  # an infinity is clipped as any extreme value is
            z = (values - self.center) / self.scale
        return _squash(np.arcsinh(z) if self.long_tailed else z)

    @property
    def is_word(self) -> bool:
        """Whether it is how much of a word is in a text."""
        return self.part.partition(" ")[0] in vocabulary.HOW

    @property
    def is_flag(self) -> bool:
        """Whether it is a number that was 0 or 1 in every training row."""
        if self.kind != "number" or self.part:
            return False
        both = self.scaled(np.array([0.0, 1.0])).round(4)
        return self.edges == (*both.tolist(),)


@dataclass(frozen=True)
class TableInputs:
    """How the feature columns of a table become one array."""

    features: tuple[Feature, ...]
    missing: tuple[str, ...] = ()
    kind: str = "table"

    @property
    def shape(self) -> tuple[int]:
        """(D,) of the rows that `transform` gives."""
        return (len(self.features),)

    @property
    def columns(self) -> dict[str, list[int]]:
        """The places in x of each column; a date has several."""
        found: dict[str, list[int]] = {}
        for place, feature in enumerate(self.features):
            found.setdefault(feature.name, []).append(place)
        return found

    def transform(
        self,
        table: Table,
        progress: Progress | None = None,
        hashes: NDArray[np.uint64] | None = None,
        memory: float | None = None,
    ) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Turn the feature columns into numbers, as `read` does, a block of rows at a time.

        Of rows whose `hashes` are known they are mapped where they take too much of `memory` GB, see `disk`.

        Raises:
            UserError: a feature's column is missing, or holds text where numbers were.
        """
        self._refuse_absent(table, {*table.columns})
        table = self._as_texts(table)

        def fill(x: NDArray[np.float32]) -> None:
            for rows in arrays.blocks(len(table), len(self.features)):
                x[rows], noticed = self.read(table.slice(rows))
                for odd in noticed.odd:
                    self._refuse_odd(table, odd)
                disk.let_go()
                if progress is not None and len(table) > arrays.BLOCK:
                    progress(rows.stop, len(table))

        if hashes is None:
            x = np.empty((len(table), *self.shape), np.float32)
            fill(x)
            return x, {}
        key = hashlib.sha256(json.dumps(self.to_json()).encode() + hashes.tobytes()).hexdigest()[:24]
        return disk.array((len(table), *self.shape), memory, fill, key), {}

    def _as_texts(self, table: Table) -> Table:
        """Return the table with floats that are categories as texts, as they are in all rows together."""
        names = {
            feature.name
            for feature in self.features
            if feature.kind == "category" or feature.part == vocabulary.LENGTH
        }
        found: dict[str, Any] = {}
        for name in names:
            if pa.types.is_floating(table.columns[name].type):  # 1.0 is called so beside 1.5, else 1
                cells = table.cells(name)
                texts = arrays.texts([*map(text_of, cells.values)])
                chunks = [texts.take(arrays.codes(cells.codes[rows])) for rows in arrays.blocks(len(table))]
                found[name] = pa.chunked_array(chunks, pa.string())
        return table.with_columns(found) if found else table

    def _refuse_odd(self, table: Table, odd: Odd) -> None:
        """Refuse a cell of training rows that is no number, or no date, where one should be."""
        feature = next(feature for feature in self.features if feature.name == odd.column)
        if odd.what == "unreadable" or (odd.what == "matched" and feature.kind == "number"):
            missing = (*self.missing, *feature.missing)
            if feature.part:
                cells = table.cells(feature.name, alike(missing))
                dates.days(cells, feature.notation)  # which refuses it, with its row
            table.numbers(feature.name, missing, feature.notation)

    def read(self, table: Table) -> tuple[NDArray[np.float32], Noticed]:
        """Turn the feature columns into numbers; columns that are no feature are passed over.

        What is no number or no date, or in no column at all, is as an empty cell, and noticed.

        Shape:
            out: float32 (N, D).

        Raises:
            UserError: no feature has a column.
        """
        odd: list[Odd] = []
        names = _called(self.columns, table, odd)
        if not names:
            self._refuse_absent(table, ())
        reading, x = Reading(table, odd), np.empty((len(table), len(self.features)), dtype=np.float32)
        for name, places in self.columns.items():
            feature = self.features[places[0]]
            missing, called = (*self.missing, *feature.missing), names.get(name)
            if called is None:
                odd.append(Odd(name, "absent", len(table)))
                x[:, places] = [self._of_none(place) for place in places]
            elif feature.kind == "category":
                x[:, places[0]] = reading.codes(feature, called, missing)
            elif feature.part == vocabulary.LENGTH:
                x[:, places] = reading.words([self.features[place] for place in places], called, missing)
            else:
                read = reading.days if feature.part else reading.numbers
                values = read(feature, called, missing)
                for place in places:
                    f = self.features[place]
                    x[:, place] = f.scaled(dates.part(values, f.part) if f.part else values)
        return x, Noticed(len(table), len(self.columns), odd=tuple(odd))

    def _of_none(self, place: int) -> float:
        """Return what stands in x for an empty cell."""
        feature = self.features[place]
        return np.nan if feature.kind == "number" and not feature.is_word else 0.0

    def _refuse_absent(self, table: Table, there: Collection[str]) -> None:
        absent = [name for name in self.columns if name not in there]
        if absent:
            near = suggest(absent[0], table.names)
            raise UserError(
                f"{table.source}: lacks {listed(absent)}{near}, which the model was trained with; "
                f"there are {listed(table.names) or 'none'}. Give an empty column for what is unknown."
            )

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` reads back, of each feature what is not as it is by itself."""
        features = [
            {key: value for key, value in asdict(each).items() if value != USUAL.get(key)}
            for each in self.features
        ]
        return {**asdict(replace(self, features=())), "features": features}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableInputs:
        """Read what `to_json` gave. Raises UserError when it is something else."""
        features = data.get("features")
        if not isinstance(features, (list, tuple)) or not features:
            raise UserError("inputs: 'features' must be a list with one at least.")
        rest = checked(cls, {**data, "features": []}, "inputs")
        return cls(**{**rest, "features": tuple(map(_feature, features))})


USUAL = {field.name: field.default for field in fields(Feature)}


def _feature(document: object) -> Feature:
    """Read one feature, of today or of the first format, which said which features count something."""
    if isinstance(document, dict):
        document = {key: value for key, value in document.items() if key != "counts"}
        if isinstance(document.get("notation"), dict):
            document["notation"] = Notation(**checked(Notation, document["notation"], "inputs notation"))
    found = Feature(**checked(Feature, document, "inputs features"))
    parts = ("", *dates.PARTS, vocabulary.LENGTH)
    if found.kind not in ("number", "category") or not (found.part in parts or found.is_word):
        raise UserError(f"inputs: '{found.name}' is of no known kind.")
    return found


def table_inputs(
    schema: Schema, table: Table, rows: NDArray[np.intp], seed: int = 0, progress: Progress | None = None
) -> TableInputs:
    """Fit the features on the training rows (positions, in order) of a table.

    Where numbers lie is found on QUANTILES of these at most, drawn at random; all else on all of them.
    """
    features: list[Feature] = []
    some = np.ones(len(rows), bool)
    if len(rows) > QUANTILES:
        some = np.isin(np.arange(len(rows)), np.random.default_rng(seed).permutation(len(rows))[:QUANTILES])
    for place, column in enumerate(schema.inputs):
        by_columns(progress, place, len(schema.inputs), len(table))
        missing, alone = (*schema.missing, *column.missing), table.only(column.name)
        number = Feature(column.name, "number", notation=column.notation, missing=column.missing)
        match column.kind:
            case "category":
                train = alone.take(rows)
                features.append(replace(_category(train, column.name, missing), missing=column.missing))
            case "text":
                features += _text(alone, rows, number, missing, seed)
            case "date":
                days = dates.days(alone.take(rows).cells(column.name, missing), column.notation)
                number = replace(number, has_missing=bool(np.isnan(days).any()))
                parts = [_number(replace(number, part=p), dates.part(days[some], p)) for p in dates.PARTS]
                features += [f for f in parts if f.part == "days" or len(f.edges) > 1]
            case _:
                kept = []
                for block in arrays.blocks(len(rows)):
                    values = alone.take(rows[block]).numbers(column.name, missing, column.notation)
                    number = replace(number, has_missing=number.has_missing or bool(np.isnan(values).any()))
                    kept.append(values[some[block]])
                features.append(_number(number, np.concatenate(kept) if kept else np.zeros(0)))
    return TableInputs(tuple(features), schema.missing)


@dataclass(frozen=True)
class Reading:
    """The columns of a table as they are read, by their names there; `odd` takes what is noticed."""

    table: Table
    odd: list[Odd]

    def numbers(self, feature: Feature, called: str, missing: Sequence[str]) -> NDArray[np.float64]:
        """Read numbers, NaN where there is none; float64 (N,)."""
        values, wrong = self.table.read_numbers(called, missing, feature.notation)
        style = self._other_notation(feature, called, missing) if len(wrong) else None
        if style is not None:
            before, (values, odd) = wrong, self.table.read_numbers(called, missing, style)
            texts = self._texts(called, before)
            meant = {text: f"{values[row]:.12g}" for text, row in zip(texts, before.tolist(), strict=True)}
            self._notice(feature, "matched", before, texts, meant=meant)
            wrong = odd
        if len(wrong):
            texts = self._texts(called, wrong)
            if feature.is_flag:  # yes and no, among 0 and 1
                flags = {text: flag_of(text) for text in {*texts}}
                meant = {text: str(int(flag)) for text, flag in flags.items() if flag is not None}
                values[wrong] = [float(meant.get(text, "nan")) for text in texts]
                known = np.array([text in meant for text in texts])
                self._notice(feature, "matched", wrong[known], texts[known], meant=meant)
                wrong, texts = wrong[~known], texts[~known]
            self._notice(feature, "unreadable", wrong, texts, f"number{written_like(feature.notation)}")
        self._notice_empty(feature, np.isnan(values), wrong)
        return values

    def _other_notation(self, feature: Feature, called: str, missing: Sequence[str]) -> Notation | None:
        """Return the only other way of writing numbers that all cells fit, in no other unit; or None."""
        column = self.table.column(called)
        if not pa.types.is_string(column.type):
            return None
        column = arrays.call("utf8_trim_whitespace", column)
        texts = arrays.without(column, arrays.is_one_of(column, ["", *alike(missing)])).drop_null()
        found = notations(texts, self.table.decimals)
        affixes = ("", feature.notation.affix if feature.notation else "")
        return found[0] if len(found) == 1 and found[0].affix in affixes else None

    def _texts(self, called: str, rows: IntArray) -> NDArray[np.object_]:
        """Return what stands in some cells; object (K,)."""
        column, found = self.table.column(called), np.empty(len(rows), object)
        found[:] = [str(column[row].as_py()).strip() for row in rows.tolist()]
        return found

    def days(self, feature: Feature, called: str, missing: Sequence[str]) -> NDArray[np.float64]:
        """Read dates as days since 1970, NaN where there is none; float64 (N,)."""
        cells = self.table.cells(called, alike(missing))
        values, wrong = dates.read_days(cells, feature.notation)
        other = dates.notation([text_of(value) for value in cells.values]) if wrong else None
        if other is not None:
            before, (values, wrong) = wrong, dates.read_days(cells, other)
            rows, texts = _where(cells, dict.fromkeys(before))
            meant = {text: dates.written(dates.day(text, other.first) or 0.0) for text in texts}
            self._notice(feature, "matched", rows, texts, meant=meant)
        rows, texts = _where(cells, dict.fromkeys(wrong))
        self._notice(feature, "unreadable", rows, texts, "date")
        self._notice_empty(feature, np.isnan(values), rows)
        return values

    def words(self, features: Sequence[Feature], called: str, missing: Sequence[str]) -> NDArray[np.float32]:
        """Read texts: the length of each, then how much of each word is in it; float32 (N, W + 1)."""
        cells = self.table.cells(called, missing)
        length, *words = features
        self._notice_empty(length, cells.codes < 0, ())
        found = length.scaled(vocabulary.lengths(cells))[:, None].astype(np.float32)
        if not words:
            return found
        how, _, _ = words[0].part.partition(" ")
        names = [word.part.removeprefix(f"{how} ") for word in words]
        counted = vocabulary.counted(cells, names, [word.scale for word in words], how)
        return np.concatenate([found, counted], axis=1)

    def codes(self, feature: Feature, called: str, missing: Sequence[str]) -> NDArray[np.float32]:
        """Read categories: the number of each one's class, from 1 on, 0 for any other; float32 (N,)."""
        cells = self.table.cells(called, missing)
        index, texts = by_meaning(feature.classes), [*map(text_of, cells.values)]
        found = [index(text) for text in texts]
        unseen = [number for number, place in enumerate(found) if place is None]
        self._notice(feature, "unseen", *_where(cells, unseen), usual=_novelty(feature))
        meant = {n: feature.classes[place] for n, place in enumerate(found) if place is not None}
        meant = {n: name for n, name in meant.items() if not _same(texts[n], name, cells.typed)}
        words = {texts[number]: name for number, name in meant.items()}
        self._notice(feature, "matched", *_where(cells, meant), meant=words)
        self._notice_empty(feature, cells.codes < 0, ())
        codes = [0 if place is None else place + 1 for place in found]
        return np.array([*codes, 0], dtype=np.float32)[cells.codes]

    def _notice(
        self,
        feature: Feature,
        what: What,
        rows: IntArray,
        texts: NDArray[np.object_],
        kind: str = "",
        **more: Any,
    ) -> None:
        if len(rows):
            self.odd.append(Odd(feature.name, what, len(rows), rows, texts, kind, **more))

    def _notice_empty(self, feature: Feature, empty: NDArray[np.bool_], wrong: Sized) -> None:
        if empty.all() and not len(wrong):
            self.odd.append(Odd(feature.name, "empty", len(empty)))


def _called(columns: Collection[str], table: Table, odd: list[Odd]) -> dict[str, str]:
    """Return by feature the column of a table that has it: called so, or the only one of that meaning."""
    names = {name: name for name in columns if name in table.columns}
    others = [name for name in table.names if name not in names]
    index = by_meaning(others)
    for name in columns:
        place = None if name in names else index(name)
        if place is not None:
            names[name] = others[place]
            odd.append(Odd(others[place], "renamed", len(table), texts=np.array([name], object)))
    return names


def _where(cells: Cells, numbers: Collection[int]) -> tuple[IntArray, NDArray[np.object_]]:
    """Return the positions of the cells that have some of the distinct values, and the text of each."""
    if not numbers:
        return np.zeros(0, np.intp), np.zeros(0, object)
    among = np.zeros(len(cells.values) + 1, bool)
    among[[*numbers]] = True
    rows = np.flatnonzero(among[cells.codes])
    texts = np.array([*map(text_of, cells.values)], object)
    return rows, texts[cells.codes[rows]]


def _same(text: str, name: str, typed: bool) -> bool:
    """Tell whether a word is written as a class is; how a typed one is depends on the rows beside it."""
    return text == name or (typed and value_of(text) == value_of(name))


def _novelty(feature: Feature) -> float:
    """Return the share of unseen words to expect; 1 where an older model, which kept some, does not say."""
    return feature.novelty or float(len(feature.classes) == MAX_CATEGORIES)


def _category(table: Table, name: str, missing: Sequence[str]) -> Feature:
    cells = table.cells(name, missing)
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    frequent = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
    classes = sorted(text_of(cells.values[code]) for code in frequent)
    # Of words met once as many are new as were so here (Good 1953, "The population frequencies of species").
    others = counts.sum() - counts[frequent].sum() + (counts[frequent] == 1).sum()
    return Feature(
        name, "category", classes=tuple(classes), novelty=round(float(others / max(counts.sum(), 1)), 4)
    )


def _text(
    table: Table, rows: NDArray[np.intp], number: Feature, missing: Sequence[str], seed: int
) -> list[Feature]:
    """Return the length of a text and its words, or pieces of words where no words are met again."""
    some = rows
    if len(rows) > TEXTS:
        some = np.sort(np.random.default_rng(seed).permutation(rows)[:TEXTS])
    cells = table.take(some).cells(number.name, missing)
    kept = [text_of(cells.values[code]) for code in cells.codes if code >= 0]
    how = vocabulary.told_by(kept[: vocabulary.SEEN]) or "piece"
    length = replace(number, part=vocabulary.LENGTH, has_missing=len(kept) < len(some))
    words = vocabulary.of(kept, how)
    found = [replace(number, part=f"{how} {word}", scale=round(counts, 4)) for word, counts in words.items()]
    return [_number(length, vocabulary.lengths(cells)), *found]


def _number(feature: Feature, values: NDArray[np.float64]) -> Feature:
    """Return a number with its scale and its pieces, which some of its values show."""
    there = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    if len(there) == 0:
        return replace(feature, has_missing=True)
    quarter, middle, three = np.quantile(there, [0.25, 0.5, 0.75])
    # The interquartile range withstands outliers; where half of the values are equal it is nothing.
    scale = (three - quarter) / 1.349 or float(there.std()) or 1.0
    cuts = np.quantile(there, np.linspace(0, 1, PIECES + 1), method="nearest")
    far = bool(np.abs(cuts[[0, -1]] - middle).max() > FAR * scale)
    found = replace(
        feature,
        center=float(middle),
        scale=float(scale),
        long_tailed=far,
    )
    return replace(found, edges=tuple(map(float, np.unique(found.scaled(cuts).round(4)))))


def _squash(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep small values as they are and bend large ones towards ±BOUND.

    Source: Holzmüller, Grinsztajn and Steinwart 2024, "Better by Default", section 3 (smooth clipping).
    """
    z = np.clip(z, -1e6, 1e6)  # infinities in a table are extreme values, not errors
    return np.asarray(z / np.sqrt(1 + (z / BOUND) ** 2))
