"""Builds the Lightning Trainer and checks its options."""

import inspect
import logging
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from litmus.errors import ConfigError, closest, number, require, whole_number
from litmus.training.epoch_loop import EpochLoop
from litmus.training.trainer_options import REFUSED

OPTIONS = [name for name in inspect.signature(pl.Trainer.__init__).parameters if name != "self"]
ACCELERATORS: dict[str, tuple[Callable[[], bool], str]] = {
    "gpu": (torch.cuda.is_available, "an NVIDIA or ROCm GPU that torch can use"),
    "mps": (torch.backends.mps.is_available, "Apple's Metal"),
}
# Lightning's warnings about choices that are intentional here.
NOT_FOR_THE_USER = (
    ".*GPU available but not used.*",
    ".*is smaller than the logging interval.*",
    ".*does not have many workers.*",
    ".*It is recommended to use `self.log.*sync_dist=True.*",  # the logged values are already reduced
    ".*`srun` command is available.*",  # a sweep is started from a login node
    ".*callbacks used to create the checkpoint need to be provided.*EarlyStopping.*",  # resumed without it
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*module\\(s\\) in eval mode at the start of training.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)


def build(
    accelerator: str = "auto",
    devices: int = 1,
    strategy: str = "auto",
    max_epochs: int = 15,
    gradient_clip_val: float | None = None,
    accumulate_grad_batches: int = 1,
    compile: bool | str = False,
    **options: Any,
) -> pl.Trainer:
    """A Trainer on an available accelerator. Raises ConfigError if there is none, or if Lightning does not accept an
    option.
    """
    devices = whole_number("accelerator.devices", devices, least=1)
    if accelerator in ACCELERATORS:
        available, what = ACCELERATORS[accelerator]
        require(
            available(), f"accelerator={accelerator} needs {what}, and there is none here; set accelerator=cpu or auto"
        )
    if accelerator == "gpu":
        there = torch.cuda.device_count()
        require(devices <= there, f"accelerator.devices={devices} is more than the {there} GPUs here: lower it")
    require(
        devices == 1 or strategy != "auto",
        f"accelerator.devices={devices} with accelerator={accelerator} is not possible: it runs on one device",
    )
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not any(there() for there, _ in ACCELERATORS.values()))
    require(
        not (on_cpu and str(options.get("precision")) in ("16", "16-mixed")),
        f"accelerator.precision={options.get('precision')} needs a GPU; set bf16-mixed on the CPU",
    )
    whole_number("trainer.log_every_n_steps", options.get("log_every_n_steps", 1), least=1)
    if (every := options.get("check_val_every_n_epoch", 1)) is not None:
        whole_number("trainer.check_val_every_n_epoch", every, least=1)
    for name in options:
        allowed = [option for option in OPTIONS if option not in REFUSED]
        near = closest(name, allowed)
        hint = f"did you mean {near}?" if near else f"choose one of {', '.join(allowed)}"
        require(name in OPTIONS, f"trainer.{name} is not an option of Lightning's Trainer: {hint}")
    max_steps = options.get("max_steps", -1)
    require(max_steps == -1 or max_steps >= 1, f"trainer.max_steps is {max_steps}; set 1 or more, or -1 for no limit")
    whole_number("trainer.max_steps", max_steps, least=-1)
    require(
        options.get("limit_train_batches") != 0,
        "trainer.limit_train_batches=0 leaves nothing to train on; set 1 or more",
    )
    max_time, interval = options.get("max_time"), options.get("val_check_interval", 1.0)
    require(
        max_time is None or isinstance(max_time, str | dict),
        f"trainer.max_time is {max_time}; write days:hours:minutes:seconds, such as 00:00:10:00 for ten minutes",
    )
    require(
        interval is None or not isinstance(interval, int | float) or interval > 0,
        f"trainer.val_check_interval is {interval}; set a number of batches of 1 or more, or a fraction of an epoch",
    )
    quiet()
    try:
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            max_epochs=whole_number("trainer.max_epochs", max_epochs, least=1),
            gradient_clip_val=optional_number("trainer.gradient_clip_val", gradient_clip_val),
            accumulate_grad_batches=whole_number("trainer.accumulate_grad_batches", accumulate_grad_batches, least=1),
            **options,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        if (twice := re.search(r"more than one stateful callback of type `(\w+)`", str(error))) is not None:
            raise ConfigError(
                f"two {twice[1]} callbacks save their state in the same place; set one to null: callbacks.NAME=null"
            ) from error
        raise ConfigError(f"the trainer or accelerator options are refused: {error}") from error
    EpochLoop.install(trainer, compile)
    return trainer


def optional_number(name: str, value: float | None) -> float | None:
    return value if value is None else number(name, value, least=0)


def quiet() -> None:
    for message in NOT_FOR_THE_USER:
        warnings.filterwarnings("ignore", message)
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
