"""Settings that are found out: the default is tried first, test rows choose nothing, kills cost little."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making import QUICK, ROW_OPTIONS, status_of, write_csv
from safetensors.numpy import load_file

import manyhot
from manyhot.cli import main
from manyhot.config import FitConfig
from manyhot.errors import RunError, UserError, WriteError
from manyhot.resolve import resolve
from manyhot.schema import Input, Schema, Target
from manyhot.space import Dimension, Trial, best_of, settings_of, space

pytest.importorskip("optuna")
from manyhot.searching import journal as journals
from manyhot.searching import search as searching

SEVERAL = 4
HOW = {"verbose": False, **{k: v for k, v in QUICK.items() if k != "batch_size"}, "epochs": 3}
ROWS = 80


def rows(count=ROWS, seed=0, **more):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, count)).round(3)
    return {"x": x, "z": z, "kind": [("low", "high")[int(a + b > 0)] for a, b in zip(x, z)], **more}


def searched(out, data=None, trials=4, schema="kind", **options):
    return manyhot.search(data or rows(), schema, out=out, trials=trials, **{**HOW, **options})


def scores(found):
    return [(each.state, each.score, each.settings) for each in found.trials]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("search") / "s", trials=SEVERAL)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The same with two trials."""
    return searched(tmp_path_factory.mktemp("half") / "s", trials=2).folder


@pytest.fixture
def begun(half, tmp_path):
    """A copy of it, to go on with."""
    return shutil.copytree(half, tmp_path / "s")


def test_the_first_trial_is_what_fit_does_and_the_best_is_no_worse(found, tmp_path):
    plain = manyhot.fit(rows(), "kind", out=tmp_path / "plain", **HOW)
    assert found.default.settings == {}
    assert found.default.score == plain.run.judged.scores["overall"]["loss"]
    assert found.best.score <= found.default.score
    assert len({each.score for each in found.trials}) >= 3


def test_the_best_model_is_a_model_and_is_trained_again_by_its_settings(found, tmp_path):
    again = manyhot.fit(rows(), "kind", out=tmp_path / "again", **{**HOW, **found.best.settings})
    kept = load_file(found.folder / "model" / "weights.safetensors")
    for name, value in load_file(tmp_path / "again" / "weights.safetensors").items():
        np.testing.assert_array_equal(value, kept[name])
    assert again.run.judged.scores["overall"]["loss"] == found.best.score
    assert len(found.model.predict(rows())["kind"]) == ROWS
    kept = json.loads(Path(re.findall(r"--config (\S+)", found.command)[0]).read_text())
    assert {name: kept[name] for name in found.best.settings} == found.best.settings
    assert sorted(path.name for path in found.folder.iterdir()) == [
        *("journal.jsonl", "lock", "model", "search.html", "search.json", "trials")
    ]
    assert [path.name for path in (found.folder / "trials").iterdir()] == ["lock"]


def test_the_same_call_does_nothing_and_one_with_more_trials_goes_on(found, begun):
    before = (found.folder / "journal.jsonl").read_bytes()
    again = searched(found.folder, trials=SEVERAL)
    assert scores(again) == scores(found)
    assert (found.folder / "journal.jsonl").read_bytes() == before
    assert scores(searched(begun, trials=SEVERAL)) == scores(found)


def test_what_is_given_is_not_searched(tmp_path):
    given = {"learning_rate": 0.01, "batch_size": 8, "backbone": "linear"}
    found = searched(tmp_path / "s", trials=2, **given)
    assert [each.name for each in found.space] == ["weight_decay"]
    assert found.model.bundle.config.learning_rate == 0.01


def test_test_rows_choose_nothing_and_judge_the_best_alone(tmp_path):
    parts = ["test" if i % 4 == 0 else "train" for i in range(ROWS)]
    one = rows(split=parts)
    two = rows(split=parts)
    turned = {"low": "high", "high": "low"}
    two["kind"] = [turned[k] if part == "test" else k for k, part in zip(two["kind"], parts)]
    a, b = searched(tmp_path / "a", one, trials=2), searched(tmp_path / "b", two, trials=2)
    assert scores(a) == scores(b)
    assert a.test["rows"] == 20
    right = [each.test["targets"]["kind"]["accuracy"] for each in (a, b)]
    assert right[0] == pytest.approx(1 - right[1])
    assert searched(tmp_path / "c", trials=1, test=0.25).test["rows"] == 20


