"""Image sets, whole in memory or read from folders."""

from functools import partial
from typing import Any

from litmus.data.augment import Augmentation
from litmus.data.image_folder import ImageFolder
from litmus.data.in_memory import InMemory
from litmus.data.sources import Arrays, Synthetic

__all__ = ["Augmentation", "ImageFolder", "InMemory", "arrays", "synthetic"]


def arrays(path: str, **options: Any) -> InMemory:
    """A user's own `.npz` (see `Arrays`), which says itself how many classes there are and of what shape."""
    return InMemory("arrays", partial(Arrays, path), num_classes=None, image_shape=None, **options)


def synthetic(num_images: int, num_classes: int, image_shape: list[int], **options: Any) -> InMemory:
    """Images made on the spot (see `Synthetic`)."""
    source = partial(Synthetic, num_images, num_classes, image_shape)
    return InMemory("synthetic", source, num_classes, image_shape, **options)
