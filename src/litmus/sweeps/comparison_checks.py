"""Checks whether the arms of a comparison can be judged by one number."""

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from litmus.errors import ConfigError, require

OF_TRAINING = (  # data options that leave the test images and classes as they are
    *("train_size", "val_size", "augment", "batch_size", "eval_batch_size", "workers", "memory_gb", "seed"),
    *("image_size", "scaling", "pipeline", "crop", "duplicates", "bad_files"),
)


def check_same_data(configs: Sequence[DictConfig]) -> None:
    """Raises ConfigError if the arms would be tested on different images or classes."""
    tests: list[Any] = [OmegaConf.to_container(config.data, resolve=True) for config in configs]
    keys = dict.fromkeys(key for data in tests for key in data if key not in OF_TRAINING)
    different = [f"data.{key}" for key in keys if any(data.get(key) != tests[0].get(key) for data in tests)]
    require(
        not different,
        f"the arms differ in {', '.join(different)}, so they are tested on different images: compare on one data set",
    )


def check_same_unit(metric: str, configs: Sequence[DictConfig]) -> None:
    """Raises ConfigError if the metric is a loss or a cost, and the arms have different ones."""
    kind = metric.partition("/")[2]
    groups = {"loss": ("loss",), "cost": ("loss", "penalty")}.get(kind, ())
    for group in groups:
        nodes = [OmegaConf.to_container(config[group], resolve=True) for config in configs]
        require(
            all(node == nodes[0] for node in nodes),
            f"{metric} of arms with different {group} options has no common unit: judge them by --metric test/acc, and "
            "with objective=val/acc",
        )


def check_name(name: str) -> str:
    """A folder name below outputs/sweeps. Raises ConfigError for anything else."""
    if not re.fullmatch(r"[\w.,=+-]{1,120}", name, re.ASCII) or set(name) == {"."}:
        raise ConfigError(f"--name {name!r} cannot be the name of a folder: use letters, digits and _.,=+-")
    return name
