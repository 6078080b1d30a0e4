"""Checks that a checkpoint restores the trained model, and that a run resumes exactly."""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from litmus.core.lightning_hooks import is_overridden
from litmus.errors import ConfigError, StoppedRun, first_few, require
from litmus.models.classifier import Classifier
from litmus.models.warm_start import are_reordered
from litmus.runs.checkpoints import rebuild_model
from litmus.runs.model_building import build_model, model_name, shape_error

log = logging.getLogger("litmus")

IMAGES = 4  # random images to compare two models on
STEPS = 7  # of an optimizer, before and after its state is restored: more than the five of Lookahead
TOLERANCE = 1e-3  # relative to the largest logit: kernels may round differently
FIX = (
    "keep all state in parameters, persistent buffers (register_buffer) and nn.ModuleList, not in plain attributes or "
    "lists"
)


def check_trains(model: Classifier) -> None:
    """Raises ConfigError if no parameter requires a gradient."""
    require(
        any(parameter.requires_grad for parameter in model.network.parameters()),
        f"no parameter of {model_name(model)} requires a gradient, so nothing would train; leave one unfrozen",
    )


def check_class_order(model: Classifier, data: Any) -> None:
    """Raises ConfigError if the run of `model.init_from` has the classes of `data` in another order."""
    there, here = model.init_classes or [], list(data.class_names)
    require(
        not are_reordered(there, here),
        f"the run of model.init_from has the classes {first_few(there)} and {data.name} has them in another order, "
        f"{first_few(here)}, so its last layer would take one class for another; give the data the order of that run, "
        "as data.classes of a picture folder or class_names of arrays",
    )


