"""Rows without labels into a bundle that answers which group a row belongs to.

`cluster` reads, sees, groups and judges; the bundle's one target `cluster` is answered by the distance to
stored centroids, so whatever works with a bundle works with it: −‖z − c‖²/τ is a linear head, up to what
all classes share and softmax ignores.

Shapes: N rows of the table · F features of an embedding · K clusters · M members of a backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot import bundle as bundles
from manyhot import files, predict
from manyhot.bundle import Bundle
from manyhot.classifier import Classifier
from manyhot.clustering import embed, group, learn
from manyhot.clustering.embed import Seen
from manyhot.clustering.group import Embedding, Groups, silhouette, silhouettes
from manyhot.clustering.layout import flat
from manyhot.clustering.names import CLUSTERS, COLUMN, METRICS
from manyhot.clustering.scores import agreement
from manyhot.clustering.spread import spread as spread_from
from manyhot.config import parse_options
from manyhot.data import infer
from manyhot.data.paths import Progress, Unreadable, named, picture_column
from manyhot.data.read import read
from manyhot.data.table import Table
from manyhot.data.write import write
from manyhot.errors import UserError
from manyhot.judge import Seen as SeenRows
from manyhot.model.device import pick
from manyhot.model.network import Model
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, IntArray

SPREAD = "spread.csv"
Tell = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


class Known(NamedTuple):
    """Labels that are known: their names, and the number of each row's, int (N,), −1 for unknown."""

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
    known       known labels by column: their names, and int (N,) numbers with −1 for unknown
    spread      the same numbers with those of sure neighbours filled in, of one column, or None
    scores      the document of metrics.json
    notes       what people should know
    """

    bundle: Bundle
    table: Table
    rows: NDArray[np.intp]
    z: Embedding
    groups: Groups
    unreadable: Unreadable
    known: Mapping[str, Known]
    spread: IntArray | None
    scores: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def classifier(self) -> Classifier:
        """What answers for new rows: `predict`, `embed`, `evaluate`."""
        return Classifier(self.bundle, SeenRows(np.zeros(0, np.uint64), np.zeros(0, object)))

    @property
    def labels(self) -> IntArray:
        """Each row's cluster, int32 (R,); −1 for an outlier and for what cannot be read."""
        labels = np.full(len(self.table), UNKNOWN, dtype=np.int32)
        labels[self.rows] = np.where(self.groups.outliers(), UNKNOWN, self.groups.labels)
        return labels

    def answers(self) -> Table:
        """Return the input's columns, then `cluster`, empty for an outlier; `error` where there is one."""
        names = np.array([*self.bundle.schema.targets[0].classes, None], dtype=object)
        return self._with({COLUMN: [*names[self.labels]]})

    def spread_labels(self) -> Table:
        """Return the input's columns with known labels given to sure neighbours, marked in NAME_spread."""
        assert self.spread is not None, "cluster(…, spread=True) finds them"
        name, known = next(iter(self.known.items()))
        names = np.array([*known.classes, None], dtype=object)
        filled = np.full(len(self.table), UNKNOWN, dtype=np.int32)
        filled[self.rows] = self.spread
        given = self.table.cells(name).codes != UNKNOWN
        cells = np.where(given, np.array(self.table.column(name).to_pylist(), dtype=object), names[filled])
        marks = [
            None if n == UNKNOWN else "no" if own else "yes" for n, own in zip(filled, given, strict=True)
        ]
        return self._with({name: [*cells], f"{name}_spread": marks})

    def page(self, folder: str = "DIR") -> str:
        """Return clusters.html; `folder` is what its command for naming says."""
        from manyhot.report.clusters import (
            DOTS,
            Clusters,
            render,
        )  # drawing needs time, so only when asked for

        drawn = group.sample(len(self.z), DOTS, self.bundle.config.seed)
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
                silhouettes=silhouettes(self.z, self.groups.labels, self.bundle.config.seed),
                drawn=drawn,
                places=places,
                method=method,
                scores=self.scores,
                known={name: (known.classes, known.y) for name, known in self.known.items()},
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
        write(self.answers(), folder / CLUSTERS)
        if self.spread is not None:
            write(self.spread_labels(), folder / SPREAD)
        bundles.save(self.bundle, folder, {METRICS: dict(self.scores), "clusters.html": page})

    def _with(self, added: Mapping[str, list[str | None]]) -> Table:
        """Return the table with columns added as `predict.answers` does, `row` where there are no files."""
        columns: dict[str, Any] = {
            f"{name}_given" if name == COLUMN and name in added else name: column
            for name, column in self.table.columns.items()
        }
        if self.table.pixels is not None and "row" not in columns:
            columns = {"row": [int(number) for number in self.table.rows], **columns}
        columns |= added
        if self.unreadable:
            columns["error"] = [self.unreadable.get(index) for index in range(len(self.table))]
        return Table({}, self.table.source, rows=self.table.rows).with_columns(columns)


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
    tell: Tell | None = None,
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
        tell: is called with (what, done, all) on the way.
        options: fields of FitConfig, such as `effort="fast"` or `seed=1`.

    Raises:
        UserError: the data or an option cannot be used.

    >>> blobs = {"x": [0.0, 0.1, 0.2, 5.0, 5.1, 5.2], "y": [0.0, 0.1, 0.0, 9.0, 9.1, 9.0]}
    >>> found = cluster(blobs, clusters=2)
    >>> found.answers().column("cluster").to_pylist()
    ['0', '0', '0', '1', '1', '1']
    """
    table = data if isinstance(data, Table) else read(data)
    source = source or (str(data) if isinstance(data, (str, Path)) else "")
    names = [target] if target else list(table.targets)
    known = {name: table.cells(name, missing) for name in names}
    if spread and not names:
        raise UserError("spread takes the known labels of a target; name its column.")
    schema = infer.unlabelled(table, image=image, missing=missing, kinds=kinds, ignore=names)
    seen = embed.look(table, schema, parse_options(options), features, progress)
    z, groups, apart = _grouped(seen, clusters, tell or (lambda what, done, total: None))
    labels = {n: Known(tuple(map(str, cells.values)), cells.codes[seen.rows]) for n, cells in known.items()}
    filled = spread_from(z, groups, labels[names[0]].y) if spread else None
    found = Clustering(
        _bundle(seen, groups, z, apart), table, seen.rows, z, groups, seen.unreadable, labels, filled, {}
    )
    return replace(found, scores=_scores(found, source), notes=(*table.notes, *_unreadable_named(found)))


def _unreadable_named(found: Clustering) -> list[str]:
    column = picture_column(found.table, found.bundle.schema.inputs[0].name)
    bad = named(found.table, column, found.unreadable)
    return [f"left out: {name}: {why}" for name, why in bad.items()]


def _grouped(seen: Seen, clusters: int | None, tell: Tell) -> tuple[Embedding, Groups, Embedding | None]:
    """Return what rows are compared by, the groups in it, and the map to it from the features, if any."""

    def told(done: int, total: int) -> None:
        tell("clustering", done, total)

    if not seen.fresh:
        z = predict.features(seen.model, seen.x)
        return z, group.group(z, clusters, seen.config.seed, told), None
    gathered = group.gathered(learn.tell_apart(seen, tell), seen.config.seed)
    first = group.group(gathered, clusters, seen.config.seed, told)
    z, labels = learn.teach(seen, first.labels, tell)
    apart = group.discriminants(z, labels)
    found = group.settle(z @ apart, group.means(z @ apart, labels), first.tried)
    if len(found.centroids) < len(first.centroids):  # some could not be learned; take as many from what was
        return z, replace(group.group(z, len(first.centroids), seen.config.seed), tried=first.tried), None
    return z @ apart, found, apart


def _bundle(seen: Seen, found: Groups, z: Embedding, apart: Embedding | None) -> Bundle:
    """Make a model that answers with the nearest centroid; a backbone's members each by their own part."""
    count = len(found.centroids)
    target = Target(COLUMN, "multiclass", tuple(map(str, range(count))), (COLUMN,))
    backbone = seen.model.backbone
    model = Model(seen.model.stem, backbone, (target,))
    parts = found.centroids.reshape(count, backbone.members, -1).transpose(1, 2, 0)  # (M, F, K)
    weight, bias = head(parts, temperature(found, z) / backbone.members)
    weight = weight if apart is None else apart @ weight
    layer: Any = model.heads[0]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight if backbone.members > 1 else weight[0].T))
        layer.bias.copy_(torch.from_numpy(bias if backbone.members > 1 else bias[0]))
    model = model.to(pick(seen.config.device)).eval()
    return Bundle(replace(seen.schema, targets=(target,)), seen.config, seen.inputs, model)


