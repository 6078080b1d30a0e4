"""Limits on what a checkpoint file may declare, so that a small file cannot fill the memory."""

import mmap
import os
import stat
import zipfile
from typing import Any

from torch import Tensor

SHARING = 16  # tensors of a checkpoint may share memory, as tied weights do: their sizes add up to this many files
ALWAYS_ALLOWED = 2**28  # bytes


def check_archive(path: str | os.PathLike[str]) -> None:
    """Raises ValueError for an archive whose parts are larger than the file, and for a request for empty memory.

    torch.save compresses nothing, and writes each part once.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a file")
    size = found.st_size
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"PK\x03\x04" or zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                parts = archive.infolist()
            is_stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
            if not is_stored or sum(part.file_size for part in parts) > size:
                raise ValueError("its parts are larger than the file")
        # The only call that torch.load allows and that fills memory of any size. Its name ends a line.
        if content.find(b"bytearray\n") >= 0:
            raise ValueError("it contains a bytearray")


def check_tensors(contents: Any, path: str | os.PathLike[str]) -> None:
    """Raises ValueError if the tensors have no data, or are much larger than the file, as an expanded tensor can be."""
    left = max(SHARING * os.path.getsize(path), ALWAYS_ALLOWED)
    stack, seen = [contents], set()
    while stack:
        value = stack.pop()
        if isinstance(value, Tensor):
            left -= value.numel() * value.element_size()
            if value.is_meta or left < 0:
                raise ValueError("its tensors are larger than the file")
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            stack += value.values() if isinstance(value, dict) else value


def is_state_dict(state: Any) -> bool:
    """Whether this is a dictionary of named dense tensors."""
    return isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) and str(value.layout) == "torch.strided"
        for name, value in state.items()
    )
