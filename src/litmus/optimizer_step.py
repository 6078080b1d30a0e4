"""An optimizer's step, without what torch does around its operations each time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks as GLOBAL_AFTER
from torch.optim.optimizer import _global_optimizer_pre_hooks as GLOBAL_BEFORE
from torch.utils._python_dispatch import TorchDispatchMode

COUNTED = torch.ops.aten._foreach_add_.Scalar  # each parameter's steps


class OptimizerStep:
    """`optimizer.step()`, and nothing less if somebody hooked on to it.

    Else it leaves out a label for torch's profiler and, on a machine without a GPU, the question whether one is
    recording a graph. On the CPU, a fused optimizer finds out at each step which tensors belong together, which takes
    as long as a small network's arithmetic; here only if there are other tensors than at the step before. If there are
    not, that step's one or two operations are called again, with the gradients and the group's numbers as they now are.
    While `alone`, nobody else touches the optimizer between two steps, so that its state need not be looked through.
    """

    alone = False

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.bare: Callable[[], Any] = optimizer.step
        self.calls: list[Callable[[], Any]] = []
        self.repeatable = False
        self.no_grad = torch.no_grad()
        bare = getattr(type(optimizer).step, "__wrapped__", None)
        if bare is None or self.hooked():
            return
        self.bare = partial(bare, optimizer)
        optimizer._opt_called = True  # type: ignore[attr-defined]  # a scheduler asks, to see that steps come before it
        if all(parameter.device.type == "cpu" for parameter in self.parameters):
            self.repeatable = True
            optimizer._accelerator_graph_capture_health_check = lambda: None  # type: ignore[method-assign]
            optimizer._cuda_graph_capture_health_check = lambda: None  # type: ignore[method-assign]  # before torch 2.12

    def hooked(self) -> bool:
        """Whether somebody is told of each step, or gave the optimizer one of its own; a scheduler's only counts."""
        of = self.optimizer
        own = vars(of).get("step")
        return bool(
            (of._optimizer_step_pre_hooks or of._optimizer_step_post_hooks or GLOBAL_BEFORE or GLOBAL_AFTER)
            or (own is not None and not getattr(own, "_wrapped_by_lr_sched", False))
        )

    def __call__(self) -> None:
        if not self.alone and self.hooked():
            self.calls = []
            self.optimizer.step()
        elif self.calls and self._unchanged():
            with self.no_grad:
                for call in self.calls:
                    call()
        elif self.repeatable:
            self._listen()
        else:
            self.bare()

    def _listen(self) -> None:
        self.calls = []
        self._look()
        with Listener() as listener:
            self.bare()
        if self._unchanged():  # the first step makes the state
            self.repeatable = all(self._can_be_repeated(*heard) for heard in listener.heard)
            self.calls = [self._repeated(*heard) for heard in listener.heard] if self.repeatable else []

    def _look(self) -> None:
        state = self.optimizer.state
        self.tensors = [state[parameter].copy() if parameter in state else None for parameter in self.parameters]
        self.without = [parameter.grad is None for parameter in self.parameters]
        self.groups = self.optimizer.param_groups
        self.used = [_used(group) for group in self.groups]

    def _unchanged(self) -> bool:
        if [parameter.grad is None for parameter in self.parameters] != self.without:
            return False
        return (self.alone and bool(self.calls)) or self._same_state()

    def _same_state(self) -> bool:
        get, groups = self.optimizer.state.get, self.optimizer.param_groups
        try:
            return (
                groups is self.groups
                and [get(parameter) for parameter in self.parameters] == self.tensors
                and [_used(group) for group in groups] == self.used
            )
        except RuntimeError:  # two tensors, of which there was one
            return False

    def _can_be_repeated(self, func: Any, args: Sequence[Any], given: dict[str, Any]) -> bool:
        if func is COUNTED:
            return all(count.dim() == 0 for count in args[0])
        if not func.__name__.startswith("_fused_"):
            return False
        parameters, gradients, *states = args
        group = self._group(parameters)
        pairs = [pair for state in states for pair in zip(parameters, state, strict=False)]  # some states are empty
        return (
            all(given[name] == group[name] for name in given if name in group)
            and all(parameter.grad is gradient for parameter, gradient in zip(parameters, gradients, strict=True))
            and all(_is_turned(of) == _is_turned(parameter) for parameter, of in pairs if of.dim())
        )

    def _repeated(self, func: Any, args: Sequence[Any], given: dict[str, Any]) -> Callable[[], Any]:
        if func is COUNTED:
            counts, one = args
            together = torch.stack(counts)  # one number is as quickly added to many as to one
            for count, place in zip(counts, together, strict=True):
                count.data = place
            return partial(together.add_, one)
        parameters, _, *states = args
        group = self._group(parameters)
        names = [name for name in given if name in group]
        turned = [[_is_turned(tensor) for tensor in tensors] for tensors in (parameters, *states)]

        def again() -> None:
            for name in names:
                given[name] = group[name]
            if "beta1" in given:
                given["beta1"], given["beta2"] = group["betas"]
            # Turned each time, because a parameter may have been given other data.
            gradients = [
                _turn(parameter.grad).contiguous() if turn else parameter.grad
                for parameter, turn in zip(parameters, turned[0], strict=True)
            ]
            own, *rest = map(_in_order, (parameters, *states), turned)
            func._op(own, gradients, *rest, **given)

        return again

    def _group(self, parameters: Sequence[Any]) -> dict[str, Any]:
        return next(g for g in self.optimizer.param_groups if any(p is parameters[0] for p in g["params"]))


def _is_turned(tensor: Tensor) -> bool:
    """Whether a convolution's weights (N, C, H, W) lie in memory with their channels last."""
    return tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def _turn(tensor: Tensor) -> Tensor:
    """The same numbers in the order of that memory: of others the fused optimizers make copies, at each step."""
    return tensor.permute(0, 2, 3, 1)


def _in_order(tensors: Sequence[Tensor], turned: Sequence[bool]) -> Sequence[Tensor]:
    if not any(turned):
        return tensors
    return [_turn(tensor) if turn else tensor for tensor, turn in zip(tensors, turned, strict=True)]


def _used(group: dict[str, Any]) -> dict[str, bool]:
    """Which of a group's numbers aren't zero: a momentum that was 0 has no tensors."""
    return {name: bool(value) for name, value in group.items() if name not in ("params", "betas")}


class Listener(TorchDispatchMode):
    """Within it, the operations are heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Any, Sequence[Any], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.heard.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))
