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

session = onnxruntime.InferenceSession(sys.argv[1])
meta = session.get_modelmeta().custom_metadata_map
features = json.loads(meta["manyhot.inputs"])["features"]


def cell(feature, text):
    if feature["kind"] == "category":  # 1 and up for those that training had often, 0 for any other
        return feature["classes"].index(text) + 1 if text in feature["classes"] else 0
    z = (float(text or "nan") - feature["center"]) / feature["scale"]
    return z / np.sqrt(1 + (z / 3) ** 2)  # large ones are bent towards 3


with Path(sys.argv[2]).open(newline="", encoding="utf-8") as file:
    x = np.array([[cell(f, row[f["name"]]) for f in features] for row in csv.DictReader(file)], np.float32)
for target in json.loads(meta["manyhot.schema"])["targets"]:
    (probabilities,) = session.run([target["name"]], {"x": x})
    for row, chances in enumerate(probabilities):
        best = chances.argmax()
        print(f"row {row}, {target['name']}: {target['classes'][best]} ({chances[best]:.3f})")
