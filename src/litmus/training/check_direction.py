"""Checks the assumed direction of a metric against the torchmetrics object that logs it."""

from collections.abc import Iterable

import pytorch_lightning as pl

from litmus.callbacks.logged_metrics import logged_mode
from litmus.errors import StoppedRun


class CheckDirection(pl.Callback):
    """Stops the run if the torchmetrics object of a metric contradicts its assumed direction.

    `watched` contains (metric, direction inferred from its name, option that sets the direction) for each monitored
    metric whose direction the user has not set.
    """

    def __init__(self, watched: Iterable[tuple[str, str, str]]):
        self.watched = list(watched)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        for metric, mode, option in self.watched:
            logged = logged_mode(trainer, metric)
            if logged not in (None, mode):
                better = "higher" if logged == "max" else "lower"
                raise StoppedRun(
                    f"{metric} is logged by a metric of which {better} is better, and its name says otherwise: set "
                    f"{option}={logged}, or {option}={mode} if the name is right"
                )
