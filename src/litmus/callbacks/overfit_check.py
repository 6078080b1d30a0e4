"""Whether the model can overfit the training images."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from litmus.callbacks.generalization_gap import training_accuracy
from litmus.core.counts import format_count
from litmus.errors import StoppedRun


class OverfitCheck(Checkpoint):
    """Ends the run when every training image is classified correctly in eval mode. Raises StoppedRun if that does not
    happen in any epoch.

    Derives from Checkpoint because Lightning calls Checkpoint callbacks after the callbacks that log.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.accuracy = training_accuracy(trainer, pl_module)
        trainer.should_stop = self.accuracy == 1
        self.reason = "every training image is right" if self.accuracy == 1 else None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.accuracy < 1:
            raise StoppedRun(
                f"only {100 * self.accuracy:.1f} % of the batch was learned in "
                f"{format_count(trainer.current_epoch, 'epoch')}: look for a fault in the model or the loss, or "
                "raise optim.lr or trainer.max_epochs"
            )
