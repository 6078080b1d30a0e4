"""Limits the memory that building a network takes, for a config that describes more than its weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # no public way; torch documents it for such uses
from torch.utils._pytree import tree_leaves, tree_map

from litmus.errors import ConfigError

# torchvision's networks take 1 to 2 times their weights, and 2 to 20 operations for a tensor.
TIMES, FREE = 4, 2**28  # the limit is TIMES the bytes of the weights, plus FREE bytes
CALLS_PER_TENSOR, FREE_CALLS = 40, 4000


class AllocationLimit(TorchDispatchMode):
    """Inside it, an operation that takes more memory than a network with these weights needs raises ConfigError."""

    def __init__(self, weights: Mapping[str, Tensor], sentence: str):
        super().__init__()
        self.bytes = TIMES * sum(value.nbytes for value in weights.values()) + FREE
        self.calls = CALLS_PER_TENSOR * len(weights) + FREE_CALLS
        self.sentence = sentence

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.calls -= 1
        if not func._schema.is_mutable and not func.is_view:
            self.bytes -= _size_of_result(func, args, kwargs)
        if self.bytes < 0 or self.calls < 0:
            raise ConfigError(self.sentence)
        return func(*args, **kwargs)


def _size_of_result(func: Any, args: Any, kwargs: Any) -> int:
    """The size in bytes of the operation's result, computed on the meta device; 0 if the operation needs data."""
    args, kwargs = tree_map(lambda value: value.to("meta") if isinstance(value, Tensor) else value, (args, kwargs))
    if "device" in kwargs:
        kwargs["device"] = torch.device("meta")
    try:
        results = tree_leaves(func(*args, **kwargs))
    except Exception:  # the operation needs the data, as .item() does
        return 0
    return sum(result.nbytes for result in results if isinstance(result, Tensor))
