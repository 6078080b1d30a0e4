"""Digests that tell whether files or other digests have changed. Imports no torch."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def combine_digests(digests: Mapping[str, str]) -> str:
    """One digest of digests by name, whatever their order."""
    return _digest(sorted(digests.items()))


def file_state(files: Iterable[Path]) -> str:
    """A digest of the names, sizes and modification times of files, without reading them."""
    return _digest(sorted((str(file), *_size_and_time(file)) for file in files))


def _digest(values: list[tuple[str, *tuple[object, ...]]]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:  # a dangling or circular link
        return 0, 0
    return found.st_size, found.st_mtime_ns