def head(centroids: NDArray[np.float32], tau: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the linear layer whose logits are −‖z − c‖²/τ, up to what all clusters share.

    A vector taken off all centroids changes what they share only, so their mean is, for float32's sake.

    Shape:
        centroids: float32 (M, F, K). out: weight (M, F, K) and bias (M, K).

    >>> weight, bias = head(np.float32([[[0.0, 2.0]]]), tau=1.0)
    >>> (np.float32([[0.5]]) @ weight[0] + bias[0]).tolist()  # 0.5 is 0.25 from 0 and 2.25 from 2, squared
    [[0.0, -2.0]]
    """
    exact = centroids.astype(np.float64)
    weight = 2 * (exact - exact.mean(axis=2, keepdims=True)) / tau
    bias = -(exact**2).sum(axis=1) / tau
    bias -= bias[:, :1]
    return weight.astype(np.float32), bias.astype(np.float32)


def temperature(found: Groups, z: Embedding) -> float:
    """Return τ = 2σ², with which softmax gives the share of each cluster in a mixture of equal round normals.

    Features of a network hang together, so σ² is the mean squared distance over as many directions as
    the spread really has: (Σλ)²/Σλ² of the eigenvalues λ of its covariance within clusters.

    Source: Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and measurement", equation 4.
    """
    total = np.zeros((z.shape[1], z.shape[1]))
    for part in group.batches(len(z)):
        off = (z[part] - found.centroids[found.labels[part]]).astype(np.float64)
        total += off.T @ off
    spread = np.trace(total) / len(z)
    directions = np.trace(total) ** 2 / max((total**2).sum(), 1e-30)
    return max(float(2 * spread / max(directions, 1.0)), 1e-6)


def _scores(found: Clustering, source: str) -> dict[str, Any]:
    """Gather what metrics.json holds; `source`, `root` and `reads` are for `names`."""
    groups, table, labels = found.groups, found.table, found.labels
    sizes = np.bincount(labels[labels != UNKNOWN], minlength=len(groups.centroids))
    reads = "table" if not found.bundle.schema.is_image else "paths" if table.pixels is None else "pixels"
    document = {
        "rows": len(table),
        "clusters": len(groups.centroids),
        "sizes": {str(number): int(size) for number, size in enumerate(sizes)},
        "outliers": int(groups.outliers().sum()),
        "unreadable": len(found.unreadable),
        "silhouette": silhouette(found.z, groups.labels, found.bundle.config.seed),
        "prediction_strength": {str(count): value for count, value in groups.tried.items()},
        "targets": {name: agreement(known.y, groups.labels) for name, known in found.known.items()},
        "source": str(Path(source).absolute()) if source else "",
        "root": str(table.root.absolute()) if table.root is not None and reads == "paths" else "",
        "reads": reads,
    }
    if found.spread is not None:
        name, known = next(iter(found.known.items()))
        document["spread"] = {"target": name, "rows": int((found.spread != known.y).sum())}
    return document
