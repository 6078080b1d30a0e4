"""Which trial belongs to which job when a study is continued."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from litmus.errors import ConfigError
from litmus.runs.identity import sweep_folder
from litmus.sweeps import job_process as process
from litmus.sweeps import study
from litmus.sweeps.search import Search
from litmus.sweeps.space import Interval


@pytest.fixture
def dead():
    """The number of a process that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def worker(host: str | None = None, pid: int | None = None, silence: float = 0.0) -> dict:
    seen = time.time() - silence
    return {"host": host or socket.gethostname(), "pid": pid or os.getpid(), "job": "job", "seen": seen}


def test_a_trial_is_abandoned_when_its_worker_is_gone(dead):
    assert study.is_abandoned(None, "name")
    assert study.is_abandoned(worker(pid=dead), "name")
    assert not study.is_abandoned(worker(), "name")
    assert study.is_abandoned(worker(silence=study.SIGN_OF_LIFE + 1), "name")
    assert not study.is_abandoned(worker(host="another", pid=dead, silence=study.SIGN_OF_LIFE + 1), "name")
    assert study.is_abandoned(worker(host="another", silence=study.DEAD_AFTER + 1), "name")


@pytest.fixture
def held(tmp_path, monkeypatch):
    """The log of a job that another process is running."""
    monkeypatch.chdir(tmp_path)
    log = sweep_folder("name") / "logs" / "job.log"
    log.parent.mkdir(parents=True)
    with log.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield log


def test_a_silent_worker_whose_job_still_runs_is_not_gone(held):
    assert not study.is_abandoned(worker(silence=study.SIGN_OF_LIFE + 1), "name")


def test_two_processes_never_run_one_job(held, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 0.0)
    with pytest.raises(ConfigError, match="another process is running this job"):
        process.print_to(held)


def test_a_study_of_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study.open("name", None, "max", {"optim.lr": "interval(0,1)"})
    assert study.open("name", None, "max", {"optim.lr": "interval(0,1)"}).direction.name == "MAXIMIZE"
    with pytest.raises(
        ConfigError, match=r"with optim.lr=interval\(0,1\), and now it is 0.1: choose another sweep_name"
    ):
        study.open("name", None, "max", {"optim.lr": "0.1"})
    with pytest.raises(ConfigError, match="the study in nonsense:// cannot be opened"):
        study.open("name", "nonsense://", "max", {})


@pytest.mark.parametrize(
    ("values", "possible"),
    [
        (Interval(1, 7, 3, listed=("1", "4", "7")), {"1", "4", "7"}),
        (Interval(0.5, 1.0, 0.25, listed=("0.5", "0.75", "1.0")), {"0.5", "0.75", "1.0"}),
        (["[8,8]", "[16]"], {"[8,8]", "[16]"}),
    ],
)
def test_a_suggestion_is_one_of_the_values(values, possible):
    import optuna

    sampler = optuna.samplers.RandomSampler(seed=0)
    trials = optuna.create_study(sampler=sampler)
    assert {study.suggest(trials.ask(), "key", values) for _ in range(30)} == possible


def test_suggestions_stay_in_their_interval_and_integers_are_integers():
    import optuna

    trials = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    floats = [float(study.suggest(trials.ask(), "a", Interval(1e-4, 1e-1, log=True))) for _ in range(50)]
    assert all(1e-4 <= value <= 1e-1 for value in floats)
    assert sum(value < 10**-2.5 for value in floats) > 15  # half the logarithms
    assert all(
        int(study.suggest(trials.ask(), "b", Interval(16, 256, 1, log=True))) in range(16, 257) for _ in range(20)
    )


def test_a_repeated_trial_is_not_another_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = Search.__new__(Search)
    search.study, search.objective, search.mode = study.open("name", None, "max", {}), "val/acc", "max"
    search.name, search.seed = "name", 0
    search.keys, search.space = ["optim"], {"optim": ["adam", "sgd"]}
    for optim, value in (("adam", 0.9), ("sgd", 0.8), ("adam", 0.9)):
        search.study.enqueue_trial({"optim": optim})
        trial = search.study.ask()
        trial.suggest_categorical("optim", ["adam", "sgd"])
        search.study.tell(trial, value)
    assert [(row.setting, row.values) for row in search.rows()[1]] == [(("adam",), [0.9]), (("sgd",), [0.8])]


def test_trials_of_different_code_are_two_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = Search.__new__(Search)
    search.study, search.objective, search.mode = study.open("name", None, "max", {}), "val/acc", "max"
    search.name, search.seed, search.keys, search.space = "name", 0, ["optim"], {"optim": ["adam", "sgd"]}
    for optim, version in (("adam", "1"), ("sgd", "2")):
        search.study.enqueue_trial({"optim": optim})
        trial = search.study.ask()
        trial.suggest_categorical("optim", ["adam", "sgd"])
        study.sign(trial, optim)
        record = sweep_folder("name") / optim / "run.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"code": {"model.py": version}}))
        search.study.tell(trial, 0.9)
    columns, rows = search.rows()
    assert columns == ["optim", "code"]
    assert len({row.setting[1] for row in rows}) == 2
