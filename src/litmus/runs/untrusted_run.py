"""Checks of a run directory to resume, which may come from someone else."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from litmus.errors import ConfigError, require, whole_number
from litmus.runs.trusted_targets import TargetCheck

GROUPS = ("data", "model", "loss", "penalty", "optim", "scheduler", "callbacks", "logger", "trainer", "accelerator")
WRITING = ("callbacks", "logger", "trainer")  # groups whose parts may write where an option says
FOLDERS = ("dirpath", "directory", "save_dir", "log_dir", "root_dir", "default_root_dir")  # options of those parts
HERE = Path("/run")  # stands for the run directory


def check_no_links(folder: Path) -> None:
    """Raises ConfigError if there is a link or a device at or below `folder`: writing would change another place."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode if os.path.lexists(path) else stat.S_IFDIR
        require(
            stat.S_ISREG(mode) or stat.S_ISDIR(mode),
            f"{path} is a link or a device, through which another place would be written to; replace it with a copy "
            "of what it leads to, or delete it",
        )


def check_groups(config: Mapping[str, Any], file: Path) -> None:
    """Raises ConfigError if a group of the config is not a group, or its seed not one."""
    groups = {name: config.get(name, {}) for name in GROUPS}
    wrong = [name for name, group in groups.items() if not isinstance(group, dict)]
    if not wrong and not isinstance(groups["scheduler"].get("scheduler", {}), dict):
        wrong = ["scheduler.scheduler"]
    require(not wrong, f"{file} is damaged ({', '.join(wrong)}); restore it from a backup, or start a new run")
    whole_number("seed", config.get("seed"), least=0, most=2**32 - 1)


def check_written_paths(cfg: DictConfig, check: TargetCheck) -> None:
    """Raises ConfigError if a callback, a logger or the trainer names a place outside the run directory, unless the
    user trusts its class by name.
    """
    cfg = OmegaConf.merge(cfg, {"output_dir": str(HERE)})  # type: ignore[assignment]
    for group in WRITING:
        for target, key, value in _strings(OmegaConf.to_container(cfg[group], resolve=True), ""):
            is_path = key in FOLDERS or value.startswith(("/", "~")) or ".." in Path(value).parts
            is_inside = Path(value).is_relative_to(HERE) and ".." not in Path(value).parts
            if is_path and not is_inside and not check.is_named(target):
                raise ConfigError(
                    f"{check.file} has {key}={value[:80]} of {target[:80]}, which is outside the run directory, so the "
                    f"run is not resumed; if you know and trust it, set {check.advice.format(target[:80])}"
                )


def _strings(value: Any, target: str, key: str = "") -> Iterator[tuple[str, str, str]]:
    """The strings at or below `value`, each with the `_target_` around it and its key."""
    if isinstance(value, str):
        yield target, key, value
    elif isinstance(value, dict):
        target = str(value.get("_target_", target))
        for name, inner in value.items():
            yield from _strings(inner, target, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, target, key)
