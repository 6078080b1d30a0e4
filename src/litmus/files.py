"""Checkpoints, and with them all that is written whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from litmus.atomic import read_json, replacing, write_json, write_text
from litmus.errors import ConfigError

__all__ = ["AtomicCheckpointIO", "load_checkpoint", "read_json", "replacing", "write_json", "write_text"]


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """A checkpoint's contents: tensors and plain containers, nothing that could run code.

    Raises ConfigError if the file is absent, damaged or holds anything else.
    """
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give a run directory or a checkpoint file") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{path} is not a checkpoint that can be read safely ({reason}): use another file") from None
    if not isinstance(checkpoint, dict):
        raise ConfigError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint: use another file")
    return checkpoint


@contextmanager
def _without_checksums() -> Iterator[None]:
    """Those of torch.save take as long as the writing, and torch.load doesn't look at them."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through `replacing` and `load_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with replacing(path) as draft, draft.open("wb") as file, _without_checksums():
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # torch's own complaint, about its position in the file, hides the disk's.
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return load_checkpoint(path, map_location)
