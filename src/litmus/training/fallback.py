"""Why a training step uses Lightning's own loop instead of the fast path."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataLoaderIterDataFetcher
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

from litmus.core.lightning_hooks import is_overridden

# The releases with which CI compares the fast path to Lightning's loop, see tests/training/test_epoch_loop.py.
TESTED_LIGHTNING = ("2.6.4", "2.6.5", "2.6.6")

# The fast path inlines the default implementation of these hooks.
MODULE_HOOKS = ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
STRATEGY_HOOKS = (
    *("on_train_batch_start", "training_step", "post_training_step", "batch_to_device"),
    *("backward", "pre_backward", "post_backward", "optimizer_step"),
)
PRECISION_HOOKS = (
    *("convert_input", "train_step_context", "forward_context", "pre_backward", "backward", "post_backward"),
    *("optimizer_step", "clip_gradients", "_wrap_closure", "_after_closure"),
)


def untested_release() -> str | None:
    """The reason why this release of Lightning keeps its own loop, or None if `EpochLoop` was tested with it."""
    if pl.__version__ in TESTED_LIGHTNING:
        return None
    return f"the fast path is tested with pytorch-lightning {', '.join(TESTED_LIGHTNING)}, not {pl.__version__}"


def fallback_reason(trainer: pl.Trainer) -> str | None:
    """The first thing that this trainer needs and the fast path does not support, or None. Valid for one epoch."""
    module: Any = trainer.lightning_module
    strategy: Any = trainer.strategy
    precision = trainer.precision_plugin
    base: type[Precision] = MixedPrecision if type(precision) is MixedPrecision else Precision
    own_module = _overridden(module, MODULE_HOOKS, pl.LightningModule)
    own_strategy = _overridden(strategy, STRATEGY_HOOKS, SingleDeviceStrategy)
    own_precision = _overridden(precision, PRECISION_HOOKS, base)
    reasons = {
        f"{len(trainer.optimizers)} optimizers": len(trainer.optimizers) != 1,
        "manual optimization": not module.automatic_optimization,
        "training_step takes a dataloader_iter": _takes_dataloader_iter(trainer),
        f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}": trainer.accumulate_grad_batches != 1,
        f"{type(strategy).__name__}": type(strategy) is not SingleDeviceStrategy,
        f"accelerator.precision={precision.precision}": type(precision) is not base
        or getattr(precision, "scaler", None) is not None,
        f"{type(trainer.profiler).__name__}": type(trainer.profiler) is not PassThroughProfiler,  # type: ignore[attr-defined]
        f"{type(module).__name__} overrides {', '.join(own_module)}": bool(own_module),
        f"{type(strategy).__name__} overrides {', '.join(own_strategy)}": bool(own_strategy),
        f"{type(precision).__name__} overrides {', '.join(own_precision)}": bool(own_precision),
        "the strategy wraps the model": strategy.model is not module,
        "the step of module.optimizers() was replaced": any("step" in vars(o) for o in strategy._lightning_optimizers),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _overridden(of: Any, names: tuple[str, ...], base: type) -> list[str]:
    return [name for name in names if hasattr(base, name) and is_overridden(of, name, base)]


def _takes_dataloader_iter(trainer: pl.Trainer) -> bool:
    return isinstance(trainer.fit_loop._data_fetcher, _DataLoaderIterDataFetcher)
