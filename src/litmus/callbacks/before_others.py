"""What runs before the hooks of all other callbacks."""

import pytorch_lightning as pl

from litmus.callbacks.checkpoint import Checkpoint
from litmus.callbacks.metrics_csv import MetricsCSV


class BeforeOthers(pl.Callback):
    """Put it first: it runs what two callbacks, which Lightning calls last as checkpoints, have to do first.

    An epoch that is resumed runs the other callbacks' `on_train_epoch_start` itself, so last.ckpt is from before it.
    """

    def __init__(self, checkpoint: Checkpoint, metrics: MetricsCSV):
        self.checkpoint = checkpoint
        self.metrics = metrics

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoint.save_between_epochs(trainer)
        self.metrics.keep_earlier(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoint.keep_trained(pl_module)
