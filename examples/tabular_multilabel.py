"""Three tags from ten numbers: scikit-learn's `make_multilabel_classification`, a third held out.

    python examples/tabular_multilabel.py

The tags are three columns of 0 and 1. With the table in a file the command line does the same:

    manyhot fit table.csv --tags tags=t0,t1,t2 --out model && manyhot evaluate model table.csv
"""

import argparse

import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.model_selection import train_test_split

import manyhot

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--effort", default="balanced", choices=["fast", "balanced", "best"])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--small", action="store_true", help="few rows and epochs, to see it run")
args = parser.parse_args()

# One of the three tags is so rare that scikit-learn draws for many seconds until enough rows have it.
rows = 100 if args.small else 1000
X, y = make_multilabel_classification(n_samples=rows, n_features=10, n_classes=3, n_labels=2, random_state=1)
_, held_out = train_test_split(np.arange(rows), test_size=0.33, random_state=42)

columns = {f"x{number}": X[:, number] for number in range(10)} | {f"t{tag}": y[:, tag] for tag in range(3)}
columns["split"] = np.where(np.isin(np.arange(rows), held_out), "test", "train")
table = manyhot.read(columns)

schema = manyhot.infer(table, tags={"tags": ["t0", "t1", "t2"]})
options = {"epochs": 5} if args.small else {}
classifier = manyhot.fit(table, schema, effort=args.effort, seed=args.seed, **options)

# The rows marked `test` have been seen by nothing until here. A tag is given from probability 0.5 on.
scores = classifier.evaluate(table)
print(f"{scores['rows']} test rows")
for name, value in scores["targets"]["tags"].items():
    print(f"{name:24} {value:.4f}")
print(f"\nexact match {scores['targets']['tags']['exact_match']:.4f}")
