"""Reads and checks the checkpoints of a run, and rebuilds its model."""

import copy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from litmus.core.checkpoint_io import CHECKPOINT_KEY, load_checkpoint
from litmus.core.metrics_file import read_metrics
from litmus.core.saved_config import differences
from litmus.errors import ConfigError, require
from litmus.models.classifier import Classifier
from litmus.models.warm_start import describe_mismatch
from litmus.runs.identity import BYSTANDERS
from litmus.runs.model_building import build_model

REQUIRED_METADATA = (
    "config",
    "class_names",
    "image_shape",
    "mean",
    "std",
)  # what every checkpoint's metadata has, and image_size
FORMER_NAMES = ("litmus",)  # renaming keeps this
FORMAT = 1  # version of the run directory and of the metadata in a checkpoint


def rebuild_model(file: Path) -> tuple[Classifier, dict[str, Any]]:
    """The model of a checkpoint with its weights, on the CPU, and the metadata of the checkpoint."""
    contents, metadata = read_checkpoint(file)
    config = OmegaConf.create(metadata["config"])
    assert isinstance(config, DictConfig)
    model = build_model(config, len(metadata["class_names"]), tuple(metadata["image_shape"]), is_restored=True)
    _load_state(contents["state_dict"], model, file)
    return model, metadata


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
        f"{file} was written by a later Litmus (format {format}, and {FORMAT} is the newest known here); update Litmus",
    )
    missing = [
        key for key in REQUIRED_METADATA if metadata.get(key) is None
    ]  # an image_size of None leaves images as they are
    missing += [key for key, place in (("image_size", metadata), ("state_dict", contents)) if key not in place]
    require(not missing, f"{file} is damaged (it lacks {', '.join(missing)}); use another file")
    metadata["config"] = with_own_targets(metadata["config"])
    return contents, metadata


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


def check_resumable(file: Path, config: dict[str, Any], model: nn.Module) -> None:
    """Raises ConfigError unless a run of this config can resume from the file.

    Only the number of epochs and early stopping may differ.
    """
    fix = "restore it from a backup, or delete it to start the run again from its first epoch"
    try:
        contents, metadata = read_checkpoint(file)
        _check_weights(contents["state_dict"], model, file)
    except ConfigError as error:
        raise ConfigError(f"{str(error).rpartition('; ')[0]}; {fix}") from None
    there = copy.deepcopy(metadata["config"])
    there["trainer"]["max_epochs"] = config["trainer"]["max_epochs"]
    if there["callbacks"].get("early_stopping") is not None:
        there["callbacks"]["early_stopping"] = config["callbacks"].get("early_stopping")
    here = {key: value for key, value in config.items() if key not in BYSTANDERS}
    there = {key: value for key, value in there.items() if key not in BYSTANDERS}
    require(there == here, f"{file} is of another run ({differences(there, here)}); {fix}")
    rows = file.parent.parent / "metrics.csv"
    epochs = [row["epoch"] for row in read_metrics(rows)]
    require(
        epochs[: contents["epoch"]] == list(range(1, contents["epoch"] + 1)),
        f"{rows} lacks epochs that the run has behind it (it has {len(epochs)}): put it back, or start a new run",
    )
