"""What can be told from a model's attributes: whether Python has no say in its steps, and whether it has changed."""

from collections.abc import Sequence
from types import BuiltinFunctionType, FunctionType
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules
from torchmetrics import Metric

from litmus.models.classifier import Classifier

TRAINING_STEP = Classifier.training_step
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# What a module's attributes may be, so that comparing them shows whether it has changed.
CONSTANTS = (bool, int, float, str, type(None))
PLAIN = (*CONSTANTS, type, torch.dtype, torch.device, torch.memory_format, Tensor, nn.Module)
# Of a model, which an instance may have its own of.
METHODS = ("training_step", "check_batch", "costs", "note", "forward")
LIBRARIES = ("torch", "torchvision", "pytorch_lightning", "lightning_fabric", "builtins")
KNOWN = ("torch", "torchvision")  # whose modules do the same for every batch as long as their attributes are the same
# What Lightning and Litmus keep on a model, none of which a step depends on.
KEPT = set(vars(pl.LightningModule())) - {"training"}
KEPT |= {"_hparams", "_pending", "_sums", "_every", "_batches", "optim", "scheduler", "last_layer"}


class Attributes:
    """Those of a `Classifier`, of the modules in it and of their classes, as they are when this is made."""

    def __init__(self, module: Any):
        self.module = module
        self.now = [module._modules, module._parameters, module._buffers]
        parts = _parts(module)
        self.now += [vars(of) for of in (*parts, *_classes([module, *parts]))]
        self.then = [_copied(dict(attributes)) for attributes in self.now]
        self.own = _copied(_own(module))
        self.parameters = list(module.parameters())
        self.trained = [_trained(parameter) for parameter in self.parameters]

    def unchanged(self) -> bool:
        try:
            return (
                self.now == self.then
                and _own(self.module) == self.own
                and [_trained(parameter) for parameter in self.parameters] == self.trained
                and not _hooked_everywhere()
            )
        except RuntimeError:  # two tensors, of which there was one
            return False


def _own(module: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in KEPT}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return value.copy() if isinstance(value, set) else value


def _trained(parameter: Tensor) -> Any:
    """Whether it is, and who listens."""
    return parameter.requires_grad, parameter._backward_hooks, parameter._post_accumulate_grad_hooks


def _parts(module: Any) -> list[nn.Module]:
    """The modules in it but for what measures."""
    return [part for part in module.modules() if part is not module and not isinstance(part, Metric)]


def _classes(parts: Sequence[nn.Module]) -> set[type]:
    """Theirs, where they are Litmus' or the user's."""
    kinds = {kind for part in parts for kind in type(part).__mro__}
    return {kind for kind in kinds if kind.__module__.partition(".")[0] not in LIBRARIES}


def refusal(module: Any) -> str | None:
    """Why the steps of this module can't be replayed, as far as can be told before there is one.

    What Python code does besides calling operations can't be seen. So replayed are torch's modules and those whose own
    class says `replayable = True`: the same operations for every batch, as long as the attributes are the same.
    """
    if type(module).training_step is not TRAINING_STEP or any(name in vars(module) for name in METHODS):
        return f"{type(module).__name__} has a training_step of its own"
    if not isinstance(module.loss, nn.Module):
        return "the loss is no nn.Module"
    parts = [module, *_parts(module)]
    hooked = next((part for part in parts if any(vars(part).get(name) for name in HOOKS)), None)
    if hooked is not None or _hooked_everywhere():
        return f"a hook on {type(hooked).__name__ if hooked is not None else 'all modules'}"
    if any(parameter._backward_hooks or parameter._post_accumulate_grad_hooks for parameter in module.parameters()):
        return "a hook on a parameter"
    for part in parts:
        if not _replayable(type(part)):
            return f"{type(part).__name__} doesn't say replayable = True, which docs/benchmarks.md explains"
    for part in parts:
        attributes = vars(part) if part is not module else _own(module)
        strange = next((name for name, value in attributes.items() if not _plain(value)), None)
        if strange is not None:
            return f"whether {type(part).__name__}.{strange} has changed can't be told"
    return None


def _hooked_everywhere() -> bool:
    return any(getattr(modules, f"_global{name}") for name in HOOKS)


def _replayable(kind: type) -> bool:
    of_torch = kind.__module__.partition(".")[0] in KNOWN and not issubclass(kind, torch.jit.ScriptModule)
    return of_torch or vars(kind).get("replayable") is True


def _plain(value: Any) -> bool:
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return str(value.__module__).partition(".")[0] in KNOWN
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_plain, value))
    return isinstance(value, PLAIN)
