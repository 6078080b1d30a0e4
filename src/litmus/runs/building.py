"""From config nodes to objects."""

import re
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from litmus.errors import ConfigError
from litmus.models.classifier import Classifier
from litmus.runs.arguments import check_arguments, unknown_argument

UNEXPECTED = r"unexpected keyword argument '(\w+)'"


def build(node: Any, **arguments: Any) -> Any:
    """Instantiates a config node. Raises ConfigError, with the reason alone, for values that can't be."""
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
                f"_target_: {node.get('_target_')} can't be imported ({type(reason).__name__}: {reason}): "
                "put the name right, or its module beside train.py"
            ) from error
        raise


def build_model(cfg: DictConfig, num_classes: int, image_shape: tuple[int, ...]) -> Classifier:
    parts = {name: build(cfg[name]) for name in ("loss", "penalty", "optim", "scheduler")}
    try:
        return build(cfg.model, _partial_=True)(num_classes=num_classes, image_shape=image_shape, **parts)
    except TypeError as error:
        if (key := re.search(UNEXPECTED, str(error))) is not None and key[1] in cfg.model:
            given = ("network", "num_classes", "image_shape", *parts)
            raise ConfigError(unknown_argument(cfg.model, key[1], given)) from error
        if re.search(r"unexpected keyword argument|missing \d+ required", str(error)) is None:
            raise
        raise ConfigError(f"{cfg.model.get('_target_')} doesn't fit its options: {error}") from error
