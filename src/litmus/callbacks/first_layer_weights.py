"""Images of the first layer's weights."""

import math
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from litmus.callbacks.plots import show, tensorboard_loggers, weight_grid
from litmus.errors import whole_number
from litmus.penalties import weights_by_layer


class FirstLayerWeights(pl.Callback):
    """Plots the weights of the first `units` units of the first layer: images for a linear layer, kernels for a
    convolution.

    Plots them before training, every `every_n_epochs` epochs, and at the end.
    """

    only_observes = True

    def __init__(self, every_n_epochs: int = 5, units: int = 100):
        self.every_n_epochs = whole_number("callbacks.first_layer_weights.every_n_epochs", every_n_epochs, least=1)
        self.units = whole_number("callbacks.first_layer_weights.units", units, least=1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.shown = trainer.current_epoch
        if trainer.current_epoch == 0:
            self._show(trainer, pl_module, epoch=0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            self._show(trainer, pl_module, epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.shown != trainer.current_epoch:
            self._show(trainer, pl_module, trainer.current_epoch)

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        self.shown = epoch
        if not tensorboard_loggers(trainer):
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        layer, weights = next(iter(weights_by_layer(pl_module.network).items()))  # type: ignore[arg-type]
        images = as_images(weights.detach()[: self.units].float().cpu(), data.image_shape)
        if images is not None:
            title = f"weights of {layer}, after epoch {epoch}" if epoch else f"weights of {layer}, before training"
            show(trainer, "first_layer_weights", weight_grid(images, title))


def as_images(weights: Tensor, image_shape: tuple[int, ...]) -> Tensor | None:
    """The weights as images (N, C, H, W) of one or three channels, or None if they do not correspond to pixels."""
    if weights.dim() == 2 and weights.shape[1] == math.prod(image_shape):
        weights = weights.unflatten(1, image_shape)
    if weights.dim() != 4:
        return None
    return weights if weights.shape[1] in (1, 3) else weights.flatten(0, 1).unsqueeze(1)
