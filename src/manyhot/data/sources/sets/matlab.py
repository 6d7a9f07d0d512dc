"""MATLAB's files: a path and names of variables come in, lists of texts or of structs of texts leave.

`sets.cars` calls it. scipy reads the format, in a process of its own: some broken files end the process
that reads them (a segmentation fault in scipy 1.17).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from manyhot.errors import UserError

TIMEOUT_SECONDS = 120
READER = """
import json, sys
import numpy as np
from scipy.io import loadmat

path, *names = sys.argv[1:]
found = loadmat(path, squeeze_me=True, variable_names=names)
texts = {}
for name in found.keys() & set(names):
    array = np.atleast_1d(found[name])
    fields = array.dtype.names
    texts[name] = [dict(zip(fields, map(str, cell))) if fields else str(cell).strip() for cell in array]
print(json.dumps(texts))
"""


def read_mat(path: Path, *names: str) -> dict[str, list[Any]]:
    """Return variables of a .mat file by their names: a text for each cell, a dict of texts for a struct.

    Raises:
        UserError: the file cannot be read, or lacks one of the variables.
    """
    command = [sys.executable, "-P", "-c", READER, str(path), *names]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=TIMEOUT_SECONDS)
        said = done.stderr.decode(errors="replace").split("\n")
    except subprocess.TimeoutExpired:
        done, said = None, ["it takes too long"]
    if done is None or done.returncode:
        reason = next((line.strip() for line in reversed(said) if line.strip()), "it is broken")
        raise UserError(f"{path}: cannot be read as a .mat file ({reason.rstrip('.')}). Put it there again.")
    found: dict[str, list[Any]] = json.loads(done.stdout)
    for name in names:
        if name not in found:
            raise UserError(f"{path}: holds no '{name}'. Put the devkit's own file there.")
    return found
