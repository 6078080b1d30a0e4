"""What a step of Lightning's can hold that `EpochLoop` doesn't: then it goes Lightning's own way."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

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
    own = [name for name in (*STEPS, *TRANSFERS) if has_own(module, name, pl.LightningModule)]
    own += [name for name in TRANSFERS if data is not None and has_own(data, name, pl.LightningDataModule)]
    reasons = {
        "several optimizers, or none": len(trainer.optimizers) != 1,
        "manual optimization": not module.automatic_optimization,
        "an optimizer that calls the model itself": any(isinstance(o, torch.optim.LBFGS) for o in trainer.optimizers),
        f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}": trainer.accumulate_grad_batches != 1,
        f"the strategy {type(strategy).__name__}": type(strategy) is not SingleDeviceStrategy,
        f"accelerator.precision={precision.precision}": not (
            type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None)
        ),
        "a profiler": not isinstance(trainer.profiler, PassThroughProfiler),  # type: ignore[attr-defined]
        f"its own {', '.join(own)}": bool(own),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def has_own(of: Any, name: str, base: type) -> bool:
    """Whether the class of `of` has a method of its own in place of what `base` does."""
    return getattr(type(of), name) is not getattr(base, name)
