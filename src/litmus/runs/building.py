"""From config nodes to objects."""

import re
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from litmus.errors import ConfigError
from litmus.models.classifier import Classifier

WEIGHT_FILES = ("init_from", "weights")  # options of a model that name a file of weights


def build(node: Any, **arguments: Any) -> Any:
    """Instantiates a config node. Raises ConfigError, with the reason alone, for values that can't be."""
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            raise cause from None
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


def build_model(
    cfg: DictConfig, num_classes: int, image_shape: tuple[int, ...], is_restored: bool = False
) -> Classifier:
    """The model of a config.

    With `is_restored`, a checkpoint supplies its weights later, so that no file of starting weights is read.
    """
    parts = {name: build(cfg[name]) for name in ("loss", "penalty", "optim", "scheduler")}
    node = cfg.model.copy()
    if is_restored:
        node.update({option: None for option in WEIGHT_FILES if option in node})
    try:
        return build(node, _partial_=True)(num_classes=num_classes, image_shape=image_shape, **parts)
    except TypeError as error:
        if re.search(r"unexpected keyword argument|missing \d+ required", str(error)) is None:
            raise
        raise ConfigError(f"{cfg.model.get('_target_')} doesn't fit its options: {error}") from error
