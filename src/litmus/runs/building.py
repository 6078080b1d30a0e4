"""Builds objects from config nodes."""

import re
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import ListConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from litmus.errors import ConfigError, require
from litmus.losses import CLASS_WEIGHTS, FunctionLoss
from litmus.runs.constructor_arguments import check_arguments, tensor_arguments, unknown_argument

UNEXPECTED = r"unexpected keyword argument '(\w+)'"


def build(node: Any, **arguments: Any) -> Any:
    """Instantiates a config node. Raises ConfigError with the target's own reason if it refuses a value."""
    check_arguments(node)
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            raise cause from None
        if isinstance(cause, TypeError) and (key := re.search(UNEXPECTED, str(cause))) and key[1] in node:
            raise ConfigError(unknown_argument(node, key[1])) from error
        if isinstance(cause, TypeError | ValueError | MisconfigurationException):
            raise ConfigError(f"{node.get('_target_')} refuses its options: {cause}") from error
        if isinstance(cause, ModuleNotFoundError):  # of an optional package, raised by the class itself
            raise ConfigError(f"{node.get('_target_')} cannot be built: {cause}") from error
        if isinstance(cause, ImportError):
            reason = cause.__cause__ or cause
            raise ConfigError(
                f"_target_: {node.get('_target_')} cannot be imported ({type(reason).__name__}: {reason}); correct the "
                "name, or give the folder of its module: PYTHONPATH=FOLDER, or sys.path.append(FOLDER) in Python"
            ) from error
        raise


def build_loss(node: Any) -> Any:
    """Builds the loss. Lists become tensors where the loss takes tensors, such as class weights.

    They are registered as buffers, so that they move to the device with the model and are in the checkpoint.
    """
    names = tensor_arguments(node)
    for name in names:
        is_number = isinstance(node.get(name), int | float) and name in CLASS_WEIGHTS
        require(
            not (is_number or isinstance(node.get(name), str) or OmegaConf.is_dict(node.get(name))),
            f"loss.{name}={node.get(name)} must be a list of numbers, one for each class in the order of the class "
            "names",
        )
    tensors = {name: _tensor(node, name) for name in names if isinstance(node.get(name), ListConfig)}
    if not tensors:
        return build(node)
    if node.get("_partial_"):
        return FunctionLoss(build(node), tensors)
    loss = build(node, **tensors)
    if isinstance(loss, nn.Module):
        for name, value in list(vars(loss).items()):
            if isinstance(value, Tensor):  # a plain attribute, which would stay on the CPU
                delattr(loss, name)
                loss.register_buffer(name, value)
    return loss


def _tensor(node: Any, name: str) -> Tensor:
    values = OmegaConf.to_container(node[name])
    try:
        tensor = torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError):
        raise ConfigError(f"loss.{name}={values} must be a list of numbers") from None
    require(bool(tensor.isfinite().all()), f"loss.{name}={values} must be a list of finite numbers")
    return tensor
