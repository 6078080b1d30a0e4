"""Classifier, the base class of all models."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from litmus.errors import Diverged, StoppedRun, require
from litmus.losses import as_scalar, name_of
from litmus.models.defaults import ADAM, one_cycle
from litmus.models.layers import lazy_parameters
from litmus.models.optimizers import complete_groups, restore_state_layout
from litmus.models.option_checks import validate_options
from litmus.models.schedule import build_lr_scheduler, spans_whole_run
from litmus.models.warm_start import warm_start
from litmus.penalties import NoPenalty, Penalty

log = logging.getLogger("litmus")

Batch = tuple[Tensor, Tensor]


class LossTerms(NamedTuple):
    """The terms of a batch: total = loss + penalty, and the logits (N, num_classes) that the loss is computed from."""

    total: Tensor
    loss: Tensor
    penalty: Tensor | float
    logits: Tensor

    def detached(self) -> "LossTerms":
        penalty = self.penalty.detach() if isinstance(self.penalty, Tensor) else self.penalty
        return LossTerms(self.total.detach(), self.loss.detach(), penalty, self.logits.detach())


class Classifier(pl.LightningModule):
    """A network trained on loss + penalty. A subclass builds its network and passes it to `__init__`.

    `network` maps images (N, C, H, W) to logits (N, num_classes). `optim` maps parameter groups to an optimizer.
    `scheduler` is Lightning's `lr_scheduler` dict, in which `scheduler` maps an optimizer to a scheduler; its arguments
    that are None are computed (see `build_schedule`). Defaults are those of conf/train.yaml.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        *,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        penalty: Penalty | None = None,
        optim: Callable[..., torch.optim.Optimizer] = ADAM,
        scheduler: dict[str, Any] | None = None,
        channels_last: bool = False,
        init_from: str | None = None,
        init_strict: bool = True,
    ):
        super().__init__()
        lazy = lazy_parameters(network)
        require(not lazy, f"network.{lazy[0] if lazy else ''} has no shape yet; run a batch through the network first")
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.num_classes = num_classes
        self.loss = nn.CrossEntropyLoss() if loss is None else loss
        self.penalty = NoPenalty() if penalty is None else penalty
        self.optim = optim
        self.scheduler = one_cycle() if scheduler is None else {"interval": "epoch", **scheduler}  # Lightning's default
        for part in ("val", "test"):
            # The default drops NaN with a warning, and "disable" ignores the weights.
            setattr(self, f"{part}_loss", MeanMetric(nan_strategy=math.nan))
            setattr(self, f"{part}_acc", MulticlassAccuracy(num_classes, average="micro", validate_args=False))
        self._pending: list[tuple[LossTerms, Tensor]] = []
        self._is_noted = False
        self._returned: list[tuple[Tensor, int]] = []
        self._sums = [0.0] * 4  # over the images of an epoch: loss, penalty, correct predictions, count
        self.penalty(self.network)  # raises ConfigError if it does not fit the network
        validate_options(self.loss, self.optim, self.scheduler, num_classes)
        self.init_classes = None if init_from is None else warm_start(network, init_from, init_strict)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of preprocessed images (N, C, H, W)."""
        return self.network(images.contiguous(memory_format=self.memory_format))

    def threads(self, batch_size: int) -> int | None:
        """The number of CPU threads that speed up a training step; None for all of them."""
        return None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, target = batch
        self.check_batch(len(target))
        terms = self.loss_terms(images, target)
        if not terms.total.requires_grad:
            raise StoppedRun(
                f"the loss {name_of(self.loss)} gave no gradient for a batch; leave out detach(), torch.no_grad() and "
                "what else takes the gradient away"
            )
        self.record_step(terms.detached(), target)
        return terms.total

    def check_batch(self, images: int) -> None:
        """Raises StoppedRun if a training step is not possible with a batch of this size."""

    def loss_terms(self, images: Tensor, target: Tensor) -> LossTerms:
        logits = self(images)
        loss = self._loss_of_batch(logits, target)
        penalty = self.penalty(self.network)
        return LossTerms(loss + penalty if isinstance(penalty, Tensor) else loss, loss, penalty, logits)

    def _loss_of_batch(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar. Raises StoppedRun if the loss gives anything else."""
        loss = self.loss(logits, target)
        if isinstance(loss, Tensor) and loss.ndim == 0 and loss.is_floating_point():
            return loss
        return as_scalar(loss, self.loss)

    def record_step(self, terms: LossTerms, target: Tensor) -> None:
        """Counts the detached `LossTerms` of a step in the metrics of the epoch.

        If an optimizer calls its closure several times in a step, only the first call counts: it uses the weights
        before the step.
        """
        # _flush_metrics computes the sums: here they would slow the step of a small network by a tenth.
        if self._is_noted and self._pending[-1][1] is target:
            return
        self._pending.append((terms, target))
        self._is_noted = True

    def on_train_epoch_start(self) -> None:
        self._pending, self._sums, self._returned = [], [0.0] * 4, []
        self._every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        self._batches = self.trainer.num_training_batches

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if not self._is_noted and isinstance(outputs, Mapping) and "loss" in outputs:  # of an overridden training_step
            self._returned.append((outputs["loss"].detach().float(), len(batch[1])))
        self._is_noted = False
        if (batch_idx + 1) % self._every == 0 or batch_idx + 1 == self._batches:
            self._flush_metrics(last=batch_idx)

    def _flush_metrics(self, last: int) -> None:
        """Adds the steps since the last call to the sums of the epoch. Raises Diverged if one was not finite."""
        if not self._pending:
            return
        terms, targets = zip(*self._pending, strict=True)
        _, losses, penalties, logits = zip(*terms, strict=True)
        self._pending = []
        correct = (torch.cat(logits).argmax(dim=1) == torch.cat(targets)).sum().item()
        counts = [len(target) for target in targets]
        added = list(penalties)
        if any(isinstance(penalty, Tensor) for penalty in added):
            added = torch.stack([torch.as_tensor(penalty, device=losses[0].device) for penalty in added]).tolist()
        terms = torch.stack(losses).double().tolist(), added
        self._refuse_what_is_not_finite(*terms, first=last + 1 - len(losses))
        for i, values in enumerate(terms):
            self._sums[i] += sum(value * count for value, count in zip(values, counts, strict=True))
        self._sums[2] += correct
        self._sums[3] += sum(counts)
        for logger in self.loggers:
            logger.log_metrics({"train/loss_step": sum(terms[0]) / len(counts)}, step=self.trainer.global_step)

    def _refuse_what_is_not_finite(self, losses: list[float], penalties: list[float], first: int) -> None:
        for step, (loss, penalty) in enumerate(zip(losses, penalties, strict=True), start=first):
            if not math.isfinite(loss + penalty):
                term = "penalty" if math.isfinite(loss) else "loss"
                raise Diverged(
                    f"the {term} became {loss + penalty} at step {step + 1} "
                    f"of epoch {self.current_epoch + 1}: lower optim.lr, or set trainer.gradient_clip_val=1"
                )

    def on_train_epoch_end(self) -> None:
        self._flush_metrics(
            last=self.trainer.fit_loop.batch_idx
        )  # steps since the last flush, where max_steps or max_time ended the epoch
        sums = torch.tensor(self._sums, dtype=torch.float64, device=self._sum_device())
        loss, penalty, correct, count = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        if count:
            values = {"loss": loss, "penalty": penalty, "acc": correct, "cost": loss + penalty}
            names = {"loss": "train/loss", "acc": "train/acc", "penalty": "penalty", "cost": "train/cost"}
            self.log_dict({names[key]: value / count for key, value in values.items()})
        elif self._returned:
            losses, sizes = (torch.tensor(values) for values in zip(*self._returned, strict=True))
            self.log("train/loss", (losses * sizes).sum() / sizes.sum())
            if self.current_epoch == 0:
                log.warning(
                    f"train/loss is what training_step of {type(self).__name__} returns, train/acc is not measured; to "
                    "have all metrics, call self.record_step(terms.detached(), target) there, or override loss_terms"
                )
        if math.isnan(self.trainer.callback_metrics.get("val/loss", 0.0)):
            raise Diverged(
                f"val/loss became nan in epoch {self.current_epoch + 1}: lower optim.lr, or say "
                "trainer.gradient_clip_val=1"
            )

    def _sum_device(self) -> torch.device:
        return torch.device("cpu") if self.device.type == "mps" else self.device  # no float64 on MPS

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the logits, for callbacks."""
        return self._measure("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the logits, for callbacks."""
        return self._measure("test", batch)

    def _measure(self, part: str, batch: Batch) -> Tensor:
        images, target = batch
        logits = self(images)
        loss, accuracy = getattr(self, f"{part}_loss"), getattr(self, f"{part}_acc")
        loss.update(self._loss_of_batch(logits, target), weight=len(target))
        accuracy.update(logits, target)
        self.log_dict({f"{part}/loss": loss, f"{part}/acc": accuracy})
        return logits

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, with every parameter; `lr_factor` scales the learning rate of a group.

        Parameters outside the network, such as those of a loss, get a group of their own if they are in none.
        """
        return [{"params": list(self.network.parameters())}]

    def configure_optimizers(self) -> Any:
        optimizer = self.optim(complete_groups(self, self.parameter_groups()))
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor", 1.0)
        optimizer.register_load_state_dict_post_hook(restore_state_layout)
        epochs = self.trainer.max_epochs or 0
        steps = int(self.trainer.estimated_stepping_batches) if self.scheduler["interval"] == "step" else epochs
        require(
            steps >= 0 or not spans_whole_run(getattr(self.scheduler["scheduler"], "keywords", {})),
            "the train_dataloader has no length, over which the scheduler could be laid out; set trainer.max_steps, or "
            "scheduler=constant",
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": build_lr_scheduler(self.scheduler, optimizer, steps) | self._frequency(),
        }

    def _frequency(self) -> dict[str, int]:
        """Lets a scheduler that monitors a validation metric step only after epochs that measure it."""
        every, monitor = self.trainer.check_val_every_n_epoch, str(self.scheduler.get("monitor", "train/"))
        if every is None or monitor.startswith("train/"):
            return {}
        return {"frequency": math.lcm(self.scheduler.get("frequency", 1), every)}
