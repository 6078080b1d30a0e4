"""Which Lightning hooks a model, a callback or a data module overrides, in its class or on the instance."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytorch_lightning as pl

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def is_overridden(owner: Any, name: str, base: type) -> bool:
    """Whether `owner` has another method `name` than `base`."""
    return getattr(getattr(owner, name), "__func__", None) is not getattr(base, name)


def callbacks_with(trainer: pl.Trainer, name: str) -> list[pl.Callback]:
    return [c for c in trainer.callbacks if is_overridden(c, name, pl.Callback)]  # type: ignore[attr-defined]


def callback_hooks(trainer: pl.Trainer, name: str) -> list[Callable[..., Any]]:
    """The bound hooks of the callbacks that override it, with trainer and module filled in."""
    return [partial(getattr(c, name), trainer, trainer.lightning_module) for c in callbacks_with(trainer, name)]


def overridden_below(owner: Any, names: Iterable[str], defining: str) -> list[str]:
    """Those of `names` that are overridden below the class of `owner` that defines the method `defining`."""
    base = next(cls for cls in type(owner).__mro__ if defining in vars(cls))
    return [name for name in names if hasattr(base, name) and is_overridden(owner, name, base)]


def overrides_transfer(trainer: pl.Trainer) -> bool:
    """Whether the module or the data module overrides how a batch gets to the device."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    owners: list[tuple[Any, type]] = [(trainer.lightning_module, pl.LightningModule)]
    owners += [(data, pl.LightningDataModule)] if data is not None else []
    return any(is_overridden(owner, name, base) for owner, base in owners for name in TRANSFER_HOOKS)
