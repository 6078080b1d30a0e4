"""Atomic file writes: a file is complete or absent."""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import link as hard_link
from pathlib import Path
from typing import Any

from litmus.errors import ConfigError, require

MOST_BYTES = 2**24  # of a file that is read at once; it may come from someone else


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` to write to. It is renamed to `path` on success, and removed on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def link(path: Path, name: Path) -> None:
    """Gives the file a second name, or a copy where the file system has no hard links."""
    with replacing(name) as draft:
        try:
            hard_link(path, draft)
        except OSError:
            shutil.copyfile(path, draft)


def is_draft(path: Path) -> bool:
    """Whether this is a temporary file of `replacing`, as a killed process leaves behind."""
    return re.fullmatch(r"\..+\.\d+", path.name) is not None


def remove_drafts(folder: Path) -> None:
    """Removes temporary files, in a folder and its subfolders, that no process is writing."""
    for path in folder.rglob(".*"):
        if is_draft(path) and path.is_file():
            path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file. Raises ConfigError if it is a device, or has more than `most_bytes`."""
    found = path.stat()
    require(
        stat.S_ISREG(found.st_mode) and found.st_size <= most_bytes,
        f"{path} is not a file of at most {most_bytes >> 20} MiB; use another run, or start a new one",
    )
    return path.read_text(encoding="utf-8")


def read_json(path: Path, *keys: str, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Reads a JSON object. Raises ConfigError if it is damaged or lacks one of `keys`."""
    try:
        found = json.loads(read_text(path, most_bytes))
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged ({error}): delete it and start the run again") from None
    missing = list(keys) if not isinstance(found, dict) else [key for key in keys if key not in found]
    if missing or not isinstance(found, dict):
        lacks = f"it lacks {', '.join(missing)}" if missing else "it holds no object"
        raise ConfigError(f"{path} is damaged ({lacks}): delete it and start the run again")
    return found
