"""Many data sets at once, by which a default is judged: ours beside others, and beside an earlier run.

MANYHOT_DATA=… python benchmarks/suite.py [--choose] [--only NAME,…] [--set KEY=VALUE] [--out FILE]
    [--peers-from FILE] [--against FILE]

Tables with one target: those of MANYHOT_DATA/keel, and scikit-learn's wine, breast cancer and digits (iris
is among the first). Each is split at random, 30 % to be judged by, as often as `--splits` says. Tables with
tags: six of MANYHOT_DATA/mulan by their standard split, one fit a seed, and draws of row E. Ours is fitted
with the objective exact_match, and its thresholds to the objective of each score. `--only` reaches the
pictures too, which are left out otherwise.

`--choose` is for choosing among settings: the rows to judge by are cut from the training rows of the first
split, so that the test rows of the first split stay unseen. A claim is made by a run without `--choose`; of
its random splits the first is the clean one, the test rows of the others may have been chosen by.

Printed by each score are ours, the best other, ours ahead of it with its error, and the seconds. An error is
the larger of two standard errors of a mean: over the splits, and over draws of the rows to judge by, which
are the same draws for all. `--peers-from` names a file that keeps the results of the others, so that each
runs once; what it holds is used, `--peers` says which of the others are run besides. `--against` sets this
run beside the `--out` of an earlier one and gives the verdict: a default changes only for a gain in mean
rank or mean regret larger than its error, with no data set worse by more than its own error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tables
from race import data, machine
from tabular import columns, draw

DRAWS = 100  # of the rows to be judged by
TEST = 0.3
FLOOR = 1e-7  # of a probability, for the log loss: a forest says 0, and is not to lose everything by one row
SIGNS = {"accuracy": 1, "log loss": -1, **{score: sign for score, (_, sign) in tables.SCORES.items()}}
ALMOST = 1e-9  # of a difference that rounding makes
MULAN = ("yeast", "scene", "emotions", "birds", "enron", "medical")
ROW_E = ("e",)
BUNDLED = ("wine", "cancer", "digits")
PICTURES = ("digits-pictures", "cifar10")
TAG_PEERS = {  # what `--peers` calls them → what tables.py calls them
    "logistic": "logistic regressions",
    "chain": "chain of logistic regressions",
    "extra_trees": "extra trees",
    "powerset": "powerset, extra trees",
}
BOOSTED = {  # name → module, class, options
    "lightgbm": ("lightgbm", "LGBMClassifier", {"verbose": -1}, "n_jobs"),
    "catboost": (
        "catboost",
        "CatBoostClassifier",
        {"verbose": 0, "allow_writing_files": False},
        "thread_count",
    ),
    "xgboost": ("xgboost", "XGBClassifier", {}, "n_jobs"),
}
OURS = "ours"
Scores = dict[str, list[float]]  # score → its value, then its values by draws
Make = Callable[[], Any]


class Rows(NamedTuple):
    """Rows with one target: a table for ours, its columns (N, D) for others, and the classes, (N,)."""

    table: Any
    x: np.ndarray
    y: np.ndarray
    test: np.ndarray | None = None  # positions, where the split is given

    def take(self, index: np.ndarray) -> Rows:
        return Rows(self.table.take(index), self.x[index], self.y[index])


class Part(NamedTuple):
    """One split of a data set: its name, what was cut, and a mark that says whether two runs cut the same."""

    kind: str  # class or tags
    train: Any
    test: Any
    mark: int


# Data sets


def keel(name: str) -> Rows:
    """Return a table of MANYHOT_DATA/keel; columns that are not all numbers stay text."""
    import manyhot

    table = manyhot.read(data("keel") / f"{name}.csv")
    cells = [np.array(table.columns[c].to_pylist(), object) for c in table.names if c != "target"]
    return rows_of(table, np.column_stack([_numbers(c) for c in cells]), table.columns["target"].to_pylist())


def _numbers(cells: np.ndarray) -> np.ndarray:
    try:
        return np.array([np.nan if cell in (None, "") else float(cell) for cell in cells], object)
    except ValueError:
        return np.array(["" if cell is None else str(cell) for cell in cells], object)


def rows_of(table: Any, x: np.ndarray, labels: Any, test: np.ndarray | None = None) -> Rows:
    """Return rows whose classes are told by numbers from 0 on, in the table by such names as class3."""
    y = np.unique(np.asarray(labels), return_inverse=True)[1].ravel()
    return Rows(table.with_columns({"target": [f"class{c}" for c in y]}), x, y, test)


def bundled(name: str) -> Rows:
    from sklearn import datasets

    load = {"wine": datasets.load_wine, "cancer": datasets.load_breast_cancer, "digits": datasets.load_digits}
    x, y = load[name](return_X_y=True)
    return rows_of(columns(x), x, y)


def pictures(name: str) -> Rows:
    """Return small pictures: scikit-learn's digits, or MANYHOT_DATA/cifar10; others see their pixels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    import manyhot

    if name == "digits-pictures":
        found = load_digits()
        pixels, labels, test = (found.images * 255 / 16).astype(np.uint8), found.target, None
    else:
        read = manyhot.read(data("cifar10") / "labels.csv")
        paths, labels = read.columns["image"].to_pylist(), read.columns["label"].to_pylist()
        pixels = np.stack([np.asarray(Image.open(data("cifar10") / path).convert("RGB")) for path in paths])
        test = np.flatnonzero(np.array(read.columns["split"].to_pylist()) == "test")
    return rows_of(manyhot.read(pixels), pixels.reshape(len(pixels), -1), labels, test)