def test_a_score_of_which_more_is_better(tmp_path):
    found = searched(tmp_path / "s", monitor="kind/accuracy", trials=2)
    assert found.score == "held-out accuracy of kind"
    assert found.maximize
    assert found.best.score == max(each.score for each in found.trials if each.state == "done")


@pytest.mark.parametrize("trial", [1, 3])
def test_one_that_is_stopped_goes_on_to_the_same_trials(found, tmp_path, trial):
    def stop(line):
        if line["kind"] == "trying" and line["trial"] == trial and line["line"]["kind"] == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "s", trials=SEVERAL, on_event=stop)
    assert scores(searched(tmp_path / "s", trials=SEVERAL)) == scores(found)


def test_one_that_was_killed_before_its_trial_had_all_values_goes_on(found, begun, monkeypatch):
    import optuna

    class StopError(Exception):
        pass

    def stop(self, name, *args, **how):
        raise StopError

    with monkeypatch.context() as patched:
        patched.setattr(optuna.trial.Trial, "suggest_categorical", stop)
        with pytest.raises(StopError):
            searched(begun, trials=3)
    assert scores(searched(begun, trials=SEVERAL)) == scores(found)


def test_a_journal_that_a_kill_cut_in_half_is_mended(found, begun):
    journal = begun / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"worker_id":"0a')
    assert scores(searched(begun, trials=SEVERAL)) == scores(found)


def test_a_move_that_a_kill_cut_in_half_is_done_again(begun):
    best = searched(begun, trials=2).best
    place = begun / "trials" / f"{best.number:04d}"
    place.mkdir()
    (begun / "model").rename(place / "model")
    assert searched(begun, trials=2).model.folder == begun / "model"
    assert not place.exists()


def failing(monkeypatch, error, at=lambda settings: True):
    fit = searching.fit

    def broken(table, schema, **how):
        if at(how):
            raise error
        return fit(table, schema, **how)

    monkeypatch.setattr(searching, "fit", broken)


@pytest.mark.parametrize(
    "error",
    [
        RunError("the loss is nan at step 3"),
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        UserError("these settings do not go together."),
    ],
    ids=["not finite", "memory", "memory of a card", "a clash"],
)
def test_a_trial_that_fails_is_recorded_and_the_rest_goes_on(tmp_path, monkeypatch, error):
    failing(monkeypatch, error, at=lambda how: "dropout" in how)
    found = searched(tmp_path / "s", trials=3)
    assert [each.state for each in found.trials] == ["done", "failed", "failed"]
    assert found.trials[1].why == (str(error) or "MemoryError")
    assert found.best.number == 1
    assert found.trials[1].why in (tmp_path / "s" / "search.html").read_text()


def test_where_all_fail_it_says_why(tmp_path, monkeypatch):
    failing(monkeypatch, RunError("the loss is nan"))
    with pytest.raises(RunError, match="no trial of 2 was finished: the loss is nan"):
        searched(tmp_path / "s", trials=2)


def test_a_full_disk_ends_it_and_room_lets_it_go_on(found, begun, monkeypatch):
    with monkeypatch.context() as patched:
        failing(patched, WriteError("no room", 28, "No space left"))
        with pytest.raises(WriteError):
            searched(begun, trials=SEVERAL)
    assert scores(searched(begun, trials=SEVERAL)) == scores(found)


def test_a_trial_that_kills_its_process_again_and_again_has_failed(begun):
    def die(line):
        if line["kind"] == "trying" and line["line"]["kind"] == "stage":
            raise KeyboardInterrupt

    for _ in range(journals.DEATHS):
        with pytest.raises(KeyboardInterrupt):
            searched(begun, trials=3, on_event=die)
    last = searched(begun, trials=3).trials[2]
    assert last.state == "failed"
    assert "perhaps for want of memory" in last.why


def test_what_is_wrong_with_the_data_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="all labels"):
        searched(tmp_path / "s", rows(kind=[None] * ROWS), schema=_schema("low", "high"))
    assert not (tmp_path / "s").exists()


