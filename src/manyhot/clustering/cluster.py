"""Rows without labels into a bundle that answers which group a row belongs to.

`cluster` reads, sees, groups and judges; a Clustering answers, and writes what it found into a folder.

Shapes: N rows of the table · F features of an embedding · K clusters · M members of a backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot import bundle as bundles
from manyhot import files, notebook, predict
from manyhot.bundle import Bundle
from manyhot.choose import SeenRows
from manyhot.classifier import Classifier
from manyhot.clustering import embed, learn, space
from manyhot.clustering.answer import answering
from manyhot.clustering.centroids import Embedding, means, sample
from manyhot.clustering.embed import Viewed
from manyhot.clustering.group import Groups, check_rows, group, settle
from manyhot.clustering.layout import flat
from manyhot.clustering.learn import OnStep
from manyhot.clustering.names import CLUSTERS, COLUMN, METRICS
from manyhot.clustering.scores import agreement, silhouettes
from manyhot.clustering.spread import spread as spread_from
from manyhot.config import FitConfig, parse_options
from manyhot.data.inputs.images.paths import Progress, Unreadable, named, picture_column
from manyhot.data.rows import infer
from manyhot.data.sources.read import read
from manyhot.data.sources.write import write
from manyhot.data.table import Table
from manyhot.device import left_as_found, pick
from manyhot.errors import UserError, listed
from manyhot.model import inference
from manyhot.progress import Lines
from manyhot.targets import UNKNOWN, IntArray, text_of

SPREAD = "spread.csv"
PARTED = 0.1  # a silhouette; of photos seen by ImageNet's weights, groups below it were mixed
MANY, ROWS_EACH = 12, 5  # groups that are advised then, and rows of each at least


class Known(NamedTuple):
    """Labels that are known: their names, and the number of each row's, int (R,), −1 for unknown."""

    classes: tuple[str, ...]
    y: IntArray


