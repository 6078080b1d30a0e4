"""Reports each epoch of a job to its sweep, which may prune the job."""

from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from litmus.callbacks.logged_metrics import metrics_of_epoch


class ReportEpoch(Checkpoint):
    """Calls `report(epoch, value)` after each epoch that measured `monitor`, and ends the run if it returns True.

    `reason` is then the stop reason. Derives from Checkpoint because Lightning calls Checkpoint callbacks after the
    callbacks that log.
    """

    def __init__(self, monitor: str, report: Callable[[int, float], bool]):
        self.monitor = monitor
        self.report = report
        self.reason: str | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = metrics_of_epoch(trainer)
        if self.monitor not in metrics:  # in an epoch without validation
            return
        epoch, value = trainer.current_epoch + 1, float(metrics[self.monitor])
        hopeless = self.report(epoch, value)
        if hopeless and not trainer.should_stop and epoch != trainer.max_epochs:
            self.reason = f"pruned: {self.monitor} of {value:.4g} after epoch {epoch} was behind the other trials"
            trainer.should_stop = True
