"""Gradient norms per layer."""

from typing import Any

import pytorch_lightning as pl
import torch

from litmus.errors import whole_number
from litmus.penalties import weights_by_layer


class GradNorm(pl.Callback):
    """Logs `grad_norm/<layer>`, the L2 norm of the gradient of each layer's weight, with the penalty and before
    clipping: at the first step of each epoch and every `every_n_steps` steps after it. metrics.csv contains their mean.
    """

    only_observes = True

    def __init__(self, every_n_steps: int = 50):
        self.every_n_steps = whole_number("callbacks.grad_norm.every_n_steps", every_n_steps, least=1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.weights = weights_by_layer(pl_module.network)  # type: ignore[arg-type]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps = 0
        self.measured: dict[str, list[float]] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # A compiled step calls no hook before the update, but its gradients can be read after the step. With clipping
        # those are the clipped gradients; then this keeps the hook, and trainer.compile raises its error.
        is_compiled = getattr(trainer.fit_loop.epoch_loop, "compile", False) and trainer.gradient_clip_val is None
        setattr(self, "on_train_batch_end" if is_compiled else "on_before_optimizer_step", self._count_step)

    def _count_step(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.steps % self.every_n_steps == 0:
            self._measure(trainer)
        self.steps += 1

    def _measure(self, trainer: pl.Trainer) -> None:
        gradients = {layer: weight.grad for layer, weight in self.weights.items() if weight.grad is not None}
        if not gradients:
            return
        norms = torch.stack(
            [gradient.norm() for gradient in gradients.values()]
        ).tolist()  # one synchronization with the device
        found = {f"grad_norm/{layer}": norm for layer, norm in zip(gradients, norms, strict=True)}
        for name, norm in found.items():
            self.measured.setdefault(name, []).append(norm)
        for logger in trainer.loggers:
            logger.log_metrics(found, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log_dict({name: sum(norms) / len(norms) for name, norms in self.measured.items()}, logger=False)
