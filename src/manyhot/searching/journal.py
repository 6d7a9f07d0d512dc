"""The trials of a search, in a folder that processes share: which to try next, how each went.

`search` takes a trial, reports its epochs and tells its end. Optuna proposes and prunes; its journal is a
file to which every process appends, also of other machines where the disk is shared. A trial belongs to the
process that holds its folder; one that nobody holds was left by a process that ended, and is taken up again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from manyhot import files
from manyhot.errors import UserError, lacking
from manyhot.space import Dimension, Trial, settings_of

JOURNAL, TRIALS = "journal.jsonl", "trials"
STARTUP = 6  # trials drawn at random, after which Optuna's tree of Parzen estimators proposes
KEPT, WARM_UP = 50, 1 / 4  # per cent of the trials that are not pruned; the share of the epochs that all have
DEATHS = 5  # of the process of a trial at one place, after which the trial has failed
FEWEST = 5  # finished trials from which on it is told what mattered
TAIL = 1 << 16  # bytes; longer than a line of the journal


class Journal:
    """The trials of the search in a folder, `limit` of them in all; see `search.search` for the rest.

    Raises:
        UserError: the file is not the journal of a search.
    """

    def __init__(
        self,
        folder: Path,
        space: Collection[Dimension],
        maximize: bool,
        limit: int,
        epochs: int = 1,
        seed: int = 0,
    ) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        self.folder, self.space, self.limit, self.seed = folder, space, limit, seed
        self.file = folder / JOURNAL
        pruner = optuna.pruners.PercentilePruner(KEPT, STARTUP, max(1, round(WARM_UP * epochs)))
        with self.alone():
            try:
                self.storage = JournalStorage(JournalFileBackend(str(self.file), _Lock(self.file)))
                how: dict[str, Any] = {"storage": self.storage, "study_name": "search", "pruner": pruner}
                if self.storage.get_all_studies():
                    self.study = optuna.load_study(**how)
                else:
                    direction = "maximize" if maximize else "minimize"
                    self.study = optuna.create_study(**how, direction=direction)
                empty = not self.study.trials
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{self.file}: not the journal of a search ({error}); pass --overwrite to search anew."
                ) from None
            if empty:
                self.study.enqueue_trial({each.name: each.default for each in space})

    def place(self, number: int) -> Path:
        """Return the folder of a trial, by which its process holds it."""
        return self.folder / TRIALS / f"{number:04d}"

    @contextmanager
    def taken(self) -> Iterator[Any]:
        """Give a trial of Optuna's that is this process's meanwhile; None where none is left to take."""
        with ExitStack() as stack:
            with self.alone():
                found = self._left_behind(stack) or self._new(stack)
            yield found

    def _left_behind(self, stack: ExitStack) -> Any:
        """Return a trial whose process has ended."""
        import optuna

        for trial in self._running():
            if not self._held(trial, stack):
                continue
            at = max(
                (path.stem for path in self.place(trial.number + 1).glob("*/checkpoints/*.json")), default=""
            )
            begun = [*trial.user_attrs.get("begun", []), at]
            if begun[-DEATHS:] == [at] * DEATHS:
                why = f"its process was ended {DEATHS} times at the same place, perhaps for want of memory"
                self.finish(trial, why=why)
                continue
            self.storage.set_trial_user_attr(trial._trial_id, "begun", begun)
            self.study.sampler = self._sampler(trial.number)  # it may have been left before it had all values
            return self._proposed(optuna.trial.Trial(self.study, trial._trial_id))
        return None

    def _new(self, stack: ExitStack) -> Any:
        """Return the next trial, which follows from the seed and from those before it."""
        number = len(self.trials())
        if number >= self.limit:
            return None
        self.study.sampler = self._sampler(number)
        trial = self._proposed(self.study.ask())
        self._held(trial, stack)
        return trial

    def _sampler(self, number: int, place: int = 0) -> Any:
        """Return what proposes a trial, or draws the value of one dimension, by its place."""
        from optuna.samplers import TPESampler

        return TPESampler(n_startup_trials=STARTUP, seed=self.seed + 1_000_003 * number + 1_009 * place)

    def _proposed(self, trial: Any) -> Any:
        """Return a trial with a value of each dimension, those that it has already among them."""
        for place, each in enumerate(self.space, 1):
            self.study.sampler = self._sampler(trial.number, place)
            if each.choices:
                trial.suggest_categorical(each.name, each.choices)
            else:
                trial.suggest_float(each.name, each.low, each.high, log=each.log)
        return self.storage.get_trial(trial._trial_id)

    def _held(self, trial: Any, stack: ExitStack) -> bool:
        try:
            stack.enter_context(files.held(self.place(trial.number + 1), self.folder))
        except UserError:
            return False
        return True

    def _running(self) -> list[Any]:
        import optuna

        return list(self.study.get_trials(states=[optuna.trial.TrialState.RUNNING]))

    def is_running(self) -> bool:
        """Tell whether any process is at work on a trial."""
        return bool(self._running())

    def report(self, trial: Any, epoch: int, value: float) -> bool:
        """Keep the score of an epoch; tell whether the trial may go on."""
        with files.writing(self.file):
            self.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        return not self.study.pruner.prune(self.study, self.storage.get_trial(trial._trial_id))

    def finish(
        self, trial: Any, score: float | None = None, pruned: bool = False, why: str = "", seconds: float = 0
    ) -> None:
        """End a trial: done where it has a score, else pruned or failed."""
        from optuna.trial import TrialState

        state = TrialState.PRUNED if pruned else TrialState.FAIL if score is None else TrialState.COMPLETE
        with files.writing(self.file):
            for name, value in (("why", why), ("seconds", round(seconds, 1))):
                self.storage.set_trial_user_attr(trial._trial_id, name, value)
            self.study.tell(trial.number, score, state)

    def trials(self) -> list[Trial]:
        """Return all trials that were begun, in order."""
        words = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
        return [
            Trial(
                each.number + 1,
                words[each.state.name],
                each.value,
                settings_of(self.space, each.params),
                dict(each.params),
                len(each.intermediate_values),
                each.user_attrs.get("seconds", 0.0),
                each.user_attrs.get("why", ""),
            )
            for each in self.study.get_trials(deepcopy=False)
            if each.state.name in words
        ]

    def importance(self) -> dict[str, float]:
        """Return the share that each setting has in being among the better trials; {} of few trials.

        Source: Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
        Arbitrary Subspaces".
        """
        import optuna

        if sum(each.state == "done" for each in self.trials()) < FEWEST:
            return {}
        try:
            return dict(optuna.importance.get_param_importances(self.study))
        except (RuntimeError, ValueError):  # all scores are equal
            return {}

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from taking trials, or moving models, meanwhile."""
        return files.held(self.folder / TRIALS, self.folder, wait=True)


class _Lock:
    """The lock under which Optuna appends to its journal; it ends with the process, however that ends.

    A line that a killed process, or a full disk, has cut in half goes before another is written behind it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.hold: AbstractContextManager[None] | None = None

    def acquire(self) -> bool:
        self.hold = files.held(self.file.parent, self.file.parent, wait=True)
        self.hold.__enter__()
        _mend(self.file)
        return True

    def release(self) -> None:
        assert self.hold is not None, "acquired before"
        self.hold.__exit__(None, None, None)


def _mend(file: Path) -> None:
    """Cut off what stands behind the last end of a line."""
    with file.open("rb+") as journal:
        size = journal.seek(0, 2)
        start = max(0, size - TAIL)
        journal.seek(start)
        whole = journal.read().rfind(b"\n") + 1
        if start + whole < size:
            journal.truncate(start + whole)


@contextmanager
def quiet() -> Iterator[None]:
    """Let Optuna say nothing that is no error meanwhile.

    Raises:
        UserError: it is not installed.
    """
    import warnings

    try:
        import optuna
    except ModuleNotFoundError as error:
        raise lacking(error) or error from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
