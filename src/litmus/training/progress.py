"""Progress on the terminal: a line per epoch, and a bar within it."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from litmus.callbacks.logged_metrics import metrics_of_epoch
from litmus.core.terminal import overwrite_line

log = logging.getLogger("litmus")

SHOWN = ("train/loss", "train/acc", "val/loss", "val/acc")


class Progress(Checkpoint):
    """Logs a line per epoch that includes `monitor`; with `bar`, also draws a progress bar of the batches on a
    terminal.

    Derives from Checkpoint because Lightning calls Checkpoint callbacks after the callbacks that log.
    """

    def __init__(self, bar: bool = True, monitor: str | None = None) -> None:
        self.shown_metrics = dict.fromkeys((*SHOWN, *([monitor] if monitor else [])))
        self.terminal = bar and sys.stderr.isatty()
        if self.terminal:  # otherwise there is no hook, because it would be called in each step
            self.on_train_batch_end = self._draw_bar  # type: ignore[method-assign]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = self.shown = time.monotonic()

    def _draw_bar(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (now := time.monotonic()) - self.shown > 0.1:
            self.shown = now
            total = trainer.num_training_batches
            done = (batch_idx + 1) / total
            left = (now - self.started) * (1 - done) / done
            self._draw(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {'━' * round(30 * done):<30}  "
                f"batch {batch_idx + 1}/{total}, {left:.0f} s left"
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw("")
        metrics = metrics_of_epoch(trainer)
        shown = "  ".join(f"{name} {float(metrics[name]):.4f}" for name in self.shown_metrics if name in metrics)
        total = str(trainer.max_epochs)
        seconds = time.monotonic() - self.started
        log.info(f"epoch {trainer.current_epoch + 1:>{len(total)}}/{total}  {shown}  {seconds:.1f} s")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._draw("")

    def _draw(self, text: str) -> None:
        if self.terminal:
            overwrite_line(text)
