"""What pages tell of the fit, whichever rows judge the model: a run enters, a JSON file in the bundle leaves.

`classifier` writes and reads it, so that a page which is drawn later tells as much as the first; `card` puts
it on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from manyhot import bundle as bundles
from manyhot import files
from manyhot.data.inputs.images.opening import picture
from manyhot.errors import UserError
from manyhot.report.mistakes import source as source_of
from manyhot.report.sheet import batch_sheet
from manyhot.schema import Schema

if TYPE_CHECKING:
    from manyhot.train.run import Run

FILE = "fit.json"  # in the folder of a model
CONFLICTS = 24  # sets of equal rows that are shown
SHEET = 1_200  # pixels: the longer side of a training batch


@dataclass(frozen=True)
class Clash:
    """Equal rows with different labels.

    given    label → what the first row that has it is called
    rows     how many rows
    picture  the source of an <img>, "" for none
    """

    given: Mapping[str, str]
    rows: int
    picture: str = field(default="", repr=False)


@dataclass(frozen=True)
class FitRecord:
    """What is known of a fit.

    rows       how many rows each split has, and how many were left out ("train", "unreadable", …)
    notes      what people should know of the data and of what answers
    batch      a training batch as the source of an <img>, "" for none
    conflicts  the first sets of equal rows with different labels
    more_conflicts  how many sets are not among these
    history    the lines of history.jsonl, which the file leaves out
    origin     how the rows were read, so that a fit that goes on from the model finds them
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    batch: str = field(default="", repr=False)
    conflicts: Sequence[Clash] = ()
    more_conflicts: int = 0
    history: Sequence[Mapping[str, Any]] = ()
    origin: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and lists."""
        return {name: value for name, value in asdict(self).items() if name != "history"}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote; raises TypeError or LookupError for anything else."""
        known = {each.name for each in fields(cls)} - {"history", "origin"}
        found = {name: document[name] for name in known}
        found["origin"] = document.get("origin", ())  # which older ones do not say
        return cls(**found | {"conflicts": [Clash(**each) for each in document["conflicts"]]})


def of_run(run: Run, schema: Schema) -> FitRecord:
    """Return the record of a fit that has just ended."""
    conflicts, firsts = run.conflicts
    shown = conflicts[:CONFLICTS]
    images = schema.is_image
    pictures = [source_of(picture(firsts, schema, row)) if images else "" for row in range(len(shown))]
    return FitRecord(
        rows=run.counts,
        notes=run.notes,
        batch="" if run.preview is None else source_of(batch_sheet(run.preview), SHEET),
        conflicts=[Clash(c.sides, len(c.rows), p) for c, p in zip(shown, pictures, strict=True)],
        more_conflicts=len(conflicts) - len(shown),
        history=run.history,
        origin=run.origin,
    )


def read(folder: Path) -> FitRecord:
    """Return the record of the fit that wrote a folder; of an older manyhot there is the history alone.

    Raises:
        UserError: the file was changed.
    """
    path, history = folder / FILE, bundles.history(folder)
    if not path.is_file():
        return FitRecord(history=history)
    try:
        found = FitRecord.from_json(files.read_json(path))
    except (TypeError, LookupError) as error:
        raise UserError(f"{path}: not the record of a fit ({error}); delete it or train again.") from None
    return replace(found, history=history)
