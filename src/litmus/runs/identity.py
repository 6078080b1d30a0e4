"""The identity of a run, and the name of its directory. Imports no torch, because launchers import it."""

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from litmus.runs.observers import only_observes
from litmus.runs.records import read_record

NOT_THE_EXPERIMENT = (
    *("output_dir", "sweep_name", "resume", "stale", "trust", "hydra"),
    *("launcher", "jobs", "sweep", "sampler", "pruner", "n_trials"),
)
BYSTANDERS = ("logger",)  # watch a run, and change nothing in it
COMBINED = ("callbacks", "logger")  # groups of named parts, whose option files can be combined
ANNOUNCEMENT = "LITMUS_RUN"  # environment variable by which rank zero describes the run to the others


def experiment(cfg: Any) -> dict[str, Any]:
    """The resolved config without the options that do not affect results: where and how the run is started."""
    if cfg.get("output_dir") is not None:
        cfg = OmegaConf.merge(cfg, {"output_dir": None})
    kept = {str(key): cfg[key] for key in cfg if key not in NOT_THE_EXPERIMENT}
    found: dict[str, Any] = {
        k: OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for k, v in kept.items()
    }
    return found


def resolve_environment(cfg: Any) -> Any:
    """A copy in which resolvers such as ${oc.env:LR} are replaced by their values.

    The environment may differ when the run is resumed. References to other keys stay.
    """
    cfg = copy.deepcopy(cfg)
    _resolve_calls(cfg)
    return cfg


def _resolve_calls(node: Any) -> None:
    for key in list(node) if OmegaConf.is_dict(node) else range(len(node)):
        child = node._get_node(key)
        if child._is_interpolation():
            if re.search(r"\$\{[\w.]+:", str(child._value())):
                node[key] = node[key]
        elif OmegaConf.is_config(child) and not child._is_none() and not child._is_missing():
            _resolve_calls(child)


def config_hash(config: dict[str, Any]) -> str:
    """The hash of an experiment, without its loggers and observers."""
    return former_hash(without_bystanders(config))


def without_bystanders(config: dict[str, Any]) -> dict[str, Any]:
    """The config without loggers, callbacks that only observe, and callbacks that are switched off."""
    return _without_absent_callbacks(without_observers(config))


def without_observers(config: dict[str, Any]) -> dict[str, Any]:
    """The config without loggers, and without callbacks that only observe."""
    kept = {key: value for key, value in config.items() if key not in BYSTANDERS}
    callbacks = kept.get("callbacks")
    if isinstance(callbacks, dict):
        kept["callbacks"] = {name: node for name, node in callbacks.items() if not _only_observes(node)}
    return kept


def _only_observes(node: Any) -> bool:
    return isinstance(node, dict) and only_observes(str(node.get("_target_")))


def _without_absent_callbacks(config: dict[str, Any]) -> dict[str, Any]:
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, dict):
        return config
    return {**config, "callbacks": {name: node for name, node in callbacks.items() if node is not None}}


def is_hash_of(hash: str, config: dict[str, Any]) -> bool:
    """Whether this version or an earlier one gives the experiment this hash."""
    return hash in (config_hash(config), former_hash(config))


def former_hash(config: dict[str, Any]) -> str:
    """The hash that earlier versions of Litmus recorded, in which loggers count."""
    with_words_as_keys = json.loads(json.dumps(config))  # numbers and words cannot be sorted together
    return hashlib.sha256(json.dumps(with_words_as_keys, sort_keys=True).encode()).hexdigest()


def run_name(overrides: Sequence[str], hash: str) -> str:
    """The overrides and six digits of the config's hash: at most 100 bytes, all safe in a path."""
    shown = [o for o in overrides if re.split("[.=]", o)[0] not in (*NOT_THE_EXPERIMENT, "test")]
    words = "+".join(re.sub(r"[^\w.+-]+", "-", o).strip("-") for o in shown) or "defaults"
    return f"{words.encode('ascii', 'ignore')[:93].decode()}-{hash[:6]}"


def sweep_folder(name: str) -> Path:
    return Path("outputs", "sweeps", name)


def job_directory(sweep_name: str, overrides: Sequence[str], config: dict[str, Any]) -> Path:
    """The directory of a job in its sweep: the existing one with this experiment, or a new one."""
    folder = sweep_folder(sweep_name)
    # The same overrides may have come in another order.
    for hash in (config_hash(config), former_hash(config)):
        for path in sorted(folder.glob(f"*-{hash[:6]}")):
            record = path / "run.json"
            if record.exists() and read_record(record, "config_hash")["config_hash"] == hash:
                return path
    return folder / run_name(overrides, config_hash(config))
