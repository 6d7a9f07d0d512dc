"""Photos with several columns: brand, body and era of a car from one backbone, a head for each.

    manyhot data stanford-cars DIR
    python examples/cars.py DIR [--weights FILE]

DIR holds the photos of Stanford Cars, and labels.csv with the three columns, which the first line writes.
Without DIR some cars are drawn, in two colours, two shapes and two eras. A tenth of the brands is taken
away, to show that a row whose brand is unknown still teaches its body and its era.
"""

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import manyhot

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("dir", nargs="?", help="the folder of Stanford Cars with labels.csv")
parser.add_argument("--weights", default="auto", help="auto, none, or a safetensors file for the backbone")
parser.add_argument("--small", action="store_true", help="one epoch of a tiny network, to see it run")
args = parser.parse_args()


def draw_cars(folder: Path, count: int = 120) -> Path:
    """Draw cars on grey streets and write their labels; return the table."""
    lines = ["image,brand,body,era"]
    for number in range(count):
        brand, body, era = (
            random.choice(pair) for pair in (("Red", "Blue"), ("Van", "Coupe"), ("old", "new"))
        )
        image = Image.new("RGB", (100, 80), "lightgrey" if era == "new" else "tan")
        pen = ImageDraw.Draw(image)
        pen.rectangle((15, 15 if body == "Van" else 35, 85, 60), fill=brand.lower())
        for wheel in (22, 62):
            pen.ellipse((wheel, 52, wheel + 16, 68), fill="black")
        image.save(folder / f"{number}.jpg")
        lines.append(f"{number}.jpg,{brand},{body},{era}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


with tempfile.TemporaryDirectory() as scratch:
    random.seed(0)
    table = manyhot.read(Path(args.dir, "labels.csv") if args.dir else draw_cars(Path(scratch)))
    known = np.random.default_rng(0).random(len(table)) > 0.1
    brands = [
        name if kept else None for name, kept in zip(table.column("brand").to_pylist(), known, strict=True)
    ]
    schema = manyhot.infer(table.with_columns({"brand": brands}), ["brand", "body", "era"], image="image")
    options = {"weights": args.weights}
    if args.small:
        options = {"weights": "none", "backbone": "test_resnet", "size": 64, "epochs": 1}
    classifier = manyhot.fit(table.with_columns({"brand": brands}), schema, test=0.2, **options)

    scores = classifier.evaluate(table)
    for name in ("brand", "body", "era"):
        print(f"{name}: accuracy {scores['targets'][name]['accuracy']:.4f}")
    print(f"all three right: {scores['overall']['exact_match']:.4f} of {scores['rows']} photos held back")
