"""Early stopping."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping as LightningEarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from litmus.callbacks.logged_metrics import is_never_logged, metrics_of_epoch
from litmus.core.counts import format_count
from litmus.core.metric_direction import mode as mode_of
from litmus.errors import StoppedRun, number, require, whole_number


class EarlyStopping(LightningEarlyStopping):
    """Ends the run if `monitor` has not improved by more than `min_delta` in the last `patience` epochs that measured
    it, or if it is NaN or infinite.

    `mode` is max or min; None infers it from the name of the metric (`litmus.core.metric_direction`). `reason` is the
    stop reason, or None.
    """

    def __init__(self, monitor: str = "val/loss", patience: int = 10, min_delta: float = 0.0, mode: str | None = None):
        patience = whole_number("callbacks.early_stopping.patience", patience, least=1)
        min_delta = number("callbacks.early_stopping.min_delta", min_delta, least=0)
        require(
            not monitor.startswith("test/"),
            f"callbacks.early_stopping.monitor={monitor} would choose by the test set: watch val/loss or val/acc",
        )
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience,
            mode=mode_of(monitor, mode, "callbacks.early_stopping.mode"),
            check_on_train_epoch_end=True,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the patience of the config: a resumed run may have a larger one than the checkpoint."""
        patience = self.patience
        super().load_state_dict(state_dict)
        self.patience = patience
        if self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED and self.wait_count < patience:
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.reason is not None:  # the run was interrupted between its last epoch and its end
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if is_never_logged(trainer, self.monitor):
            raise StoppedRun(
                f"callbacks.early_stopping.monitor={self.monitor} was not logged in the first validation: choose one "
                f"of {', '.join(sorted(trainer.callback_metrics))}, or log it there, before this callback; later "
                "epochs may leave it out, and do not count"
            )
        if self.monitor in metrics_of_epoch(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    @property
    def reason(self) -> str | None:
        if self.stopping_reason is EarlyStoppingReason.NOT_STOPPED:
            return None
        if self.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
            return f"early stopping: {self.monitor} is not finite"
        return f"early stopping: {self.monitor} did not improve for {format_count(self.wait_count, 'epoch')}"
