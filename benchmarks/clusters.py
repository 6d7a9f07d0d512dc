"""Rows without labels: how well the groups that are found are those that people named; labels score, no more.

[MANYHOT_DATA=…] python benchmarks/clusters.py mnist|digits|auto|named|million [SEEDS] [--set KEY=VALUE]…

mnist    MNIST's 10,000 test images in 10 clusters: clustering accuracy, beside k-means on the pixels
digits   scikit-learn's 1,797 digits in 10 clusters: NMI, beside k-means on the pixels, and UMAP with a
         Gaussian mixture where umap-learn is installed
auto     the same without a number: how many clusters are found
named    ten clusters of two thirds of the digits, each named by its most frequent digit (as a person sees it
         on the page), then `fit` on the names: accuracy on the last third, whose labels nobody has seen
million  1,000,000 × 64 numbers around 12 centres, and a quarter of them: seconds, their ratio, peak memory
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from race import data, machine
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import manyhot
from manyhot.clustering.scores import agreement

Options = dict[str, Any]
Load = Callable[[], tuple[np.ndarray, np.ndarray]]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, uint8 (N, 8, 8), and their digits."""
    found = load_digits()
    return (found.images * 255 / 16).round().astype(np.uint8), found.target


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Return the 10,000 test images, uint8 (N, 28, 28, 1), and their digits."""
    table = manyhot.read(data("mnist"))
    table = table.take(np.array(table.column("split").to_pylist()) == "test")
    return table.pixels, np.array(table.column("label").to_pylist()).astype(int)


def found_in(images: np.ndarray, y: np.ndarray, clusters: int | None, seed: int, options: Options):
    start = time.perf_counter()
    found = manyhot.cluster((images, y.astype(str)), clusters=clusters, seed=seed, **options)
    return found, time.perf_counter() - start


def others(images: np.ndarray, y: np.ndarray, seed: int) -> dict[str, dict[str, float | None]]:
    pixels = images.reshape(len(images), -1) / 255
    labels = {"k-means on pixels": KMeans(10, n_init=10, random_state=seed).fit_predict(pixels)}
    if len(images) < 5_000:
        try:
            import umap
            from sklearn.mixture import GaussianMixture

            flat = umap.UMAP(n_components=5, min_dist=0, random_state=seed, n_jobs=1).fit_transform(pixels)
            mixture = GaussianMixture(10, n_init=5, random_state=seed)
            labels["UMAP and a Gaussian mixture"] = mixture.fit_predict(flat)
        except ImportError:
            print("umap-learn is not installed")
    return {name: agreement(y, found) for name, found in labels.items()}


def grouped(
    load: Callable[[], tuple[np.ndarray, np.ndarray]], metric: str, seeds: int, options: Options
) -> None:
    images, y = load()
    values = []
    for seed in range(seeds):
        found, seconds = found_in(images, y, 10, seed, options)
        scores = found.scores["targets"]["label"]
        values.append(scores[metric])
        told = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        print(
            f"seed {seed}: {told}, silhouette {found.scores['silhouette']:.3f}, {seconds:.0f} s", flush=True
        )
        for name, beside in others(images, y, seed).items():
            print(f"  {name}: {', '.join(f'{key} {value:.4f}' for key, value in beside.items())}", flush=True)
    print(f"median {metric} of {seeds}: {np.median(values):.4f}")


def auto(seeds: int, options: Options) -> None:
    counts = []
    for seed in range(seeds):
        found, seconds = found_in(*digits(), None, seed, options)
        counts.append(found.scores["clusters"])
        nmi = found.scores["targets"]["label"]["nmi"]
        print(f"seed {seed}: {counts[-1]} clusters, NMI {nmi:.4f}, {seconds:.0f} s", flush=True)
    print(f"clusters found: {sorted(counts)}")


def named(seeds: int, options: Options) -> None:
    images, y = digits()
    scores = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(y))
        known, held = order[: len(y) * 2 // 3], order[len(y) * 2 // 3 :]
        found, seconds = found_in(images[known], y[known], 10, seed, options)
        labels = found.labels
        names = [np.bincount(y[known][labels == n], minlength=10).argmax() for n in range(10)]
        cells = [str(names[label]) if label >= 0 else None for label in labels]
        classifier = manyhot.fit((images[known], {"label": cells}), ["label"], seed=seed)
        answers = classifier.predict((images[held], {"label": [None] * len(held)}))["label"]
        scores.append(float(np.mean(np.array(answers) == y[held].astype(str))))
        right = np.mean([cell == str(digit) for cell, digit in zip(cells, y[known])])
        told = f"held-out accuracy {scores[-1]:.4f}, {seconds:.0f} s to cluster"
        print(f"seed {seed}: names right {right:.4f}, {told}", flush=True)
    print(f"median held-out accuracy of {seeds}: {np.median(scores):.4f}")


def million(options: Options) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (12, 64)).astype(np.float32)
    seconds = {}
    for rows in (250_000, 1_000_000):
        y = rng.integers(0, 12, rows)
        z = centres[y] + rng.normal(0, 1, (rows, 64)).astype(np.float32)
        table = manyhot.read({f"c{i:02d}": z[:, i] for i in range(64)})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        told: list[Any] = []
        start = time.perf_counter()
        found = manyhot.cluster(
            table, clusters=12, on_event=lambda *line, told=told: told.append(line), **options
        )
        seconds[rows] = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        nmi = agreement(y, found.groups.labels)["nmi"]
        print(
            f"{rows:,} × 64: {seconds[rows]:.1f} s, peak memory {peak:.2f} GiB "
            f"({before:.2f} with the data alone), NMI {nmi:.3f}, progress told {len(told)} times",
            flush=True,
        )
    print(f"ratio of the times for 4 times the rows: {seconds[1_000_000] / seconds[250_000]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=("mnist", "digits", "auto", "named", "million"))
    parser.add_argument("seeds", nargs="?", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    options = dict(text.split("=", 1) for text in args.set)
    print(machine())
    match args.mode:
        case "mnist":
            grouped(mnist, "clustering_accuracy", args.seeds, options)
        case "digits":
            grouped(digits, "nmi", args.seeds, options)
        case "auto":
            auto(args.seeds, options)
        case "named":
            named(args.seeds, options)
        case "million":
            million(options)


if __name__ == "__main__":
    main()
