"""Operations of torch written down as they run, as a function of some of the tensors that they are given."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VALUE_SEEN = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
SAME_ARGUMENTS = ("default", "Tensor", "Scalar", "dim_IntList")  # of operations that torch has a function for
TOO_LARGE = "the operations are too large to gain by it"


class Call(NamedTuple):
    text: str
    gives: set[str]
    takes: set[str]
    is_view: bool


class Recorder(TorchDispatchMode):
    """While it is entered, every operation that reaches torch's kernels runs and is written down, autograd's too.

    `arguments` are what the function is to take, by name; `fixed` are other tensors that operations may be given, which
    it takes as they then are. `problem` says why there can be no such function: an operation was given a tensor from
    anywhere else, a value was looked at, or the tensors take more than `limit` bytes, all of which are kept until the
    recorder is gone.
    """

    def __init__(self, arguments: dict[str, Tensor], fixed: Sequence[Tensor], limit: int):
        super().__init__()
        self.arguments = list(arguments)
        self.known: dict[str, Any] = {f"fixed{i}": tensor for i, tensor in enumerate(fixed)}
        self.tensors = [*arguments.values(), *fixed]  # one that was gone would leave its id to another
        self.names = {id(tensor): name for name, tensor in (arguments | self.known).items()}
        self.calls: list[Call] = []
        self.transposes: dict[str, str] = {}
        self.left = limit
        self.problem: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.problem is None:
            self._write(func, args, kwargs or {}, result)
            if self.problem is not None:
                self.tensors.clear()
        return result

    def _write(self, func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        if any(tag in func.tags for tag in VALUE_SEEN):
            self.problem = f"a step looks at a tensor's values ({func}): write torch.where for an if, and no .item()"
            return
        takes: set[str] = set()
        given = [self._text(arg, takes) for arg in args]
        if func is torch.ops.aten.detach.default:  # the same numbers, by another tensor
            self._remember(result, given[0])
            return
        if func is torch.ops.aten.t.default and given[0] in self.transposes:  # and back
            self._remember(result, self.transposes[given[0]])
            return
        given += [f"{name}={self._text(value, takes)}" for name, value in kwargs.items()]
        several = isinstance(result, list | tuple)
        results = [self._result(value) for value in (result if several else [result])]
        operation = str(func).replace(".", "_")
        self.known[operation] = _called(func)
        text = f"{', '.join(results)}{',' * several} = {operation}({', '.join(given)})"
        if func is torch.ops.aten.t.default:
            self.transposes[results[0]] = given[0]
        self.calls.append(Call(text, {name for name in results if name != "_"}, takes, func.is_view))

    def _result(self, value: Any) -> str:
        if not isinstance(value, Tensor) or id(value) in self.names:  # the latter was changed in place
            return "_"
        self.left -= value.nbytes
        if self.left < 0:
            self.problem = TOO_LARGE
        return self._remember(value, f"v{len(self.tensors)}")

    def _remember(self, tensor: Tensor, name: str) -> str:
        self.tensors.append(tensor)
        self.names[id(tensor)] = name
        return name

    def _text(self, value: Any, takes: set[str]) -> str:
        """How the function says it."""
        if isinstance(value, Tensor):
            name = self.names.get(id(value))
            if name is None:
                shape = list(value.shape)
                self.problem = f"a tensor of shape {shape} is neither the batch's nor the model's: register_buffer it"
                return ""
            takes.add(name)
            return name
        if isinstance(value, list | tuple):
            return f"[{', '.join(self._text(part, takes) for part in value)}]"
        if type(value) in (bool, int, type(None)) or (type(value) is float and math.isfinite(value)):
            return repr(value)
        name = f"constant{len(self.known)}"
        self.known[name] = value
        return name

    def source(self, *results: Sequence[Any]) -> str:
        """Of the function, which gives `results`, lists of tensors and constants, and drops what it no longer needs."""
        needed: set[str] = set()
        lines = [f"    return {', '.join(self._text(result, needed) for result in results)}"]
        for call in reversed(self.calls):
            if call.is_view and not call.gives & needed:
                continue
            over = sorted(name for name in (call.takes | call.gives) - needed if name[0] == "v")
            lines += [f"    del {', '.join(over)}"] * bool(over)
            lines.append(f"    {call.text}")
            needed |= call.takes
        return "\n".join([f"def function({', '.join(self.arguments)}):", *reversed(lines)])

    def function(self, source: str) -> Callable[..., Any]:
        space = dict(self.known)
        exec(compile(source, "<recorded>", "exec"), space)
        return space["function"]


def _called(func: Any) -> Callable[..., Any]:
    """The same, quicker where torch has a function of that name: its arguments are read with less ado."""
    name = func.__name__.partition(".")[0]
    direct = getattr(torch._C._VariableFunctions, name, None)
    return direct if direct is not None and func._overloadname in SAME_ARGUMENTS else func._op
