"""Constructor arguments of the `_target_` of a config node, from its signature."""

import copy
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, open_dict

from litmus.errors import ConfigError, closest

PASSED = {  # what Litmus passes itself, by the key of the node
    "model": ("network", "num_classes", "image_shape", "loss", "penalty", "optim", "scheduler"),
    "optim": ("params",),
    "scheduler": ("optimizer",),
    "data": ("name", "source", "num_classes", "image_shape"),
    "data.source": ("root", "train", "download"),
}
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_arguments(node: Any) -> None:
    """Raises ConfigError, with the valid arguments, if a node at or below `node` has one that its target lacks."""
    for part in _parts(node):
        target = target_of(part)
        known, is_open = parameters(target) if target else ({}, True)
        for key in part if not is_open else ():
            if not str(key).startswith("_") and str(key) not in known:
                raise ConfigError(_refusal(part, str(key), list(known)))


def unknown_argument(node: Any, key: str) -> str:
    """The message for an argument that a target refused at call time."""
    known, _ = parameters(target_of(node))
    return _refusal(node, key, list(known))


def missing_targets(node: Any) -> list[str]:
    """The targets of this package, at or below `node`, that do not exist: those of another version."""
    package = __name__.partition(".")[0]
    own = [part for part in _parts(node) if str(part._get_node("_target_")).startswith(f"{package}.")]
    return [str(part["_target_"]) for part in own if target_of(part) is None]


def tensor_arguments(node: Any) -> list[str]:
    """The arguments whose annotation is a tensor, such as the class weights of a torch loss."""
    known, _ = parameters(target_of(node))
    return [name for name, parameter in known.items() if "Tensor" in str(parameter.annotation)]


def parameters(target: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """The named parameters of `target`, and whether it accepts others. `**kwargs` are resolved through the base
    classes.
    """
    found: dict[str, inspect.Parameter] = {}
    for function in _functions(target):
        try:
            own = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return found, True
        found |= {name: p for name, p in own.items() if p.kind in BY_NAME and name not in ("self", *found)}
        is_open = any(p.kind is p.VAR_KEYWORD for p in own.values()) or hasattr(function, "__wrapped__")
        if not is_open:
            return found, function is not _functions(target)[0]  # its **kwargs may take anything
    return found, bool(_functions(target))


def _functions(target: Any) -> list[Callable[..., Any]]:
    if not isinstance(target, type):
        return [target]
    return [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls) and not _takes_nothing(cls)]


def _takes_nothing(cls: type) -> bool:
    """Whether this base class refuses the arguments that its signature allows."""
    return cls is object or f"{cls.__module__}.{cls.__qualname__}" == "torch.nn.modules.module.Module"


def as_partials(node: Any) -> Any:
    """A copy of the config node with `_partial_: true` wherever a target lacks a required argument.

    The missing one, such as the parameters of an optimizer, is passed later.
    """
    node = copy.deepcopy(node)
    for part in _parts(node):
        if "_partial_" not in part and "_args_" not in part and _lacks_argument(part):
            with open_dict(part):
                part["_partial_"] = True
    return node


def _lacks_argument(node: DictConfig) -> bool:
    try:
        own = inspect.signature(target_of(node)).parameters
    except (TypeError, ValueError):
        return False
    return any(p.kind in BY_NAME and p.default is p.empty and name not in node for name, p in own.items())


def _refusal(node: Any, key: str, known: list[str]) -> str:
    """The message, which suggests only arguments that the user may set."""
    path = str(node._get_full_key(key))  # no public way to the full key of a node
    above = path.rpartition(".")[0]
    passed = PASSED.get(above, PASSED.get(above.partition(".")[0], ()))
    known = [name for name in known if name in node or name not in passed]
    near = closest(key, known)
    hint = f" (did you mean {near}?)" if near else ""
    return f"{path} is not an argument of {node['_target_']}{hint}: it takes {', '.join(known) or 'none'}"


def _parts(node: Any) -> Iterator[DictConfig]:
    """The nodes with a `_target_` at or below `node`."""
    if isinstance(node, DictConfig) and not node._is_none():
        if "_target_" in node:
            yield node
        children = [node._get_node(key) for key in node]
    else:
        children = list(node._iter_ex(resolve=False)) if isinstance(node, ListConfig) and not node._is_none() else []
    for child in children:
        if isinstance(child, DictConfig | ListConfig) and not child._is_interpolation():
            yield from _parts(child)


def target_of(node: Any) -> Any:
    """The class or function; None if it cannot be imported, which `build` reports."""
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it logs what the error says again
    try:
        return get_object(str(node["_target_"]))
    except Exception:  # an import may raise anything
        return None
