"""Batches of images in memory, preprocessed on the device."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from litmus.core.seeds import epoch_seed
from litmus.data.augment import Augmentation

T = TypeVar("T")

PIXELS_AT_ONCE = 2**19  # that fit as float32 in the cache of a core
BYTES_AT_ONCE = 2**22


class Batches:
    """Iterates over ((N, C, H, W) float32, (N,) int64) batches of uint8 images, on the device that these are on.

    With a `seed` the order is shuffled, as a function of the seed and the epoch alone; without one it is kept. What
    `augment` draws for an image is a function of the seed, the epoch and the image, whatever batch it comes in.

    With a `share`, (rank, world), each of `world` processes gets its part of every batch, and together they get each
    image once; in training up to world − 1 images of an epoch are left out, so that the parts are equal. With a
    `prefetch_in_thread`, augmented batches are made by a thread of its own while the ones before are trained on.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        preprocess: Callable[[Tensor], Tensor],
        seed: int | None = None,
        augment: Augmentation | None = None,
        share: tuple[int, int] = (0, 1),
        prefetch_in_thread: bool = False,
    ):
        self.rank, self.world = rank, world = share
        self.images, self.labels = images, labels
        if seed is None:
            self.images, self.labels = images[rank::world], labels[rank::world]
        self.batch_size = batch_size // world
        self.preprocess = preprocess
        self.seed = seed
        self.augment = augment
        # Without augmentation, it takes less time to create a batch than to pass it between threads.
        self.ahead = prefetch_in_thread and augment is not None and labels.device.type == "cpu"
        self.epoch = 0
        if seed is not None:
            self.sampler = self  # Lightning sets the epoch of a loader's sampler

    def take(self, images: Tensor, preprocess: Callable[[Tensor], Tensor]) -> None:
        """Replaces the images by their cached features, or the features by the images; the order stays the same."""
        self.images = images if self.seed is not None else images[self.rank :: self.world]
        self.preprocess = preprocess

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        count = len(self.labels) if self.seed is None else len(self.labels) // self.world
        return -(-count // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.seed is None:
            for images, labels in zip(
                self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True
            ):
                yield self.preprocess(images), labels
            return
        blocks = prefetch(self._blocks()) if self.ahead else self._blocks()
        for images, labels in blocks:
            yield from zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)

    def _order(self, seed: int) -> Tensor:
        """The indices of this process's images in the order of the epoch."""
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(epoch_seed(seed, self.epoch)))
        return order[: len(order) - len(order) % self.world][self.rank :: self.world]

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of several batches at a time."""
        assert self.seed is not None
        order = self._order(self.seed).to(self.labels.device)
        labels = self.labels.index_select(0, order)
        if self.augment is not None:
            drawn = self.augment.draw(len(self.labels), self.seed, self.epoch).to(order.device).index_select(0, order)
        # Several small batches are preprocessed at once, because each operation has an overhead of some microseconds.
        # Gathering is limited by memory latency, so it covers even more batches at once.
        size = self.batch_size * max(1, PIXELS_AT_ONCE // max(1, self.batch_size * self.images[0].numel()))
        picked = size * max(1, BYTES_AT_ONCE // max(1, size * self.images[0].nbytes))
        for start in range(0, len(order), size):
            if start % picked == 0:
                images = self.images.index_select(0, order[start : start + picked])
            some = images[start % picked : start % picked + size]
            if self.augment is not None:
                some = self.augment(some, drawn[start : start + size])
            yield self.preprocess(some), labels[start : start + size]


def prefetch(blocks: Iterator[T]) -> Iterator[T]:
    """Yields the same items; a thread prepares the next item while the current one is used."""
    with ThreadPoolExecutor(1, "batches") as thread:
        following = thread.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = thread.submit(next, blocks, None)
            yield block
