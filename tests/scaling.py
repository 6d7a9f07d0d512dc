"""A job for the tests of engines, which their processes import: some units kill whoever answers them."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from manyhot.scale.job import Record, Result


@dataclass(frozen=True)
class Deadly:
    folder: Path

    def __call__(self, unit):
        tries = self.folder / f"{unit.name}.tries"
        with tries.open("a") as file:
            file.write("x")
        if unit.name == "deadly" or (unit.name == "once" and len(tries.read_text()) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if unit.name == "broken":
            return Result(failed="is broken")
        if unit.name == "full":
            return Result(failed="the disk is full", ends=True)
        if unit.name == "long":
            time.sleep(100)
        print("what a library prints does no harm")
        return Result(Record(1, 0, 0.0, unit.to_json()))
