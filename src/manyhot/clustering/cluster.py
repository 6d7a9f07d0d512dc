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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot import bundle as bundles
from manyhot import files, predict
from manyhot.bundle import Bundle
from manyhot.classifier import Classifier
from manyhot.clustering import embed, group, learn, scores
from manyhot.clustering.embed import Seen
from manyhot.clustering.group import Groups
from manyhot.data import infer
from manyhot.data.paths import Progress
from manyhot.data.read import read
from manyhot.data.table import Table
from manyhot.data.write import write
from manyhot.judge import Seen as SeenRows
from manyhot.model.device import pick
from manyhot.model.network import Model
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, IntArray

COLUMN = "cluster"  # the target, and the column of clusters.csv
CLUSTERS = "clusters.csv"
Tell = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


@dataclass(frozen=True)
class Clustering:
    """Groups of the rows of a table, and the classifier that answers with them.

    labels    int32 (N,): each row's cluster; −1 for an outlier and where a picture cannot be read
    nearest   int32 (N,): the same, with outliers in their nearest cluster
    scores    the document of metrics.json
    """

    bundle: Bundle
    table: Table
    labels: IntArray
    nearest: IntArray
    scores: Mapping[str, Any]
    seen: Seen
    groups: Groups

    @property
    def classifier(self) -> Classifier:
        """What answers for new rows: `predict`, `embed`, `evaluate`."""
        return Classifier(self.bundle, SeenRows(np.zeros(0, np.uint64), np.zeros(0, object)))

    def rows(self) -> Table:
        """Return the input's columns, then `cluster`, empty for an outlier; `error` where there is one."""
        names = np.array([*self.bundle.schema.targets[0].classes, None], dtype=object)
        return with_answers(self.table, COLUMN, [*names[self.labels]], self.seen.unreadable)

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the bundle with clusters.csv and metrics.json; `load` reads it.

        Raises:
            UserError: the folder exists and `overwrite` is False.
        """
        path = Path(folder)
        files.check_out(path, overwrite)
        files.check_ours(path, bundles.MARKS)
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        files.replace_folder(path, self._write)

    def _write(self, folder: Path) -> None:
        write(self.rows(), folder / CLUSTERS)
        bundles.save(self.bundle, folder, {"metrics.json": dict(self.scores)})


def cluster(
    data: object,
    *,
    clusters: int | None = None,
    features: str | None = None,
    target: str | None = None,
    image: str | None = None,
    missing: tuple[str, ...] = (),
    kinds: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> Clustering:
    """Find groups in rows without labels.

    Args:
        data: a Table, or anything that `manyhot.read` reads.
        clusters: how many; None takes the number with the highest mean silhouette.
        features: a model's folder, or weights for the backbone; None takes what there is.
        target: a column of known labels: groups are compared with it and never learn from it.
        progress: is called with (done, all) while pictures are read.
        tell: is called with (what, done, all) on the way.
        options: fields of FitConfig, such as `effort="fast"` or `seed=1`.

    Raises:
        UserError: the data or an option cannot be used.

    >>> blobs = {"x": [0.0, 0.1, 0.2, 5.0, 5.1, 5.2], "y": [0.0, 0.1, 0.0, 9.0, 9.1, 9.0]}
    >>> found = cluster(blobs, clusters=2)
    >>> found.rows().column("cluster").to_pylist()
    ['0', '0', '0', '1', '1', '1']
    """
    tell = tell or (lambda what, done, total: None)
    table = data if isinstance(data, Table) else read(data)
    names = [target] if target else list(table.targets)
    known: dict[str, IntArray] = {name: table.cells(name, missing).codes for name in names}
    schema = infer.unlabelled(table, image=image, missing=missing, kinds=kinds, ignore=names)
    seen = embed.look(table, schema, options, features, progress)
    z, found = _grouped(seen, clusters, tell)
    bundle = _bundle(seen, found, z)
    labels, nearest = (np.full(len(table), UNKNOWN, dtype=np.int32) for _ in range(2))
    nearest[seen.rows] = found.labels
    labels[seen.rows] = np.where(found.outliers(), UNKNOWN, found.labels)
    document = _scores(
        {name: y[seen.rows] for name, y in known.items()}, labels, found.labels, seen, found, z
    )
    return Clustering(bundle, table, labels, nearest, document, seen, found)


def _grouped(seen: Seen, clusters: int | None, tell: Tell) -> tuple[NDArray[np.float32], Groups]:
    """Return the features of the rows, and the groups in them."""

    def told(done: int, total: int) -> None:
        tell("clustering", done, total)

    if not seen.fresh:
        z = predict.features(seen.model, seen.x)
        return z, group.group(z, clusters, seen.config.seed, told)
    first = group.group(learn.tell_apart(seen, tell), clusters, seen.config.seed, told)
    z, labels = learn.teach(seen, first.labels, tell)
    return z, group.settle(z, group.means(z, labels), first.tried)


def with_answers(table: Table, name: str, values: list[str | None], unreadable: Mapping[int, str]) -> Table:
    """Return a table with a column of answers, as `predict.answers` names things."""
    columns: dict[str, Any] = {
        f"{n}_given" if n == name else n: column for n, column in table.columns.items()
    }
    if table.pixels is not None and "row" not in columns:
        columns = {"row": [int(number) for number in table.rows], **columns}
    columns[name] = values
    if unreadable:
        columns["error"] = [unreadable.get(index) for index in range(len(table))]
    return Table({}, table.source, root=table.root, rows=table.rows).with_columns(columns)


def _bundle(seen: Seen, found: Groups, z: NDArray[np.float32]) -> Bundle:
    """Make a model that answers with the nearest centroid; the members of a backbone each by their own part."""
    count = len(found.centroids)
    target = Target(COLUMN, "multiclass", tuple(map(str, range(count))), (COLUMN,))
    backbone = seen.model.backbone
    model = Model(seen.model.stem, backbone, (target,))
    parts = found.centroids.reshape(count, backbone.members, -1).transpose(1, 2, 0)  # (M, F, K)
    weight, bias = head(parts, temperature(found, z) / backbone.members)
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


def temperature(found: Groups, z: NDArray[np.float32]) -> float:
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
    return max(2 * spread / max(directions, 1.0), 1e-6)


def _scores(
    known: Mapping[str, IntArray],
    labels: IntArray,
    nearest: IntArray,
    seen: Seen,
    found: Groups,
    z: NDArray[np.float32],
) -> dict[str, Any]:
    """Gather what metrics.json holds."""
    sizes = np.bincount(labels[labels != UNKNOWN], minlength=len(found.centroids))
    return {
        "rows": len(labels),
        "clusters": len(found.centroids),
        "sizes": {str(number): int(size) for number, size in enumerate(sizes)},
        "outliers": int((labels[seen.rows] == UNKNOWN).sum()),
        "unreadable": len(seen.unreadable),
        "silhouette": group.silhouette(z, found.labels, seen.config.seed),
        "tried": {str(count): value for count, value in found.tried.items()},
        "targets": {name: scores.agreement(y, nearest) for name, y in known.items()},
    }
