"""Decoding of many image files: all into memory, or batch by batch, with a list of the damaged ones."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from litmus.core.atomic_files import read_json, write_json
from litmus.core.counts import format_count
from litmus.core.digests import file_state
from litmus.data.batches import Batches
from litmus.data.image_decoder import ImageDecodeError, ImageDecoder
from litmus.data.listing import readable
from litmus.errors import StoppedRun

MOST_BYTES = 2**32  # of a file of cached results; one for a million files has 0.2 GB
Bad = dict[Path, str]  # the error of each bad file


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(files: Sequence[Path], decode: ImageDecoder, keep: bool = True) -> tuple[Tensor, Bad]:
    """Decodes the files. Returns the images (N, C, H, W), black for a bad file and empty if not `keep`, and the bad
    files.
    """
    images = torch.zeros((len(files) if keep else 0, *decode.shape), dtype=torch.uint8)
    bad: Bad = {}

    def one(i: int) -> None:
        try:
            image = decode(files[i])
            if keep:
                images[i] = image
        except ImageDecodeError as error:
            bad[files[i]] = str(error)

    # Threads suffice: Pillow releases the GIL while it decodes and resizes. Its warnings are about unusual but
    # complete files.
    with warnings.catch_warnings(), ThreadPoolExecutor(available_cores()) as pool:
        warnings.simplefilter("ignore")
        what = f"{'decoding' if keep else 'checking'} {len(files):,} pictures"
        for _ in tqdm(pool.map(one, range(len(files))), what, len(files), leave=False, disable=None, unit="picture"):
            pass
    return images, dict(sorted(bad.items()))


def check_all(files: Sequence[Path], decode: ImageDecoder, memory: Path) -> Bad:
    """Decodes every file and returns the bad ones. The result is cached (see `cached_results`)."""
    return cached_results("checked", files, memory, lambda some: decode_all(some, decode, keep=False)[1])


def cached_results(
    kind: str, files: Sequence[Path], memory: Path, find: Callable[[Sequence[Path]], dict[Path, str]]
) -> dict[Path, str]:
    """Calls `find` with the files, and caches its result in the folder `memory` until the size or modification time of
    a file changes. The result may leave out files.
    """
    record = memory / kind / f"{file_state(files)[:32]}.json"
    if record.exists():
        return {Path(name): said for name, said in read_json(record, most_bytes=MOST_BYTES).items()}
    found = find(files)
    write_json(record, {str(file): said for file, said in found.items()})
    return found


def describe_bad_files(bad: Bad, total: int, root: Path, most: int = 5) -> str:
    shown = [f"{readable(path.relative_to(root))} ({reason})" for path, reason in list(bad.items())[:most]]
    more = [f"and {len(bad) - most} more"] if len(bad) > most else []
    what = "is no good picture" if len(bad) == 1 else "are no good pictures"
    return f"{len(bad):,} of {format_count(total, 'file')} {what}: {', '.join(shown + more)}"


class Files(Dataset):
    """A Dataset of (uint8 image, index)."""

    def __init__(self, files: Sequence[Path], decode: ImageDecoder):
        self.files, self.decode = files, decode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self.decode(self.files[i]), i
            except ImageDecodeError as error:
                raise ImageDecodeError(f"{readable(self.files[i])} is {error}") from None


class DecodedBatches(Batches):
    """Batches of image files that `workers` decode on demand, otherwise as `Batches`."""

    def __init__(
        self,
        images: Any,
        labels: Tensor,
        batch_size: int,
        preprocess: Callable[[Tensor], Tensor],
        *others: Any,
        decode: ImageDecoder,
        workers: int,
        **options: Any,
    ):
        super().__init__(images, labels, batch_size, preprocess, *others, **options)
        self.order: list[list[int]] = []
        self.loader = None if isinstance(images, Tensor) else self._start(decode, workers)

    def _start(self, decode: ImageDecoder, workers: int) -> DataLoader:
        return DataLoader(
            Files(self.images, decode),  # type: ignore[arg-type]
            batch_sampler=self.order,  # filled again for each epoch
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.labels.device.type == "cuda",
            generator=torch.Generator(),  # otherwise the loader changes the state of torch's generator
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self.images, Tensor):
            yield from super().__iter__()
            return
        assert self.loader is not None
        device, count = self.labels.device, len(self.labels)
        order, drawn = torch.arange(count), None
        if self.seed is not None:
            order = self._order(self.seed)
            if self.augment is not None:
                drawn = self.augment.draw(count, self.seed, self.epoch)
        self.order[:] = [part.tolist() for part in order.split(self.batch_size)]
        try:
            for images, index in self.loader:
                images = images.to(device, non_blocking=True)
                if drawn is not None and self.augment is not None:
                    images = self.augment(images, drawn[index].to(device))
                yield self.preprocess(images), self.labels[index.to(device)]
        except ImageDecodeError as error:  # the error of a worker begins with its traceback
            raise StoppedRun(f"{str(error).strip().splitlines()[-1]}, and was good when it was checked") from error
