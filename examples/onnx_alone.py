"""Answer the rows of a CSV by an exported model of a table, with onnxruntime and NumPy alone.

python onnx_alone.py MODEL.onnx ROWS.csv

`manyhot export` leaves to the caller what turns cells into `x`; these are its rules for numbers and
categories. (Dates, numbers written as 1.234,50 € and pictures are more work: `manyhot predict MODEL.onnx`.)
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

if len(sys.argv) != 3:
    sys.exit(__doc__)
session = onnxruntime.InferenceSession(sys.argv[1])
meta = session.get_modelmeta().custom_metadata_map
features = json.loads(meta["manyhot.inputs"]).get("features")
if not features:
    sys.exit("This is a model of pictures; try `manyhot predict MODEL.onnx`.")


def cell(feature, text):
    if feature["kind"] == "category":  # 1 and up for those that training had often, 0 for any other
        return feature["classes"].index(text) + 1 if text in feature["classes"] else 0
    z = (float(text or "nan") - feature["center"]) / feature["scale"]
    return z / np.sqrt(1 + (z / 3) ** 2)  # large ones are bent towards 3


with Path(sys.argv[2]).open(newline="", encoding="utf-8") as file:
    x = np.array([[cell(f, row[f["name"]]) for f in features] for row in csv.DictReader(file)], np.float32)
for target in json.loads(meta["manyhot.schema"])["targets"]:
    name, classes, decision = target["name"], target["classes"], target["decision"]
    cuts = np.array(decision["thresholds"] or 0.5)  # one for all, one for yes, or one for each class or tag
    (probabilities,) = session.run([name], {"x": x})
    if decision["objective"] == "exact_match" and target["label_sets"]:
        (sets,) = session.run([f"{name}.sets"], {"x": x})
    for row, chances in enumerate(probabilities):
        if target["kind"] == "multilabel":
            tags = [tag for tag, yes in zip(classes, chances >= cuts, strict=True) if yes]
            if decision["objective"] == "exact_match" and target["label_sets"]:
                tags = target["label_sets"][sets[row].argmax()]
            print(f"row {row}, {name}: {';'.join(tags) or '[]'}")
        else:
            best = (
                int(np.all(chances[1] >= cuts)) if target["kind"] == "binary" else (chances - cuts).argmax()
            )
            print(f"row {row}, {name}: {classes[best]} ({chances[best]:.3f})")
