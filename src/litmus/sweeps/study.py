"""The Optuna study and its database. Imports optuna only when a search starts."""

import fcntl
import logging
import os
import socket
import time
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from litmus.errors import ConfigError
from litmus.runs.identity import sweep_folder
from litmus.sweeps.space import Interval

UNSIGNED = 5.0  # seconds that a trial may run before a worker signs it
SIGN_OF_LIFE = 60.0  # seconds between the heartbeats of a worker, unless an epoch takes longer
DEAD_AFTER = 3600.0  # seconds without a heartbeat after which a worker on another machine counts as gone


def build(name: str, node: Any, **arguments: Any) -> Any:
    """Instantiates a sampler or pruner."""
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise ConfigError(f"{name} refuses its options: {str(cause).splitlines()[0]}") from error


def open(name: str, url: str | None, mode: str, signature: dict[str, str]) -> Any:
    """Opens or creates the study `name`, which maximizes (`mode` max) or minimizes.

    Raises ConfigError if the database cannot be used, or if the study searched something else.
    """
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    if url is None:
        sweep_folder(name).mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{sweep_folder(name) / 'study.db'}?timeout=60"
    try:
        study = optuna.create_study(
            storage=url,
            study_name=name,
            direction="maximize" if mode == "max" else "minimize",
            load_if_exists=True,
        )
        there = study.user_attrs.get("searches")
        if there is None:
            study.set_user_attr("searches", signature)
    except Exception as error:  # of SQLAlchemy, of its drivers and of Optuna
        raise ConfigError(f"the study in {url} cannot be opened: {str(error).splitlines()[0]}") from error
    for key in dict.fromkeys([*(there or {}), *signature]):
        if there is not None and there.get(key) != signature.get(key):
            raise ConfigError(
                f"sweep_name={name} searched with {key}={there.get(key)}, and now it is {signature.get(key)}: "
                "choose another sweep_name"
            )
    return study


def suggest(trial: Any, key: str, values: Interval | list[str]) -> str:
    if not isinstance(values, Interval):
        return str(trial.suggest_categorical(key, values))
    if values.whole:
        step = values.step if values.listed else 1
        return values.text(trial.suggest_int(key, int(values.low), int(values.high), step=step, log=values.log))
    return values.text(trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log))


def state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def count(study: Any, finished: bool = False) -> int:
    """The trials that have started, or those that have finished in any way."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state.is_finished() or (trial.state.name == "RUNNING" and not finished) for trial in trials)


def reported(trial: Any) -> dict[int, float]:
    """The epochs that a trial has reported, also before it was resumed."""
    return dict(trial.storage.get_trial(trial._trial_id).intermediate_values)


def sign(trial: Any, job: str = "") -> None:
    """Stores which process works on a trial, where its log is, and that it is alive."""
    signed = trial.user_attrs.get("worker")
    if (
        not signed
        or signed["pid"] != os.getpid()
        or signed["job"] != job
        or time.time() - signed["seen"] > SIGN_OF_LIFE
    ):
        who = {"host": socket.gethostname(), "pid": os.getpid(), "job": job, "seen": time.time()}
        trial.set_user_attr("worker", who)


def job_name(trial: Any) -> str:
    """The name of the directory of its run; empty before it is chosen."""
    return str(trial.user_attrs.get("worker", {}).get("job", ""))


def stale_trials(study: Any) -> list[Any]:
    """The trials that are marked as running, although no process works on them."""
    running = study.get_trials(states=(state("RUNNING"),))
    if any("worker" not in trial.user_attrs for trial in running):
        time.sleep(UNSIGNED)  # its worker was killed while choosing, or is choosing now
        running = study.get_trials(states=(state("RUNNING"),))
    return [trial for trial in running if is_abandoned(trial.user_attrs.get("worker"), study.study_name)]


def is_abandoned(worker: dict[str, Any] | None, sweep_name: str) -> bool:
    if worker is None:
        return True
    silence = time.time() - worker["seen"]
    if worker["host"] != socket.gethostname():
        return silence > DEAD_AFTER
    locked = is_locked(sweep_folder(sweep_name) / "logs" / f"{worker['job']}.log")
    return not is_alive(worker["pid"]) or (silence > SIGN_OF_LIFE and not locked)  # the process ID may be reused


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_locked(path: os.PathLike[str]) -> bool:
    """Whether a process holds the file, as a job holds its log."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def take_up(study: Any, frozen: Any) -> Any:
    """A stale trial to continue."""
    from optuna.trial import Trial

    return Trial(study, frozen._trial_id)
