"""Cached features of a frozen backbone."""

import logging
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from litmus.core.lightning_hooks import callbacks_with, overridden_below, overrides_transfer
from litmus.errors import number

log = logging.getLogger("litmus")

PARTS = ("train", "val")
STEP = (
    "forward",
    "loss_terms",
    "training_step",
    "validation_step",
    "on_train_batch_start",
    "on_validation_batch_start",
)


class FrozenFeatures(Callback):
    """Computes the features of a frozen backbone once, for the training and the validation images, and trains and
    validates the head on them. When the backbone is unfrozen, training continues with the images.

    The features of an image are constant only while the backbone is frozen and the images are not augmented. A custom
    training step may also change images in a way that is wrong for features, such as mixing them. So the cache is not
    used if the model overrides a part of the step below the class that defines `features`, if a callback from outside
    Lightning and Litmus overrides on_train_batch_start, or if the model or the data module overrides the transfer of a
    batch to the device; one log line gives the reason.

    The cache changes at most the last bits of the weights, and does not change what is saved. It is not used if it
    saves no time (a single frozen epoch) or if the features need more than `memory_gb`. The model needs
    `frozen_at(epoch)`, `features(images)` of shape (N, F), `feature_count` F, and a `forward` that accepts features
    too.
    """

    def __init__(self, memory_gb: float = 2.0):
        self.memory_gb = number("callbacks.frozen_features.memory_gb", memory_gb, least=0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        model: Any = pl_module
        if data.features and not model.frozen_at(trainer.current_epoch):
            data.features.clear()
            self._hand_over(trainer, data)
        elif not data.features and self._worthwhile(trainer, model, data):
            started = time.monotonic()
            data.features |= {part: self._compute(trainer, model, data, part) for part in PARTS if data.size(part)}
            self._hand_over(trainer, data)
            images = sum(len(features) for features in data.features.values())
            seconds = time.monotonic() - started
            log.info(f"the frozen backbone's features of {images:,} images are computed, once, in {seconds:.1f} s")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.datamodule.features.clear()  # type: ignore[attr-defined]

    def _worthwhile(self, trainer: pl.Trainer, model: Any, data: Any) -> bool:
        if (
            not hasattr(model, "features")
            or not hasattr(data, "batches")
            or data.augment is not None
            or trainer.limit_train_batches != 1.0
        ):
            return False
        following = trainer.current_epoch + 1
        if not model.frozen_at(following) or following == trainer.max_epochs:
            return False
        if (reason := _own_step(trainer, model)) is not None:
            if trainer.current_epoch == 0:
                log.info(f"the frozen backbone's features are computed for each batch, because {reason}")
            return False
        images = sum(data.size(part) for part in PARTS)
        if images * model.feature_count * 4 > self.memory_gb * 1e9:
            log.info(f"the features of {images:,} images are more than callbacks.frozen_features.memory_gb holds")
            return False
        return True

    def _compute(self, trainer: pl.Trainer, model: Any, data: Any, part: str) -> Tensor:
        precision: Any = trainer.precision_plugin
        found = []
        with torch.no_grad(), precision.val_step_context():
            for batch in tqdm(data.batches(part), f"features of {part}", leave=False, disable=None):
                images, _ = trainer.strategy.batch_to_device(precision.convert_input(batch))
                found.append(model.features(images))
        return torch.cat(found)

    def _hand_over(self, trainer: pl.Trainer, data: Any) -> None:
        """Replaces the inputs of Lightning's loaders by the current inputs of `data`: features or images."""
        for part, loader in (("train", trainer.train_dataloader), ("val", trainer.val_dataloaders)):
            if data.size(part):
                inputs, _, preprocess = data.inputs(part)
                loader.take(inputs, preprocess)  # type: ignore[union-attr]


def _own_step(trainer: pl.Trainer, model: Any) -> str | None:
    """The reason why the step may change the images of a batch or expect images, or None."""
    if names := overridden_below(model, STEP, defining="features"):
        return f"{type(model).__name__} overrides {', '.join(names)}"
    if overrides_transfer(trainer):
        return "the model or the data module overrides how a batch gets to the device"
    own = [c for c in callbacks_with(trainer, "on_train_batch_start") if not _is_of_library(c)]
    return f"{type(own[0]).__name__} has on_train_batch_start" if own else None


def _is_of_library(callback: pl.Callback) -> bool:
    return type(callback).__module__.partition(".")[0] in ("litmus", "pytorch_lightning", "lightning")
