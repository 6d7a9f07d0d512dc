"""The two ways in which manyhot gives up, and the sentence that suggests a name.

Every module raises these; `cli` alone turns them into a line and an exit status.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LINE = 100  # characters of names after which no more of them are listed


class UserError(ValueError):
    """The input or an option is wrong; the message says what, where, what was found, what to do.

    `cli` prints it as one line and exits with status 2.
    """


class RunError(RuntimeError):
    """A run that began well failed (a loss that is not finite, a full disk); exit status 1."""


def suggest(word: str, options: Iterable[str]) -> str:
    """Give " (did you mean 'x'?)" for the option nearest to `word`, or "" when none is near.

    >>> suggest("virginca", ["setosa", "virginica"])
    " (did you mean 'virginica'?)"
    >>> suggest("cat", ["dog"])
    ''
    """
    known = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(word.casefold(), known, n=1, cutoff=0.65)
    return f" (did you mean '{shown(known[near[0]])}'?)" if near else ""


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Quote and join names for a message, and count those beyond `limit`, or beyond what a line holds.

    >>> listed(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    every = [*names]
    quoted: list[str] = []
    for name in every[:limit]:
        if sum(map(len, quoted)) > LINE:
            break
        quoted.append(f"'{shown(name)}'")
    rest = len(every) - len(quoted)
    return ", ".join(quoted) + (f" and {rest} more" if rest else "")


def shown(text: str, limit: int = 60) -> str:
    """Cut a text that a message quotes, so that the message stays one line.

    >>> shown("a" * 100, limit=3)
    'aaa…'
    """
    return text if len(text) <= limit else f"{text[:limit]}…"
