"""Reads and checks the checkpoints of a run, and rebuilds its model."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from litmus.core.checkpoint_io import CHECKPOINT_KEY, load_checkpoint
from litmus.core.checkpoint_limits import is_state_dict
from litmus.core.metrics_file import read_metrics
from litmus.core.saved_config import check_nothing_evaluated, check_stored_size, differences
from litmus.errors import MOST, ConfigError, require, short_number
from litmus.models.classifier import Classifier
from litmus.models.optimizers import complete_groups
from litmus.models.warm_start import describe_mismatch, is_class_names
from litmus.runs.allocation_limit import AllocationLimit
from litmus.runs.identity import without_bystanders
from litmus.runs.model_building import build_network_alone
from litmus.runs.trusted_targets import LOSSES, NETWORKS, TargetCheck

REQUIRED_METADATA = (
    "config",
    "class_names",
    "image_shape",
    "mean",
    "std",
)  # what every checkpoint's metadata has, and image_size
FORMER_NAMES = ("litmus",)  # renaming keeps this
OTHER = "use another file"
RESTORE = "restore it from a backup, or delete it to start the run again from its first epoch"
MOST_PIXELS, MOST_CHANNELS = 2**26, 1000  # of an image that a checkpoint declares; pixels times channels
MOST_COUNT = 10**6  # of a number in the config of a network
FORMAT = 1  # version of the run directory and of the metadata in a checkpoint


def rebuild_model(
    file: Path, trust: str | Sequence[str] | None = (), with_loss: bool = False
) -> tuple[Classifier, dict[str, Any]]:
    """The network of a checkpoint with its weights, on the CPU, and the metadata of the checkpoint.

    The checkpoint may come from someone else: what its config names is built if it is of the libraries, of the
    project or of the modules in `trust`. Of the run's own process, which has built all of it before, pass None.
    """
    contents, metadata = read_checkpoint(file)
    return _rebuild(contents["state_dict"], metadata, file, trust, with_loss), metadata


def _rebuild(
    state: dict[str, Any], metadata: dict[str, Any], file: Path, trust: str | Sequence[str] | None, with_loss: bool
) -> Classifier:
    config = {part: metadata["config"].get(part) for part in ("model", *(["loss"] if with_loss else []))}
    limit: AbstractContextManager[Any] = nullcontext()
    if trust is not None and _check_parts(config, file, trust):
        limit = AllocationLimit(state, f"{file} describes a larger network than it has weights for; use another file")
    left_out = ("penalty.",) if with_loss else ("penalty.", "loss.")
    kept = {name: value for name, value in state.items() if not name.startswith(left_out)}
    cfg = OmegaConf.create(config)
    assert isinstance(cfg, DictConfig)
    with limit, _as_config_error(file, is_raised=trust is None):
        model = build_network_alone(cfg, len(metadata["class_names"]), tuple(metadata["image_shape"]))
        _load_state(kept, model, file)
    return model


def _check_parts(config: dict[str, Any], file: Path, trust: str | Sequence[str]) -> bool:
    """Raises ConfigError for a config that is not safe to build. Returns whether it uses only library classes."""
    for part, node in config.items():
        require(isinstance(node, dict) and "_target_" in node, f"{file} is damaged (its config has no {part}); {OTHER}")
        check_nothing_evaluated(node, file)
        _check_counts(node, file)
    checks = [TargetCheck(LOSSES if part == "loss" else NETWORKS, file, trust).check(config[part]) for part in config]
    return all(checks)


def _check_counts(node: Any, file: Path) -> None:
    """Raises ConfigError for a number with which a class could build a huge number of layers."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else [node]:
        if isinstance(value, dict | list):
            _check_counts(value, file)
        elif isinstance(value, int):
            require(
                abs(value) <= MOST_COUNT,
                f"the network of {file} has the number {short_number(value)}, above {MOST_COUNT:,}; {OTHER}",
            )


@contextmanager
def _as_config_error(file: Path, is_raised: bool) -> Iterator[None]:
    """Converts an error of a constructor, which a damaged config can cause, to ConfigError, unless `is_raised`."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if is_raised:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(f"the model of {file} cannot be built ({reason}); {OTHER}") from error


def read_checkpoint(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents and the metadata of a checkpoint.

    Raises ConfigError if it is damaged, was not written by Litmus, or was written by a later version.
    """
    contents = load_checkpoint(file)
    metadata = contents.get(CHECKPOINT_KEY)
    if not isinstance(metadata, dict):
        raise ConfigError(f"{file} is not a Litmus checkpoint; use one from the checkpoints folder of a run")
    format = metadata.get("format")
    require(
        isinstance(format, int) and format <= FORMAT,
        f"{file} was written by a later Litmus (format {str(format)[:20]}, and {FORMAT} is the newest known here); "
        "update Litmus",
    )
    missing = [
        key for key in REQUIRED_METADATA if metadata.get(key) is None
    ]  # an image_size of None leaves images as they are
    missing += [key for key, place in (("image_size", metadata), ("state_dict", contents)) if key not in place]
    require(not missing, f"{file} is damaged (it lacks {', '.join(missing)}); {OTHER}")
    wrong = [key for key, is_valid in CHECKS.items() if not is_valid(metadata.get(key))]
    wrong += [] if is_state_dict(contents["state_dict"]) else ["state_dict"]
    if not wrong:
        channels = metadata["image_shape"][0]
        wrong = [key for key in ("mean", "std") if metadata[key].numel() != channels]
    require(not wrong, f"{file} is damaged ({', '.join(wrong)} cannot be right); {OTHER}")
    check_stored_size(metadata["config"], file)
    metadata["config"] = with_own_targets(metadata["config"])
    return contents, metadata


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0


