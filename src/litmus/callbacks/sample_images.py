"""A grid of training images as the network gets them."""

from typing import Any

import pytorch_lightning as pl

from litmus.callbacks.plots import image_grid, pixels, shorten_names, show, tensorboard_loggers
from litmus.data.preprocess import UnknownPreprocess
from litmus.errors import whole_number


class SampleImages(pl.Callback):
    """Plots the first `images` images of the first batch with their classes: augmented as for the network, but not
    normalized.
    """

    only_observes = True

    def __init__(self, images: int = 32):
        self.images = whole_number("callbacks.sample_images.images", images, least=1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch > 0 or not tensorboard_loggers(trainer):
            return
        # Not in the first step, whose batch may contain features instead of images (see FrozenFeatures).
        batch = next(iter(trainer.train_dataloader))  # type: ignore[arg-type]
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data.preprocess, UnknownPreprocess):  # the pixels are unknown
            return
        images, target = (part[: self.images] for part in batch)
        names = shorten_names(data.class_names, 18)
        captions = [names[label] for label in target.tolist()]
        title = f"{data.name}: the first images of the first batch"
        show(trainer, "sample_images", image_grid(pixels(images, data.preprocess), captions, title, columns=8))
