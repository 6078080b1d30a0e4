"""A validation at the very end."""

from typing import Any

import pytorch_lightning as pl


class ValidateLast(pl.Callback):
    """Has a run that `trainer.max_steps` ends within an epoch validated there; Lightning would leave it unmeasured."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.max_steps != -1:  # else no hook, which would be called at each step
            self.on_train_batch_end = self._stop_at_the_last_step  # type: ignore[assignment]

    def _stop_at_the_last_step(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
