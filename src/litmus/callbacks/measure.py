"""Metrics of a part of the data during training, in eval mode."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor


def evaluate(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    batches: Iterable[tuple[Tensor, Tensor]],
    measure: Callable[[Tensor, Tensor], Any],
) -> list[Any]:
    """Calls `measure(logits, target)` with each batch, in eval mode, without gradients and in the precision of the run.

    Training is not affected: the mode of each submodule is restored, and so is the random state of torch, which a
    DataLoader changes.
    """
    modes = [(part, part.training) for part in module.modules()]
    precision: Any = trainer.precision_plugin
    results = []
    module.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), precision.val_step_context():
            for batch in batches:
                images, target = trainer.strategy.batch_to_device(precision.convert_input(batch))
                results.append(measure(module(images), target))
    finally:
        for part, mode in modes:
            part.training = mode
    return results
