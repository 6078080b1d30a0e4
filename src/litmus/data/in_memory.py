"""The data module of image sets that fit in memory as uint8; batches are sliced and converted on the device."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from litmus.core.counts import format_count
from litmus.core.digests import combine_digests
from litmus.data.augment import Augmentation
from litmus.data.batches import Batches
from litmus.data.fingerprint import content_digest
from litmus.data.part_names import PARTS
from litmus.data.preprocess import SCALINGS, Preprocess, shape_after
from litmus.data.sources import MNIST, Source, Synthetic, read
from litmus.data.split import VAL_SIZE, check_not_split, stratified_split, validation_count
from litmus.errors import number, one_of, require, whole_number

Part = tuple[Tensor, Tensor]
Loaded = tuple[Tensor, Tensor, list[str] | None]  # images (N, C, H, W) uint8, labels (N,), names of the classes

MEASURED_PIXELS = (
    2000 * 28 * 28
)  # in a batch that is only measured: what a convolution makes of them must fit in memory


class InMemory(pl.LightningDataModule):
    """The training, validation and test part of an image set.

    `train_size` and `test_size` keep the first N images (null for all). `val_size`, a count or a fraction below 1, is
    split off the training images as the validation part, stratified by class. The arguments `num_classes` and
    `image_shape` describe the images of the source; null infers them from the images. The attribute `image_shape` is
    the shape that the network gets, after scaling and resizing to `image_size`. `augment` changes training batches
    only.
    """

    pipeline = "resize"  # how an image file is decoded
    loader: Callable[..., Batches] = Batches

    def __init__(
        self,
        name: str,
        source: Source,
        num_classes: int | None,
        image_shape: Sequence[int] | None,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        train_size: int | None = None,
        val_size: float = VAL_SIZE,
        test_size: int | None = None,
        scaling: str = "standardize",
        data_dir: str = "data",
        seed: int = 0,
        image_size: int | None = None,
        augment: Augmentation | None = None,
    ):
        super().__init__()
        self.name: str = name
        self.source = source
        self.batch_size = whole_number("data.batch_size", batch_size, least=1)
        if eval_batch_size is not None:
            eval_batch_size = whole_number("data.eval_batch_size", eval_batch_size, least=1)
        self.train_size = train_size if train_size is None else whole_number("data.train_size", train_size, least=1)
        self.test_size = test_size if test_size is None else whole_number("data.test_size", test_size, least=1)
        self.val_size = number("data.val_size", val_size, least=0)
        require(
            val_size < 1 or val_size == int(val_size),
            f"data.val_size is {val_size}, and must be a whole number of images or a fraction below 1",
        )
        self.scaling = one_of("data.scaling", scaling, SCALINGS)
        self.image_size = image_size if image_size is None else whole_number("data.image_size", image_size, least=1)
        self.augment = augment or None
        self.data_dir = data_dir
        self.seed = seed
        self.class_names: list[str] = []
        self.parts: dict[str, Part] = {}
        self._digests: dict[str, str] = {}
        self.prefetch_in_thread = False  # whether a CPU core is idle during training
        self.features: dict[str, Tensor] = {}  # by part: cached features of a frozen backbone that replace the images
        if num_classes is None or image_shape is None:
            self._read_training_images()
        else:
            require(len(image_shape) == 3, f"data.image_shape is {image_shape}, and must be [channels, height, width]")
            self.num_classes = num_classes
            self.source_shape = tuple(
                whole_number("a number of data.image_shape", side, least=1) for side in image_shape
            )
        whole_number("the number of classes (data.num_classes)", self.num_classes, least=2)
        self.image_shape = shape_after(self.scaling, self.image_size, self.source_shape)
        self.eval_batch_size = eval_batch_size or max(1, MEASURED_PIXELS // math.prod(self.image_shape[1:]))
        if self.augment is not None:
            self.augment.check(*self.source_shape[1:])

    @cached_property
    def notes(self) -> list[str]:
        """Sentences for the log about the images that were read."""
        return []

    def setup(self, stage: str | None = None) -> None:
        """Reads and splits everything, once; with the stage `test`, reads only the test images.

        Raises ConfigError if the images do not fit the options.
        """
        if "test" not in self.parts:
            self.parts["test"] = self._read("test", self.test_size)
        if stage == "test" or "val" in self.parts:
            return
        if "train" not in self.parts:
            self._read_training_images()
        images, labels = self.parts["train"]
        given = self._read("val")
        if len(given[1]):
            check_not_split(self.val_size, f"x_val of data={self.name}")
        if not len(given[1]):
            rest, chosen = stratified_split(labels, validation_count(self.val_size, len(labels)), self.seed)
            for part, index in {"train": rest, "val": chosen}.items():
                # index_select copies row by row, 4 times as fast as [].
                self.parts[part] = images.index_select(0, index), labels[index]
        elif self.val_size == 0:
            self.parts["train"] = torch.cat([images, given[0]]), torch.cat([labels, given[1]])
            self.parts["val"] = given[0][:0], given[1][:0]
        else:
            self.parts["val"] = given
        self._check_parts()
        counts = torch.bincount(self.parts["train"][1], minlength=self.num_classes).tolist()
        empty = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
        if empty:
            without = "1 class has" if len(empty) == 1 else f"{len(empty):,} classes have"
            self.notes.append(f"warning: {without} no training image, such as {empty[0]}")
        self.preprocess = Preprocess.fit(self.scaling, self.parts["train"][0], self.image_size)

    def _check_parts(self) -> None:
        """A hook for subclasses, called after all parts are read, before the mean of the images is computed."""

    def _read_training_images(self) -> None:
        self.parts["train"] = self._read("train", self.train_size)

    def _load(self, part: str) -> Loaded | None:
        """None for a part that the source lacks."""
        if part == "val":
            return None
        return read(self.source, self.data_dir, part == "train", self.name, getattr(self, "source_shape", None))

    def _read(self, part: str, first: int | None = None) -> Part:
        loaded = self._load(part)
        if loaded is None:
            require(first is None, f"data={self.name} has no {PARTS[part]} images; leave data.{part}_size out")
            return torch.zeros(0, *self.source_shape, dtype=torch.uint8), torch.zeros(0, dtype=torch.long)
        images, labels, names = loaded
        require(
            len(images) == len(labels) > 0,
            f"data={self.name} has {format_count(len(images), f'{PARTS[part]} image')} and "
            f"{format_count(len(labels), 'label')}, and needs as many of each",
        )
        require(
            first is None or first <= len(labels),
            f"data.{part}_size={first} is more than the {format_count(len(labels), f'{PARTS[part]} image')} there "
            f"{'is' if len(labels) == 1 else 'are'}",
        )
        if not hasattr(self, "num_classes"):
            self.num_classes = len(names) if names else int(labels.max()) + 1
            self.source_shape = tuple(images.shape[1:])
        require(
            tuple(images.shape[1:]) == self.source_shape,
            f"the {PARTS[part]} images of data={self.name} have shape {list(images.shape[1:])}, "
            f"and {list(self.source_shape)} was expected",
        )
        low, high = int(labels.min()), int(labels.max())
        fix = "remove the images with negative labels" if low < 0 else "correct them, or data.num_classes"
        require(
            low >= 0 and high < self.num_classes,
            f"the {PARTS[part]} labels of data={self.name} run from {low} to {high}, and must lie from 0 to "
            f"{self.num_classes - 1}; {fix}",
        )
        self.class_names = list(names) if names else [str(label) for label in range(self.num_classes)]
        images, labels = images[:first], labels[:first]
        self._digests[part] = content_digest(images, labels, self.class_names)
        return images, labels

    def fingerprint(self) -> str:
        """A digest of the images, labels and class names, before the split. Reads them first if `setup` has not run."""
        self.setup()
        return combine_digests(self._digests)

    def sources(self) -> list[Path] | None:
        """The files and folders that are read, empty for images inside the package; None if they are unknown."""
        kind = getattr(self.source, "func", self.source)
        if kind in (MNIST, Synthetic):
            return []
        return [Path(self.data_dir)] if str(getattr(kind, "__module__", "")).startswith("torchvision.") else None

    def size(self, part: str) -> int:
        return len(self.parts[part][1])

    def inputs(self, part: str) -> tuple[Any, Tensor, Callable[[Tensor], Tensor]]:
        """The inputs and labels of a part, and the function that preprocesses a batch of inputs."""
        images, labels = self._on_device(part)
        if part in self.features:
            return self.features[part], labels, nn.Identity()
        return images, labels, self.preprocess

    def batches(self, part: str, first: int | None = None, share: tuple[int, int] = (0, 1)) -> Batches:
        """Batches of the first images of a part, not shuffled and not augmented, for evaluation."""
        images, labels, preprocess = self.inputs(part)
        return self.loader(images[:first], labels[:first], self.eval_batch_size, preprocess, share=share)

    def train_dataloader(self) -> Batches:
        images, labels, preprocess = self.inputs("train")
        order = self.seed, self.augment, self._share(), self.prefetch_in_thread
        return self.loader(images, labels, self.batch_size, preprocess, *order)

    def val_dataloader(self) -> Batches | list[Any]:
        return self.batches("val", share=self._share()) if self.size("val") else []

    def test_dataloader(self) -> Batches:
        require(self.size("test") > 0, f"data={self.name} has no test images: leave the test out with test=false")
        return self.batches("test", share=self._share())

    def _share(self) -> tuple[int, int]:
        """The rank of this process and the number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _on_device(self, part: str) -> Part:
        """Moves a part to the device of the trainer, once, so that a batch needs no transfer."""
        device = self._device()
        images, labels = self.parts[part]
        self.parts[part] = images.to(device), labels.to(device)
        self.preprocess.to(device)
        return self.parts[part]

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")

    def facts(self) -> dict[str, Any]:
        """The metadata that a checkpoint needs to use the model without the data: plain containers and tensors."""
        return {
            "class_names": self.class_names,
            "image_shape": list(self.image_shape),
            "source_shape": list(self.source_shape),
            "pipeline": self.pipeline,
            "mean": self.preprocess.mean.flatten().cpu(),
            "std": self.preprocess.std.flatten().cpu(),
            "image_size": self.image_size,
        }
