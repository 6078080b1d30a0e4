"""A validation at the very end."""

from typing import Any

import pytorch_lightning as pl


class ValidateLast(pl.Callback):
    """Has a run that `trainer.max_steps` ends within an epoch validated there; Lightning would leave it unmeasured."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.max_steps != -1 and trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
