"""Validates after the last epoch, whatever the validation interval."""

from typing import Any

import pytorch_lightning as pl


class ValidateLast(pl.Callback):
    """Validates where a run ends: within an epoch, by `trainer.max_steps`, or after an epoch without validation.

    Lightning would leave both without a validation.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.max_steps != -1:  # else no hook, which would be called at each step
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
