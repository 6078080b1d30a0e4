"""Provenance for run.json: commit, versions, machine, threads."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from litmus.core.counts import format_count
from litmus.core.git import git

PACKAGES = ("litmus-template", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy")


def collect_environment() -> dict[str, Any]:
    """The commit, the versions, the machine and the number of threads, on which a result may depend."""
    return {
        "git_commit": git_commit(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def git_commit() -> str | None:
    """The commit of the working tree, with `+` if files that a run may use differ from it; None outside a repository.

    Those are changed tracked files, and untracked Python or YAML files.
    """
    folder = Path(sys.argv[0]).resolve().parent
    commit = git(folder, "rev-parse", "HEAD")
    tracked = git(folder, "status", "--porcelain", "--untracked-files=no")
    untracked = git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py", "*.yaml", "*.yml")
    if commit is None or tracked is None or untracked is None:
        return None
    return commit.strip() + ("+" if (tracked + untracked).strip() else "")


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def device_label(device: torch.device) -> str:
    """The device for the log: the CPU with its threads, a GPU with its name."""
    if device.type == "cpu":
        return f"cpu ({format_count(torch.get_num_threads(), 'thread')})"
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
