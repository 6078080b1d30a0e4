"""Checks whether a training step can be compiled."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from litmus.core.lightning_hooks import callbacks_with, is_overridden
from litmus.errors import ConfigError, require
from litmus.models.classifier import Classifier

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
# Hooks between the forward pass and the update. A compiled graph cannot call them.
INNER_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
UNCOMPILED = "or set trainer.compile=false"


def check_mode(mode: bool | str) -> bool | str:
    require(
        isinstance(mode, bool) or mode in MODES,
        f"trainer.compile={mode} is not a mode of torch.compile; set true, false or one of {', '.join(MODES)}",
    )
    return mode


def check_compilable(trainer: pl.Trainer, module: Any) -> None:
    """Raises ConfigError if it is known before the fit that a step of this trainer cannot be one graph."""
    plugin = trainer.precision_plugin
    precise = type(plugin) is Precision or (type(plugin) is MixedPrecision and plugin.scaler is None)
    require(
        precise, f"trainer.compile needs accelerator.precision=32-true or bf16-mixed; set one of them, {UNCOMPILED}"
    )
    require(
        isinstance(module, Classifier) and not is_overridden(module, "training_step", Classifier),
        f"trainer.compile compiles Classifier.loss_terms, and {type(module).__name__} has a training_step of its own; "
        f"override loss_terms instead, {UNCOMPILED}",
    )
    others = {
        f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}": trainer.accumulate_grad_batches != 1,
        "trainer.profiler": type(trainer.profiler) is not PassThroughProfiler,  # type: ignore[attr-defined]
        "trainer.detect_anomaly=true": trainer._detect_anomaly,
        "several devices": trainer.world_size > 1,
    }
    for other, is_set in others.items():
        require(not is_set, f"trainer.compile does not work with {other}; leave it out, {UNCOMPILED}")
    for hook in INNER_HOOKS:
        owners: list[Any] = [module] if is_overridden(module, hook, pl.LightningModule) else []
        for owner in [*owners, *callbacks_with(trainer, hook)]:
            raise ConfigError(
                f"trainer.compile cannot call {type(owner).__name__}.{hook} inside the compiled step; remove it or use "
                f"on_train_batch_end, {UNCOMPILED}"
            )


def at_unchanged_weights(closure: Callable[[], Any], optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """A closure that raises ConfigError if the optimizer changed the weights before it called it.

    A compiled step computes the gradient once, before the update.
    """
    if type(optimizer).__module__.startswith("torch."):
        return closure
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [parameter.detach().clone() for parameter in parameters]

    def checked() -> Any:
        same = all(torch.equal(now, then) for now, then in zip(parameters, before, strict=True))
        require(
            same,
            f"trainer.compile computes the gradient before the update, and {type(optimizer).__name__}.step() changes "
            f"the weights before it calls its closure; choose another optim, {UNCOMPILED}",
        )
        return closure()

    return checked


def check_hooks(optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Raises ConfigError if the optimizer, a parameter or a layer has hooks that a graph would not call."""
    name = type(optimizer).__name__
    step: Any = vars(optimizer).get("step")
    # The attributes of register_step_pre_hook, register_step_post_hook and their global versions (torch 2.11 to 2.15).
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks, _global_optimizer_pre_hooks)
    replaced = step is not None and not getattr(step, "_wrapped_by_lr_sched", False)
    own_zero_grad = is_overridden(optimizer, "zero_grad", torch.optim.Optimizer)
    require(
        not (any((*hooks, _global_optimizer_post_hooks)) or replaced or own_zero_grad),
        f"trainer.compile does not call step hooks, a replaced step or a zero_grad of {name}; choose another optim, "
        f"{UNCOMPILED}",
    )
    owners = [(n, (p._backward_hooks, p._post_accumulate_grad_hooks)) for n, p in module.named_parameters()]
    owners += [(n, (layer._backward_hooks, layer._backward_pre_hooks)) for n, layer in module.named_modules()]
    for owner, of_backward in owners:
        require(
            not any(of_backward),
            f"trainer.compile does not call hooks on the gradient of {owner}; remove them, {UNCOMPILED}",
        )
