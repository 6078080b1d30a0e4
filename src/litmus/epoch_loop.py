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
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import Precision
from torch.optim import lr_scheduler

from litmus.callbacks import GradNorm, Progress, ValidateLast
from litmus.long_way import has_own, long_way
from litmus.models.classifier import Classifier
from litmus.optimizer_step import OptimizerStep
from litmus.replay import Replay
from litmus.results import Results

log = logging.getLogger("litmus")

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
# Hooks of a step that change nothing in the model.
LOOKING = {
    Classifier.on_train_batch_end,
    GradNorm.on_before_optimizer_step,
    Progress.on_train_batch_end,
    ValidateLast.on_train_batch_end,
}
# Of torch's, those that are given no function.
SCHEDULERS = {
    *(lr_scheduler.ConstantLR, lr_scheduler.LinearLR, lr_scheduler.ExponentialLR, lr_scheduler.PolynomialLR),
    *(lr_scheduler.StepLR, lr_scheduler.MultiStepLR, lr_scheduler.OneCycleLR),
    *(lr_scheduler.CosineAnnealingLR, lr_scheduler.CosineAnnealingWarmRestarts),
}


class EpochLoop(_TrainingEpochLoop):
    replay: Replay
    replay_wanted = True

    @classmethod
    def install(cls, trainer: pl.Trainer, replay: bool = True) -> None:
        """Puts it in the place of the trainer's own. `replay`: steps may be replayed, see litmus.replay."""
        there = trainer.fit_loop.epoch_loop
        loop = cls(trainer, min_steps=there.min_steps, max_steps=there.max_steps)
        loop.replay_wanted = replay
        loop._results, loop.val_loop._results = Results(training=True), Results(training=False)
        trainer.fit_loop.epoch_loop = loop

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer, module = self.trainer, self.trainer.lightning_module
        self.module: Any = module
        self.device = trainer.strategy.root_device
        reason = long_way(trainer)
        self.short = reason is None
        if reason is not None and trainer.current_epoch == 0:
            log.info(f"each step goes through Lightning's own loop, the slower way: {reason}")
        # As Lightning does it: the callbacks' hooks first, then the model's.
        self.hooks: dict[str, list[Callable[..., Any]]] = {}
        for name in HOOKS:
            of = [(c, pl.Callback, (trainer, module)) for c in trainer.callbacks] + [(module, pl.LightningModule, ())]  # type: ignore[attr-defined]
            self.hooks[name] = [
                partial(getattr(who, name), *first) for who, base, first in of if has_own(who, name, base)
            ]
        self._note_what_is_logged()
        self._note_schedulers()
        if self.short:
            self.step = OptimizerStep(trainer.optimizers[0])
            if not hasattr(self, "replay"):
                plain = type(trainer.precision_plugin) is Precision
                context = nullcontext if plain else trainer.precision_plugin.train_step_context
                self.replay = Replay(module, context, self._worked_out_anew())
            self.step.alone = self.replay.alone = self._alone()

    def _note_schedulers(self) -> None:
        trainer = self.trainer
        self.schedulers: list[Any] = [
            config
            for config in trainer.lr_scheduler_configs
            if config.interval == "step" and not config.reduce_on_plateau
        ]
        # Whether anything but the next batch may come after a batch that isn't the epoch's last.
        self.between_batches = (
            trainer.check_val_every_n_epoch is None
            or trainer.val_check_batch is None
            or trainer.val_check_batch < trainer.num_training_batches
            or any(config.interval == "step" and config.reduce_on_plateau for config in trainer.lr_scheduler_configs)
        )

    def _alone(self) -> bool:
        """Whether nobody touches the model or its optimizer between two steps of an epoch."""
        calls: Any = [hook.func for functions in self.hooks.values() for hook in functions]  # type: ignore[attr-defined]
        hooks = {getattr(call, "__func__", call) for call in calls}
        return (
            hooks <= LOOKING
            and not self.between_batches
            and not self.step.hooked()
            and all(type(config.scheduler) in SCHEDULERS for config in self.schedulers)
        )

    def _worked_out_anew(self) -> str | None:
        """Why no step is to be replayed, or None."""
        reasons = {
            "trainer.replay=false": not self.replay_wanted,
            f"the device is {self.device}": self.device.type != "cpu",  # it would have to be tried out there
            "trainer.detect_anomaly=true": torch.is_anomaly_enabled(),
            "an on_before_backward": bool(self.hooks["on_before_backward"]),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _note_what_is_logged(self) -> None:
        self.logged = len(self._results)
        self.logs_at_steps = any(key.startswith(("training_step.", *HOOKS)) for key in self._results)

    @property
    def done(self) -> bool:
        if not self.short or self.restarting or self.max_steps != -1 or self.trainer.should_stop:
            return super().done
        return self._num_ready_batches_reached()

    def advance(self, data_fetcher: Any) -> None:
        if not self.short or self.restarting:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        trainer, progress, results = self.trainer, self.batch_progress, self._results
        connector = trainer._logger_connector
        batch, _, _ = next(data_fetcher)
        batch_idx = progress.current.ready
        progress.is_last_batch = data_fetcher.done
        if any(part.device != self.device for part in batch):
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        progress.increment_ready()
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None
        self._call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()

        loss = self._step(batch, batch_idx, trainer.optimizers[0])

        progress.increment_processed()
        for config in self.schedulers:
            if (batch_idx + 1) % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                config.scheduler.step()
                self.scheduler_progress.increment_completed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._call("on_train_batch_end", {"loss": loss.detach()}, batch, batch_idx)
        self._now_in(None)
        if len(results) != self.logged:
            self._note_what_is_logged()
        if self.logs_at_steps:
            connector.on_batch_end()
            progress.increment_completed()
            connector.update_train_step_metrics()
        else:
            results.batch = None  # or what is logged at the epoch's end would be weighted by this batch's size
            progress.increment_completed()

    def _step(self, batch: Any, batch_idx: int, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        trainer, module, done = self.trainer, self.module, self.automatic_optimization.optim_progress.optimizer
        done.step.increment_ready()
        self._now_in("training_step")
        loss = self.replay.training_step(batch, batch_idx)
        done.zero_grad.increment_ready()
        self._call("on_before_zero_grad", optimizer)
        done.zero_grad.increment_started()
        for group in optimizer.param_groups:  # as optimizer.zero_grad() does, at a tenth of its cost
            for parameter in group["params"]:
                parameter.grad = None
        done.zero_grad.increment_completed()
        self._call("on_before_backward", loss)
        self.replay.backward(loss)
        self._call("on_after_backward")
        self._call("on_before_optimizer_step", optimizer)
        if trainer.gradient_clip_val is not None:
            module.clip_gradients(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        self.step()
        done.step.increment_completed()
        return loss

    def on_advance_end(self, data_fetcher: Any) -> None:
        trainer = self.trainer
        nothing_due = (
            self.short
            and not self.between_batches
            and not self.batch_progress.is_last_batch
            and not trainer.should_stop
            and not trainer.received_sigterm
        )
        if nothing_due:
            self._batches_that_stepped += 1
        else:
            super().on_advance_end(data_fetcher)

    def _call(self, hook: str, *arguments: Any) -> None:
        functions = self.hooks[hook]
        if functions:
            self._now_in(hook)
        for function in functions:
            function(*arguments)

    def _now_in(self, hook: str | None) -> None:
        """For `self.log`; past nn.Module's slow way to set an attribute."""
        self.module.__dict__["_current_fx_name"] = hook
