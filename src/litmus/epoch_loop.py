"""A short way through a training step.

Lightning spends about 0.4 ms of Python on each step, as much as a small network's own arithmetic: it looks up every
hook of every callback, wraps the step in closures and contexts, and moves a batch that is where it should be. None of
that changes what is computed. `EpochLoop` is Lightning's own loop over an epoch's batches with that one method,
`advance`, written out for the plain case: one optimizer, one device, each batch a step. The counters, the hooks and
their order are Lightning's, so `max_steps`, `val_check_interval` and whatever else counts batches mean the same. What
isn't plain (see `long_way`) goes through Lightning's method. Both give the same weights, to the bit.
"""

import logging
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

log = logging.getLogger("litmus")

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
# A model or a data module that has its own of these wants Lightning's way.
STEPS = (
    "on_train_batch_start",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "lr_scheduler_step",
    "configure_gradient_clipping",
)
TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def long_way(trainer: pl.Trainer) -> str | None:
    """Why the steps of this trainer go through Lightning's own code, or None if they need not."""
    module: Any = trainer.lightning_module
    strategy: Any = trainer.strategy
    data, precision = trainer.datamodule, trainer.precision_plugin  # type: ignore[attr-defined]
    own = [name for name in (*STEPS, *TRANSFERS) if _has_own(module, name, pl.LightningModule)]
    own += [name for name in TRANSFERS if data is not None and _has_own(data, name, pl.LightningDataModule)]
    reasons = {
        "several optimizers, or none": len(trainer.optimizers) != 1,
        "manual optimization": not module.automatic_optimization,
        "an optimizer that calls the model itself": any(isinstance(o, torch.optim.LBFGS) for o in trainer.optimizers),
        f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}": trainer.accumulate_grad_batches != 1,
        f"accelerator.strategy={strategy.strategy_name}": type(strategy) is not SingleDeviceStrategy,
        f"accelerator.precision={precision.precision}": not (
            type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None)
        ),
        "a profiler": not isinstance(trainer.profiler, PassThroughProfiler),  # type: ignore[attr-defined]
        f"a {', '.join(own)} of its own": bool(own),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _has_own(of: Any, name: str, base: type) -> bool:
    return getattr(type(of), name) is not getattr(base, name)


class EpochLoop(_TrainingEpochLoop):
    @classmethod
    def install(cls, trainer: pl.Trainer) -> None:
        """Puts it in the place of the trainer's own."""
        there = trainer.fit_loop.epoch_loop
        trainer.fit_loop.epoch_loop = cls(trainer, min_steps=there.min_steps, max_steps=there.max_steps)

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer, module = self.trainer, self.trainer.lightning_module
        reason = long_way(trainer)
        self.short = reason is None
        if reason is not None and trainer.current_epoch == 0:
            log.info(f"each step goes through Lightning's own loop, the slower way: {reason}")
        # As Lightning does it: the callbacks' hooks first, then the model's.
        self.hooks: dict[str, list[Callable[..., Any]]] = {}
        for name in HOOKS:
            of = [(c, pl.Callback, (trainer, module)) for c in trainer.callbacks] + [(module, pl.LightningModule, ())]  # type: ignore[attr-defined]
            self.hooks[name] = [
                _bound(getattr(who, name), first) for who, base, first in of if _has_own(who, name, base)
            ]
        self.schedulers: list[Any] = [
            config
            for config in trainer.lr_scheduler_configs
            if config.interval == "step" and not config.reduce_on_plateau
        ]

    def advance(self, data_fetcher: Any) -> None:
        if not self.short or self.restarting:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        trainer, progress = self.trainer, self.batch_progress
        module: Any = trainer.lightning_module
        connector, precision, optimizer = trainer._logger_connector, trainer.precision_plugin, trainer.optimizers[0]
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        if any(part.device != module.device for part in batch):
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        progress.increment_ready()
        connector.on_batch_start(batch)
        self._call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()

        if type(precision) is Precision:
            loss = module.training_step(batch, batch_idx)
        else:
            with precision.train_step_context():
                loss = module.training_step(batch, batch_idx)
        done = self.automatic_optimization.optim_progress.optimizer
        done.step.increment_ready()
        done.zero_grad.increment_ready()
        self._call("on_before_zero_grad", optimizer)
        done.zero_grad.increment_started()
        optimizer.zero_grad()
        done.zero_grad.increment_completed()
        self._call("on_before_backward", loss)
        loss.backward()
        self._call("on_after_backward")
        self._call("on_before_optimizer_step", optimizer)
        if trainer.gradient_clip_val is not None:
            module.clip_gradients(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        optimizer.step()
        done.step.increment_completed()

        progress.increment_processed()
        for config in self.schedulers:
            if (batch_idx + 1) % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                config.scheduler.step()
                self.scheduler_progress.increment_completed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._call("on_train_batch_end", {"loss": loss.detach()}, batch, batch_idx)
        if self._results:  # what a hook logged at this step
            connector.on_batch_end()
            progress.increment_completed()
            connector.update_train_step_metrics()
        else:
            self._results.batch = None  # or what is logged at the epoch's end would be weighted by this batch's size
            progress.increment_completed()

    def _call(self, hook: str, *arguments: Any) -> None:
        for function in self.hooks[hook]:
            self.trainer.lightning_module._current_fx_name = hook
            function(*arguments)


def _bound(hook: Callable[..., Any], first: tuple[Any, ...]) -> Callable[..., Any]:
    return lambda *arguments: hook(*first, *arguments)
