"""Saves best.ckpt and last.ckpt."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint

from litmus.callbacks.logged_metrics import is_never_logged, metrics_of_epoch
from litmus.core.checkpoint_io import CHECKPOINT_KEY
from litmus.core.metric_direction import is_better
from litmus.core.metric_direction import mode as mode_of
from litmus.errors import StoppedRun
from litmus.training.masks import Weights, apply_masks, masked_names, restore_masks

log = logging.getLogger("litmus")

RESUME = "weights_to_resume"


class Checkpoint(LightningCheckpoint):
    """Saves last.ckpt between epochs, when everything has stepped, and best.ckpt if `monitor` was its best.

    Of epochs with equal values, the earliest is the best; one whose value is NaN never is.

    best.ckpt holds the weights that were validated, to the bit, whatever other callbacks do before and after
    validation. If those are the current weights, as they are without such callbacks, both files are one file with two
    names, so that a large model is written once. `mode` is max or min; None: as the metric's name says. Without
    validation, pass `monitor=None`: the last epoch is the best. What `metadata` returns goes into every file under
    CHECKPOINT_KEY: plain containers that let the model be rebuilt from the file alone. A run resumes from last.ckpt as
    if it had not been interrupted. Needs a `BeforeOthers`.
    """

    def __init__(
        self, dirpath: str | Path, monitor: str | None, metadata: Callable[[], dict[str, Any]], mode: str | None = None
    ):
        self.dirpath = Path(dirpath)
        self.monitor = monitor
        self.mode = None if monitor is None else mode_of(monitor, mode)
        self.metadata = metadata
        self.best_score: float | None = None
        self.best_epoch = 0
        self._saved_epoch = 0
        self._is_best = False
        self._validated: Weights = {}
        self._validated_at: int | None = None  # the global step; None before the validation of an epoch
        self._trained: Weights = {}
        self._masked: Weights = {}
        self._best_options: dict[str, Any] | None = None  # not None while best.ckpt is saved
        self._changed = False  # whether the weights differ from those of the last validation

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        score, epoch = state_dict["best_score"], state_dict["best_epoch"]
        if (
            not isinstance(score, int | float | None) or type(epoch) is not int
        ):  # the file may be from an untrusted source
            raise TypeError(f"best_score and best_epoch must be numbers, got {score!r:.80} and {epoch!r:.80}")
        self.best_score, self.best_epoch = score, epoch

    # Not earlier: the optimizer state is in the order of the unmasked parameters.
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._masked:
            restore_masks(pl_module, self._masked)
            self._masked = {}

    # This is the first hook after all callbacks and the model have prepared the validation.
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0 and dataloader_idx == 0 and not trainer.sanity_checking:
            self._validated = _copy(apply_masks(pl_module.state_dict()), self._validated)
            self._validated_at = trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self.monitor is None:
            self.best_epoch = epoch
            return
        if is_never_logged(trainer, self.monitor):
            raise StoppedRun(
                f"objective={self.monitor} was not logged in the first validation: choose one of "
                f"{', '.join(sorted(trainer.callback_metrics))}, or log it in validation_step or a callback; later "
                "epochs may leave it out"
            )
        if (value := metrics_of_epoch(trainer).get(self.monitor)) is None:
            return
        score = float(value)
        assert self.mode is not None
        if is_better(self.mode, score, self.best_score):
            self.best_score, self.best_epoch, self._is_best = score, epoch, True

    # Not in on_train_epoch_end: `plateau` steps after it.
    def save_between_epochs(self, trainer: pl.Trainer) -> None:
        if trainer.current_epoch > self._saved_epoch:
            self._save(trainer, best=self._is_best, at_once=False)
        self._validated_at = None

    def keep_trained(self, pl_module: pl.LightningModule) -> None:
        """Copies the weights at the end of training, before other callbacks replace them by their final weights."""
        self._trained = _copy(pl_module.state_dict(), {})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, best=self._is_best or self.monitor is None, at_once=True)
        if self._changed and self._validated_at == trainer.global_step:
            log.warning(
                "a callback changed the weights after the last validation: best.ckpt holds validated weights, "
                f"last.ckpt the final ones; to test those: python scripts/evaluate.py {self.dirpath.parent} "
                "--checkpoint last"
            )
        self._trained, self._validated = {}, {}

    def _save(self, trainer: pl.Trainer, best: bool, at_once: bool) -> None:
        best_path, last_path = (self.dirpath / name for name in ("best.ckpt", "last.ckpt"))
        # best.ckpt first: a run that is killed after it repeats the epoch and saves both.
        if best:
            self._best_options = {"also": last_path, "at_once": at_once}
            trainer.save_checkpoint(best_path, storage_options=self._best_options)
            self._best_options = None
        if not best or self._changed:
            trainer.save_checkpoint(last_path, storage_options={"at_once": at_once})
        self._saved_epoch, self._is_best = trainer.current_epoch, False

    # Runs after the hooks of other callbacks, some of which replace the weights in the checkpoint.
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CHECKPOINT_KEY] = {**self.metadata(), "batches": trainer.fit_loop.total_batch_idx + 1}
        del checkpoint["loops"]
        checkpoint["state_dict"] = apply_masks(checkpoint["state_dict"])
        changed = self._validated_at is not None and not _are_equal(self._validated, checkpoint["state_dict"])
        self._changed = trainer.strategy.broadcast(changed)  # all processes save the same files
        if self._best_options is not None and self._changed:
            checkpoint["state_dict"] = self._validated
            self._best_options["also"] = None
            return
        current = pl_module.state_dict()
        if self._trained and not _are_equal(self._trained, current):
            checkpoint[RESUME] = self._trained
        elif masked_names(current):
            checkpoint[RESUME] = current

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Sets the counters to the boundary between two epochs.

        Lightning's own loop state would rerun the hooks of the finished epoch and skip a step of `plateau`.
        """
        self._masked = checkpoint.get(RESUME, {})
        if self._masked and not masked_names(self._masked):
            pl_module.load_state_dict(self._masked)
            self._masked = {}
        loop = trainer.fit_loop
        epoch, step = checkpoint["epoch"], checkpoint["global_step"]
        _set(loop.epoch_progress, epoch)
        _set(loop.epoch_loop.batch_progress, checkpoint[CHECKPOINT_KEY]["batches"])
        _set(loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step, step)
        _set(loop.epoch_loop.manual_optimization.optim_step_progress, step)
        loop.epoch_loop._batches_that_stepped = step
        self._saved_epoch = epoch


@torch.inference_mode(False)
@torch.no_grad()
def _copy(weights: Weights, before: Weights) -> Weights:
    """Copies of the weights; reuses the memory of `before` if the shapes agree."""
    copies = {}
    for name, value in weights.items():
        place = before.get(name)
        if place is None or (place.shape, place.dtype, place.device) != (value.shape, value.dtype, value.device):
            copies[name] = value.detach().clone()
        else:
            copies[name] = place.copy_(value)
    return copies


def _are_equal(some: Weights, others: Weights) -> bool:
    """Bitwise equality."""
    return some.keys() == others.keys() and all(
        torch.equal(value, others[name].to(value.device)) for name, value in some.items()
    )


def _set(progress: Any, count: int) -> None:
    for tracker in (progress.total, progress.current):
        for name in ("ready", "started", "processed", "completed"):
            if hasattr(tracker, name):
                setattr(tracker, name, count)
