"""The object users hold: ask it, judge it, save it, load it.

`load` and `fitting.fit` make a Classifier; the command line and the page do nothing that it cannot do. It
answers without what trained it: torch is loaded where a model of torch answers, and no sooner.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot import bundle as bundles
from manyhot import files, notebook, predict
from manyhot.bundle import Bundle
from manyhot.choose import SeenRows
from manyhot.data.arrays import blocks, from_hex
from manyhot.data.inputs.images.paths import Progress, none_there
from manyhot.data.inputs.noticed import Noticed, together
from manyhot.data.rows import split
from manyhot.data.sources import pieces
from manyhot.data.sources.read import read
from manyhot.data.sources.remote import as_local, is_remote
from manyhot.data.sources.write import write, write_pieces
from manyhot.data.table import Table, as_pixels
from manyhot.errors import UserError
from manyhot.graph import ENDING
from manyhot.importance import Importance
from manyhot.judge import Judged, explained, importance_in, judge, recalled
from manyhot.progress import Lines
from manyhot.schema import Schema
from manyhot.targets import FloatArray, IntArray, decide, decode, marginals

log = logging.getLogger("manyhot")

if TYPE_CHECKING:
    from manyhot.explaining.explanation import Explanation
    from manyhot.report.record import FitRecord
    from manyhot.report.scores import Scores
    from manyhot.train.run import Run
    from manyhot.train.tune import Tuning


SCORES = ("rows", "targets", "overall")  # of a record


class Exported(NamedTuple):
    """The file that `export` wrote; of int8 the log loss of each target before and after."""

    path: Path
    losses: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Classifier:
    """A trained classifier for every target of a schema.

    seen    the rows that the fit used
    run     what the fit left; None of a classifier that was loaded
    tuning  what `tune` did to it
    folder  where it was loaded from
    verbose tell on standard error how many pictures have been read, where that takes long
    """

    bundle: Bundle
    seen: SeenRows
    run: Run | None = None
    tuning: Tuning | None = None
    folder: Path | None = None
    verbose: bool = True

    @property
    def schema(self) -> Schema:
        """The inputs and targets, with their thresholds and temperatures."""
        return self.bundle.schema

    def predict(self, data: object) -> dict[str, list[str]]:
        """Return the answers of every row, by target.

        A class by its name; tags joined by ';' and `[]` for none; '' where the input cannot be read.
        """
        found = self.decide(data)
        return {t.name: decode(t, found[t.name]) for t in self.schema.targets}

    def decide(self, data: object) -> dict[str, IntArray]:
        """Return the answers of every row as numbers, by target; see `targets.decide`."""
        found = self._probabilities(data)
        return {t.name: decide(t, found[t.name]) for t in self.schema.targets}

    def predict_proba(self, data: object) -> dict[str, FloatArray]:
        """Return the probability of every class, by target.

        Shape:
            out: float32 (N, C) in [0, 1], in the order of `target.classes`.
        """
        found = self._probabilities(data)
        return {t.name: marginals(t, found[t.name]) for t in self.schema.targets}

    def answers(self, data: object, progress: Progress | None = None) -> Table:
        """Return the rows with answers and probabilities beside them, as `manyhot predict` writes them.

        What of a row cannot be read stands in the last column, `error` (or `predict.reasons_column`), where
        there is such a row.
        """
        table = self.rows_of(data)
        with Lines(self.verbose and progress is None) as told:
            predicted = predict.predict(self.bundle, table, progress or told.reading)
        predict.tell(predicted.noticed, self.importance)
        found = predict.answers(self.schema, table, predicted)
        bad, reasons = len(predicted.noticed.unreadable), len(predicted.noticed.reasons())
        if bad:
            left = "is left empty" if bad == 1 else "are left empty"
            how = (f"{bad:,}", f"{len(table):,}", left, found.names[-1])
            log.warning("%s of %s rows cannot be read and %s; see column '%s'", *how)
            if gone := none_there(table, self.schema.inputs[0].name, predicted.noticed.unreadable):
                log.warning("%s", gone)
        elif reasons:
            log.info("column '%s' says which rows, and why", found.names[-1])
        return found

    def answer_file(
        self,
        source: str | Path | Table,
        out: str | Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Answer a table of features into a file, a piece at a time; return how many rows it has.

        Memory does not grow with a Parquet file, nor with another that is mapped, see `read`. What is
        answered stays in a folder beside `out` until all is, so that after a stop `resume` goes on there;
        where `out` exists, it has nothing left to do.

        Raises:
            UserError: `source` cannot be read, no column is there that the model reads, the model reads
                pictures, or `out` exists and neither `resume` nor `overwrite` is given.
        """
        out = Path(out)
        if self.schema.is_image:
            name = source.source if isinstance(source, Table) else source
            raise UserError(f"{name}: the model reads pictures, which are not answered in pieces.")
        if not isinstance(source, Table):
            source = Path(source) if pieces.is_parquet(Path(source)) else read(source)
        rows = pieces.num_rows(source)
        if out.exists() and resume:
            return rows
        files.check_out(out, overwrite)
        with Lines(self.verbose and progress is None) as told:
            noticed = self.answer_pieces(source, out, resume, progress or told.answering)
        predict.tell(noticed, self.importance)
        return rows

    def in_pieces(self, source: Path | Table) -> bool:
        """Tell whether a table that was read, or a path, is one that is answered a piece at a time."""
        large = source.on_disk if isinstance(source, Table) else pieces.is_parquet(source)
        return large and not self.schema.is_image

    def answer_pieces(
        self, source: Path | Table, out: Path, resume: bool, progress: Progress | None = None
    ) -> Noticed:
        """Answer a table of features as `answer_file` does, and return what was noticed, untold."""
        rows, noticed = pieces.num_rows(source), []
        with pieces.parts_of(out, pieces.key_of(source, self.bundle.fingerprint()), resume) as parts:
            for table in pieces.pieces(source, skip=parts.count):
                predicted = predict.predict(self.bundle, table)
                noticed.append(predicted.noticed.counted())
                parts.add(predict.answers(self.schema, table, predicted))
                if progress is not None:
                    progress(min(parts.count * pieces.ROWS, rows), rows)
            parts.join()
        return together(noticed)

    def evaluate(
        self,
        data: object,
        split: str | None = None,
        unknown_class: str = "wrong",
        weight: str | None = None,
    ) -> Scores:
        """Return the scores on rows whose labels are known: the document of `manyhot evaluate --json`.

        Printed, it is the table of `manyhot evaluate`.
        """
        from manyhot.report.scores import Scores

        return Scores(self.judge(data, split, unknown_class, weight=weight))

    def judge(
        self,
        data: object,
        split: str | None = None,
        unknown_class: str = "wrong",
        progress: Progress | None = None,
        weight: str | None = None,
    ) -> Judged:
        """Return the scores with the rows and probabilities behind them; see `judge.judge`."""
        with Lines(self.verbose and progress is None) as told:
            how = (self.seen, split, unknown_class, progress or told.reading, weight)
            judged = judge(self.bundle, self.rows_of(data), *how)
        predict.tell(judged.noticed, self.importance)
        return judged

    def embed(self, data: object) -> NDArray[np.float32]:
        """Return the features that all heads read; float32 (N, F), NaN where the input cannot be read."""
        return self.bundle.embed(self.rows_of(data))

    def explain(
        self,
        data: object,
        *,
        rows: Sequence[int] | None = None,
        targets: Sequence[str] = (),
        classes: Sequence[str] = (),
        method: str = "auto",
        background: object = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Explanation:
        """Return which pixels or columns spoke for the answers of rows, and which against them.

        What is explained are the log odds of the answer, of a row with tags of each of them.

        Args:
            rows: the numbers of rows, counted from 1; all, unless they are said.
            targets, classes: names; all targets, and of each its answer, unless they are said.
            method: of pictures "gradients", "occlusion", or whichever wins the deletion test on them.
            background: rows like those of training, which the explained ones are held against. Unless they
                are given, those that `fit` held back, where they are at hand, else the other rows of `data`.

        Raises:
            UserError: there is no such row, target or class, no row can be read, or the method does not fit.
        """
        from manyhot.explaining.explain import explain

        usual = self._held_back() if background is None else self.rows_of(background)
        words = "rows that fit held back" if background is None else "rows of the background"
        with Lines(self.verbose and progress is None) as told:
            how = (rows, targets, classes, method, usual, words, seed, progress or told.reading)
            found, noticed = explain(self.bundle, self.rows_of(data), *how)
        predict.tell(noticed, self.importance)
        return found

    def _held_back(self) -> Table | None:
        """Return the rows that `fit` held back, where they are at hand: of pictures not beside the model."""
        if self.run is not None:
            return self.run.judged.table
        path = None if self.folder is None else self.folder / bundles.VALIDATION
        return read(path) if path is not None and path.is_file() and not self.schema.is_image else None

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the classifier as a folder that `load` reads.

        Raises:
            UserError: the folder exists and `overwrite` is False.
        """
        path = as_path(folder)
        files.check_out(path, overwrite)
        files.check_ours(path, bundles.MARKS)
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        files.replace_folder(path, self.write_into)

    def export(
        self,
        out: str | Path | None = None,
        *,
        precision: str = "float32",
        data: object = None,
        tolerance: float = 0.01,
        overwrite: bool = False,
    ) -> Exported:
        """Write the model as one ONNX file, which answers without torch.

        Without `out` it lies in the model's folder, and the model answers by it from then on, until its
        thresholds change. What the file holds is told in `graph`.

        Args:
            precision: "float32", or "int8" for a model of pictures, a third of the size.
            data: (int8) labelled pictures. Those that training held out judge the file, others calibrate it.
            tolerance: (int8) by how much the log loss of a target may rise.

        Raises:
            UserError: `out` exists and `overwrite` is False, it has another ending than .onnx, or int8 costs
                more than is allowed.
            RunError: the file would not answer as the model does.
        """
        from manyhot.export import writing  # torch's exporter takes long to import

        if precision not in ("float32", "int8"):
            raise UserError(f"precision must be float32 or int8, got '{precision}'.")
        if self.folder is None and self.bundle.graph is not None:
            raise bundles.only_answers(self.bundle.graph.path)
        if data is not None and precision != "int8":
            raise UserError("--data judges --precision int8, which was not asked for; say both or neither.")
        if data is None and precision == "int8":
            raise UserError("--precision int8 is judged by labelled pictures: name them with --data.")
        if out is None and self.folder is None:
            raise UserError("the model lies in no folder; say where its file goes: export(out).")
        path = None if out is None else as_path(out)
        if path is not None:
            if path.suffix != ENDING:
                raise UserError(f"{path}: an exported model ends in {ENDING}.")
            files.check_out(path, overwrite)
        losses: writing.Losses = {}
        slow = "calibrating it and judging it by your pictures (minutes)"
        how = slow if data is not None else "trying it beside the model (some seconds to a minute)"
        log.info(f"making its graph and {how}")

        def write_to(path: Path) -> None:
            if data is None:
                writing.write(self.bundle, path, self._numbers())
            else:
                with Lines(self.verbose) as told:
                    judging = (self.rows_of(data), self.seen, tolerance, told.reading)
                    losses.update(writing.write_int8(self.bundle, path, self._numbers(), *judging))

        if path is not None:
            write_to(path)
        else:
            assert self.folder is not None
            path = bundles.add_graph(self.folder, write_to)
        return Exported(path, losses)

    def _numbers(self) -> dict[str, Any]:
        """Say on how many rows it was trained, and its scores on those held back, where they are at hand."""
        path = None if self.folder is None else self.folder / "metrics.json"
        record: Any = {} if self.run is None else self.run.judged.record
        if path is not None and path.is_file() and not record:
            record = files.read_json(path)
        counts = {name: int((self.seen.parts == name).sum()) for name in split.PARTS}
        return {"rows": counts, "scores": {k: v for k, v in record.items() if k in SCORES}}

    def tune(
        self,
        data: object,
        objective: str | None = None,
        split: str | None = None,
        *,
        weight: str | None = None,
        targets: Sequence[str] = (),
        positive: object = None,
        confidence: float = 0.9,
        coverage: float | None = None,
        progress: Progress | None = None,
    ) -> Classifier:
        """Return the classifier with its thresholds fitted anew to an objective, on labelled rows.

        A precision or a recall holds for new rows with a `confidence`, where these rows suffice to promise
        it. With a `coverage` such as 0.95 the classes that stay possible for a row are told from then on.
        `positive` names the class that precision and recall are of, as {target: class}, where it is another
        than before. Where nothing reaches the objective a RunError says what can be had. `tuning` of what is
        returned tells what these rows show before and after; see `train.tune.tune`.
        """
        from manyhot.train.tune import tune  # fitting needs scipy

        with Lines(self.verbose and progress is None) as told:
            how = (positive, confidence, coverage)
            options = (objective, split, weight, targets, *how, progress or told.reading)
            tuning = tune(self.bundle, self.rows_of(data), self.seen, *options)
        predict.tell(tuning.before.noticed, self.importance)
        run = self.run if tuning.own else None
        return replace(
            self,
            bundle=replace(self.bundle, schema=tuning.schema),
            run=None if run is None else replace(run, judged=tuning.after.beside(run.judged)),
            tuning=tuning,
        )

    def report(
        self,
        data: object = None,
        out: str | Path = "report.html",
        *,
        split: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the page about the model judged by some rows, and return its path.

        Without `data` it is the model's own page, of the rows that `fit` held back.

        Raises:
            UserError: `out` exists and `overwrite` is False, or there are no rows to judge.
        """
        path = as_path(out)
        files.check_out(path, overwrite)
        page = self._own_page() if data is None else self._page_of(self.judge(data, split))
        files.write_text(path, page)
        return path

    def __repr__(self) -> str:
        targets = [f"{target.name} ({target.in_words})" for target in self.schema.targets]
        columns = [column.name for column in self.schema.inputs]
        members = sorted({member.kind for member in self.bundle.ensemble.members})
        return notebook.lines(
            f"Classifier of {notebook.names(targets)}",
            f"from {notebook.names(columns)}",
            f"backbone {self.bundle.config.backbone}, answered by {', '.join(members)}{self._held_out()}",
        )

    def _repr_html_(self) -> str:
        rows = [(target.name, target.kind, ", ".join(target.classes)) for target in self.schema.targets]
        title, columns, how = repr(self).split("\n  ")
        return notebook.grid(f"{title}, {columns}; {how}", ("target", "kind", "classes"), rows)

    def _held_out(self) -> str:
        """Say how right the rows that `fit` held back are answered, where they are at hand."""
        if self.run is None:
            return ""
        scores = self.run.judged.scores
        match = scores["overall"]["exact_match"]
        return f"; {scores['rows']:,} held-out rows" + ("" if match is None else f", exact match {match:.4f}")

    def _probabilities(self, data: object) -> Mapping[str, NDArray[np.float32]]:
        with Lines(self.verbose) as told:
            predicted = predict.predict(self.bundle, self.rows_of(data), told.reading)
        predict.tell(predicted.noticed, self.importance)
        return predicted.probabilities

    @cached_property
    def importance(self) -> Importance:
        """How much the loss rose where a column was shuffled, by target and column, as far as it is known."""
        if self.run is not None:
            return self.run.judged.importance
        return {} if self.folder is None else importance_in(self.folder)

    def rows_of(self, data: object) -> Table:
        """Read rows to answer; of a model of pictures an array (H, W) or (H, W, 3) is one."""
        if isinstance(data, np.ndarray) and data.dtype != object and self.schema.is_image:
            return Table({}, "pictures", pixels=as_pixels(data, self.schema.inputs[0].shape))
        return as_table(data)

    def update(self, folder: str | Path) -> None:
        """Write the model over the one in `folder`, leaving its history.

        After `tune` its report is written anew; where that used the rows that `fit` held out, the model card,
        their scores and their answers too.
        """
        folder = Path(folder)
        bundles.check(folder, weights=False)
        if self.tuning is None:
            bundles.replace_schema(self.schema, folder)
            return
        from manyhot.report import card, record  # drawing needs time, so only when asked for

        own, known = self.tuning.own, record.read(folder)
        judged = recalled(self.tuning.after, folder, own)
        with files.staged(folder) as beside:
            files.write_text(beside / "report.html", self._page(judged, known))
            if own:
                readme = card.model_card(self.bundle, judged, judged.table.source, known.rows)
                files.write_text(beside / "README.md", readme)
                files.write_json(beside / "metrics.json", judged.record)
                write_pieces(_answers_of(judged), beside / bundles.VALIDATION)
            bundles.replace_schema(self.schema, folder)

    def _own_page(self) -> str:
        """Return the page of the rows that `fit` held back, as it was drawn where it was written."""
        from manyhot.report import record  # drawing needs time, so only when asked for

        if self.run is not None:
            return self._page(self.run.judged, record.of_run(self.run, self.schema))
        own = None if self.folder is None else self.folder / "report.html"
        if own is None or not own.is_file():
            raise UserError("the model has no report of its own; name rows to judge it by.")
        if self.tuning is None:
            return own.read_text(encoding="utf-8")
        judged = recalled(self.tuning.after, own.parent, self.tuning.own)
        return self._page(judged, record.read(own.parent))

    def _page_of(self, judged: Judged) -> str:
        """Return the page of other rows."""
        from manyhot.report import record  # drawing needs time, so only when asked for

        fit = record.FitRecord()
        if self.run is not None:
            fit = record.of_run(self.run, self.schema)
            judged = replace(judged, taught=self.run.judged.taught)
        elif self.folder is not None:
            fit, judged = record.read(self.folder), recalled(judged, self.folder)
        return self._page(explained(self.bundle, judged), fit, own=False)

    def _page(self, judged: Judged, fit: FitRecord, own: bool = True) -> str:
        """Return the page about judged rows, with reasons for some answers that come soon beside a fit."""
        from manyhot.explaining.examples import examples
        from manyhot.report import card

        config = self.bundle.config
        learned = int((self.seen.parts == "train").sum()) * (1 if config.freeze else 3 * config.epochs)
        return card.report_of(self.bundle, judged, fit, examples(self.bundle, judged, learned), own)

    def write_into(self, folder: Path) -> None:
        """Write the files of the model into a folder, beside what is there."""
        from manyhot.data.rows import conflicts
        from manyhot.report import card, record  # drawing needs time, so only when asked for

        extra: dict[str, object] = {}
        if self.run is not None:
            fit = record.of_run(self.run, self.schema)
            extra = {
                record.FILE: fit.to_json(),
                "metrics.json": self.run.judged.record,
                "history.jsonl": "".join(json.dumps(line) + "\n" for line in self.run.history),
                "README.md": card.model_card(self.bundle, self.run.judged, self.run.source, self.run.counts),
                "report.html": self._page(self.run.judged, fit),
            }
        folder.mkdir(parents=True, exist_ok=True)
        if self.run is not None:
            write_pieces(_answers_of(self.run.judged), folder / bundles.VALIDATION)
            clashing, _ = self.run.conflicts
            if clashing:
                write(conflicts.as_table(clashing), folder / conflicts.FILE)
        write(self.seen.as_table(), folder / "split.csv")
        bundles.save(self.bundle, folder, extra)


def load(folder: str | Path, verbose: bool = True) -> Classifier:
    """Read a classifier that `fit` or `save` wrote, or the file of one that `export` wrote.

    One that was exported answers by its graph, without torch.

    Unless `verbose` is False, it tells on standard error how many pictures it has read.

    Raises:
        UserError: the folder is missing, is no finished model, or was changed.
    """
    path = as_path(folder)
    bundle, own = bundles.load(path), None if bundles.is_graph(path) else path
    rows = read(path / "split.csv") if (path / "split.csv").is_file() else Table({})
    return Classifier(bundle, seen_in(rows), folder=own, verbose=verbose)


def explain(model: Classifier | str | Path, data: object, **options: Any) -> Explanation:
    """Return why a model, or the one at a path, answers rows as it does; see `Classifier.explain`."""
    return (model if isinstance(model, Classifier) else load(model)).explain(data, **options)


def seen_in(rows: Table) -> SeenRows:
    """Read the table of the rows that a fit used, as `split.csv` has it."""
    count = len(rows) if "hash" in rows.columns else 0
    numbers = {"row": np.full(count, -1.0), "fold": np.full(count, -1.0)}
    if not count:
        return SeenRows()
    try:
        hashes = from_hex(rows.column("hash"))
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{rows.source}: not the rows of a model ({error}); delete it or train again."
        ) from None
    numbers |= {name: np.nan_to_num(rows.numbers(name), nan=-1) for name in numbers if name in rows.columns}
    cells = rows.cells("split")
    parts = np.array([*cells.values, None], object)[cells.codes]
    return SeenRows(hashes, parts, numbers["row"].astype(np.int64), numbers["fold"].astype(np.int8))


def _answers_of(judged: Judged) -> Iterator[Table]:
    """Give the judged rows with their answers, as `predict` writes them, some at a time."""
    for rows in blocks(len(judged.table)):
        some = predict.Predicted({name: each[rows] for name, each in judged.probabilities.items()})
        yield predict.answers(judged.schema, judged.table.slice(rows), some)


def as_path(given: object) -> Path:
    """Return a path; raise UserError where what was given can be none."""
    if not isinstance(given, str | Path):
        raise UserError(f"a model or a file is named by its path, got {type(given).__name__}.")
    if is_remote(given):
        raise UserError(f"{given}: models, and what is written, lie on a disk of this machine; copy it.")
    return Path(as_local(str(given)))


def as_table(data: object, memory: float | None = None) -> Table:
    """Return a table, which data are already or are read as; `memory` is told to `read`."""
    return data if isinstance(data, Table) else read(data, memory=memory)
