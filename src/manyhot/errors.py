"""The two ways in which manyhot gives up, and the sentence that suggests a name.

Every module raises these; `cli` alone turns them into a line and an exit status.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from manyhot.wording import in_python

MAX_MESSAGE = 290  # characters; a line of 300 with `manyhot: ` before it
MAX_LIST, MAX_NAME = 150, 60  # characters of several names in it, and of one
EXTRAS = {  # what an installation may lack, as it is imported: the extra that brings it, and what for
    "train": (
        "training needs {} and more, and so does a model that is not exported",
        *("torch", "torchvision", "timm", "sklearn", "scipy", "safetensors", "huggingface_hub", "tabm"),
        *("threadpoolctl", "onnx", "onnxscript"),
    ),
    "search": ("searching for settings needs {}", "optuna", "colorlog", "sqlalchemy", "alembic"),
    "serve": (
        "serving needs {} and more",
        "starlette",
        "uvicorn",
        "httptools",
        "uvloop",
        "multipart",
        "python_multipart",
    ),
}


class ManyhotError(Exception):
    """A message that names options as the command line has them, and says them as keywords in Python."""

    def __str__(self) -> str:
        return shortened(in_python(self.args[0]), MAX_MESSAGE)

    @property
    def typed(self) -> str:
        """The message with the options of the command line."""
        return shortened(self.args[0], MAX_MESSAGE)


class UserError(ManyhotError, ValueError):
    """The input or an option is wrong; the message says what, where, what was found, what to do.

    `cli` prints it as one line and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


class RunError(ManyhotError, RuntimeError):
    """A run that began well failed (a loss that is not finite, a full disk); exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class WriteError(RunError, OSError):
    """A file could not be written: its disk is full or read-only, a quota or a limit is reached.

    It is an OSError too, for whoever can do without the file.
    """

    def __init__(self, message: str, errno: int | None, strerror: str) -> None:
        super().__init__(message)
        self.errno, self.strerror = errno, strerror


def lacking(error: ImportError) -> UserError | None:
    """Say what to install where a package is missing that an extra brings; None where it is another.

    >>> print(lacking(ModuleNotFoundError(name="torch.nn")))
    training needs torch and more, and so does a model that is not exported: pip install 'manyhot[train]'.
    """
    package = (error.name or "").split(".")[0]
    for extra, (what, *packages) in EXTRAS.items():
        if package in packages and isinstance(error, ModuleNotFoundError):
            return UserError(f"{what.format(package)}: pip install 'manyhot[{extra}]'.")
    return None


def shortened(text: str, limit: int = MAX_NAME) -> str:
    """Cut the middle out of a text that is too long: it begins with what is wrong and ends with the remedy.

    >>> shortened("a cell of a thousand letters", 12)
    'a cell[…]ers'
    """
    mark = "[…]"
    if len(text) <= limit:
        return text
    head = (limit - len(mark)) * 3 // 4
    return text[:head] + mark + text[len(text) - (limit - len(mark) - head) :]


def suggest(word: str, options: Iterable[str]) -> str:
    """Give " (did you mean 'x'?)" for the option nearest to `word`, or "" when none is near.

    >>> suggest("virginca", ["setosa", "virginica"])
    " (did you mean 'virginica'?)"
    >>> suggest("cat", ["dog"])
    ''
    """
    known = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(str(word).casefold(), known, n=1, cutoff=0.65)
    return f" (did you mean '{shortened(known[near[0]])}'?)" if near else ""


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Quote and join names for a message, and count those beyond `limit` or beyond what a message holds.

    >>> listed(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    quoted = [f"'{shortened(str(name))}'" for name in names]
    shown = quoted[:limit]
    while len(", ".join(shown)) > MAX_LIST:
        shown.pop()
    rest = len(quoted) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
