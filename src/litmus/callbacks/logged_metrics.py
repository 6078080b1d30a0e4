"""The metrics that an epoch has logged."""

from typing import Any

import pytorch_lightning as pl
from torchmetrics import Metric


class KeepEarlier(pl.Callback):
    """Keeps the metrics of earlier epochs for `metrics_of_epoch`. Put it before all callbacks that log."""

    def __init__(self) -> None:
        self.earlier: dict[str, Any] = {}
        self.has_validated = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.earlier = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.has_validated = True


def metrics_of_epoch(trainer: pl.Trainer) -> dict[str, Any]:
    """The metrics that this epoch logged.

    `trainer.callback_metrics` also contains metrics of earlier epochs (the same tensor objects), such as `val/acc` in
    an epoch without validation.
    """
    keeper = _keeper(trainer)
    earlier = keeper.earlier if keeper else {}
    return {name: value for name, value in trainer.callback_metrics.items() if value is not earlier.get(name)}


def is_never_logged(trainer: pl.Trainer, name: str) -> bool:
    """Whether nothing has logged the metric, although a validation, if any, has run. Call it at the end of an epoch."""
    keeper = _keeper(trainer)
    complete = keeper is None or keeper.has_validated or not trainer.enable_validation
    return complete and name not in trainer.callback_metrics


def _keeper(trainer: pl.Trainer) -> KeepEarlier | None:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, KeepEarlier)), None)


def logged_mode(trainer: pl.Trainer, name: str) -> str | None:
    """max or min if the metric was logged as a torchmetrics object with `higher_is_better`, otherwise None."""
    loop: Any = trainer.fit_loop.epoch_loop
    for results in (loop.val_loop._results, loop._results):  # Lightning has no public API that returns the object
        for result in results.values():
            if result.meta.name == name and isinstance(result.value, Metric) and not result.is_tensor:
                higher = result.value.higher_is_better
                return None if higher is None else "max" if higher else "min"
    return None
