"""Checks that a checkpoint alone gives the model that was trained, and that a run resumes as if it had not stopped."""

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from litmus.errors import ConfigError, StoppedRun, require
from litmus.models.classifier import Classifier
from litmus.runs.loading import load
from litmus.runs.model_building import build_model, described_model
from litmus.training.hooks import is_overridden

log = logging.getLogger("litmus")

IMAGES = 4  # random ones, that two models are compared on
TOLERANCE = 1e-3  # of the largest logit: kernels may differ, and forgotten state changes more than this
FIX = "keep all state in parameters, buffers (register_buffer) and nn.ModuleList, not in plain attributes or lists"


def check_trains(model: Classifier) -> None:
    """Raises ConfigError if no parameter requires a gradient."""
    require(
        any(parameter.requires_grad for parameter in model.network.parameters()),
        f"no parameter of {described_model(model)} requires a gradient, so nothing would train; leave one unfrozen",
    )


def check_rebuildable(cfg: DictConfig, model: Classifier, num_classes: int, image_shape: Sequence[int]) -> None:
    """Raises ConfigError unless the config and the state_dict of a model give its logits again."""
    name = described_model(model)
    with _seeded(seed=1):  # unlike the model's own, which would draw the same numbers outside the state_dict
        other = build_model(cfg, num_classes, tuple(image_shape), is_restored=True)
    try:
        other.load_state_dict(model.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{name} is built differently each time, so a checkpoint cannot hold it: {reason}") from error
    try:
        is_same = have_equal_logits(model, other, image_shape)
    except Exception as error:  # whatever the network does with images that it was not made for
        shape, reason = "×".join(map(str, image_shape)), " ".join(str(error).split())[:200]
        raise ConfigError(f"{name} does not take images of {shape}: {reason}") from error
    found = "".join(f" ({', '.join(names)})" for names in [plain_tensors(model.network)] if names)
    require(
        is_same, f"{name} computes with values that its state_dict lacks{found}, so a checkpoint would lose them; {FIX}"
    )


def check_rebuilt(run: Path, model: Classifier, image_shape: Sequence[int]) -> None:
    """Raises StoppedRun unless best.ckpt gives the logits of the model, which holds its weights."""
    rebuilt = load(run).model.to(model.device)
    if not have_equal_logits(model.float(), rebuilt, image_shape):
        raise StoppedRun(
            f"{described_model(model)} has changed values in training that its state_dict lacks, so best.ckpt does "
            f"not give the model that was trained; {FIX}, and start the run again in another output_dir"
        )


def check_optimizer(model: Classifier, resumes: bool) -> None:
    """Logs a warning, or raises ConfigError if the run `resumes`, where the optimizer's state_dict is incomplete.

    It lacks the state of an optimizer that this one holds, in many implementations of SAM.
    """
    optimizer = model.optim([{"params": [nn.Parameter(torch.zeros(1))]}])
    inner = [name for name, value in vars(optimizer).items() if isinstance(value, torch.optim.Optimizer)]
    lost = [name for name in inner if getattr(optimizer, name).state is not optimizer.state]
    if not lost or is_overridden(optimizer, "state_dict", torch.optim.Optimizer):
        return
    kind = type(optimizer).__name__
    sentence = f"the state_dict of {kind} lacks the state of its {lost[0]}"
    fix = f"define state_dict and load_state_dict in {kind}"
    require(not resumes, f"{sentence}, so the run cannot resume where it stopped; {fix}, and start it again")
    log.warning(f"{sentence}, so this run cannot be resumed if it is interrupted; {fix}")


def plain_tensors(network: nn.Module) -> list[str]:
    """The attributes with tensors or layers that PyTorch does not find there, such as a list of layers."""

    def is_plain(value: object) -> bool:
        values = value if isinstance(value, list | tuple) else [value]
        return any(isinstance(item, Tensor) or (values is value and isinstance(item, nn.Module)) for item in values)

    modules = network.named_modules()
    return [
        f"{path}.{key}".lstrip(".") for path, layer in modules for key, value in vars(layer).items() if is_plain(value)
    ]


def have_equal_logits(model: nn.Module, other: nn.Module, image_shape: Sequence[int]) -> bool:
    """Whether both map the same random images to the same logits, in eval mode and within `TOLERANCE`."""
    first, second = _logits(model, image_shape), _logits(other, image_shape)
    scale = float(first.abs().nan_to_num(0.0, posinf=0.0).max())
    return torch.allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)


def _logits(model: nn.Module, image_shape: Sequence[int]) -> Tensor:
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    with _seeded(seed=2), torch.no_grad():
        images = torch.randn(IMAGES, *image_shape).to(device)
        try:
            logits: Tensor = model.eval()(images)
            return logits
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The random numbers of `seed`, without a change to those drawn afterwards."""
    with isolate_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
