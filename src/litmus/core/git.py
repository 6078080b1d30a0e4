"""Calls git."""

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints, run in `folder`; None if it fails, as it does outside a repository."""
    try:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout
    except (OSError, subprocess.CalledProcessError):
        return None
