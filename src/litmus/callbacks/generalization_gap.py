"""The generalization gap."""

from typing import Any

import pytorch_lightning as pl

from litmus.callbacks.logged_metrics import metrics_of_epoch
from litmus.callbacks.measure import evaluate
from litmus.errors import whole_number


def training_accuracy(trainer: pl.Trainer, pl_module: pl.LightningModule, first: int | None = None) -> float:
    """Accuracy on the first training images, in eval mode and without augmentation."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    batches = data.batches("train", first=first)
    correct = evaluate(trainer, pl_module, batches, lambda logits, target: (logits.argmax(dim=1) == target).sum())
    return int(sum(correct)) / len(data.parts["train"][1][:first])


class GeneralizationGap(pl.Callback):
    """Logs `gap/acc`: accuracy on the first `images` training images, in eval mode and without augmentation, minus
    `val/acc`. The running `train/acc` is not comparable: dropout lowers it, and it lags behind the weights.

    It uses at most as many images as the validation part has, because more would not make the difference more precise.
    It works only with the data modules of litmus.data: the training batches of others may be augmented.
    """

    only_observes = True

    def __init__(self, images: int = 5000):
        self.images = whole_number("callbacks.generalization_gap.images", images, least=1)
        self.accuracy: float | None = None

    # Not at the end of the epoch, when a callback such as weight averaging may have replaced the validated weights.
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if batch_idx == 0 and not trainer.sanity_checking and hasattr(data, "batches"):
            self.accuracy = training_accuracy(trainer, pl_module, first=min(self.images, data.size("val")))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        validated = metrics_of_epoch(trainer).get("val/acc")
        if validated is not None and self.accuracy is not None:
            pl_module.log("gap/acc", self.accuracy - float(validated))
