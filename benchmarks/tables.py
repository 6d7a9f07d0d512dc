"""Tables with several tags: ours beside scikit-learn's and LightGBM's, by five scores and by seconds.

MANYHOT_DATA=… python benchmarks/tables.py [TABLE …] [--seeds N] [--effort EFFORT]

Tables: yeast and scene (their standard split, from MANYHOT_DATA/mulan), e (a draw of row E), and digits, wine
and cancer (scikit-learn's, with tags derived from the class and from columns that are then left out; a third
held out). Ours is one fit a seed; its thresholds are fitted to each score's objective on its own held-out
rows. The others answer as they do by default: a tag from 0.5 on, a set by its likeliest class. Printed are
the means over the seeds and, for ours minus the best other by each score, a 95 % interval of 1,000 paired
draws of the test rows. docs/experiments.md says what rows A to E are.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from race import data, machine
from tabular import columns, draw, with_tags

SCORES = {  # score → (the objective that ours serves for it, 1 where more is better)
    "exact match": ("exact_match", 1),
    "Hamming loss": ("hamming", -1),
    "micro F1": ("micro_f1", 1),
    "macro F1": ("macro_f1", 1),
    "LRAP": ("hamming", 1),
}
DRAWS = 1_000


class Split(NamedTuple):
    """Columns (N, D) and tags (N, C) to train on, and those to be judged by."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class Answers(NamedTuple):
    """Tags by objective, int (N, C), and the probability of each tag, (N, C)."""

    tags: dict[str, np.ndarray]
    chances: np.ndarray
    seconds: float


def mulan(name: str) -> Split:
    folder = data("mulan") / name
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    parts = []
    for part in ("train", "test"):
        path = next(folder.glob(f"*{part}*.csv"))
        head = path.open(encoding="utf-8").readline().strip().split(",")
        values = np.loadtxt(path, delimiter=",", skiprows=1)
        at = [head.index(label) for label in labels]
        parts += [np.delete(values, at, axis=1), values[:, at].astype(int)]
    return Split(*parts)


def bundled(name: str) -> Split:
    """Return one of scikit-learn's tables with tags of its class and of a column that is left out."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    if name == "digits":
        x, digit = datasets.load_digits(return_X_y=True)
        y = np.stack([digit % 2 == 0, digit >= 5, np.isin(digit, [2, 3, 5, 7])], axis=1)
    else:
        load, left_out = {
            "wine": (datasets.load_wine, "alcohol"),
            "cancer": (datasets.load_breast_cancer, "texture"),
        }[name]
        found = load()
        named = np.array([left_out in column for column in found.feature_names])
        amount = found.data[:, named][:, 0]
        classes = np.eye(found.target.max() + 1, dtype=bool)[found.target][:, 1:]
        x, y = found.data[:, ~named], np.column_stack([classes, amount > np.median(amount)])
    x, x_test, y, y_test = train_test_split(x, y.astype(int), test_size=0.33, random_state=42)
    return Split(x, y, x_test, y_test)


TABLES: dict[str, Callable[[], Split]] = {
    "yeast": lambda: mulan("yeast"),
    "scene": lambda: mulan("scene"),
    "e": lambda: Split(*draw(1)[:4]),
    "digits": lambda: bundled("digits"),
    "wine": lambda: bundled("wine"),
    "cancer": lambda: bundled("cancer"),
}


def ours(split: Split, seed: int, effort: str, **options: Any) -> Answers:
    import manyhot
    from manyhot import predict
    from manyhot.targets import decide, marginals
    from manyhot.train.calibrate import fit_thresholds

    start = time.perf_counter()
    fitted = manyhot.fit(*with_tags(split.x, split.y), effort=effort, seed=seed, **options)
    probabilities = predict.predict(fitted.bundle, columns(split.x_test)).probabilities["tags"]
    judged = fitted.run.judged
    answers = {}
    for objective in {objective for objective, _ in SCORES.values()}:
        target = fitted.schema.targets[0].deciding(objective=objective)
        target = fit_thresholds(target, judged.probabilities["tags"], judged.y["tags"]).target
        answers[objective] = decide(target, probabilities)
    return Answers(answers, marginals(target, probabilities), time.perf_counter() - start)


def others(jobs: int = -1) -> dict[str, Callable[[int], Any]]:
    """Return what makes each of the others from a seed; those called powerset learn whole sets.

    `jobs` is how many threads the trees grow in, -1 is all.
    """
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def boosted(make):
        return lambda seed: MultiOutputClassifier(make(random_state=seed))

    def scaled(model):
        return make_pipeline(StandardScaler(), model)

    found: dict[str, Callable[[int], Any]] = {
        "random forest": lambda seed: RandomForestClassifier(500, n_jobs=jobs, random_state=seed),
        "extra trees": lambda seed: ExtraTreesClassifier(500, n_jobs=jobs, random_state=seed),
        "MLP": lambda seed: scaled(MLPClassifier(max_iter=500, early_stopping=True, random_state=seed)),
        "logistic regressions": lambda seed: scaled(MultiOutputClassifier(LogisticRegression(max_iter=1000))),
        "chain of logistic regressions": lambda seed: scaled(
            ClassifierChain(LogisticRegression(C=0.1, max_iter=1000), order="random", random_state=seed)
        ),
        "powerset, extra trees": lambda seed: ExtraTreesClassifier(500, n_jobs=jobs, random_state=seed),
        "powerset, SVM": lambda seed: scaled(SVC(C=10, probability=True, random_state=seed)),
    }
    makers = {
        "LightGBM": ("lightgbm", "LGBMClassifier", {"verbose": -1}),
        "XGBoost": ("xgboost", "XGBClassifier", {}),
        "CatBoost": ("catboost", "CatBoostClassifier", {"verbose": 0, "allow_writing_files": False}),
    }
    for name, (module, kind, options) in makers.items():
        try:
            make = getattr(__import__(module), kind)
        except ImportError:
            continue
        found[name] = boosted(partial(make, **options))
    return found


def other(name: str, make: Callable[[int], Any], split: Split, seed: int) -> Answers:
    start = time.perf_counter()
    model = make(seed)
    if name.startswith("powerset"):
        sets, number = np.unique(split.y, axis=0, return_inverse=True)
        chosen = model.fit(split.x, number.ravel()).predict_proba(split.x_test)
        tags, chances = sets[chosen.argmax(axis=1)], chosen @ sets
    else:
        varied = split.y.min(axis=0) < split.y.max(axis=0)  # not all learn a tag that is always the same
        model.fit(split.x, split.y[:, varied])
        tags = np.repeat(split.y[:1], len(split.x_test), axis=0)
        chances = tags.astype(float)
        tags[:, varied], chances[:, varied] = model.predict(split.x_test), _chances(model, split)
    return Answers(
        {objective: tags for objective, _ in SCORES.values()}, chances, time.perf_counter() - start
    )


def _chances(model, split: Split) -> np.ndarray:
    """Return the probability of each tag from what a model gives, an array or one for each tag."""
    found = model.predict_proba(split.x_test)
    return np.stack([each[:, 1] for each in found], axis=1) if isinstance(found, list) else np.asarray(found)


def scores(answers: Answers, y: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return every score, of as many draws as `counts` (D, N) says how often each row is drawn; (D,) each."""
    found = {}
    for name, (objective, _) in SCORES.items():
        tags = answers.tags[objective]
        if name == "exact match":
            found[name] = _mean((tags == y).all(axis=1), counts)
        elif name == "Hamming loss":
            found[name] = _mean((tags != y).mean(axis=1), counts)
        elif name == "LRAP":
            found[name] = _mean(_ranking(answers.chances, y), counts)
        else:
            both, either = counts @ (tags & y), counts @ (tags + y)
            if name == "micro F1":
                both, either = both.sum(axis=1, keepdims=True), either.sum(axis=1, keepdims=True)
            found[name] = np.divide(2 * both, either, where=either > 0, out=np.zeros(both.shape)).mean(axis=1)
    return found


