"""A training in which every hook that a user can reach records its calls."""

import contextlib
import datetime
import types
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from litmus.training.epoch_loop import EpochLoop
from litmus.training.trainer import quiet

IMAGES = torch.randn(22, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(22) % 3
CALLBACK_HOOKS = [name for name in vars(pl.Callback) if name.startswith("on_")]
# Those of a module that leave it on the fast path.
MODULE_HOOKS = [
    *("on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end"),
    *("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"),
    *("on_validation_epoch_start", "on_validation_epoch_end", "on_validation_model_zero_grad", "on_train_epoch_end"),
    *("on_train_end", "on_fit_end"),
]
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def summary(value: Any) -> Any:
    """A value as it can be compared between two trainings."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.detach().double().sum().item(), value.requires_grad
    if isinstance(value, Mapping):
        return {key: summary(part) for key, part in value.items() if key != "time"}
    if isinstance(value, tuple | list):
        return [summary(part) for part in value]
    plain = isinstance(value, int | float | str | bool | BaseException | None)
    return repr(value) if plain else type(value).__name__


class Calls(list):
    def record_step(self, name: str, *arguments: Any, **options: Any) -> None:
        self.append((name, *map(summary, arguments), summary(options)))

    def spy(self, name: str, function: Any = None) -> Any:
        """A function that records its calls, then does what `function` does."""

        def spied(*arguments: Any, **options: Any) -> Any:
            self.record_step(name, *arguments, **options)
            return function(*arguments, **options) if function is not None else None

        return spied

    def watch(self, owner: Any, label: str, names: Any) -> Any:
        """Sets spies on the instance, in place of its own methods."""
        for name in names:
            spied = self.spy(f"{label}.{name}", getattr(owner, name))
            # Bound, because a scheduler of torch looks at the `__func__` of its optimizer's step.
            method = types.MethodType(lambda self, *given, spied=spied, **options: spied(*given, **options), owner)
            setattr(owner, name, method)
        return owner


class Model(pl.LightningModule):
    def __init__(self, optimizer: Any = None, scheduler: Any = None):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.2), nn.ReLU(), nn.Linear(5, 3))
        self.optimizer = optimizer or partial(torch.optim.Adam, lr=0.01)
        self.scheduler = scheduler or partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=100)

    def loss(self, batch: Any) -> torch.Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch), batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        groups = [{"params": list(self.network[0].parameters())}, {"params": list(self.network[3].parameters())}]
        groups[1]["weight_decay"] = 0.1
        optimizer = self.optimizer(groups)
        scheduler = self.scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Data(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES, LABELS), batch_size=4)

    val_dataloader = train_dataloader


class SpyLogger(Logger):
    name, version = "spy", 0

    def __init__(self, calls: Calls):
        super().__init__()
        self.calls = calls

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.calls.record_step("logger.log_metrics", metrics, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.calls.record_step("logger.log_hyperparams")

    def save(self) -> None:
        self.calls.record_step("logger.save")


class SpyStrategy(SingleDeviceStrategy):
    pass


class SpyPrecision(Precision):
    pass


def _spied_optimizer(calls: Calls, build: Any) -> Any:
    def built(groups: Any) -> torch.optim.Optimizer:
        optimizer = calls.watch(build(groups), "optimizer", ("step", "zero_grad"))
        optimizer.register_step_pre_hook(calls.spy("optimizer.pre_hook"))
        optimizer.register_step_post_hook(calls.spy("optimizer.post_hook"))
        optimizer.register_state_dict_pre_hook(calls.spy("optimizer.state_dict"))
        return optimizer

    return built


def _spied_scheduler(calls: Calls, build: Any) -> Any:
    return lambda optimizer: calls.watch(build(optimizer), "scheduler", ("step",))


def spied_callbacks(calls: Calls) -> list[pl.Callback]:
    """One whose class has every hook, one on whose instance they were set."""

    def hook(name: str) -> Any:
        return lambda self, *arguments, **options: calls.record_step(f"class.{name}", *arguments, **options)

    every = type("Every", (pl.Callback,), {name: hook(name) for name in CALLBACK_HOOKS})
    settable = [name for name in CALLBACK_HOOKS if "checkpoint" not in name]
    return [every(), LambdaCallback(**{name: calls.spy(f"lambda.{name}") for name in settable})]


def fit(
    fast: bool,
    model: Any = Model,
    data: Any = Data,
    callbacks: Any = (),
    epochs: int = 2,
    expect: type[BaseException] | None = None,
    **settings: Any,
) -> tuple[Calls, pl.LightningModule, pl.Trainer]:
    """The recorded calls of a training by the fast path or by Lightning's own loop."""
    quiet()
    calls, made, loader = Calls(), model(), data()
    made.optimizer, made.scheduler = _spied_optimizer(calls, made.optimizer), _spied_scheduler(calls, made.scheduler)
    calls.watch(made, "module", MODULE_HOOKS)
    calls.watch(loader, "data", TRANSFER_HOOKS)
    options = {"logger": SpyLogger(calls), "max_epochs": epochs, "log_every_n_steps": 2, **settings}
    options |= {name: value() for name, value in options.items() if callable(value)}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*spied_callbacks(calls), *(callback(calls) for callback in callbacks)],
        **options,
    )
    if fast:
        EpochLoop.install(trainer)
    torch.manual_seed(0)
    with contextlib.suppress(*([expect] if expect else [])):
        trainer.fit(made, datamodule=loader)
        assert expect is None
    return calls, made, trainer


NO_TIME = datetime.timedelta(0)
