"""Every label structure, and the activation, the loss and the decision that each one needs.

    python examples/label_structures.py

The pictures are given as an array, (N, H, W) grey or (N, H, W, 3) colour, of uint8 or of floats from 0 to 1:
so CIFAR-10, CIFAR-100 or anything else that is in memory can stand in their place. Which rule applies
follows from the labels alone; docs/losses.md has the reasons.
"""

import argparse

from sklearn.datasets import load_digits

import manyhot
from manyhot.data.sources.datasets import STROKES

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--small", action="store_true", help="two epochs, to see it run")
args = parser.parse_args()

RULES = {
    "binary": ("sigmoid", "binary cross-entropy", "yes from the threshold on"),
    "multiclass": ("softmax", "cross-entropy", "the likeliest class"),
    "multilabel": (
        "a sigmoid for each tag",
        "binary cross-entropy, mean over known tags",
        "each tag from its threshold on",
    ),
}
SCORE = {"binary": "accuracy", "multiclass": "accuracy", "multilabel": "exact_match"}

digits = load_digits()
labels = {
    "even": ["yes" if digit % 2 == 0 else "no" for digit in digits.target],  # two classes
    "digit": digits.target,  # one of ten
    "strokes": [list(STROKES[digit]) for digit in digits.target],  # any number of tags
}
labels["digit"] = [
    None if row % 10 == 0 else digit for row, digit in enumerate(digits.target)
]  # some unknown
table = manyhot.read((digits.images / 16, labels))

for targets in (["even"], ["digit"], ["strokes"], ["even", "digit", "strokes"]):
    classifier = manyhot.fit(table, targets, test=0.2, effort="fast", **({"epochs": 2} if args.small else {}))
    scores = classifier.evaluate(table)
    print(f"\n{' + '.join(targets)}: {len(targets)} head{'s' * (len(targets) > 1)} on one backbone")
    for target in classifier.schema.targets:
        activation, loss, decision = RULES[target.kind]
        value = scores["targets"][target.name][SCORE[target.kind]]
        print(f"  {target.name} is {target.kind}: {', '.join(target.classes)}")
        print(f"    activation  {activation}\n    loss        {loss}\n    decision    {decision}")
        print(f"    {SCORE[target.kind]} on the test rows: {value:.4f}")

print("\nNo labels at all: no activation and no loss; `classifier.embed` gives features that can be grouped:")
print(f"  {classifier.embed(table).shape[1]} numbers a row")
