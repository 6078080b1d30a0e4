"""A callback that runs before all others."""

import pytorch_lightning as pl

from litmus.callbacks.logged_metrics import KeepEarlier
from litmus.training.checkpoint import Checkpoint


class BeforeOthers(KeepEarlier):
    """Calls the methods of a `Checkpoint` that must run before the hooks of other callbacks. Put it first in the list
    of callbacks: Lightning moves the Checkpoint to the end.

    last.ckpt is saved before the `on_train_epoch_start` hooks of the other callbacks, because a resumed epoch runs them
    again.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.checkpoint = checkpoint

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoint.save_between_epochs(trainer)
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoint.keep_trained(pl_module)
