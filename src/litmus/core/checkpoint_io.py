"""Checkpoint files: atomic writing, in the background where they are large, and safe loading."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from litmus.core.atomic_files import link, read_json, replacing, write_json, write_text
from litmus.core.checkpoint_limits import check_archive, check_tensors
from litmus.errors import ConfigError

__all__ = ["AtomicCheckpointIO", "load_checkpoint", "read_json", "replacing", "write_json", "write_text"]


CHECKPOINT_KEY = "litmus"  # renaming keeps this


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint: tensors and plain containers, nothing that could run code.

    Raises ConfigError if the file is absent or damaged, holds anything else, or declares much more than its size.
    """
    try:
        check_archive(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        check_tensors(checkpoint, path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give a run directory or a checkpoint file") from None
    except PermissionError:
        raise ConfigError(f"{path} cannot be read (permission denied); change its permissions") from None
    except Exception:  # torch raises many errors for a damaged file, with advice that does not apply here
        raise ConfigError(
            f"{path} is damaged, or contains more than tensors and plain containers; use another file"
        ) from None
    if not isinstance(checkpoint, dict):
        raise ConfigError(f"{path} contains a {type(checkpoint).__name__}, not a checkpoint; use another file")
    return checkpoint


@contextmanager
def _without_checksums() -> Iterator[None]:
    """Disables the checksums of torch.save, which take as long as writing and are not read by torch.load."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through `replacing` and `load_checkpoint`.

    A large one is copied, and written by a thread while training continues: ResNet-18 with Adam is 134 MB. If that
    fails, the next `save_checkpoint` raises what was wrong. Of `storage_options`, `also` is a second name for the
    file, given once it is whole, and `at_once` says that it must be there on return.
    """

    LARGE = 2**24  # bytes

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._copies: list[Tensor] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        options = storage_options or {}
        also = options.get("also")
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()
        if options.get("at_once") or _size(checkpoint) < self.LARGE:
            _write(checkpoint, path, also)
            return
        self._thread = self._thread or ThreadPoolExecutor(max_workers=1)
        self._writing = self._thread.submit(_write, self._copy(checkpoint), path, also)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return load_checkpoint(path, map_location)

    def teardown(self) -> None:
        """Finishes pending writes. Lightning calls it however a run ends."""
        if self._thread is not None:
            self._thread.shutdown()
        self._thread, self._copies = None, []

    def _copy(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Copies the tensors, into the memory of the last copies, because allocating memory costs more than copying."""
        before, self._copies = iter(self._copies), []

        def copied(tensor: Tensor) -> Tensor:
            place = next(before, None)
            if place is None or _kind(place) != _kind(tensor):
                place = torch.empty_like(tensor, device="cpu")
            self._copies.append(place.copy_(tensor))
            return place

        return apply_to_collection(checkpoint, Tensor, copied)


def _kind(tensor: Tensor) -> Any:
    return tensor.shape, tensor.stride(), tensor.dtype


def _size(checkpoint: dict[str, Any]) -> int:
    """The size of its tensors in bytes."""
    sizes: list[int] = []
    apply_to_collection(checkpoint, Tensor, lambda tensor: sizes.append(tensor.nbytes))
    return sum(sizes)


def _write(checkpoint: dict[str, Any], path: Any, also: Any) -> None:
    with replacing(path) as draft, draft.open("wb") as file, _without_checksums():
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:
            # torch's error about its position in the file hides the error of the disk.
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
    if also is not None:
        link(path, also)
