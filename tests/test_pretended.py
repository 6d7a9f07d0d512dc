"""All that runs on a card, run on one that the processor pretends to be (see `pretended`)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pretended import POSSIBLE

CODE = """
import json, logging, sys
import numpy as np
import pretended
from pretended import card
pretended.pretend()
import manyhot, torch

said = []
class Lines(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("manyhot").addHandler(Lines())
logging.getLogger("manyhot").setLevel(logging.INFO)

rng = np.random.default_rng(0)
x = rng.integers(0, 120, (90, 16, 16, 3), dtype=np.uint8)
for i in range(90):
    x[i, (i % 3) * 4 : (i % 3) * 4 + 3] = 250
pictures = manyhot.read((x, [("a", "b", "c")[i % 3] for i in range(90)]))
at = np.arange(240)
table = manyhot.read({
    "w": rng.normal(size=240), "v": at % 12, "u": [("p", "q", "r")[i % 3] for i in at],
    "y": at % 4 > 1, "k": [("d", "e", "f")[i % 3] for i in at], "t": at % 5 == 0,
})

def fit(data, targets, **options):
    usual = {"effort": "fast", "epochs": 3, "batch_size": 16, "precision": "float32", "verbose": False}
    return manyhot.fit(data, manyhot.infer(data, targets), **usual | options)

def weights(classifier):
    return {n: v.cpu().numpy() for n, v in classifier.bundle.predictor.state_dict().items()}

def apart(data, targets, **options):
    one, other = (weights(fit(data, targets, device=kind, **options)) for kind in ("cuda", "cpu"))
    return max(float(np.abs(one[name].astype(float) - other[name]).max()) for name in other)
"""


@pytest.fixture
def pretended():
    """Run code where the pretended card is; return the JSON that it prints last."""
    if not POSSIBLE:
        pytest.skip("this torch has no devices written in Python")

    def run(code):
        # The thread in which torch differentiates on a device does not outlive Python.
        words = [sys.executable, "-c", f"{CODE}{code}\nsys.stdout.flush()\nimport os\nos._exit(0)"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_steps_are_captured_never_wait_and_teach_what_a_processor_learns(pretended):
    code = """
cnn = {"backbone": "cnn", "members": "network"}
found = {
    "table": apart(table, ["k"], members="network", dropout=0.0),
    "several, folded": apart(table, ["y", "k", "t"], members="network", dropout=0.0, folds=2, epochs=2),
    "photo": apart(pictures, ["label"], augment="photo", mixup=0.5, random_erasing=0.5, mirror="no", **cnn),
    "moved": apart(pictures, ["label"], augment="move", mirror="yes", label_smoothing=0.1, **cnn),
}
in_steps = [
    (what, places) for what, places in card.waits
    if any(place.startswith(("train/step.py", "data/batches/")) for place in places)
    and not any(place.endswith((":fastest", ":_constant", ":__init__")) for place in places)
]
print(json.dumps([found, in_steps, [line for line in said if "captured" in line]]))
"""
    found, in_steps, not_captured = pretended(code)
    assert {name: value for name, value in found.items() if value > 1e-4} == {}
    assert in_steps == []
    assert not_captured == []


def test_all_else_runs_where_its_tensors_are(pretended, tmp_path):
    code = f"""
out = {str(tmp_path)!r}
model = fit(table, ["k", "t"], out=out + "/m", folds=2)  # with all members that a table has
fit(table, ["y"], backbone="tabm", members="network", epochs=1)
card.memory = 100  # where rows find no room
small = fit(pictures, ["label"], out=out + "/p", mirror="yes", backbone="cnn", members="network,neighbours")
card.memory = 1 << 40
here = manyhot.load(out + "/m")
went = card.launches
answers = here.predict_proba(table)["k"]
assert card.launches > went, "it is loaded onto the card"
here.explain(table, rows=[1, 2])
manyhot.load(out + "/p").explain(pictures, rows=[1], method="occlusion")
here.embed(table)
manyhot.fit(table, start=out + "/m", verbose=False, epochs=1)
manyhot.cluster(table, clusters=3, verbose=False)
print(json.dumps(float(np.abs(answers - model.predict_proba(table)["k"]).max())))
"""
    assert pretended(code) < 1e-5
