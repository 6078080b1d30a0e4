"""Image sets and how they become batches: data modules, sources, augmentation, preprocessing. No models or training."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from litmus.data.array_file import ArrayFile
from litmus.data.augment import Augmentation
from litmus.data.image_folder import ImageFolder
from litmus.data.in_memory import InMemory
from litmus.data.sources import Synthetic

__all__ = ["ArrayFile", "Augmentation", "ImageFolder", "InMemory", "arrays", "synthetic"]

arrays = ArrayFile  # what conf/data/arrays.yaml and the checkpoints of its runs name


def synthetic(
    num_images: int = 512, num_classes: int = 10, image_shape: Sequence[int] = (1, 28, 28), **options: Any
) -> InMemory:
    """A data module of synthetic images (see `Synthetic`)."""
    source = partial(Synthetic, num_images, num_classes, image_shape)
    return InMemory("synthetic", source, num_classes, image_shape, **options)
