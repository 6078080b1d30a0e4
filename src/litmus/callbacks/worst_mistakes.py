"""The test images with the most confident wrong predictions."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from litmus.callbacks.plots import image_grid, pixels, save, shorten_names, show
from litmus.data.preprocess import UnknownPreprocess
from litmus.errors import whole_number

log = logging.getLogger("litmus")


class WorstMistakes(pl.Callback):
    """Plots the misclassified test images with the highest loss, at most `images`, and saves the figure in `directory`.

    The captions give the true and the predicted class with their probabilities. The loss is always the cross-entropy,
    even if the model was trained with another loss.
    """

    only_observes = True

    def __init__(self, images: int = 24, directory: str = "test"):
        self.images = whole_number("callbacks.worst_mistakes.images", images, least=1)
        self.path = Path(directory) / "worst_mistakes.png"

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.worst: list[Tensor] = []

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        images, target = batch
        log_p = outputs.float().log_softmax(dim=1)
        wrong = (log_p.argmax(dim=1) != target).nonzero().squeeze(1)
        self._keep([log_p[wrong], target[wrong], images[wrong]])

    def _keep(self, found: list[Tensor]) -> None:
        """Adds mistakes (log-probabilities, targets, images) and keeps the worst ones."""
        if self.worst:
            found = [torch.cat(pair) for pair in zip(self.worst, found, strict=True)]
        log_p, target, _ = found
        worst = log_p.gather(1, target[:, None]).squeeze(1).argsort(stable=True)[: self.images]
        self.worst = [part[worst] for part in found]

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            shares = zip(*(gather_all_tensors(part) for part in self.worst), strict=True)
            self.worst = []
            for share in shares:
                self._keep(list(share))
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        log_p, target, images = self.worst
        if not len(target):
            log.info("no test image was misclassified, so there is no picture of the worst mistakes")
            return
        if isinstance(data.preprocess, UnknownPreprocess):  # the pixels are unknown
            return
        names = shorten_names(data.class_names, 14)
        captions = [
            f"is {names[true]}: p = {row[true]:.2g}\nsaid {names[said]}: p = {row[said]:.2g}"
            for row, true, said in zip(log_p.exp().tolist(), target.tolist(), log_p.argmax(dim=1).tolist(), strict=True)
        ]
        title = f"{data.name}: the worst mistakes on the test images"
        figure = image_grid(pixels(images, data.preprocess), captions, title, columns=6, wide=1.5)
        save(figure, self.path)
        show(trainer, "worst_mistakes", figure)