@dataclass(frozen=True)
class Clustering:
    """Groups of the rows of a table, and the classifier that answers with them.

    bundle      the model; its target is called `cluster`
    table       all rows, R of them
    rows        intp (N,): the positions of those that could be read, which the arrays below are for
    z           float32 (N, F): what they are compared by
    groups      their clusters, and how far they lie from them
    silhouettes the rows of a sample (places in z), and the silhouette of each
    known       known labels by column
    spread      their numbers of one column, those of sure neighbours filled in, int (N,), or None
    scores      the document of metrics.json
    notes       what people should know
    """

    bundle: Bundle
    table: Table
    rows: NDArray[np.intp]
    z: Embedding
    groups: Groups
    silhouettes: tuple[NDArray[np.intp], NDArray[np.float64]]
    unreadable: Unreadable
    known: Mapping[str, Known]
    spread: IntArray | None
    scores: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = notebook.names(column.name for column in self.bundle.schema.inputs)
        clusters, outliers = len(self.groups.centroids), int(self.groups.outliers().sum())
        return notebook.lines(
            f"Clustering of {self.table.source}: {len(self.table):,} rows, {clusters} clusters",
            f"from {names}",
            f"{outliers:,} outliers; so many clusters: {self.groups.why}",
        )

    @property
    def classifier(self) -> Classifier:
        """What answers for new rows: `predict`, `embed`, `evaluate`."""
        return Classifier(self.bundle, SeenRows())

    @property
    def labels(self) -> IntArray:
        """Each row's cluster, int32 (R,); −1 for an outlier and for what cannot be read."""
        labels = np.full(len(self.table), UNKNOWN, dtype=np.int32)
        labels[self.rows] = np.where(self.groups.outliers(), UNKNOWN, self.groups.labels)
        return labels

    def answers(self) -> Table:
        """Return the input's columns, then `cluster`, empty for an outlier; `error` where there is one."""
        names = np.array([*self.bundle.schema.targets[0].classes, None], dtype=object)
        found = {COLUMN: [*names[self.labels]]}
        return predict.beside(self.table, found, found, self.unreadable)

    def spread_labels(self) -> Table:
        """Return the input's columns with known labels given to sure neighbours, marked in NAME_spread."""
        assert self.spread is not None, "cluster(…, spread=True) finds them"
        name, known = next(iter(self.known.items()))
        filled = known.y.copy()
        filled[self.rows] = self.spread
        cells = [*np.array([*known.classes, None], dtype=object)[filled]]
        marks = np.full(len(filled), "no", dtype=object)
        marks[filled == UNKNOWN], marks[filled != known.y] = None, "yes"
        table = self.table.with_columns({name: cells, f"{name}_spread": [*marks]})
        return predict.beside(table, {}, (), self.unreadable)

    def page(self, folder: str = "DIR") -> str:
        """Return clusters.html; `folder` is what its command for naming says."""
        # drawing needs time, so only when asked for
        from manyhot.report.clusters import DOTS, Clusters, render

        drawn = sample(len(self.z), DOTS, self.bundle.config.seed)
        places, method = flat(self.z[drawn], self.bundle.config.seed)
        return render(
            Clusters(
                title=self.table.source,
                folder=folder,
                schema=self.bundle.schema,
                table=self.table.take(self.rows) if self.unreadable else self.table,
                labels=self.groups.labels,
                outliers=self.groups.outliers(),
                distances=self.groups.distances,
                margins=self.groups.margins,
                silhouettes=self.silhouettes,
                drawn=drawn,
                places=places,
                method=method,
                scores=self.scores,
                known={name: (known.classes, known.y[self.rows]) for name, known in self.known.items()},
                notes=self.notes,
            )
        )

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the bundle with clusters.csv, clusters.html and metrics.json; `load` reads it.

        Raises:
            UserError: the folder exists and `overwrite` is False.
        """
        path = Path(folder)
        files.check_out(path, overwrite)
        files.check_ours(path, bundles.MARKS)
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        page = self.page(str(folder))
        files.replace_folder(path, lambda beside: self._write(beside, page))

    def _write(self, folder: Path, page: str) -> None:
        from manyhot.report.card import clusters_card

        write(self.answers(), folder / CLUSTERS)
        if self.spread is not None:
            write(self.spread_labels(), folder / SPREAD)
        card = clusters_card(self.scores, self.table.source)
        extra = {METRICS: dict(self.scores), "clusters.html": page, "README.md": card}
        bundles.save(self.bundle, folder, extra)


def cluster(
    data: object,
    *,
    clusters: int | None = None,
    features: str | None = None,
    target: str | None = None,
    spread: bool = False,
    image: str | None = None,
    missing: tuple[str, ...] = (),
    kinds: Mapping[str, str] | None = None,
    source: str = "",
    progress: Progress | None = None,
    on_event: OnStep | None = None,
    verbose: bool = True,
    **options: Any,
) -> Clustering:
    """Find groups in rows without labels.

    Args:
        data: a Table, or anything that `manyhot.read` reads.
        clusters: how many; None takes the largest number that holds in both halves of the rows.
        features: a model's folder, or weights for the backbone; None takes what there is.
        target: a column of known labels: groups are compared with it and never learn from it.
        spread: give the labels of `target` to rows well inside a cluster, where those around have the same.
        source: the path of the data, for the `fit` line that `manyhot name` prints.
        progress: is called with (done, all) while pictures are read.
        on_event: is called with (what, done, all) on the way.
        verbose: tell on standard error how far it is, unless one of these two is given.
        options: fields of FitConfig, such as `effort="fast"` or `seed=1`.

    Raises:
        UserError: the data or an option cannot be used.

    >>> blobs = {"x": [0.0, 0.1, 0.2, 0.1, 5.1, 5.2], "y": [0.0, 0.1, 0.0, 0.2, 9.1, 9.0]}
    >>> found = cluster(blobs, clusters=2)
    >>> found.answers().column("cluster").to_pylist()
    ['0', '0', '0', '0', '1', '1']
    """
    told = Lines(verbose and progress is None and on_event is None)
    table = data if isinstance(data, Table) else read(data)
    source = source or (str(data) if isinstance(data, (str, Path)) else "")
    names = [target] if target else list(table.targets)
    known = {name: table.cells(name, missing) for name in names}
    if spread and not names:
        raise UserError("spread takes the known labels of a target; name its column.")
    check_rows(len(table), clusters)
    # What is in the way of the answers is refused before anything is learned.
    predict.refuse_clashes(table, [COLUMN], [COLUMN])
    schema = infer.unlabelled(table, image=image, missing=missing, kinds=kinds, ignore=names)
    settings = parse_options(options)
    with left_as_found(pick(settings.get("device", "auto"))), told:
        seen = embed.look(table, schema, settings, features, progress or told.reading)
        known_to_it = sorted({*names} & {column.name for column in seen.schema.inputs})
        if known_to_it:
            raise UserError(
                f"--features {features}: sees {listed(known_to_it)}, so groups cannot be compared with it."
            )
        z, groups, apart = _grouped(seen, clusters, on_event or told.on_step)
        bundle = answering(seen, groups, z, apart)
    labels = {name: Known(tuple(map(text_of, cells.values)), cells.codes) for name, cells in known.items()}
    filled = spread_from(z, groups, labels[names[0]].y[seen.rows]) if spread else None
    sampled = silhouettes(z, groups.labels, seen.config.seed)
    found = Clustering(bundle, table, seen.rows, z, groups, sampled, seen.unreadable, labels, filled, {})
    seen_as = replace(table, columns={name: c for name, c in table.columns.items() if name not in names})
    notes = (*infer.problems(seen_as, seen.schema), *_unreadable_named(found))
    reads = "table" if not seen.schema.is_image else "pixels" if table.holds_pictures else "paths"
    how = {"source": str(Path(source).absolute()) if source else "", "reads": reads}
    words = _options(table, reads == "paths", image, missing, kinds or {}) + _weights(seen.config)
    scores = _scores(found) | how | {"options": words}
    return replace(found, scores=scores, notes=(*notes, *_run_together(scores)))


def _options(
    table: Table, paths: bool, image: str | None, missing: tuple[str, ...], kinds: Mapping[str, str]
) -> list[str]:
    """Return the words with which a command reads the table as it was read here."""
    words = ["--root", str((table.root or Path()).absolute())] if paths else []
    words += ["--image", image] if image and paths else []
    words += ["--missing", ",".join(missing)] if missing else []
    return words + [word for name, kind in kinds.items() for word in ("--kind", f"{name}={kind}")]


def _weights(config: FitConfig) -> list[str]:
    """Return the words with which `fit` starts from the weights that rows were seen by here, if any."""
    if config.weights in ("auto", "none"):
        return []
    words = ["--backbone", config.backbone, "--weights", str(Path(config.weights).absolute())]
    given = config.backbone_options.items()
    return words + [word for name, value in given for word in ("--set", f"backbone_options.{name}={value}")]


def _run_together(scores: Mapping[str, Any]) -> list[str]:
    """Say what to do where the groups lie too close for each to be one thing."""
    if scores["silhouette"] >= PARTED:
        return []
    more = min(MANY, scores["rows"] // ROWS_EACH)
    ask = f"ask for more groups (--clusters {more}) and " if more > scores["clusters"] else ""
    return [
        f"the groups run into each other (silhouette {scores['silhouette']:.2f}; 1 is far apart, 0 is "
        f"overlapping), so one may hold different things: {ask}give the same name to those that show the "
        "same (0+3=NAME)."
    ]


def _unreadable_named(found: Clustering) -> list[str]:
    column = picture_column(found.table, found.bundle.schema.inputs[0].name)
    bad = named(found.table, column, found.unreadable)
    return [f"left out: {name}: {why}" for name, why in bad.items()]


def _grouped(
    seen: Viewed, clusters: int | None, on_event: OnStep
) -> tuple[Embedding, Groups, Embedding | None]:
    """Return what rows are compared by, the groups in it, and the map to it from the features, if any."""

    def on_try(done: int, total: int) -> None:
        on_event("clustering", done, total)

    if not seen.fresh:
        z = inference.features(seen.network, seen.x)
        return z, group(z, clusters, seen.config.seed, on_try), None
    gathered = space.gathered(learn.tell_apart(seen, on_event), seen.config.seed)
    first = group(gathered, clusters, seen.config.seed, on_try)
    z, labels = learn.teach(seen, first.labels, on_event)
    apart = space.discriminants(z, labels)
    found = settle(z @ apart, means(z @ apart, labels), first.tried, first.why)
    if len(found.centroids) < len(first.centroids):  # some could not be learned; take as many from what was
        again = group(z, len(first.centroids), seen.config.seed)
        return z, replace(again, tried=first.tried, why=first.why), None
    return z @ apart, found, apart


def _scores(found: Clustering) -> dict[str, Any]:
    """Gather what metrics.json holds beside what `names` wants to know of the reading."""
    groups, table, labels = found.groups, found.table, found.labels
    sizes = np.bincount(labels[labels != UNKNOWN], minlength=len(groups.centroids))
    document = {
        "rows": len(table),
        "clusters": len(groups.centroids),
        "why": groups.why,
        "sizes": {str(number): int(size) for number, size in enumerate(sizes)},
        "outliers": int(groups.outliers().sum()),
        "unreadable": len(found.unreadable),
        "silhouette": float(found.silhouettes[1].mean()),
        "prediction_strength": {str(count): value for count, value in groups.tried.items()},
        "targets": {
            name: agreement(known.y[found.rows], groups.labels) for name, known in found.known.items()
        },
    }
    if found.spread is not None:
        name, known = next(iter(found.known.items()))
        document["spread"] = {"target": name, "rows": int((found.spread != known.y[found.rows]).sum())}
    return document
