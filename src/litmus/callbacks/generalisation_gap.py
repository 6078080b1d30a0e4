"""The generalisation gap."""

from typing import Any

import pytorch_lightning as pl
import torch

from litmus.errors import whole_number


class GeneralisationGap(pl.Callback):
    """Logs `gap/acc`: accuracy on the first `images` training images, in eval mode and without augmentation, minus
    `val/acc`. The running `train/acc` would not do: dropout lowers it, and it lags behind the weights."""

    def __init__(self, images: int):
        self.images = whole_number("callbacks.generalisation_gap.images", images, least=1)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with torch.no_grad():
            correct = torch.stack(
                [
                    (pl_module(images).argmax(dim=1) == target).sum()
                    for images, target in data.batches("train", first=self.images)
                ]
            ).sum()
        self.accuracy = int(correct) / min(self.images, data.size("train"))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if "val/acc" in trainer.callback_metrics:
            pl_module.log("gap/acc", self.accuracy - float(trainer.callback_metrics["val/acc"]))
