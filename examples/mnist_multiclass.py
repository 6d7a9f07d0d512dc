"""MNIST as ten classes, with the curve of the loss.

    python examples/mnist_multiclass.py FOLDER

FOLDER holds MNIST as distributed; without it, scikit-learn's small digits are used. The command line:

    manyhot fit FOLDER --out model && manyhot evaluate model FOLDER

Pixels are normalised by the mean and the deviation of (at most 5,000 of) the training rows. Over all of them
these are 0.1307 and 0.3081; what was found is kept in the model, so nobody has to know it for an answer.
"""

import argparse

from sklearn.datasets import load_digits

import manyhot

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder", nargs="?", help="MNIST as distributed")
parser.add_argument("--effort", default="balanced", choices=["fast", "balanced", "best"])
parser.add_argument("--out", help="a folder to write the model to, with the report and the curve")
parser.add_argument("--small", action="store_true", help="three epochs on small digits, to see it run")
args = parser.parse_args()

options = {"effort": args.effort, "out": args.out}
if args.folder and not args.small:
    table = manyhot.read(args.folder)  # columns `label` and `split`; the test rows are never read by fit
else:
    digits = load_digits()
    table = manyhot.read((digits.images / 16, digits.target))
    options["test"] = 0.2
if args.small:
    options["epochs"] = 3

classifier = manyhot.fit(table, "label", **options)

# The history has a line every 50 steps and one per epoch; with --out it is history.jsonl in the model.
print("step  loss    rate")
for line in classifier.run.history:
    if line["kind"] == "step":
        print(f"{line['step']:>4}  {line['loss']:.4f}  {line['learning_rate']:.5f}")
print("epoch  training loss  held-out accuracy")
for line in classifier.run.history:
    if line["kind"] == "epoch":
        accuracy = line["validation"]["targets"]["label"]["accuracy"]
        print(f"{line['epoch']:>5}  {line['loss']:13.4f}  {accuracy:17.4f}")

inputs = classifier.bundle.inputs
print(f"pixels normalised by mean {inputs.mean[0]:.4f} and deviation {inputs.std[0]:.4f}")
print(f"test accuracy {classifier.evaluate(table)['targets']['label']['accuracy']:.4f}")