def _is_shape(value: Any) -> bool:
    return (
        _is_list(value)
        and len(value) == 3
        and all(type(side) is int and side > 0 for side in value)
        and math.prod(value) <= MOST_PIXELS
    )


CHECKS: dict[str, Callable[[Any], bool]] = {
    "config": lambda value: isinstance(value, dict),
    "class_names": is_class_names,
    "image_shape": _is_shape,
    "source_shape": lambda value: value is None or _is_shape(value),
    "image_size": lambda value: value is None or _is_shape([1, value, value]),
    **dict.fromkeys(("mean", "std"), lambda value: is_state_dict({"": value}) and 0 < value.numel() < MOST_CHANNELS),
}


def with_own_targets(config: Any) -> Any:
    """The config with the current package name in every `_target_`, for a project that scripts/rename has renamed."""
    if isinstance(config, dict):
        return {key: _own(value) if key == "_target_" else with_own_targets(value) for key, value in config.items()}
    return [with_own_targets(value) for value in config] if isinstance(config, list) else config


def _own(target: Any) -> Any:
    package, _, rest = str(target).partition(".")
    return f"{__name__.partition('.')[0]}.{rest}" if package in FORMER_NAMES else target


def load_weights(model: nn.Module, file: Path) -> None:
    """Loads the weights of a checkpoint of the same model. Raises ConfigError if it is of another model."""
    contents, _ = read_checkpoint(file)
    _load_state(contents["state_dict"], model, file)


def _load_state(state: dict[str, Any], model: nn.Module, file: Path) -> None:
    _check_weights(state, model, file)
    model.load_state_dict(state)


def _check_weights(state: dict[str, Any], model: nn.Module, file: Path) -> None:
    misfits = describe_mismatch(state, model.state_dict())
    require(not misfits, f"{file} is of another model ({misfits}); use another file")


def check_network(file: Path, config: dict[str, Any], is_of_libraries: bool) -> None:
    """Raises ConfigError, before anything is built from the config of a run to resume, unless its last checkpoint is of
    the same network; one `is_of_libraries` is built to see that it is no larger than its weights.
    """
    with _as_damaged(file):
        contents, metadata = read_checkpoint(file)
        parts = ("model", "loss")
        there, here = ({part: one.get(part) for part in parts} for one in (metadata["config"], config))
        require(there == here, f"{file} is of another model ({differences(there, here)}); {OTHER}")
        if is_of_libraries:
            _rebuild(contents["state_dict"], metadata, file, trust=(), with_loss=True)


def check_resumable(file: Path, config: dict[str, Any], model: Classifier) -> None:
    """Raises ConfigError unless a run of this config can resume from the file.

    Only the number of epochs and early stopping may differ.
    """
    with _as_damaged(file):
        contents, metadata = read_checkpoint(file)
        _check_weights(contents["state_dict"], model, file)
        _check_training_state(contents, metadata, model, file)
    there = copy.deepcopy(metadata["config"])
    there["trainer"]["max_epochs"] = config["trainer"]["max_epochs"]
    if there["callbacks"].get("early_stopping") is not None:
        there["callbacks"]["early_stopping"] = config["callbacks"].get("early_stopping")
    here, there = without_bystanders(config), without_bystanders(there)
    require(there == here, f"{file} is of another run ({differences(there, here)}); {RESTORE}")
    rows = file.parent.parent / "metrics.csv"
    epochs = [row["epoch"] for row in read_metrics(rows)]
    require(
        epochs[: contents["epoch"]] == list(range(1, contents["epoch"] + 1)),
        f"{rows} lacks epochs that the run has behind it (it has {len(epochs)}): put it back, or start a new run",
    )


TRAINING_STATE: dict[str, type] = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "optimizer_states": list,
    "lr_schedulers": list,
    "callbacks": dict,
}


def _check_training_state(contents: dict[str, Any], metadata: dict[str, Any], model: Classifier, file: Path) -> None:
    """Raises ConfigError if training cannot continue from the checkpoint."""
    wrong = [name for name, kind in TRAINING_STATE.items() if type(contents.get(name)) is not kind]
    wrong += [name for name in ("trainer", "callbacks") if not isinstance(metadata["config"].get(name), dict)]
    counts = {"batches": metadata.get("batches"), **{name: contents.get(name) for name in ("epoch", "global_step")}}
    wrong += [name for name, count in counts.items() if type(count) is not int or not 0 <= count <= MOST]
    states = {"lr_schedulers": contents.get("lr_schedulers"), "callbacks": (contents.get("callbacks") or {}).values()}
    wrong += [name for name, found in states.items() if not all(isinstance(state, dict) for state in found or ())]
    require(not wrong, f"{file} is damaged ({', '.join(wrong)}); {OTHER}")
    try:
        for state in contents["optimizer_states"]:
            model.optim(complete_groups(model, model.parameter_groups())).load_state_dict(state)
    except Exception as error:  # torch raises many kinds for a state of other parameters or types
        raise ConfigError(f"{file} is damaged (optimizer_states: {type(error).__name__}); {OTHER}") from error


@contextmanager
def _as_damaged(file: Path) -> Iterator[None]:
    """Replaces the fix in a ConfigError by the fix for the last checkpoint of a run."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{str(error).rpartition('; ')[0]}; {RESTORE}") from None