def names(asked: str | None) -> list[str]:
    """Return the data sets to run: those asked for, else all but pictures."""
    keels = sorted(path.stem for path in data("keel").glob("*.csv"))
    usual = [*keels, *BUNDLED, *MULAN, *ROW_E]
    if asked is None:
        return usual
    strange = set(chosen := asked.split(",")) - {*usual, *PICTURES}
    if strange:
        sys.exit(f"no data set {', '.join(sorted(strange))}; there are {', '.join([*usual, *PICTURES])}")
    return chosen


def split_of(name: str, number: int, choose: bool) -> Part:
    """Return a split of a data set; with `choose`, one of the training rows of its first."""
    if name in MULAN or name in ROW_E:
        first = tables.mulan(name) if name in MULAN else tables.Split(*draw(1 if choose else number + 1)[:4])
        if choose:
            left, held = _cut(len(first.x), number)
            first = tables.Split(first.x[left], first.y[left], first.x[held], first.y[held])
        return Part("tags", first, None, _mark(first.y, first.y_test))
    rows = (pictures if name in PICTURES else bundled if name in BUNDLED else keel)(name)
    if rows.test is not None:
        left, held = np.delete(np.arange(len(rows.y)), rows.test), rows.test
    else:
        left, held = _cut(len(rows.y), 0 if choose else number, rows.y)
    train, test = rows.take(left), rows.take(held)
    if choose:
        left, held = _cut(len(train.y), number, train.y)
        train, test = train.take(left), train.take(held)
    return Part("class", train, test, _mark(train.y, test.y))


