"""Validates at the end of the run, independent of the validation interval."""

from typing import Any

import pytorch_lightning as pl


class ValidateLast(pl.Callback):
    """Validates at the last step of the run, if `trainer.max_steps` ends it within an epoch, and after the last epoch.

    Lightning validates in neither case.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.max_steps != -1:  # otherwise there is no hook, because it would be called in each step
            self.on_train_batch_end = self._stop_at_the_last_step  # type: ignore[assignment]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            self._validate_this_epoch(trainer)

    def _stop_at_the_last_step(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
            self._validate_this_epoch(trainer)

    def _validate_this_epoch(self, trainer: pl.Trainer) -> None:
        if trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1
