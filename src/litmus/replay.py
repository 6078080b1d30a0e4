"""Training steps reduced to their operations.

A small network's step is some dozens of operations of a few microseconds each, and torch and Python take as long again
to find out which they are and how to differentiate them. A `Replay` has that done once: it writes down each operation
that reaches torch's kernels in a step, forward and backward, and takes the following steps by calling the same ones in
the same order on other images. That is the same arithmetic, to the bit, which is checked on the spot: the step that was
written down is taken a second time, and has to give the same.

Replayed are modules of torch and of Litmus, and those of yours that say `replayable = True` (see `refusal`). Nothing is
where Python has a say from step to step: a hook on a module, a random number of Python's, a question to the trainer,
a value looked at, a tensor from elsewhere. The attributes of every module are compared before a step wherever others
may have been at them; if one has changed, a step is written down anew. `trainer.replay=false` replays nothing.
"""

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from litmus.model_attributes import Attributes, refusal
from litmus.models.classifier import Batch, Costs
from litmus.recorder import TOO_LARGE, Recorder

log = logging.getLogger("litmus")

LIMIT = 2**29  # bytes, which are in use at once while a step is written down
ATTEMPTS = 3  # to write a step down, with none that is replayed in between


class Replay:
    """Takes the steps of `module`: for each, `training_step` and then `backward`. `context` is the forward pass's.

    `problem` is why none is to be replayed, which then goes for all of them; else log says what Replay itself finds.
    While `alone`, nobody touches the model between two steps of an epoch.
    """

    alone = False

    def __init__(self, module: Any, context: Callable[[], AbstractContextManager], problem: str | None = None):
        self.module = module
        self.context = context
        self.backward: Callable[[Tensor], None] = torch.Tensor.backward
        self.no_grad = torch.no_grad()
        self.step: Callable[[Tensor, Tensor], Any] | None = None
        self.kind: Any = None  # of the batches that `step` takes
        self.attempts = 0
        self.gradients: Sequence[Tensor | None] = ()
        self.checked: set[str] = set()
        self.problem = problem

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.problem is None:
            images, target = batch
            fits = _kind(images, target) == self.kind
            if fits and self.step is not None and ((self.alone and batch_idx > 0) or self.attributes.unchanged()):
                return self._again(images, target)
            if fits or batch_idx == 0:  # one of another size is the last of its epoch
                self._give_up(refusal(self.module))
                if self.problem is None:
                    return self._write_down(images, target)
        self.backward = torch.Tensor.backward
        with self.context():
            return self.module.training_step(batch, batch_idx)

    def _again(self, images: Tensor, target: Tensor) -> Tensor:
        self.attempts = 0
        self.module.check_batch(len(target))
        with self.no_grad:
            costs, self.gradients = self.step(images, target)  # type: ignore[misc]
        self.module.note(Costs(*costs), target)
        self.backward = self._give
        return costs[0]

    def _give(self, loss: Tensor) -> None:
        for parameter, gradient in zip(self.trained, self.gradients, strict=True):
            parameter.grad = gradient
        self.gradients = ()

    def _write_down(self, images: Tensor, target: Tensor) -> Tensor:
        self.attempts += 1
        self.attributes = Attributes(self.module)
        before = State(self.module)
        recorder = Recorder({"images": images, "target": target}, before.tensors, LIMIT)
        with Watched(self.module) as watched, self.context(), recorder:
            self.module.check_batch(len(target))
            costs = self.module.costs(images, target)
        self.module.note(costs.detached(), target)
        recorder.problem = recorder.problem or watched.problem
        self.backward = partial(self._differentiate, recorder, before, (images, target), costs)
        return costs.cost

    def _differentiate(self, recorder: Recorder, before: "State", batch: Batch, costs: Costs, loss: Tensor) -> None:
        """The step's backward pass, and with it the end of what is written down."""
        self.step, self.kind = None, _kind(*batch)
        self.trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        taken = {_place(tensor) for tensor in [*before.tensors, *batch, *costs] if isinstance(tensor, Tensor)}
        with Watched(self.module) as watched, recorder:
            found = torch.autograd.grad(loss, self.trained, allow_unused=True)
            self.gradients = gradients = [
                None if gradient is None else _of_its_own(gradient, parameter, taken)
                for gradient, parameter in zip(found, self.trained, strict=True)
            ]
        self._give(loss)
        recorder.problem = recorder.problem or watched.problem
        source = "" if recorder.problem else recorder.source(costs, gradients)
        if recorder.problem is None:
            self.step = recorder.function(source)
            if source not in self.checked:
                recorder.problem = before.difference(self.step, batch, costs, gradients)
            self.checked.add(source)
            if not self.attributes.unchanged():  # by itself
                self.step = None
            if self.attempts == ATTEMPTS:
                recorder.problem = "each step differs from the one before"
        self._give_up(recorder.problem)

    def _give_up(self, problem: str | None) -> None:
        self.problem = problem
        if problem is not None:
            self.step = None
        if problem not in (None, TOO_LARGE):
            log.info(f"every step is worked out anew, which takes longer where the network is small: {problem}")


