"""Checks the batches of a data module from outside Litmus."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from litmus.core.lightning_hooks import is_overridden
from litmus.errors import ConfigError, require
from litmus.models.classifier import Classifier

STEPS = {"train": "training_step", "val": "validation_step", "test": "test_step"}


class CheckBatches(pl.Callback):
    """Raises ConfigError if a batch is not (images, labels) as the model needs them.

    On a GPU it checks the values of the labels only in the first batch, because reading them synchronizes with the
    device. If the model overrides the step of a part, batches of this part may have any structure.
    """

    def __init__(self, num_classes: int, image_shape: Sequence[int]):
        self.num_classes = num_classes
        self.image_shape = tuple(image_shape)
        self.checked: set[str] = set()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._check("train", trainer, pl_module, batch)

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        self._check("val", trainer, pl_module, batch)

    def on_test_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        self._check("test", trainer, pl_module, batch)

    def _check(self, part: str, trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> None:
        if is_overridden(module, STEPS[part], Classifier):
            return
        name = f"{part}_dataloader of {type(trainer.datamodule).__name__}"  # type: ignore[attr-defined]
        _check_types(f"a batch of {name}", batch, self.image_shape)
        if part not in self.checked or batch[1].is_cpu:
            self.checked.add(part)
            _check_labels(name, batch[1], self.num_classes)


def check_loader(name: str, loader: Any) -> None:
    """Raises ConfigError unless `loader` is a single loader with a batch. `name` names the loader in the error."""
    require(loader is not None, f"{name} returns None; return a DataLoader")
    require(
        not isinstance(loader, Sequence | Mapping), f"{name} returns a {type(loader).__name__}; return one DataLoader"
    )
    try:
        batches = len(loader)
    except TypeError:  # of an IterableDataset
        return
    require(batches > 0, f"{name} has no batch; give it more images, a smaller batch_size, or drop_last=False")


def _check_types(name: str, batch: Any, image_shape: tuple[int, ...]) -> None:
    if not isinstance(batch, list | tuple) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        raise ConfigError(f"{name} is {_describe(batch)}; it must be two tensors, (images, labels)")
    images, labels = batch
    require(
        images.is_floating_point() and images.dtype != torch.float64,
        f"the images of {name} are {images.dtype}; give preprocessed images as torch.float32",
    )
    require(
        images.shape[1:] == image_shape,
        f"the images of {name} have shape {tuple(images.shape)}; they must have (N, "
        f"{', '.join(map(str, image_shape))}), or set self.image_shape to theirs",
    )
    require(
        labels.dtype == torch.int64 and labels.shape == images.shape[:1],
        f"the labels of {name} are {labels.dtype} of shape {tuple(labels.shape)}; give class numbers as torch.int64 of "
        f"shape ({len(images)},)",
    )


def _check_labels(name: str, labels: Tensor, num_classes: int) -> None:
    least, most = map(int, labels.aminmax())
    require(
        least >= 0 and most < num_classes,
        f"the labels of {name} run from {least} to {most}; number the {num_classes} classes from 0 to "
        f"{num_classes - 1}",
    )


def _describe(batch: Any) -> str:
    kind = type(batch).__name__
    if not isinstance(batch, list | tuple):
        return f"a {kind}"
    return f"a {kind} of {len(batch)} ({', '.join(type(part).__name__ for part in batch)})"
