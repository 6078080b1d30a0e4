"""A callback that runs before all others."""

import pytorch_lightning as pl

from litmus.callbacks.logged_metrics import KeepEarlier
from litmus.training.checkpoint import Checkpoint


class BeforeOthers(KeepEarlier):
    """Put it first: it runs what a `Checkpoint`, which Lightning calls last, has to do first.

    An epoch that is resumed runs the other callbacks' `on_train_epoch_start` itself, so last.ckpt is from before it.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.checkpoint = checkpoint

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoint.save_between_epochs(trainer)
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoint.keep_trained(pl_module)