def check_model(cfg: DictConfig, model: Classifier, num_classes: int, image_shape: Sequence[int]) -> None:
    """Raises ConfigError unless the model gives logits, and a rebuilt model with its state_dict gives the same ones."""
    name = str(cfg.model["_target_"])
    with _seeded(seed=1):  # not the seed of the model, which would draw the same numbers again
        other = build_model(cfg, num_classes, tuple(image_shape), is_restored=True)
    try:
        other.load_state_dict(model.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{name} is built differently each time, so a checkpoint cannot hold it: {reason}") from error
    try:
        outputs = [_outputs(other, image_shape, mode) for mode in (False, True)]
    except Exception as error:
        raise shape_error(name, image_shape, error) from error
    for logits in outputs:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
        require(
            isinstance(logits, Tensor) and logits.shape == (IMAGES, num_classes),
            f"model._target_={name} maps {IMAGES} images of {'×'.join(map(str, image_shape))} to an output of {found}; "
            f"it must give logits of shape ({IMAGES}, {num_classes})",
        )
    if not _are_close(_outputs(model, image_shape), outputs[0]):
        lost = outside_state_dict(model.network)
        found = f" ({', '.join(lost)})" if lost else ""
        raise ConfigError(
            f"{name} computes with values that its state_dict lacks{found}, so a checkpoint would lose them; {FIX}"
        )


def check_single_image(model: Classifier, image_shape: Sequence[int]) -> None:
    """Raises ConfigError if the network cannot train on a batch of one image, as BatchNorm1d cannot."""
    copied = deepcopy(model)  # a pass in train mode changes running statistics
    try:
        _outputs(copied, image_shape, training=True, count=1)
    except ValueError as error:
        raise ConfigError(
            f"the last batch of an epoch has one image, on which {model_name(model)} cannot train ({error}); choose a "
            "data.batch_size that leaves no single image"
        ) from error


def check_rebuilt(file: Path, model: Classifier, image_shape: Sequence[int]) -> None:
    """Raises StoppedRun unless the best checkpoint gives the logits of `model`, which has its weights loaded."""
    rebuilt, _ = rebuild_model(file, trust=None)
    rebuilt.to(model.device)
    if not _are_close(_outputs(model.float(), image_shape), _outputs(rebuilt, image_shape)):
        raise StoppedRun(
            f"{model_name(model)} has changed values in training that its state_dict lacks, so best.ckpt does "
            f"not give the model that was trained; {FIX}, and start the run again in another output_dir"
        )


def check_optimizer(model: Classifier, resumes: bool) -> None:
    """Checks that the state_dict of the optimizer is complete. Many own implementations lack a part: the state of an
    optimizer that they hold, as SAM does, or the slow weights and the step count of Lookahead.

    Logs a warning, or raises ConfigError if the run `resumes`.
    """
    optimizer = model.optim([{"params": [nn.Parameter(torch.zeros(1))]}])
    inner = [name for name, value in vars(optimizer).items() if isinstance(value, torch.optim.Optimizer)]
    lost = [name for name in inner if getattr(optimizer, name).state is not optimizer.state]
    kind = type(optimizer).__name__
    if lost and not is_overridden(optimizer, "state_dict", torch.optim.Optimizer):
        sentence = f"the state_dict of {kind} lacks the state of its {lost[0]}"
    elif _loses_state(model.optim):
        sentence = f"{kind} keeps state that its state_dict lacks"
    else:
        return
    fix = f"define state_dict and load_state_dict in {kind}"
    require(not resumes, f"{sentence}, so the run cannot resume where it stopped; {fix}, and start it again")
    log.warning(f"{sentence}, so this run cannot be resumed if it is interrupted; {fix}")


def _loses_state(build: Callable[..., torch.optim.Optimizer]) -> bool:
    """Whether an optimizer takes other steps than a new one that has its state_dict. False if that cannot be tried."""

    def start(values: Tensor) -> tuple[nn.Parameter, torch.optim.Optimizer]:
        parameter = nn.Parameter(values.clone())
        return parameter, build([{"params": [parameter]}])

    def step(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, target: Tensor) -> None:
        def closure() -> Tensor:  # of half the squared distance to the target
            parameter.grad = (parameter - target).detach()
            return 0.5 * parameter.grad.square().sum()

        closure()  # for an optimizer that does not call it
        optimizer.step(closure)  # type: ignore[arg-type]

    try:
        with _seeded(seed=3):
            targets = torch.randn(2 * STEPS, 2, 3)
            parameter, optimizer = start(torch.zeros(2, 3))
            for target in targets[:STEPS]:
                step(parameter, optimizer, target)
            other, restored = start(parameter.detach())
            restored.load_state_dict(deepcopy(optimizer.state_dict()))
            for target in targets[STEPS:]:
                step(parameter, optimizer, target)
                step(other, restored, target)
            return not torch.allclose(parameter, other, equal_nan=True)
    except Exception:  # it may need more than a parameter of its own
        return False


def outside_state_dict(network: nn.Module) -> list[str]:
    """Attributes whose tensors or layers are not in the state_dict, such as a plain list of layers."""

    def is_plain(value: object) -> bool:
        if isinstance(value, list | tuple):
            return any(isinstance(item, Tensor | nn.Module) for item in value)
        return isinstance(value, Tensor)

    attributes = [(path, *item) for path, layer in network.named_modules() for item in vars(layer).items()]
    plain = [f"{path}.{name}".lstrip(".") for path, name, value in attributes if is_plain(value)]
    saved = network.state_dict()
    return [*plain, *(name for name, _ in network.named_buffers() if name not in saved)]


def _are_close(logits: Tensor, others: Tensor) -> bool:
    scale = float(logits.abs().nan_to_num(0.0, posinf=0.0).max())
    return torch.allclose(logits, others, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)


def _outputs(
    model: pl.LightningModule, image_shape: Sequence[int], training: bool = False, count: int = IMAGES
) -> Tensor:
    """The outputs for `count` random images, the same ones for every model."""
    modes = [(module, module.training) for module in model.modules()]
    with _seeded(seed=2), torch.no_grad():
        images = torch.randn(count, *image_shape).to(model.device)
        try:
            outputs: Tensor = model.train(training)(images)
            return outputs
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch inside the block, and restores its generators afterwards."""
    with isolate_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
