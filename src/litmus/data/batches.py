"""Batches of images that lie in memory, ready for the network when they are handed out."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from litmus.data.augment import Augmentation
from litmus.seeds import epoch_seed


class Batches:
    """Iterates over ((N, C, H, W) float32, (N,) int64) batches of uint8 images, on the device that these are on.

    With a `seed` the order is shuffled, as a function of the seed and the epoch alone; without one it is kept. What
    `augment` draws for an image is a function of the seed, the epoch and the image, whatever batch it comes in.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        preprocess: Callable[[Tensor], Tensor],
        seed: int | None = None,
        augment: Augmentation | None = None,
    ):
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        self.preprocess = preprocess
        self.seed = seed
        self.augment = augment
        self.epoch = 0
        if seed is not None:
            self.sampler = self  # Lightning tells a loader's sampler the epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.seed is None:
            for images, labels in zip(
                self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True
            ):
                yield self.preprocess(images), labels
            return
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(len(self.labels), generator=generator).to(self.labels.device)
        drawn = None
        if self.augment is not None:
            drawn = self.augment.draw(len(self.labels), self.seed, self.epoch).to(self.labels.device)
        for index in order.split(self.batch_size):
            images = self.images[index]
            if self.augment is not None and drawn is not None:
                images = self.augment(images, drawn[index])
            yield self.preprocess(images), self.labels[index]
