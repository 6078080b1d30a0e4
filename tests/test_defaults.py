"""A class has the defaults that its option files in conf/ have."""

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import CONF, composed
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

from litmus.models import MLP
from litmus.penalties import NoPenalty
from litmus.runs import build
from litmus.runs.constructor_arguments import parameters

# What one data set or directory has, and another does not.
WITHOUT_DEFAULT = {"name", "source", "num_classes", "image_shape", "path", "root", "directory"}
GROUPS = ("model", "loss", "penalty", "callbacks", "trainer", "data")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


def parts_of(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Those with a class or function of Litmus as their `_target_`."""
    if isinstance(node, DictConfig) and not node._is_none():
        if str(node.get("_target_")).startswith("litmus."):
            yield path, node
        for key in node:
            if not OmegaConf.is_missing(node, key):
                yield from parts_of(node[key], f"{path}.{key}")


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_a_class_has_the_defaults_of_its_option_file(group, option):
    wrong = []
    for path, node in parts_of(composed(f"{group}={option}")[group], group):
        known, _ = parameters(get_object(node._target_))
        for name, parameter in known.items():
            if name not in node or name in WITHOUT_DEFAULT:
                continue
            value = OmegaConf.to_container(node[name]) if OmegaConf.is_config(node[name]) else node[name]
            default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            if default != value and not (isinstance(value, dict) and "_target_" in value):
                wrong.append(f"{path}.{name}: {value} in conf/, {default} in {node._target_}")
    assert wrong == []


def test_a_model_without_parts_trains_with_those_of_conf():
    cfg = composed()
    model = MLP(10, (1, 28, 28))
    assert type(model.loss) is type(build(cfg.loss)) is nn.CrossEntropyLoss
    assert type(model.penalty) is type(build(cfg.penalty)) is NoPenalty
    optim, scheduler = build(cfg.optim), build(cfg.scheduler)
    assert (model.optim.func, {**model.optim.keywords, "betas": [*model.optim.keywords["betas"]]}) == (
        optim.func,
        optim.keywords,
    )
    ours, theirs = model.scheduler.pop("scheduler"), scheduler.pop("scheduler")
    assert (ours.func, ours.keywords, model.scheduler) == (theirs.func, theirs.keywords, scheduler)