def _schema(*classes):
    return Schema(
        (Input("x", "number"), Input("z", "number")), (Target("kind", "binary", classes, ("kind",)),)
    )


DIFFERENT = {
    "rows": ({"data": rows(ROWS - 1)}, "other data: 80 rows, not 79"),
    "a cell": ({"data": rows(x=[*rows()["x"][1:], 0.5])}, "other data: cells, labels or pictures"),
    "a label": ({"data": rows(kind=["low", "high"] * 40)}, "other data: cells, labels or pictures"),
    "a class": ({"data": rows(kind=["low", "mid"] * 40)}, "other inputs or classes"),
    "a target": ({"data": rows(sort=["a", "b"] * 40), "schema": "sort"}, "of 'kind', not of 'sort'"),
    "a column": ({"data": rows(more=rows(seed=5)["x"])}, "other inputs or classes"),
    "a setting": ({"seed": 3}, "other settings: seed is found out there, and 3 here"),
    "the effort": ({"effort": "best"}, "other settings: effort is fast there, and best here"),
}


@pytest.mark.parametrize(("changed", "said"), DIFFERENT.values(), ids=DIFFERENT)
def test_another_search_is_refused_with_what_differs(found, changed, said):
    with pytest.raises(UserError, match=re.escape(said)) as error:
        searched(found.folder, **changed)
    assert "overwrite=True" in str(error.value)


def test_another_search_is_forgotten_where_that_is_asked_for(begun):
    found = searched(begun, trials=1, seed=3, overwrite=True)
    assert len(found.trials) == 1
    assert found.model.bundle.config.seed == 3


WRONG = {
    "no trials": ({"trials": 0}, "--trials must be at least 1, got 0"),
    "no workers": ({"workers": 0}, "--workers must be at least 1, got 0"),
    "going on": ({"start": "model"}, "each trial trains from nothing"),
    "reading": ({"separator": ";"}, "says how a table is read"),
    "a setting": ({"learning_rates": 3}, "did you mean 'learning_rate'"),
    "a value": ({"dropout": 2}, "dropout must be"),
    "a monitor": ({"monitor": "kind/fun"}, "no score 'fun'"),
    "nothing left": (
        {"learning_rate": 1e-3, "weight_decay": 0.1, "batch_size": 8, "backbone": "linear"},
        "every setting that is searched is given",
    ),
}


@pytest.mark.parametrize(("how", "said"), WRONG.values(), ids=WRONG)
def test_mistakes_are_told_and_leave_nothing(tmp_path, how, said):
    with pytest.raises(UserError) as error:
        searched(tmp_path / "s", **how)
    assert said in error.value.typed
    assert not (tmp_path / "s").exists()


def test_what_is_not_ours_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").touch()
    (tmp_path / "file").touch()
    for name in ("mine", "file"):
        with pytest.raises(UserError, match="was not written by manyhot"):
            searched(tmp_path / name, overwrite=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo.png"]


def test_a_journal_of_something_else_is_told(begun):
    (begun / "journal.jsonl").write_text('{"a": 1}\nnot JSON\n{}\n')
    with pytest.raises(UserError, match="not the journal of a search"):
        searched(begun, trials=2)


def test_without_optuna_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=re.escape("pip install 'manyhot[search]'")):
        searched(tmp_path / "s")


def test_torchrun_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="torchrun shares one fit"):
        searched(tmp_path / "s")


@pytest.mark.slow
def test_processes_share_the_trials(tmp_path):
    lines = []
    found = searched(tmp_path / "s", trials=4, workers=2, on_event=lines.append, threads=1)
    assert [each.state for each in found.trials] == ["done"] * 4
    ended = [line["trial"] for line in lines if line["kind"] == "trial"]
    assert sorted(ended) == [1, 2, 3, 4]
    assert found.best.score <= found.default.score


