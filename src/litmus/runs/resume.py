"""Decides whether a run directory can be resumed, and with which config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from litmus.core.atomic_files import is_draft
from litmus.core.counts import format_count
from litmus.core.metrics_file import read_metrics
from litmus.core.saved_config import check_references, check_stored_size, differences, read_config
from litmus.errors import ConfigError, require
from litmus.models.schedule import spans_whole_run
from litmus.runs.checkpoints import check_network
from litmus.runs.constructor_arguments import missing_targets
from litmus.runs.directory import LOCK
from litmus.runs.distributed import is_rank_zero
from litmus.runs.identity import experiment, is_hash_of
from litmus.runs.records import read_record
from litmus.runs.trusted_targets import RUNS, TargetCheck
from litmus.runs.untrusted_run import check_groups, check_no_links, check_written_paths
from litmus.training.lightning_callbacks import find_averaging_over_run

EPOCHS, EARLY_STOPPING = "trainer.max_epochs", "callbacks.early_stopping"
PATIENCE = f"{EARLY_STOPPING}.patience"
CHANGEABLE = (EPOCHS, PATIENCE, EARLY_STOPPING)  # what a resumed run may change


def check_same_experiment(path: Path, config: dict[str, Any]) -> None:
    """Raises ConfigError if the directory holds another experiment, naming the difference, or is not a run."""
    record = path / "run.json"
    if record.exists():
        if not is_hash_of(read_record(record, "config_hash")["config_hash"], config):
            there = experiment(read_run_config(path))
            raise ConfigError(f"{path} holds another run: {differences(there, config)}; choose another output_dir")
    elif (
        is_rank_zero()
        and path.exists()
        and not (path.is_dir() and all(is_draft(p) or p.name == LOCK for p in path.iterdir()))
    ):
        raise ConfigError(f"{path} is there already and is not a run: choose another output_dir")


def describe_other_threads(record: Path) -> str | None:
    """A warning if the run resumes with another number of threads than its run.json has."""
    before, now = read_record(record).get("threads") if record.exists() else None, torch.get_num_threads()
    if before in (None, now):
        return None
    return (
        f"the run started with {before} CPU threads and resumes with {now}; it may differ in the last bits from an "
        "uninterrupted run"
    )


def read_run_config(path: Path) -> DictConfig:
    """The config of a run directory. Raises ConfigError if it contains interpolations that read or compute anything."""
    file = path / ".hydra" / "config.yaml"
    cfg = read_config(file)
    require(isinstance(cfg, DictConfig), f"{file} is damaged (it holds no options): put it back, or start a new run")
    unresolved = OmegaConf.to_container(cfg, resolve=False)
    check_stored_size(unresolved, file)
    check_references(unresolved, file)
    return cfg


def resume_config(
    path: Path, overrides: Sequence[str], trust: str | Sequence[str] = ()
) -> tuple[DictConfig, dict[str, str], list[str]]:
    """The config, choices and overrides of the run to resume.

    Of `overrides`, those of this command, only `CHANGEABLE` may be given. Raises ConfigError for others, if no epoch is
    left to train, and if the run needs what is neither of the libraries, of the project nor of the modules in `trust`.
    """
    record = path / "run.json"
    require(record.exists(), f"resume={path} is not a run directory: it has no run.json")
    given: dict[str, str] = {}
    for line in overrides:
        key, _, value = (f"{EARLY_STOPPING}=null" if line == f"~{EARLY_STOPPING}" else line).partition("=")
        if key not in ("resume", "stale", "trust"):
            given[key.lstrip("+")] = value
            require(
                key.lstrip("+") in CHANGEABLE,
                f"resume takes the run's own config, and only {', '.join(CHANGEABLE)} may change; leave out {line}",
            )
    check_no_links(path.resolve())
    facts = read_record(record, "config_hash", "choices", "starts")
    cfg = read_run_config(path)
    config = experiment(cfg)
    require(
        is_hash_of(facts["config_hash"], config),
        f"{path / '.hydra' / 'config.yaml'} is not what the run was started with: put it back, or start a new run",
    )
    check_groups(config, path / ".hydra" / "config.yaml")
    missing = missing_targets(cfg)
    require(
        not missing,
        f"{path} was made by another version of Litmus, with {', '.join(missing)}, so it cannot be resumed here; "
        "start a new run, or resume it with the code that made it",
    )
    check = TargetCheck(RUNS, path / ".hydra" / "config.yaml", trust, "trust=[{}]")
    is_of_libraries = check.check(config)
    check_written_paths(cfg, check)
    last = path / "checkpoints" / "last.ckpt"
    if last.exists():
        check_network(last, config, is_of_libraries)
    _set_patience(cfg, path, given)
    _set_epochs(cfg, path, given)
    return cfg, facts["choices"], _read_overrides(path / ".hydra" / "overrides.yaml")


def _read_overrides(file: Path) -> list[str]:
    found = OmegaConf.to_container(read_config(file), resolve=False)
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise ConfigError(f"{file} is damaged (it is not a list of overrides): put it back, or start a new run")
    return found


def _set_patience(cfg: DictConfig, path: Path, given: Mapping[str, str]) -> None:
    """Applies a new patience of early stopping, or null for none."""
    for key in (EARLY_STOPPING, PATIENCE):
        if key in given:
            require(cfg.callbacks.get("early_stopping") is not None, f"{path} has no early stopping; leave out {key}")
    if EARLY_STOPPING in given:
        require(given[EARLY_STOPPING] == "null", f"{EARLY_STOPPING} can only be set to null when a run is resumed")
        cfg.callbacks.early_stopping = None
    elif PATIENCE in given:
        before, new = cfg.callbacks.early_stopping.patience, given[PATIENCE]
        require(
            new.isdecimal() and int(new) >= before,
            f"{PATIENCE} is {before} in {path} and can only be raised when it is resumed; set it above {before}",
        )
        cfg.callbacks.early_stopping.patience = int(new)


def _set_epochs(cfg: DictConfig, path: Path, given: Mapping[str, str]) -> None:
    """Applies a new `trainer.max_epochs`. Raises ConfigError if the run cannot use it."""
    epochs, before = int(given.get(EPOCHS, cfg.trainer.max_epochs)), cfg.trainer.max_epochs
    rows = read_metrics(path / "metrics.csv")
    done = int(rows[-1]["epoch"]) if rows else 0
    if epochs != before:
        require(
            epochs > done,
            f"{path} has trained {format_count(done, 'epoch')} already, so it cannot be resumed to {epochs}; "
            f"set {EPOCHS} above {done}",
        )
        require(
            not spans_whole_run(cfg.scheduler.scheduler),
            f"{path} has a schedule over {format_count(before, 'epoch')}, so it cannot be resumed to {epochs}; "
            "start a new run, or use scheduler=constant from the start",
        )
        averaging = find_averaging_over_run(cfg.callbacks)
        require(
            averaging is None,
            f"{path} averages its weights up to epoch {before} (callbacks.{averaging}), so it cannot resume to "
            f"{epochs}; start a new run",
        )
        cfg.trainer.max_epochs = epochs
    _check_stop_reason(path, given, done)


def _check_stop_reason(path: Path, given: Mapping[str, str], done: int) -> None:
    """Raises ConfigError if the run would stop again before its first step, for the same reason."""
    file = path / "result.json"
    reason = str(read_record(file).get("stop_reason")) if file.exists() and given else ""
    require(
        not reason.startswith("early stopping") or bool(given.keys() & {EARLY_STOPPING, PATIENCE}),
        f"{path} has ended by early stopping after {format_count(done, 'epoch')}, and would stop there again; "
        f"set a larger {PATIENCE} as well, or {EARLY_STOPPING}=null",
    )
    require(
        not reason.startswith("trainer.max_steps"),
        f"{path} has ended because {reason}, so resuming would not train; start a new run with a larger "
        "trainer.max_steps",
    )
