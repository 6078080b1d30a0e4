"""The command that retrains the best setting of a sweep on all training images."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from litmus.core.counts import format_count
from litmus.core.hydra_values import as_hydra_value, key_of
from litmus.core.saved_config import read_config
from litmus.errors import ConfigError, require
from litmus.report import Comparison, Run, Setting, compare, read_runs
from litmus.report.comparison_plan import is_comparison
from litmus.report.settings import mixes_data
from litmus.runs.identity import NOT_THE_EXPERIMENT
from litmus.runs.stale import data_fingerprint, find_changes

EPOCHS = "trainer.max_epochs"
OWN = (  # what retraining decides
    *("seed", "test", "objective", "objective_mode", "data.val_size", EPOCHS, "callbacks.early_stopping"),
)


@dataclass(frozen=True)
class Plan:
    """What to retrain: the best setting of a sweep, and the overrides that give its config, without a seed."""

    setting: Setting
    why: str
    epochs: str
    overrides: list[str]
    notes: list[str]  # remarks for the user

    def directory(self, sweep: Path, seed: int) -> Path:
        digest = hashlib.sha256("\n".join(self.overrides).encode()).hexdigest()
        return sweep / "retrain" / f"seed-{seed}-{digest[:6]}"


def plan(sweep: Path, changes: Sequence[str], conf: Path, stale: str | None = None) -> Plan:
    """Selects by the mean objective over seeds, on validation.

    Raises ConfigError if nothing can be selected, or if code or data have changed since and `stale` is not keep.
    """
    _refuse_own(changes)
    require(sweep.is_dir(), f"{sweep} is not a folder: give a sweep's, such as outputs/sweeps/NAME")
    require(
        not is_comparison(sweep),
        f"{sweep} is a comparison: give the sweep of one of its arms, below {sweep / 'tune'} or {sweep / 'evaluate'}",
    )
    runs, left_out = read_runs([sweep])
    there = sorted({f"{run.status}: {run.why}" for run in left_out if run.status != "foreign"})
    require(bool(runs or there), f"{sweep} holds no run: give the folder of a sweep, such as outputs/sweeps/NAME")
    comparison, _ = compare(runs)
    if comparison is None:
        raise ConfigError(f"nothing in {sweep} has finished ({'; '.join(there[:3])}): start the sweep again first")
    _refuse_what_cannot_be_ranked(sweep, comparison)
    best = comparison.best
    configs = {run.path: read_config(run.path / ".hydra" / "config.yaml") for run in best.runs}
    find_changes(configs, data_fingerprint).require_answer(stale, "run the sweep again", keep="--stale keep")
    run = best.runs[0]
    epochs, reason = _epochs(best.runs)
    overrides, new = _reproduce(run, _wanted(run, epochs), changes, conf)
    among = f"of {format_count(len(comparison.settings), 'setting')}"
    over = f"over {format_count(len(best.runs), 'seed')}"
    value = f"{best.mean(comparison.metric):.5g}"
    why = f"the best {among} by mean {comparison.metric}, {value} {over}"
    if comparison.ties:
        why += f" ({comparison.ties} more have the same, none with a lower val/loss)"
    if EPOCHS in map(key_of, changes):
        reason = f"{EPOCHS} as given"
    return Plan(best, why, reason, overrides, _notes(best, new, changes))


def _refuse_own(changes: Sequence[str]) -> None:
    """Raises ConfigError for a change of what retraining decides; the number of epochs may be given."""
    for change in changes:
        key = key_of(change)
        if _is_below(key, [*NOT_THE_EXPERIMENT, *(name for name in OWN if name != EPOCHS)]):
            seeds = change.partition("=")[2].strip("'\"[] ") or "0,1,2"
            fix = f"use --seeds {seeds}" if key == "seed" else "leave it out"
            raise ConfigError(f"{change} is what retraining decides itself: {fix}")


def _notes(setting: Setting, new: Sequence[str], changes: Sequence[str]) -> list[str]:
    notes = []
    if diverged := sum(other.diverged for other in setting.runs):
        notes.append(f"training diverged in {diverged} of the setting's {format_count(len(setting.runs), 'run')}")
    size = unresolved_config(setting.runs[0])["data"].get("train_size")
    if size is not None and "data.train_size" not in map(key_of, changes):
        notes.append(f"data.train_size={size} as in the sweep; set data.train_size=null to train on every image")
    if new:
        notes.append(f"options that are new since the sweep, left at their default: {', '.join(new)}")
    return notes


def _refuse_what_cannot_be_ranked(sweep: Path, comparison: Comparison) -> None:
    require(
        comparison.metric.startswith("val/"),
        f"{sweep} was judged by {comparison.metric}, and the best setting is chosen by validation alone",
    )
    data = sorted({run.choices.get("data", "unknown") for run in comparison.runs})
    require(
        len(data) == 1,
        f"{sweep} has runs on {', '.join(data)}, which have no best setting in common: give a sweep of one data set",
    )
    require(
        not mixes_data(comparison.runs),
        f"{sweep} has runs on different versions of data={data[0]}, which have no best setting in common; run it again "
        "with stale=rerun",
    )


def _epochs(runs: Sequence[Run]) -> tuple[int, str]:
    """The number of epochs.

    A schedule that spans the whole run is kept: its last, small steps are part of what was best. Otherwise the median
    best epoch.
    """
    from litmus.models.schedule import spans_whole_run

    config = unresolved_config(runs[0])
    planned = int(config["trainer"]["max_epochs"])
    if spans_whole_run(config["scheduler"]["scheduler"]):
        schedule = runs[0].choices.get("scheduler", "the scheduler")
        return planned, (
            f"{format_count(planned, 'epoch')} as in the sweep, because scheduler={schedule} is laid out over "
            "all of them"
        )
    needed = math.floor(median(run.best_epoch for run in runs) + 0.5)
    best = ", ".join(str(run.best_epoch) for run in runs)
    return needed, f"{format_count(needed, 'epoch')}, the median best epoch of the sweep's runs ({best})"


def _wanted(run: Run, epochs: int) -> dict[str, Any]:
    config = {key: value for key, value in unresolved_config(run).items() if key not in NOT_THE_EXPERIMENT}
    require("val_size" in config["data"], f"data={run.choices.get('data')} has no data.val_size to set to 0")
    config["data"]["val_size"] = 0
    # The defaults: without validation the last epoch is kept.
    config |= {"objective": "val/acc"} | ({"objective_mode": None} if "objective_mode" in config else {})
    config["trainer"]["max_epochs"] = epochs
    config["callbacks"] = config.get("callbacks") or {}
    if config["callbacks"].get("early_stopping"):
        config["callbacks"]["early_stopping"] = None
    return config


def unresolved_config(run: Run) -> dict[str, Any]:
    """The config of a run; an interpolation is its own text."""
    config = OmegaConf.to_container(read_config(run.path / ".hydra" / "config.yaml"), resolve=False)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _reproduce(run: Run, wanted: dict[str, Any], changes: Sequence[str], conf: Path) -> tuple[list[str], list[str]]:
    """The overrides that give the wanted config and then the changes, and the options that are new since the run.

    They start with those of the run. Where conf/ has changed since, the value is set to that of the run. Raises
    ConfigError if that is impossible.
    """
    changed = [key_of(change) for change in changes]
    kept = [o for o in run.overrides if not _is_below(key_of(o), (*NOT_THE_EXPERIMENT, *OWN, *changed))]
    config, choices = _compose(kept, conf, run)
    for group, option in run.choices.items():
        if choices.get(group) != option and not _is_below(group, (*NOT_THE_EXPERIMENT, *changed)):
            kept = [o for o in kept if key_of(o) != group] + [f"{group}={'null' if option == 'None' else option}"]
    config, _ = _compose(kept, conf, run)
    gone: list[str] = []
    new: list[str] = []
    pins = []
    for key, value in _differences(wanted, config, gone, new):
        if not _is_below(key, ("seed", "test", *changed)):
            pins.append(f"{key}={as_hydra_value(value)}")
    require(
        not gone,
        f"conf/ has changed since the sweep, and {', '.join(gone[:5])} can't be set any more: go back to the sweep's "
        f"commit, {run.circumstances.get('git_commit')}",
    )
    return [*kept, *pins, *changes], new


def _is_below(key: str, others: Sequence[str]) -> bool:
    return any(re.match(rf"{re.escape(other)}($|[./@])", key) for other in others)


def _compose(overrides: Sequence[str], conf: Path, run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            config = hydra_compose("train", list(overrides), return_hydra_config=True)
    except Exception as error:  # Hydra and OmegaConf errors have no common base class
        reason = " ".join(str(error).split())
        commit = run.circumstances.get("git_commit")
        raise ConfigError(
            f"conf/ has changed since the sweep ({reason[:200]}): go back to the sweep's commit, {commit}"
        ) from error
    choices = {str(group): str(option) for group, option in config.hydra.runtime.choices.items()}
    container = OmegaConf.to_container(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items() if k not in NOT_THE_EXPERIMENT}, choices


def _differences(
    wanted: dict[str, Any], found: dict[str, Any], gone: list[str], new: list[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """The common keys whose value differs, with the wanted value; `gone` and `new` collect the keys that one side
    lacks.
    """
    new += [f"{prefix}{key}" for key in found if key not in wanted]
    for key, value in wanted.items():
        if key not in found:
            gone.append(f"{prefix}{key}")
        elif isinstance(value, dict) and isinstance(found[key], dict):
            yield from _differences(value, found[key], gone, new, f"{prefix}{key}.")
        elif value != found[key]:
            yield f"{prefix}{key}", value