def _cut(rows: int, seed: int, y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    left, held = train_test_split(np.arange(rows), test_size=TEST, random_state=seed, stratify=y)
    return np.sort(left), np.sort(held)


def _mark(*labels: np.ndarray) -> int:
    return zlib.crc32(b"".join(np.ascontiguousarray(y, dtype=np.int64).tobytes() for y in labels))


# Models


def class_peers(x: np.ndarray, jobs: int) -> dict[str, Callable[[int], Any]]:
    """Return what makes each of the others from a seed, for these columns (N, D) of numbers or of text."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    text = [i for i in range(x.shape[1]) if any(isinstance(cell, str) for cell in x[:, i])]
    rest = [i for i in range(x.shape[1]) if i not in text]

    def prepared(*steps):
        numbers = make_pipeline(FunctionTransformer(np.float64), SimpleImputer(strategy="median"))
        return make_pipeline(
            make_column_transformer(
                (numbers, rest),
                (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
            ),
            *steps,
        )

    def boosted(make):
        return lambda seed: prepared(make(random_state=seed))

    def logistic(seed):
        found = GridSearchCV(
            LogisticRegression(max_iter=1000), {"C": [0.01, 0.1, 1, 10, 100]}, cv=3, scoring="neg_log_loss"
        )
        return prepared(StandardScaler(), found)

    makers: dict[str, Callable[[int], Any]] = {
        "logistic": logistic,
        "random_forest": lambda seed: prepared(RandomForestClassifier(500, n_jobs=jobs, random_state=seed)),
        "extra_trees": lambda seed: prepared(ExtraTreesClassifier(500, n_jobs=jobs, random_state=seed)),
    }
    for name, (module, kind, options, threads) in BOOSTED.items():
        if name not in missing():
            make = partial(getattr(import_module(module), kind), **options, **{threads: jobs})
            makers[name] = boosted(make)
    return makers


@cache
def missing() -> dict[str, str]:
    """Return which of the boosted trees do not import, and why."""
    found = {}
    for name, (module, *_) in BOOSTED.items():
        try:
            import_module(module)
        except ImportError as error:
            found[name] = str(error)
    return found


def judged(part: Part, answers: Any) -> Scores:
    """Return the scores of probabilities (N, C), or of the answers of tables.py, as they are and by draws."""
    y = part.train.y_test if part.kind == "tags" else part.test.y
    rows = len(y)
    rng = np.random.default_rng(0)
    counts = np.vstack([np.ones(rows), rng.multinomial(rows, np.full(rows, 1 / rows), DRAWS)])
    if part.kind == "tags":
        found = tables.scores(answers, y, counts)
    else:
        chances = np.clip(answers, FLOOR, 1)
        chances /= chances.sum(axis=1, keepdims=True)
        found = {
            "accuracy": counts @ (answers.argmax(axis=1) == y) / rows,
            "log loss": counts @ -np.log(chances[np.arange(rows), y]) / rows,
        }
    return {score: np.round(values, 6).tolist() for score, values in found.items()}


def run_ours(part: Part, seed: int, effort: str, options: dict[str, Any]) -> Any:
    import manyhot

    options = {"threads": "2", **options}
    if part.kind == "tags":
        return tables.ours(part.train, seed, effort, **{"objective": "exact_match", **options})
    fitted = manyhot.fit(part.train.table, "target", effort=effort, seed=seed, **options)
    found = fitted.predict_proba(part.test.table)["target"]
    chances = np.zeros((len(found), max(part.train.y.max(), part.test.y.max()) + 1))
    chances[:, [int(c.removeprefix("class")) for c in fitted.schema.targets[0].classes]] = found
    return chances


def run_peer(part: Part, make: Callable[[int], Any], name: str, seed: int) -> Any:
    if part.kind == "tags":
        return tables.other(TAG_PEERS[name], make, part.train, seed)
    model = make(seed).fit(part.train.x, part.train.y)
    found = model.predict_proba(part.test.x)
    chances = np.zeros((len(found), max(part.train.y.max(), part.test.y.max()) + 1))
    chances[:, np.unique(part.train.y)] = found
    return chances


def measure(part: Part, run: Callable[[], Any]) -> dict[str, Any]:
    start = time.perf_counter()
    answers = run()
    return {
        "mark": part.mark,
        "seconds": round(time.perf_counter() - start, 2),
        "scores": judged(part, answers),
    }


# A run of the suite. Results are kept as data set → model → the number of the split → what `measure` returns.


def run(args: argparse.Namespace) -> dict[str, Any]:
    options = dict(pair.split("=", 1) for pair in args.set)
    about = {
        "machine": machine(),
        "choose": args.choose,
        "effort": args.effort,
        "options": options,
        "splits": args.splits,
    }
    kept = Kept(args.peers_from, args.choose)
    found: dict[str, Any] = {}
    chosen = names(args.only)
    for at, name in enumerate(chosen, start=1):
        start = time.perf_counter()
        models: dict[str, dict[str, Any]] = {}
        for number in range(args.splits):
            part = split_of(name, number, args.choose)
            if number == 0:
                print(f"\n[{at} of {len(chosen)}] {name}: {_size(part)}", flush=True)
            results = {} if args.peers_only else {OURS: _ours(part, number, args.effort, options)}
            results |= _others(part, number, args, kept.of(name, number, part))
            for model, result in results.items():
                if result is not None:
                    models.setdefault(model, {})[str(number)] = result
        kept.put(name, models)
        fewer = [model for model, runs in models.items() if model != OURS and len(runs) < args.splits]
        if fewer:
            print(f"  left out, without results of every split: {', '.join(fewer)}")
        found[name] = models = {model: runs for model, runs in models.items() if model not in fewer}
        show(models)
        print(f"  {time.perf_counter() - start:.1f} s in all", flush=True)
        if args.out:
            _write(args.out, {"about": about, "results": found})
    return {"about": about, "results": found}


def _size(part: Part) -> str:
    if part.kind == "tags":
        x, y, held = part.train.x, part.train.y, part.train.y_test
        many = f"{y.shape[1]} tags"
    else:
        x, y, held = part.train.x, part.train.y, part.test.y
        many = f"{y.max() + 1} classes"
    return f"{len(y)} rows and {len(held)} to judge by, {x.shape[1]} columns, {many}"


def _ours(part: Part, seed: int, effort: str, options: dict[str, Any]) -> dict[str, Any] | None:
    import manyhot

    try:
        return measure(part, partial(run_ours, part, seed, effort, options))
    except (manyhot.UserError, manyhot.RunError) as error:
        print(f"  ours FAILED: {error}", flush=True)
        return None


def _others(
    part: Part, seed: int, args: argparse.Namespace, held: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any] | None]:
    """Return the results of the others, those that are held and those that are to be run."""
    if part.kind == "tags":
        made = tables.others(args.jobs)
        makers = {name: made[there] for name, there in TAG_PEERS.items()}
    else:
        makers = class_peers(part.train.x, args.jobs)
    found: dict[str, dict[str, Any] | None] = dict(held)
    for name, make in makers.items():
        if name in held or not (args.peers is None or name in args.peers):
            continue
        try:
            found[name] = measure(part, partial(run_peer, part, make, name, seed))
        except Exception as error:  # of another library, whatever it be: the suite goes on without it
            print(f"  {name} failed and is left out: {type(error).__name__}: {error}", flush=True)
    return found


class Kept:
    """The results of the others in a file, so that they run once."""

    def __init__(self, path: str | None, choose: bool) -> None:
        self.path, self.choose = path, choose
        self.results: dict[str, Any] = {}
        if path and Path(path).exists():
            held = json.loads(Path(path).read_text(encoding="utf-8"))
            if held["about"]["choose"] != choose:
                sys.exit(f"{path} was made {'without' if choose else 'with'} --choose: name another file")
            self.results = {
                name: {model: each for model, each in models.items() if model != OURS}
                for name, models in held["results"].items()
            }

    def of(self, name: str, number: int, part: Part) -> dict[str, dict[str, Any]]:
        """Return what is kept of the others for a split, by their names."""
        models = {model: runs.get(str(number)) for model, runs in self.results.get(name, {}).items()}
        return {model: held for model, held in models.items() if held and held["mark"] == part.mark}

    def put(self, name: str, models: dict[str, Any]) -> None:
        if self.path:
            there = self.results.setdefault(name, {})
            for model, runs in models.items():
                if model != OURS:
                    there[model] = there.get(model, {}) | runs
            _write(self.path, {"about": {"choose": self.choose}, "results": self.results})


def _write(path: str, what: object) -> None:
    partial_file = Path(f"{path}.part")
    partial_file.write_text(json.dumps(what), encoding="utf-8")
    partial_file.replace(path)


# What is printed


def means(runs: dict[str, Any], score: str) -> float:
    return float(np.mean([each["scores"][score][0] for each in runs.values()]))


def ahead(first: dict[str, Any], second: dict[str, Any], score: str) -> tuple[float, float]:
    """Return how far the first is ahead of the second, the mean over the splits of both, and its error."""
    both = [
        number for number in first if number in second and first[number]["mark"] == second[number]["mark"]
    ]
    if not both:
        return float("nan"), float("nan")
    each = SIGNS[score] * np.array(
        [np.subtract(first[n]["scores"][score], second[n]["scores"][score]) for n in both]
    )
    over_splits = each[:, 0].std(ddof=1) / len(both) ** 0.5 if len(both) > 1 else 0.0
    same_rows = len({first[number]["mark"] for number in both}) == 1
    draws = each[:, 1:].std(axis=1, ddof=1)
    over_rows = each[:, 1:].mean(axis=0).std(ddof=1) if same_rows else (draws**2).sum() ** 0.5 / len(both)
    return float(each[:, 0].mean()), float(max(over_splits, over_rows))


def show(models: dict[str, Any]) -> None:
    """Print ours beside the best other by each score."""
    peers = [model for model in models if model != OURS]
    if not models:
        return
    for score in next(iter(next(iter(models.values())).values()))["scores"]:
        told = []
        if OURS in models:
            told += [f"ours {means(models[OURS], score):.4f}"]
        if peers:
            best = max(peers, key=lambda model: SIGNS[score] * means(models[model], score))
            told += [f"{best} {means(models[best], score):.4f}"]
            if OURS in models:
                gain, error = ahead(models[OURS], models[best], score)
                told += [f"ahead by {gain:+.4f} ± {error:.4f}"]
        print(f"  {score:12} {', '.join(told)}", flush=True)
    seconds = {m: np.mean([each["seconds"] for each in runs.values()]) for m, runs in models.items()}
    print("  seconds      " + ", ".join(f"{model} {mean:.1f}" for model, mean in seconds.items()), flush=True)


def standings(results: dict[str, Any], score: str) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    """Return the data sets that have the score, and the rank and the regret of each model by data set.

    A model's regret is how far it is behind the best; equal ones share the mean of their ranks.
    """
    from scipy.stats import rankdata

    found: dict[str, dict[str, list[float]]] = {}
    sets = []
    for name, models in results.items():
        if any(score not in each["scores"] for runs in models.values() for each in runs.values()):
            continue
        sets.append(name)
        values = np.array([SIGNS[score] * means(runs, score) for runs in models.values()])
        ranks = rankdata(-np.round(values, 6))
        for model, value, rank in zip(models, values, ranks, strict=True):
            there = found.setdefault(model, {"rank": [], "regret": []})
            there["rank"].append(float(rank))
            there["regret"].append(float(values.max() - value))
    return sets, found


def summary(results: dict[str, Any]) -> None:
    for score in SIGNS:
        sets, found = standings(results, score)
        if not sets:
            continue
        print(f"\n{score}, {len(sets)} data sets: mean rank, mean and worst regret")
        for model, got in sorted(found.items(), key=lambda item: np.mean(item[1]["rank"])):
            line = f"{np.mean(got['rank']):.2f}, {np.mean(got['regret']):.4f}, {max(got['regret']):.4f}"
            fewer = "" if len(got["rank"]) == len(sets) else f" (of {len(got['rank'])} of them)"
            print(f"  {model:16} {line}{fewer}")


def compare(now: dict[str, Any], before: dict[str, Any], errors: float) -> None:
    """Print this run of ours beside an earlier one, data set by data set, and the verdict of the rule."""
    if now["about"]["choose"] != before["about"]["choose"]:
        sys.exit("one of the two runs was made with --choose, the other without")
    print(f"\nnow {_what(now)}; before {_what(before)}")
    pool: dict[str, Any] = {}
    for name, models in now["results"].items():
        earlier = before["results"].get(name, {}).get(OURS, {})
        both = {n for n, mark in _marks(models.get(OURS, {})).items() if _marks(earlier).get(n) == mark}
        if both:
            renamed = {"now" if model == OURS else model: runs for model, runs in models.items()}
            renamed["before"] = earlier
            pool[name] = {m: {n: runs[n] for n in sorted(both)} for m, runs in renamed.items()}
    left_out = set(now["results"]) ^ set(before["results"]) | set(now["results"]) - set(pool)
    if left_out:
        print(f"not in both runs with the same splits: {', '.join(sorted(left_out))}")
    verdicts = {score: verdict(pool, score, errors) for score in SIGNS}
    verdicts = {score: found for score, found in verdicts.items() if found}
    print()
    for score, found in verdicts.items():
        print(f"{score}: {found}")


def _what(one: dict[str, Any]) -> str:
    options = " ".join(f"{key}={value}" for key, value in one["about"]["options"].items())
    return f"{one['about']['effort']} {options}".strip()


def _marks(runs: dict[str, Any]) -> dict[str, int]:
    return {number: each["mark"] for number, each in runs.items()}


def verdict(pool: dict[str, Any], score: str, errors: float) -> str:
    """Print the differences by a score; return whether by it the default changes, and why."""
    sets, found = standings(pool, score)
    if not sets:
        return ""
    print(f"\n{score}: now, before, gain with its error")
    worse = []
    for name in sets:
        gain, error = ahead(pool[name]["now"], pool[name]["before"], score)
        behind = gain < -errors * error - ALMOST
        worse += [name] if behind else []
        both = f"{means(pool[name]['now'], score):.4f}, {means(pool[name]['before'], score):.4f}"
        print(f"  {name:16} {both}, {gain:+.4f} ± {error:.4f}{', worse' if behind else ''}")
    gained = []
    for what in ("rank", "regret"):
        now, before = np.array(found["now"][what]), np.array(found["before"][what])
        gain = (before - now).mean()
        error = (before - now).std(ddof=1) / len(sets) ** 0.5 if len(sets) > 1 else float("inf")
        gained += [f"mean {what}"] if gain > errors * error + ALMOST else []
        worst = f", worst {now.max():.4f}, {before.max():.4f}" if what == "regret" else ""
        print(f"  mean {what:11} {now.mean():.4f}, {before.mean():.4f}, {gain:+.4f} ± {error:.4f}{worst}")
    if not gained:
        return "stays: no gain in mean rank or mean regret larger than its error"
    if worse:
        return (
            f"stays: a gain in {' and '.join(gained)}, but worse by more than the error: {', '.join(worse)}"
        )
    return f"changes: a gain in {' and '.join(gained)}, no data set worse by more than its error"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAME,…", help="data sets; else all but pictures")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--choose", action="store_true", help="judge by rows cut from the training rows")
    parser.add_argument("--effort", default="balanced")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of ours")
    parser.add_argument("--peers", metavar="NAME,…", help="the others to run, or none; else all there are")
    parser.add_argument("--peers-only", action="store_true", help="run the others alone, for --peers-from")
    parser.add_argument("--peers-from", metavar="FILE", help="keeps the results of the others")
    parser.add_argument("--jobs", type=int, default=2, help="threads of the others")
    parser.add_argument("--out", metavar="FILE", help="writes all results as JSON")
    parser.add_argument("--against", metavar="FILE", help="an --out of before")
    parser.add_argument("--errors", type=float, default=1, help="how many errors a difference must exceed")
    given = parser.parse_args()
    if given.peers is not None:
        given.peers = [] if given.peers == "none" else given.peers.split(",")
        strange = set(given.peers) - {"random_forest", "logistic", "extra_trees", *BOOSTED, *TAG_PEERS}
        if strange:
            parser.error(f"no such peers: {', '.join(sorted(strange))}")
    warnings.simplefilter("ignore")  # of the others: no convergence, a class with few rows
    print(machine())
    for name, reason in missing().items():
        if given.peers is None or name in given.peers:
            print(f"{name} is left out: {reason}")
    earlier = json.loads(Path(given.against).read_text(encoding="utf-8")) if given.against else None
    if not given.peers_only:
        import manyhot.fitting  # noqa: F401  (so that the first fit is not charged for it)
    result = run(given)
    summary(result["results"])
    if earlier is not None:
        compare(result, earlier, given.errors)
    done = [len(models.get(OURS, {})) == given.splits for models in result["results"].values()]
    sys.exit(0 if given.peers_only or all(done) else "ours failed on a split of a data set")
