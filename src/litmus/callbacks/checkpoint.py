"""best.ckpt and last.ckpt."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint

from litmus.metrics import is_better


class Checkpoint(LightningCheckpoint):
    """Saves last.ckpt between epochs, when everything has stepped, and best.ckpt if `monitor` was its best.

    If it was, they are one file with two names: a large model's is written once. Without validation, pass
    `monitor=None`: best is last. `card` goes into every file under "litmus": plain containers that let the model be
    rebuilt from the file alone. A run goes on from last.ckpt as if it had not been interrupted.
    """

    def __init__(self, dirpath: str | Path, monitor: str | None, card: dict[str, Any]):
        self.dirpath = Path(dirpath)
        self.monitor = monitor
        self.card = card
        self.best_score: float | None = None
        self.best_epoch = 0
        self._saved_epoch = 0
        self._is_best = False

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self.monitor is None:
            self.best_epoch = epoch
            return
        score = float(trainer.callback_metrics[self.monitor])
        if self.best_score is None or is_better(self.monitor, score, self.best_score):
            self.best_score, self.best_epoch, self._is_best = score, epoch, True

    # Not at the epoch's end: `plateau` steps after every hook of it.
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch > self._saved_epoch:
            self._save(trainer, best=self._is_best, at_once=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, best=self._is_best or self.monitor is None, at_once=True)

    def _save(self, trainer: pl.Trainer, best: bool, at_once: bool) -> None:
        names = [self.dirpath / name for name in ("best.ckpt", "last.ckpt")]
        # The best one first: a run that is killed in between repeats the epoch, and saves both.
        path, also = names if best else (names[1], None)
        trainer.save_checkpoint(path, storage_options={"also": also, "at_once": at_once})
        self._saved_epoch, self._is_best = trainer.current_epoch, False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["litmus"] = {**self.card, "batches": trainer.fit_loop.total_batch_idx + 1}
        del checkpoint["loops"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Sets the counters to the boundary between two epochs. Lightning's own restoring of its loops goes through
        the hooks of the finished epoch a second time, and skips a step of `plateau`."""
        loop = trainer.fit_loop
        epoch, step = checkpoint["epoch"], checkpoint["global_step"]
        _set(loop.epoch_progress, epoch)
        _set(loop.epoch_loop.batch_progress, checkpoint["litmus"]["batches"])
        _set(loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step, step)
        _set(loop.epoch_loop.manual_optimization.optim_step_progress, step)
        loop.epoch_loop._batches_that_stepped = step
        self._saved_epoch = epoch


def _set(progress: Any, count: int) -> None:
    for tracker in (progress.total, progress.current):
        for name in ("ready", "started", "processed", "completed"):
            if hasattr(tracker, name):
                setattr(tracker, name, count)