@pytest.mark.slow
def test_one_that_is_killed_with_its_processes_goes_on(tmp_path):
    data = write_csv(tmp_path / "rows.csv", rows(400))
    words = ["search", str(data), "--target", "kind", "--out", str(tmp_path / "s"), "--trials", "6"]
    words = [sys.executable, "-m", "manyhot", *words, "--effort", "fast", "--members", "network", "--json"]
    rng = np.random.default_rng(0)
    for number in range(6):
        extra = ["--workers", "2"] if number % 2 else []
        run = subprocess.Popen([*words, *extra], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(rng.uniform(3, 9))
        if number % 3:
            os.kill(run.pid, signal.SIGKILL)
        else:
            run.send_signal(signal.SIGINT)
        run.communicate()
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["number"] for each in found["trials"]] == [1, 2, 3, 4, 5, 6]
    assert {each["state"] for each in found["trials"]} <= {"done", "pruned"}
    assert found["best"]["score"] <= found["default"]["score"]


def test_the_page_escapes_what_users_wrote(tmp_path):
    name = "<script>alert(1)</script>"
    data = {"x": rows()["x"], name: rows()["kind"]}
    found = searched(tmp_path / "s", data, schema=name, monitor=f"{name}/accuracy", trials=2)
    page = (found.folder / "search.html").read_text()
    assert "<script" not in page
    assert "&lt;script" in page
    assert "Train it again" in page
    assert "http" not in re.sub(r'http-equiv|"http://www.w3.org[^"]*"', "", page)


def test_what_a_user_types(tmp_path, capsys):
    data = write_csv(tmp_path / "rows.csv", rows())
    out = tmp_path / "s"
    words = ["search", str(data), "--target", "kind", "--out", str(out), "--trials", "2", *ROW_OPTIONS]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert re.search(r"trial 1 of 2 \(all defaults\): held-out loss \d\.\d+", printed.err)
    assert "the best model is in" in printed.out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == str(out / "model")
    assert [each["state"] for each in found["trials"]] == ["done", "done"]
    assert main(["predict", str(out / "model"), str(data), "--out", str(tmp_path / "answers.csv")]) == 0
    for option in ("--trials", "--workers"):
        assert status_of(*words, option, "0") == 2
    assert "must be a whole number from 1 on" in capsys.readouterr().err


def test_ctrl_c_names_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    def stopped(*args, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "search", stopped)
    data = write_csv(tmp_path / "rows.csv", rows())
    words = ["search", str(data), "--target", "kind", "--out", str(tmp_path / "s"), "--overwrite"]
    assert main(words) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"stopped; go on with: manyhot {' '.join(words[:-1])}"


def pictures(side, channels=3, tags=False):
    target = Target("y", "multilabel" if tags else "multiclass", ("a", "b", "c"), ("y",))
    return Schema((Input("image", "image", (side, side, channels)),), (target,))


SPACES = {
    "a small table": (_schema("a", "b"), 500, {}),
    "a large table": (_schema("a", "b"), 50_000, {}),
    "digits": (pictures(28, 1), 5_000, {}),
    "small photos": (pictures(32), 5_000, {"effort": "best"}),
    "photos": (pictures(224), 5_000, {"weights": "none"}),
    "photos with tags": (pictures(224, tags=True), 5_000, {"effort": "best"}),
    "frozen": (pictures(224), 500, {"freeze": True}),
}


@pytest.mark.parametrize(("schema", "count", "options"), SPACES.values(), ids=SPACES)
def test_the_default_is_in_every_range(schema, count, options):
    config = resolve(options, schema, count)
    found = space(config, schema, options)
    assert {"learning_rate", "weight_decay", "batch_size"} <= {each.name for each in found}
    assert 4 <= len(found) <= 8
    for each in found:
        assert each.default == getattr(config, each.name)
        assert each.default in each.choices if each.choices else each.low <= each.default <= each.high
        assert Dimension.from_json(json.loads(json.dumps(each.to_json()))) == each
        for value in each.choices or (each.low, each.high):
            settings = settings_of([each], {each.name: value})
            resolve({**options, **settings}, schema, count)  # all go together with the rest
    assert settings_of(found, {each.name: each.default for each in found}) == {}
    assert space(config, schema, [each.name for each in found]) == ()


def test_of_equal_scores_the_first_is_the_best():
    trials = [Trial(1, "done", 0.5), Trial(2, "done", 0.5), Trial(3, "pruned", 0.1), Trial(4, "failed")]
    assert best_of(trials, False).number == best_of(trials, True).number == 1
    assert best_of([replace(each, state="failed") for each in trials], False) is None
    assert FitConfig().monitored == ("", "loss")
