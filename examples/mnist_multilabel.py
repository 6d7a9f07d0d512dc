"""MNIST with 100 tags: the digit d carries the tags d, d+10 and d+50, and 70 tags belong to no digit.

    python examples/mnist_multilabel.py FOLDER

FOLDER holds MNIST as distributed; without it, scikit-learn's small digits are used. The command line does
the same with a table of ten lines, `label,tags` and then `0,0;10;50` and so on:

    manyhot fit FOLDER --map label=tags.csv --tags tags --out model
"""

import argparse
from dataclasses import replace

from sklearn.datasets import load_digits

import manyhot

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder", nargs="?", help="MNIST as distributed")
parser.add_argument("--effort", default="balanced", choices=["fast", "balanced", "best"])
parser.add_argument("--small", action="store_true", help="a few epochs on small digits, to see it run")
args = parser.parse_args()

options = {"effort": args.effort}
if args.folder and not args.small:
    table = manyhot.read(args.folder)  # columns `label` and `split`; the test rows are never read by fit
else:
    digits = load_digits()
    table = manyhot.read((digits.images / 16, digits.target))
    options["test"] = 0.2
if args.small:
    options["epochs"] = 8

# The mapping is one line: any function from a class to tags would do.
tags = [f"{d};{d + 10};{d + 50}" for d in map(int, table.column("label").to_pylist())]
table = table.with_columns({"tags": tags})

# A target is data. Found in the rows, it has the 30 tags that some digit carries; here it gets all 100.
schema = manyhot.infer(table, tags={"tags": None})
hundred = replace(schema.targets[0], classes=tuple(str(number) for number in range(100)))
classifier = manyhot.fit(table, replace(schema, targets=(hundred,)), **options)

config = classifier.bundle.config
scores = classifier.evaluate(table)
found = scores["targets"]["tags"]
print(f"{config.backbone}, {config.epochs} epochs; {scores['rows']:,} test rows")
for name in ("exact_match", "micro_f1", "mean_average_precision"):
    print(f"{name:24} {found[name]:.4f}")
print("the first rows carry:", *classifier.predict(table)["tags"][:5])
