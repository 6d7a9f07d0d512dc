"""Row E: exact match over many draws of the generator, beside the classifier that knows how it draws.

python benchmarks/tabular.py [STATES]

docs/experiments.md says what rows A to E are. For each `random_state` (1, 2, …) the rows of row E are drawn
and a third is held out. Ours is one `manyhot.fit` on the rest with `objective="exact_match"`, at the default
effort and at "best". The classifier that knows takes the likeliest set of tags by Bayes' rule from the very
distributions that the generator used: no classifier can be better on average. For comparison, each set as
one class with scikit-learn's logistic regression, naive Bayes of counts and random forest, and its MLP tag
by tag.
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
from race import machine

CLASSES, LABELS = 3, 2
SETS = np.array(list(itertools.product([0, 1], repeat=CLASSES)))


def draw(state: int):
    """Return the rows of one draw: x and tags to train on, x and tags held out, and the distributions."""
    from sklearn.datasets import make_multilabel_classification
    from sklearn.model_selection import train_test_split

    x, y, of_class, of_word = make_multilabel_classification(
        n_samples=1000,
        n_features=10,
        n_classes=CLASSES,
        n_labels=LABELS,
        random_state=state,
        return_distributions=True,
    )
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.33, random_state=42)
    return x, y, x_test, y_test, of_class, of_word


def log_prior(tags: np.ndarray, of_class: np.ndarray) -> float:
    """Return how likely a set is: its size is Poisson up to 3, its classes are drawn until all differ."""
    sizes = [LABELS**n / math.factorial(n) for n in range(CLASSES + 1)]
    ways = 0.0
    for order in itertools.permutations(np.flatnonzero(tags)):
        left, way = 1.0, 1.0
        for c in order:
            way, left = way * of_class[c] / left, left - of_class[c]
        ways += way
    return math.log(ways * sizes[int(tags.sum())] / sum(sizes))


def who_knows(x: np.ndarray, of_class: np.ndarray, of_word: np.ndarray) -> np.ndarray:
    """Return the likeliest set of each row, given how the generator draws."""
    scores = np.empty((len(x), len(SETS)))
    for number, tags in enumerate(SETS):
        words = of_word @ tags if tags.any() else np.ones(len(of_word))
        scores[:, number] = x @ np.log(words / words.sum() + 1e-300) + log_prior(tags, of_class)
    return SETS[scores.argmax(axis=1)]


def ours(x, y, x_test, effort="balanced") -> np.ndarray:
    import manyhot

    fitted = manyhot.fit(*with_tags(x, y), objective="exact_match", effort=effort)
    return fitted.decide(columns(x_test))["tags"]


def columns(x: np.ndarray):
    """Return rows of numbers (N, D) as a table."""
    import manyhot

    return manyhot.read({f"x{i}": values for i, values in enumerate(x.T)})


def with_tags(x: np.ndarray, y: np.ndarray):
    """Return rows of numbers and of tags (N, C) as a table, and the schema with the one target `tags`."""
    import manyhot

    tags = {f"t{i}": values for i, values in enumerate(y.T)}
    table = columns(x)
    inputs = tuple(manyhot.Input(name, "number") for name in table.names)
    target = manyhot.Target("tags", "multilabel", tuple(tags), tuple(tags))
    return table.with_columns(tags), manyhot.Schema(inputs, (target,))


def powerset(model):
    def fitted(x, y, x_test):
        place = np.array([4, 2, 1])
        return SETS[model.fit(x, y @ place).predict(x_test)]

    return fitted


def others():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mlp = make_pipeline(StandardScaler(), MLPClassifier(max_iter=1000, random_state=0))
    return {
        "ours": ours,
        "ours, effort best": partial(ours, effort="best"),
        "sets, logistic regression": powerset(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        ),
        "sets, multinomial naive Bayes": powerset(MultinomialNB()),
        "sets, random forest": powerset(RandomForestClassifier(500, random_state=0)),
        "tags, scikit-learn's MLP": lambda x, y, x_test: mlp.fit(x, y).predict(x_test),
    }


def main(states: int) -> None:
    warnings.simplefilter("ignore")  # of scikit-learn's MLP, that it did not converge
    print(machine())
    models = others()
    best, seconds = [], dict.fromkeys(models, 0.0)
    found: dict[str, list[Any]] = {name: [] for name in models}
    for state in range(1, states + 1):
        x, y, x_test, y_test, of_class, of_word = draw(state)
        best.append(float((who_knows(x_test, of_class, of_word) == y_test).all(axis=1).mean()))
        for name, model in models.items():
            start = time.perf_counter()
            answers = model(x, y, x_test)
            seconds[name] += time.perf_counter() - start
            found[name].append(float((answers == y_test).all(axis=1).mean()))
        line = ", ".join(f"{name} {values[-1]:.3f}" for name, values in found.items())
        print(f"state {state}: who knows {best[-1]:.3f}; {line}", flush=True)
    print(f"\nmean of {states}: who knows {statistics.mean(best):.4f}")
    for name, values in found.items():
        below = [b - v for b, v in zip(best, values, strict=True)]
        error = statistics.stdev(below) / states**0.5
        ratio = seconds[name] / seconds["ours"]
        print(
            f"{name}: {statistics.mean(values):.4f}, below by {statistics.mean(below):.4f} ± {error:.4f}; "
            f"{ratio:.2f} of our time"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
