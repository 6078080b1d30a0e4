"""Test metrics of every epoch."""

import math
from itertools import islice
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from litmus.callbacks.generalization_gap import training_accuracy
from litmus.callbacks.measure import evaluate
from litmus.errors import whole_number


class TestCurve(pl.Callback):
    """Logs `test/loss` and `test/acc` after every epoch, to reproduce published curves. Nothing is selected by them.

    The result of the run is still that of its best checkpoint, whose test adds the last point to the curve in
    TensorBoard. With `training_images`, also logs `train_eval/acc`: accuracy on the first N training images in eval
    mode.
    """

    only_observes = True

    __test__ = False  # pytest collects every class named Test…

    def __init__(self, training_images: int | None = None):
        name = "callbacks.test_curve.training_images"
        self.training_images = None if training_images is None else whole_number(name, training_images, least=1)

        self._metrics: dict[str, Any] = {}

    # Not at the end of the epoch, when a callback such as weight averaging may have replaced the validated weights.
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0 and not trainer.sanity_checking:
            self._metrics = self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log_dict(self._metrics or self._measure(trainer, pl_module))
        self._metrics = {}

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        model: Any = pl_module
        loss = MeanMetric(nan_strategy=math.nan).to(pl_module.device)
        accuracy = MulticlassAccuracy(model.num_classes, average="micro").to(pl_module.device)

        def update(logits: Tensor, target: Tensor) -> None:
            loss.update(model.loss(logits, target), weight=len(target))
            accuracy.update(logits, target)

        batches = data.test_dataloader()
        limit = trainer.limit_test_batches  # a number or a fraction of batches
        count = limit if isinstance(limit, int) else int(len(batches) * limit)
        evaluate(trainer, pl_module, islice(batches, count), update)
        metrics: dict[str, Any] = {"test/loss": loss.compute(), "test/acc": accuracy.compute()}
        if self.training_images is not None:
            metrics["train_eval/acc"] = training_accuracy(trainer, pl_module, first=self.training_images)
        return metrics
