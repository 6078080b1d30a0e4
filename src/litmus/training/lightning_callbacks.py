"""Checks Lightning's callbacks: the ones that a run supports, and the options that they need."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
from lightning_utilities.core.imports import RequirementCache
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    DeviceStatsMonitor,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelPruning,
    OnExceptionCheckpoint,
    ProgressBar,
    StochasticWeightAveraging,
)

from litmus.errors import require
from litmus.models.classifier import Classifier
from litmus.models.schedule import spans_whole_run

log = logging.getLogger("litmus")

# The reason and the alternative for each callback.
REFUSED: dict[type[pl.Callback], str] = {
    LearningRateFinder: "trains with a learning rate that the config does not have; "
    "compare learning rates with a sweep instead: python train.py -m optim.lr=1e-4,1e-3,1e-2",
    BatchSizeFinder: "trains with a batch size that the config does not have; set data.batch_size instead",
    BackboneFinetuning: "adds parameters to the optimizer during training, which cannot be resumed exactly; "
    "use model=resnet model.freeze=true model.unfreeze_at_epoch=N instead",
    OnExceptionCheckpoint: "saves in the middle of an epoch, from where a run cannot resume exactly; "
    "checkpoints/last.ckpt has the last complete epoch, and the run resumes from it",
}
NEED_LOGGER = (DeviceStatsMonitor, LearningRateMonitor)


def has_progress_bar(callbacks: Iterable[pl.Callback]) -> bool:
    return any(isinstance(callback, ProgressBar) for callback in callbacks)


def check_callbacks(
    callbacks: Mapping[str, pl.Callback], trainer: pl.Trainer, model: Classifier, resumes: bool, compiles: bool
) -> None:
    """Raises ConfigError if a callback, by its name in the config, does not work with the other options."""
    for name, callback in callbacks.items():
        kind = f"callbacks.{name}: {type(callback).__name__}"
        for refused, reason in REFUSED.items():
            require(not isinstance(callback, refused), f"{kind} {reason}; set callbacks.{name}=null")
        require(
            not isinstance(callback, NEED_LOGGER) or bool(trainer.loggers),
            f"{kind} needs a logger; set logger=tensorboard or callbacks.{name}=null",
        )
        if isinstance(callback, DeviceStatsMonitor):
            _check_device_stats(kind, callback, trainer)
        elif isinstance(callback, GradientAccumulationScheduler):
            _check_accumulation(kind, callback, trainer, model, compiles)
        elif isinstance(callback, StochasticWeightAveraging):
            require(
                not (compiles and callback.pl_module_contains_batch_norm(model)),
                f"{kind} has an epoch without training steps for batch normalization; set trainer.compile=false",
            )
        elif isinstance(callback, ModelPruning):
            _check_pruning(kind, callback, model, resumes, compiles)


def find_averaging_over_run(nodes: Mapping[Any, Any]) -> str | None:
    """The name of the callback in the config that averages weights until the last epoch of the run, or None."""
    targets = {str(name): str(node.get("_target_")) for name, node in nodes.items() if node is not None}
    return next((name for name, target in targets.items() if target.endswith(".StochasticWeightAveraging")), None)


def log_like_litmus(callbacks: Iterable[pl.Callback]) -> None:
    """Prints the log messages of Lightning's callbacks, such as a model summary, and writes them to train.log."""
    for callback in callbacks:
        for cls in type(callback).__mro__:
            if cls.__module__.startswith("pytorch_lightning.callbacks."):
                logger = logging.getLogger(cls.__module__)
                logger.setLevel(logging.INFO)
                logger.propagate = False
                logger.handlers = [_Forward()]


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if log.isEnabledFor(record.levelno):
            log.handle(record)


def _check_device_stats(kind: str, callback: DeviceStatsMonitor, trainer: pl.Trainer) -> None:
    on_cpu = trainer.strategy.root_device.type == "cpu"
    measures_cpu = callback._cpu_stats or (on_cpu and callback._cpu_stats is not False)
    require(
        not measures_cpu or bool(RequirementCache("psutil")),
        f"{kind} needs psutil to measure the CPU: pip install psutil",
    )


def _check_accumulation(
    kind: str, callback: GradientAccumulationScheduler, trainer: pl.Trainer, model: Classifier, compiles: bool
) -> None:
    require(
        trainer.accumulate_grad_batches == 1,
        f"{kind} and trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} set the same thing; use one",
    )
    if not callback.going_to_accumulate_grad_batches():
        return
    require(not compiles, f"{kind} accumulates gradients, which a compiled step does not; set trainer.compile=false")
    options: dict[str, Any] = getattr(model.scheduler["scheduler"], "keywords", {})
    require(
        model.scheduler["interval"] != "step" or not spans_whole_run(options),
        f"{kind} changes the number of steps, from which the scheduler's length is computed; "
        "set scheduler=constant or another that steps once per epoch",
    )


def _check_pruning(kind: str, callback: ModelPruning, model: Classifier, resumes: bool, compiles: bool) -> None:
    require(not compiles, f"{kind} masks layers, which a compiled step cannot do; set trainer.compile=false")
    require(
        not (resumes and callback._use_lottery_ticket_hypothesis),
        f"{kind} with use_lottery_ticket_hypothesis keeps weights that are in no checkpoint, so this run cannot resume "
        "exactly; use another output_dir",
    )
    require(
        callback._make_pruning_permanent,
        f"{kind} with make_pruning_permanent=false leaves its masks in the trained model; set it to true",
    )
    contiguous = all(parameter.is_contiguous() for parameter in model.parameters())
    require(
        contiguous or not callback._use_global_unstructured,
        f"{kind} needs contiguous weights; set accelerator.channels_last=false or use_global_unstructured=false",
    )
