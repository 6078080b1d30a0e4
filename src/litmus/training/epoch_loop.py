"""Lightning's epoch loop with a fast path for a training step."""

import logging
from collections import OrderedDict
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.optimization.automatic import Closure, ClosureResult
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.trainer import call

from litmus.core.lightning_hooks import callback_hooks, is_overridden, overrides_transfer
from litmus.errors import StoppedRun, require
from litmus.training.compile_checks import at_unchanged_weights, check_compilable, check_hooks, check_mode
from litmus.training.compiled_step import CompiledStep
from litmus.training.fallback import fallback_reason, untested_release

log = logging.getLogger("litmus")

STEP_HOOKS = (
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward"),
    *("on_after_backward", "on_before_optimizer_step", "on_train_batch_end"),
)


class EpochLoop(_TrainingEpochLoop):
    """Lightning's loop, except that it looks up the overridden hooks once per epoch, not in each step.

    Lightning looks up every hook of every callback and wraps each step in closures and contexts, which takes about
    0.4 ms per step, as long as the computation of a small network. `advance` makes the same calls in the same order
    with the same arguments, and skips hooks that are not overridden. A step that needs more (see `fallback_reason`)
    uses Lightning's `advance`; train.log has the reason.
    """

    compile: bool | str = False
    fallback_reason: str | None = None
    compiled_step: CompiledStep | None = None

    @classmethod
    def install(cls, trainer: pl.Trainer, compile: bool | str = False) -> None:
        """Replaces the epoch loop of the trainer, unless this release of Lightning is untested.

        `compile` is false, true or a torch.compile mode. Raises ConfigError if it is neither, or if the release is
        untested.
        """
        reason = untested_release()
        if reason is not None:
            require(not check_mode(compile), f"trainer.compile does not work here: {reason}")
            _log_fallback(reason)
            return
        default = trainer.fit_loop.epoch_loop
        loop = cls(trainer, min_steps=default.min_steps, max_steps=default.max_steps)
        loop.compile = check_mode(compile)
        trainer.fit_loop.epoch_loop = loop

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer: Any = self.trainer
        module = trainer.lightning_module
        if self.compile:
            check_compilable(trainer, module)
        previous, self.fallback_reason = self.fallback_reason, fallback_reason(trainer)
        if self.fallback_reason is not None:
            require(not self.compile, f"trainer.compile does not work with {self.fallback_reason}; leave it out")
            if self.fallback_reason != previous:
                _log_fallback(self.fallback_reason)
            return
        if self.compile:
            check_hooks(trainer.optimizers[0], module)
            self.compiled_step = self.compiled_step or CompiledStep(trainer, self.compile)
        self._callback_hooks = {name: callback_hooks(trainer, name) for name in STEP_HOOKS}
        self._module_hooks = {
            name: getattr(module, name) for name in STEP_HOOKS if is_overridden(module, name, pl.LightningModule)
        }
        self._checks_between_batches = (
            self.max_steps != -1
            or trainer._val_check_time_interval is not None
            or trainer.check_val_every_n_epoch is None
            or trainer.val_check_batch < trainer.num_training_batches
            or any(config.interval == "step" and config.reduce_on_plateau for config in trainer.lr_scheduler_configs)
        )
        self._known_results = -1
        self._takes_batch_idx = "batch_idx" in self._build_kwargs(OrderedDict(), None, 0)
        self._overrides_transfer = overrides_transfer(trainer)
        self._is_mixed = type(trainer.precision_plugin) is MixedPrecision
        self._forward_context = trainer.precision_plugin.train_step_context if self._is_mixed else nullcontext

    def advance(self, data_fetcher: Any) -> None:
        if self.fallback_reason is not None or self.restarting:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        self._run_batch(data_fetcher)
        while self._only_a_batch_is_next():
            self._batches_that_stepped += 1
            self._run_batch(data_fetcher)

    def _only_a_batch_is_next(self) -> bool:
        """Whether Lightning has nothing to do before the next batch; its own checks take 50 µs."""
        return not (
            self._checks_between_batches
            or self._num_ready_batches_reached()
            or self.trainer.should_stop
            or self.trainer.received_sigterm
        )

    def _run_batch(self, data_fetcher: Any) -> None:
        trainer, progress = self.trainer, self.batch_progress
        connector = trainer._logger_connector
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = self._to_device(batch)
        progress.increment_ready()
        connector.on_batch_start(batch)

        outputs: dict[str, Any] | None = None
        skip_rest_of_epoch = False
        if batch is None:
            self._warning_cache.warn("train_dataloader yielded None. If this was on purpose, ignore this warning...")
        else:
            skip_rest_of_epoch = self._call("on_train_batch_start", batch, batch_idx) == -1
            if skip_rest_of_epoch:
                progress.increment_by(0, is_last_batch=True)
            else:
                progress.increment_started()
                outputs = self._optimize(batch, batch_idx)
        progress.increment_processed()

        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        if skip_rest_of_epoch:
            raise StopIteration
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        if self._logs_at_steps():
            connector.on_batch_end()
            progress.increment_completed()
            connector.update_train_step_metrics()
        else:
            self._results.batch = self._results.batch_size = None
            progress.increment_completed()

    def _logs_at_steps(self) -> bool:
        """Whether anything is logged per step; Lightning would check it in each step, which takes 20 µs."""
        if len(self._results) != self._known_results:
            self._known_results = len(self._results)
            self._has_step_results = any(key.startswith(("training_step.", *STEP_HOOKS)) for key in self._results)
        return self._has_step_results

    def _to_device(self, batch: Any) -> Any:
        trainer = self.trainer
        device = trainer.strategy.root_device
        if not self._overrides_transfer and _is_ready(
            batch, device, torch.get_default_dtype() if self._is_mixed else None
        ):
            return batch
        batch = trainer.precision_plugin.convert_input(batch)
        batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
        return call._call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=0)

    def _optimize(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Runs the optimizer step with a closure that computes gradients. Returns the outputs of training_step."""
        optimizer: Any = self.trainer.optimizers[0]
        step = self.automatic_optimization.optim_progress.optimizer.step
        results: list[ClosureResult] = []
        step.increment_ready()
        if self.compiled_step is not None and self.compiled_step.takes(batch, batch_idx):
            cost = self.compiled_step(batch)
            step.increment_completed()
            return {"loss": cost}
        closure = partial(self._compute_gradients, batch, batch_idx, optimizer, results)
        optimizer.step(closure=closure if self.compiled_step is None else at_unchanged_weights(closure, optimizer))
        step.increment_completed()
        if not results:
            raise StoppedRun(
                f"{type(optimizer).__name__}.step() did not call its closure, so nothing was trained; "
                "call closure() in it, as torch's optimizers do"
            )
        require(
            self.compiled_step is None or len(results) == 1,
            f"trainer.compile evaluates the closure of an optimizer once, and {type(optimizer).__name__}.step() calls "
            f"it {len(results)} times; set trainer.compile=false",
        )
        return {} if results[-1].loss is None else results[-1].asdict()

    @torch.enable_grad()
    def _compute_gradients(
        self, batch: Any, batch_idx: int, optimizer: torch.optim.Optimizer, results: list[ClosureResult]
    ) -> torch.Tensor | None:
        trainer, module = self.trainer, self.trainer.lightning_module
        _set_current_hook(module, "training_step")
        with self._forward_context():
            output = module.training_step(batch, batch_idx) if self._takes_batch_idx else module.training_step(batch)
        _set_current_hook(module, None)
        if isinstance(output, torch.Tensor):
            result = ClosureResult(output)
        else:
            result = ClosureResult.from_training_step_output(output)
        results.append(result)
        if result.closure_loss is None:
            Closure.warning_cache.warn(
                "`training_step` returned `None`. If this was on purpose, ignore this warning..."
            )
        zero_grad = self.automatic_optimization.optim_progress.optimizer.zero_grad
        zero_grad.increment_ready()
        self._call("on_before_zero_grad", optimizer)
        zero_grad.increment_started()
        optimizer.zero_grad()
        zero_grad.increment_completed()
        if result.closure_loss is not None:
            self._call("on_before_backward", result.closure_loss)
            result.closure_loss.backward()
            self._call("on_after_backward")
        self._call("on_before_optimizer_step", optimizer)
        if trainer.gradient_clip_val is not None:
            module.configure_gradient_clipping(
                optimizer,
                gradient_clip_val=trainer.gradient_clip_val,
                gradient_clip_algorithm=trainer.gradient_clip_algorithm,
            )
        return result.loss

    def _call(self, hook: str, *arguments: Any) -> Any:
        """Calls the hook of the callbacks, then that of the module. Returns the module's result."""
        callbacks, of_module = self._callback_hooks[hook], self._module_hooks.get(hook)
        if not callbacks and of_module is None:
            return None
        module = self.trainer.lightning_module
        _set_current_hook(module, hook)
        for function in callbacks:
            function(*arguments)
        response = of_module(*arguments) if of_module is not None else None
        _set_current_hook(module, None)
        return response


def _set_current_hook(module: pl.LightningModule, name: str | None) -> None:
    """Sets the hook that `self.log` is called from, without the slow `__setattr__` of nn.Module."""
    module.__dict__["_current_fx_name"] = name


def _is_ready(batch: Any, device: torch.device, dtype: torch.dtype | None) -> bool:
    """Whether a batch is a flat tuple or list of tensors on the device, with floating-point tensors of this dtype."""
    return type(batch) in (tuple, list) and all(
        isinstance(part, torch.Tensor)
        and part.device == device
        and (dtype is None or part.dtype == dtype or not part.is_floating_point())
        for part in batch
    )


def _log_fallback(reason: str) -> None:
    log.info(f"training steps use Lightning's own loop, which is slower for small networks: {reason}")
