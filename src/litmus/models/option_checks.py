"""Checks of loss, optimizer and scheduler options, before any data is read."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from litmus.errors import ConfigError, number, one_of, require, short_number, whole_number
from litmus.losses import check_loss
from litmus.models.schedule import all_options, build_lr_scheduler, longest_fixed_phase

# Options of torch schedulers.
NOT_NEGATIVE = (
    *("gamma", "factor", "start_factor", "end_factor", "power", "div_factor", "final_div_factor"),
    *("eta_min", "min_lr", "base_lr", "max_lr", "swa_lr"),
)
COUNTS = {  # and their minimum
    **dict.fromkeys(("patience", "cooldown", "total_iters"), 0),
    **dict.fromkeys(("step_size", "step_size_up", "step_size_down", "T_max", "T_0", "T_mult", "total_steps"), 1),
    **dict.fromkeys(("epochs", "steps_per_epoch", "anneal_epochs"), 1),
}


def validate_options(
    loss: Callable[..., Any],
    optim: Callable[..., torch.optim.Optimizer],
    scheduler: dict[str, Any],
    num_classes: int,
) -> None:
    """Builds the optimizer and the scheduler for one parameter and takes a step. Raises ConfigError if that fails."""
    check_loss(loss, num_classes)
    given = getattr(optim, "keywords", {})
    number("optim.lr", given.get("lr", 0), least=0)
    number("optim.momentum", given.get("momentum", 0), least=0, below=1)
    number("loss.label_smoothing", getattr(loss, "label_smoothing", 0), least=0, below=1)
    try:
        parameter = nn.Parameter(torch.zeros(1))
        optimizer = optim([{"params": [parameter]}])
    except (ValueError, TypeError, RuntimeError, IndexError, AssertionError) as error:
        raise ConfigError(f"optim cannot be built: {error}") from error
    require(
        all("lr" in group for group in optimizer.param_groups),
        f"optim gives a {type(optimizer).__name__} whose param_groups have no lr, which a scheduler sets; pass "
        'defaults={"lr": lr} to the constructor of torch.optim.Optimizer',
    )
    _check_finite_options("optim", optimizer.defaults)
    one_of("scheduler.interval", scheduler["interval"], ("epoch", "step"))
    whole_number("scheduler.frequency", scheduler.get("frequency", 1), least=1)
    outer = getattr(scheduler["scheduler"], "keywords", {})
    for options in all_options(outer):
        _check_finite_options("scheduler.scheduler", options)
        _check_ranges("scheduler.scheduler", options)
    require(
        "monitor" not in scheduler or scheduler["interval"] == "epoch",
        "scheduler.interval=step is not possible for what watches a metric: it is measured once an epoch",
    )
    try:
        built = build_lr_scheduler(scheduler, optimizer, total=100 + longest_fixed_phase(outer))["scheduler"]
        optimizer.step(_zero_gradient_closure(parameter))
        built.step(*([0.0] if "monitor" in scheduler else []))
    except ConfigError:
        raise
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"scheduler cannot be built: {error}") from error


def _zero_gradient_closure(parameter: nn.Parameter) -> Callable[[], float]:
    """A closure that sets zero gradients, for a step that changes nothing."""

    def closure() -> float:
        parameter.grad = torch.zeros_like(parameter)
        return 0.0

    closure()  # for an optimizer that does not call its closure
    return closure


def _check_ranges(group: str, options: Mapping[str, Any]) -> None:
    """Raises ConfigError for scheduler options that torch accepts and that give a learning rate of 0 or below."""
    for name, value in options.items():
        if value is None:  # computed
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            if name in NOT_NEGATIVE:
                number(f"{group}.{name}", one, least=0)
            elif name in COUNTS:
                whole_number(f"{group}.{name}", one, least=COUNTS[name])


def _check_finite_options(group: str, options: Mapping[str, Any]) -> None:
    """Raises ConfigError for infinite or NaN options, some of which torch accepts."""
    for name, value in options.items():
        require(
            not isinstance(value, float | int) or abs(value) <= sys.float_info.max,
            f"{group}.{name} is {short_number(value)}, and must be a number",
        )