class State:
    """What a step may change besides the gradients: torch's random state, the model's parameters and buffers."""

    def __init__(self, module: nn.Module):
        self.tensors = [*module.parameters(), *module.buffers()]
        self.values = [tensor.detach().clone() for tensor in self.tensors]
        self.drawn = torch.get_rng_state()

    def difference(
        self, step: Callable[..., Any], batch: Batch, costs: Costs, gradients: Sequence[Tensor | None]
    ) -> str | None:
        """What is wrong with `step` if, from here, it doesn't give these results and change all as it now is."""
        after, drawn = [tensor.detach().clone() for tensor in self.tensors], torch.get_rng_state()
        try:
            with torch.no_grad():
                self._set(self.values, self.drawn)
                found = step(*batch)
            same = all(map(_same, [*found[0], *found[1], *self.tensors], [*costs, *gradients, *after]))
            same = same and torch.equal(torch.get_rng_state(), drawn)
            return None if same else "a step's operations give something else when they are called again"
        except (RuntimeError, TypeError) as error:
            return f"a step can't be taken again ({str(error).splitlines()[0]})"
        finally:
            self._set(after, drawn)

    def _set(self, values: Iterable[Tensor], drawn: Tensor) -> None:
        with torch.no_grad():
            for tensor, value in zip(self.tensors, values, strict=True):
                tensor.copy_(value)
        torch.set_rng_state(drawn)


class Watched:
    """Within it, `problem` is noted if a module asks its trainer anything, or draws random numbers of Python's."""

    def __init__(self, module: Any):
        self._module, self._trainer = module, vars(module)["_trainer"]
        self.problem: str | None = None

    def __enter__(self) -> "Watched":
        self._drawn = _pythons_random_state()
        vars(self._module)["_trainer"] = self
        return self

    def __exit__(self, *error: object) -> None:
        vars(self._module)["_trainer"] = self._trainer
        if _pythons_random_state() != self._drawn:
            self.problem = "a step draws random numbers of Python's"

    def __getattr__(self, name: str) -> Any:
        self.problem = "a step asks the trainer"
        return getattr(self._trainer, name)


def _pythons_random_state() -> Any:
    _, numbers, *place = np.random.get_state(legacy=True)
    return random.getstate(), np.asarray(numbers).tobytes(), place


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _of_its_own(gradient: Tensor, parameter: Tensor, taken: set[int]) -> Tensor:
    """In the parameter's layout and in memory that nobody else has, as autograd leaves it there."""
    if gradient.stride() != parameter.stride() or _place(gradient) in taken:
        gradient = torch.empty_like(parameter).copy_(gradient)
    taken.add(_place(gradient))
    return gradient


def _kind(images: Tensor, target: Tensor) -> Any:
    return images.shape, images.stride(), images.dtype, target.shape, target.dtype


def _same(a: Any, b: Any) -> bool:
    """To the bit, but for which NaN it is."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
    return a == b
