"""The whole training step, from the forward pass to the optimizer step, as one torch.compile graph."""

import inspect
import logging
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch._dynamo import callback as compilation
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch.func import functional_call, grad
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from litmus.errors import StoppedRun
from litmus.models.classifier import LossTerms
from litmus.training.compile_checks import UNCOMPILED
from litmus.training.signals import held_back

log = logging.getLogger("litmus")

BACKEND = "inductor"
RECOMPILE_LIMIT = 32

_started = 0.0  # start time of the current compilation


class CompiledStep:
    """Runs a training step as one compiled graph: loss, penalty, gradients, clipping and the optimizer update.

    `takes` decides which batches are compiled. If an attribute of the model, the loss or the penalty changes between
    steps, the step is compiled again, at most 32 times. After a step, the gradients are in `parameter.grad`. The random
    numbers are the same as in the uncompiled step.
    """

    def __init__(self, trainer: pl.Trainer, mode: bool | str):
        self.module: Any = trainer.lightning_module
        self.optimizer = trainer.optimizers[0]
        self.clip_value = trainer.gradient_clip_val
        self.clip = clip_grad_value_ if trainer.gradient_clip_algorithm == "value" else clip_grad_norm_
        self.device = trainer.strategy.root_device
        self.is_mixed = type(trainer.precision_plugin) is MixedPrecision
        self.terms = _LossTerms(self.module)
        # The update without the decorators of `step`, which break the graph to run hooks and to turn off gradients.
        self.update: Callable[..., Any] = inspect.unwrap(type(self.optimizer).step)
        on_cuda = self.device.type == "cuda"
        chosen = mode if isinstance(mode, str) else "reduce-overhead" if on_cuda else "default"
        self.replays_cuda_graphs = on_cuda and chosen in ("reduce-overhead", "max-autotune")
        _configure_compiler()
        self.step = torch.compile(self._step, fullgraph=True, dynamic=False, backend=BACKEND, mode=chosen)
        self.shape: torch.Size | None = None
        self.is_listed = False
        self._prepare_groups()

    def takes(self, batch: Any, batch_idx: int) -> bool:
        """Whether this step is compiled.

        Not compiled are the first step of an epoch, which creates the optimizer state and shows which parameters get a
        gradient (in every epoch, so that a resumed run does the same), a step after a parameter or buffer was replaced,
        frozen or unfrozen, and a smaller last batch, which would need its own graph.
        """
        if batch_idx == 0:
            self.shape = batch[0].shape
            self.is_listed = False
            return False
        if batch[0].shape != self.shape:
            return False
        if not self.is_listed:
            self._list_tensors()
        elif self._is_stale():
            self.is_listed = False
        return self.is_listed

    def __call__(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Takes a step on images and labels. Returns the total loss, a scalar without a graph."""
        images, labels = batch
        self.module.check_batch(len(labels))
        for parameter in self.trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        terms = LossTerms(*self._run(images, labels))
        self.module.record_step(terms, labels)
        return terms.total

    def _prepare_groups(self) -> None:
        on_cuda = self.device.type == "cuda"
        for group in self.optimizer.param_groups:
            # The compiler fuses more operations than the fused kernels, which it cannot analyze.
            group |= {name: False for name in ("fused", "foreach") if name in group}
            group |= {"capturable": True} if on_cuda and "capturable" in group else {}
        self.rates = [torch.zeros((), device=self.device) for _ in self.optimizer.param_groups]

    def _list_tensors(self) -> None:
        """Lists the tensors that a step reads and writes. To collect them in each step would take 80 µs."""
        if len(self.optimizer.param_groups) != len(self.rates):
            self._prepare_groups()
        modules = list(self.terms.modules())
        tables = [table for module in modules for table in (module._parameters, module._buffers)]
        self.tensors = [(table, name, tensor) for table in tables for name, tensor in table.items()]
        parameters = list(self.terms.parameters())
        self.requires_grad = [(parameter, parameter.requires_grad) for parameter in parameters]
        # The previous step set no gradient for unused parameters; the optimizer skips them.
        self.trained = [p for p in parameters if p.requires_grad and p.grad is not None]
        for parameter in parameters:
            if not parameter.requires_grad:
                parameter.grad = None
        in_optimizer = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        self.clipped = [parameter for parameter in self.trained if id(parameter) in in_optimizer]
        places = {id(parameter): place for place, parameter in enumerate(self.trained)}
        named = self.terms.named_parameters(remove_duplicate=False)  # two layers may share a weight
        self.places = {name: places[id(p)] for name, p in named if id(p) in places}
        self.buffers = dict(self.terms.named_buffers(remove_duplicate=False))
        self.is_listed = True

    def _is_stale(self) -> bool:
        return (
            any(table.get(name) is not tensor for table, name, tensor in self.tensors)
            or any(parameter.requires_grad != required for parameter, required in self.requires_grad)
            or len(self.optimizer.param_groups) != len(self.rates)
        )

    def _run(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        groups = self.optimizer.param_groups
        learning_rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            # A float would be compiled into the graph as a constant. Schedulers and checkpoints still get the float.
            group["lr"] = rate.fill_(group["lr"])
        try:
            if self.replays_cuda_graphs:
                torch.compiler.cudagraph_mark_step_begin()
            with held_back(), torch.no_grad():
                values = self.step(images, labels)
                return [value.clone() for value in values] if self.replays_cuda_graphs else values
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            raise StoppedRun(_explain(error)) from error
        finally:
            for group, value in zip(groups, learning_rates, strict=True):
                group["lr"] = value

    def _step(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        def cost_of(parameters: list[Tensor]) -> Any:
            # Copies, because torch.func does not allow in-place changes of outer tensors, as batch normalization makes.
            state = {name: buffer.clone() for name, buffer in self.buffers.items()}
            state |= {name: parameters[place] for name, place in self.places.items()}
            with torch.autocast(self.device.type, torch.bfloat16) if self.is_mixed else nullcontext():
                terms: LossTerms = functional_call(self.terms, state, (images, labels), tie_weights=False)
            penalty = torch.as_tensor(terms.penalty, device=terms.loss.device)
            cost = terms.total.reshape(())
            return cost, ([cost, terms.loss, penalty, terms.logits], state)

        gradients, (values, state) = grad(cost_of, has_aux=True)([parameter.detach() for parameter in self.trained])
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient)
        for name, buffer in self.buffers.items():
            buffer.copy_(state[name])
        if self.clip_value:
            self.clip(self.clipped, self.clip_value)
        self.update(self.optimizer, closure=lambda: values[0])
        return list(values)


class _LossTerms(nn.Module):
    """`loss_terms` of a classifier as a forward pass, for torch.func.functional_call."""

    def __init__(self, module: Any):
        super().__init__()
        self.module = module

    def forward(self, images: Tensor, labels: Tensor) -> LossTerms:
        return self.module.loss_terms(images, labels)


def _configure_compiler() -> None:
    """Configures torch.compile for this process and logs the duration of each compilation."""
    torch._inductor.config.fallback_random = True  # the same random numbers as in the uncompiled step
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns if there is nvcc but no GPU
    if _log_start not in compilation.callback_handler.start_callbacks:
        compilation.on_compile_start(_log_start)
        compilation.on_compile_end(_log_end)


def _log_start(_: Any) -> None:
    global _started
    _started = time.monotonic()
    log.info("compiling the training step (trainer.compile)")


def _log_end(_: Any) -> None:
    log.info(f"compilation took {time.monotonic() - _started:.1f} s")


def _explain(error: Exception) -> str:
    if isinstance(error, FailOnRecompileLimitHit):
        return (
            f"trainer.compile compiled the step {RECOMPILE_LIMIT} times, because an attribute of the model, the "
            f"penalty or the optimizer changes too often; change it once per epoch at most, {UNCOMPILED}"
        )
    text = str(error)
    if "InvalidCxxCompiler" in text or "No working C++ compiler" in text:
        return f"trainer.compile needs a C++ compiler, and none is found; install g++ or set CXX, {UNCOMPILED}"
    reason = next(line.strip() for line in text.splitlines() if line.strip())
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', text.partition("from user code:")[2])
    place = [f"{file}, line {line}, in {function}" for file, line, function in frames[-1:]]
    return f"trainer.compile cannot compile this step ({'; '.join([reason, *place])}); set trainer.compile=false"
