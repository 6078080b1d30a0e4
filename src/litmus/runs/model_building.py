"""Builds the model of a config: a Classifier, or a plain network wrapped in one."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, ListConfig, open_dict
from torch import Tensor, nn

from litmus.errors import ConfigError, require
from litmus.models.classifier import Classifier
from litmus.models.defaults import ADAM, one_cycle
from litmus.models.layers import lazy_parameters
from litmus.penalties import NoPenalty
from litmus.runs.building import UNEXPECTED, build, build_loss
from litmus.runs.constructor_arguments import as_partials, parameters, target_of, unknown_argument

WEIGHT_FILES = ("init_from", "weights")  # model options that name a weights file
PRETRAINED = (*WEIGHT_FILES, "weights_backbone", "pretrained", "pretrained_backbone", "checkpoint_path")
OWN = ("channels_last", "init_from", "init_strict")  # options of the Classifier around the network


def build_model(
    cfg: DictConfig, num_classes: int, image_shape: tuple[int, ...], is_restored: bool = False
) -> Classifier:
    """The model of a config: a Classifier, or a Classifier around the plain network of `model._target_`.

    With `is_restored`, a checkpoint provides the weights later, and no file of initial weights is read.
    """
    require(
        "scheduler" in cfg.scheduler,
        "the scheduler's file has no scheduler: at its top level; write its _target_ and options below `scheduler:`, "
        "and beside it `interval: epoch` or `interval: step`",
    )
    parts = {"loss": build_loss(cfg.loss), "penalty": build(cfg.penalty)}
    parts |= {name: build(as_partials(cfg[name])) for name in ("optim", "scheduler")}
    return _assemble(cfg, num_classes, image_shape, parts, is_restored)


def build_network_alone(cfg: DictConfig, num_classes: int, image_shape: tuple[int, ...]) -> Classifier:
    """The model of a config for its use after training: without its penalty, optimizer and scheduler, and without its
    loss unless `cfg` has one. A checkpoint provides the weights later.
    """
    loss = build_loss(cfg.loss) if "loss" in cfg else UnknownLoss()
    parts = {"loss": loss, "penalty": NoPenalty(), "optim": ADAM, "scheduler": one_cycle()}
    return _assemble(cfg, num_classes, image_shape, parts, is_restored=True)


class UnknownLoss(nn.Module):
    """The loss of a model that was loaded without it: raises ConfigError."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        raise ConfigError(
            "litmus.load builds the network without the loss of its run; run python scripts/evaluate.py RUN, or set "
            "model.loss to a loss of your own"
        )


def _assemble(
    cfg: DictConfig, num_classes: int, image_shape: tuple[int, ...], parts: Mapping[str, Any], is_restored: bool
) -> Classifier:
    node = cfg.model.copy()
    if is_restored:
        node.update({option: None for option in WEIGHT_FILES if option in node})
        _leave_out_pretrained(node)
    if is_plain_network(node):
        return wrap_network(node, num_classes, image_shape, parts)
    try:
        return build(node, _partial_=True)(num_classes=num_classes, image_shape=image_shape, **parts)
    except TypeError as error:
        if (key := re.search(UNEXPECTED, str(error))) is not None and key[1] in cfg.model:
            raise ConfigError(unknown_argument(cfg.model, key[1])) from error
        if re.search(r"unexpected keyword argument|missing \d+ required", str(error)) is None:
            raise
        raise ConfigError(f"{cfg.model.get('_target_')} doesn't fit its options: {error}") from error


def _leave_out_pretrained(node: Any) -> None:
    """Sets what would read or download weights, in a node and those below it, to null."""
    if isinstance(node, DictConfig):
        node.update({name: None for name in PRETRAINED if isinstance(node.get(name), str | bool)})
    for child in node.values() if isinstance(node, DictConfig) else node:
        if isinstance(child, DictConfig | ListConfig) and not child._is_none():
            _leave_out_pretrained(child)


def is_plain_network(node: DictConfig) -> bool:
    """Whether `_target_` is not a Classifier. Raises ConfigError if it is another LightningModule."""
    target = target_of(node)
    if not isinstance(target, type):
        return target is not None
    require(
        not issubclass(target, pl.LightningModule) or issubclass(target, Classifier),
        f"model._target_={node['_target_']} is a LightningModule but not a litmus.models.Classifier; derive it from "
        "that, which adds the loss, the penalty, the optimizer and the metrics, or give its network alone",
    )
    return not issubclass(target, Classifier)


def wrap_network(
    node: DictConfig, num_classes: int, image_shape: tuple[int, ...], parts: Mapping[str, Any]
) -> Classifier:
    """A Classifier around the network, which gets `num_classes` and `image_shape` if it takes them.

    Lazy layers (`nn.LazyLinear`) get their shapes. Raises ConfigError if the target is not a network.
    """
    name = str(node["_target_"])
    known, is_open = parameters(target_of(node))
    given = {
        key: value
        for key, value in {"num_classes": num_classes, "image_shape": image_shape}.items()
        if key not in node and (key in known or (is_open and key == "num_classes"))
    }
    own = {key: node[key] for key in OWN if key in node and key not in known}
    with open_dict(node):
        for key in own:
            del node[key]
    try:
        network = build(node, **given)
    except ConfigError as error:
        if "num_classes" in given and "num_classes" in str(error):
            raise ConfigError(
                f"{str(error).rstrip('.')}; for weights of other classes use model=resnet, or give a function that "
                "builds the network and replaces its last layer"
            ) from error
        raise
    require(
        isinstance(network, nn.Module),
        f"model._target_={name} gives a {type(network).__name__}, not a torch module; choose another",
    )
    require(
        not isinstance(network, pl.LightningModule),
        f"model._target_={name} gives a LightningModule; give its network alone",
    )
    if lazy := lazy_parameters(network):
        _initialize(network, name, lazy, image_shape)
    return Classifier(network, num_classes, **own, **parts)


def _initialize(network: nn.Module, name: str, lazy: list[str], image_shape: tuple[int, ...]) -> None:
    """Gives lazy layers (`nn.LazyLinear`) their shapes by a forward pass of black images."""
    with torch.no_grad():
        try:
            network.eval()(torch.zeros(2, *image_shape))
        except Exception as error:
            raise shape_error(name, image_shape, error) from error
    network.train()
    require(not lazy_parameters(network), f"model._target_={name} does not use its layer of {lazy[0]}; remove it")


def shape_error(name: str, image_shape: Sequence[int], error: Exception) -> ConfigError:
    """The error for a network that fails on images of this shape."""
    shape, reason = "×".join(map(str, image_shape)), " ".join(str(error).split())[:200]
    return ConfigError(f"model._target_={name} does not take images of {shape}: {reason}")


def model_name(model: Classifier) -> str:
    """The class name of the model, or of the network that Litmus has wrapped."""
    return type(model.network if type(model) is Classifier else model).__name__