def _mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ values / counts.sum(axis=1)


def _ranking(chances: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the label-ranking average precision of each row, as scikit-learn has it."""
    from sklearn.metrics import label_ranking_average_precision_score as lrap

    return np.array([lrap(y[i : i + 1], chances[i : i + 1]) for i in range(len(y))])


def compare(name: str, seeds: int, effort: str) -> None:
    split = TABLES[name]()
    print(f"\n{name}: {len(split.x)} rows and {len(split.x_test)} to judge by, {split.x.shape[1]} columns, "
          f"{split.y.shape[1]} tags; {seeds} seeds", flush=True)  # fmt: skip
    rng = np.random.default_rng(0)
    rows = len(split.y_test)
    counts = np.vstack([np.ones(rows), rng.multinomial(rows, np.full(rows, 1 / rows), DRAWS)])
    found: dict[str, dict[str, np.ndarray]] = {}
    makers = {"ours": None, **others()}
    for model, make in makers.items():
        runs = [
            ours(split, seed, effort) if make is None else other(model, make, split, seed)
            for seed in range(seeds)
        ]
        each = [scores(run, split.y_test, counts) for run in runs]
        found[model] = {score: np.mean([one[score] for one in each], axis=0) for score in SCORES}
        line = ", ".join(f"{score} {found[model][score][0]:.4f}" for score in SCORES)
        print(f"{model:30} {line}, {np.mean([run.seconds for run in runs]):.1f} s", flush=True)
    for score, (_, sign) in SCORES.items():
        best = max((m for m in found if m != "ours"), key=lambda m: sign * found[m][score][0])
        ahead = sign * (found["ours"][score] - found[best][score])
        low, high = np.quantile(ahead[1:], [0.025, 0.975])
        print(f"{score}: ours ahead of {best} by {ahead[0]:+.4f} ({low:+.4f} to {high:+.4f})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*", default=[*TABLES])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--effort", default="balanced")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of the others: a tag with one class only, no convergence
    print(machine())
    for table in given.tables:
        compare(table, given.seeds, given.effort)
