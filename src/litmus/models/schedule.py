"""Learning-rate schedules; a length left null is computed from the run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.optim.lr_scheduler import ChainedScheduler, SequentialLR

from litmus.core.metric_direction import mode as mode_of
from litmus.errors import ConfigError, require

LENGTHS = ("total_steps", "total_iters", "T_max")


def build_lr_scheduler(config: Mapping[str, Any], optimizer: torch.optim.Optimizer, total: int) -> dict[str, Any]:
    """Lightning's `lr_scheduler` dict with the scheduler of the optimizer.

    `config` is the dict of a Classifier; `total` is the length of the run in the scheduler's interval.
    """
    build, monitor = config["scheduler"], config.get("monitor")
    given = getattr(build, "keywords", {}).get("mode")
    direction = None if monitor is None else mode_of(monitor, given, "scheduler.scheduler.mode")
    return {**config, "scheduler": build_schedule(build, optimizer, total, direction)}


def build_schedule(build: Callable[..., Any], optimizer: torch.optim.Optimizer, total: int, mode: str | None) -> Any:
    """Calls `build` with the optimizer, and computes those arguments of the scheduler that are None.

    They become the length `total` of the run in the scheduler's interval, the learning rate of each group, or the
    direction `mode` of the monitored metric. The schedulers inside another one, each with `_partial_: true`, are built
    in the same way; the length of one inside a SequentialLR is the distance between its milestones.
    """
    rates = [group["lr"] for group in optimizer.param_groups]  # before a scheduler changes them
    return _build(build, optimizer, total, {"max_lr": rates, "mode": mode})


def _build(build: Callable[..., Any], optimizer: torch.optim.Optimizer, total: int, facts: dict[str, Any]) -> Any:
    given = getattr(build, "keywords", {})
    computed = {**dict.fromkeys(LENGTHS, total), **facts}
    found = {name: computed[name] for name in computed if name in given and given[name] is None}
    inner = inner_schedulers(given)
    if not inner:
        return build(optimizer, **found)
    lengths = _phases(given, len(inner), total)
    made = [_build(one, optimizer, length, facts) for one, length in zip(inner, lengths, strict=True)]
    for one in made if given.get("milestones") is not None else ():
        require(  # torch fails at the milestone
            not isinstance(one, ChainedScheduler | SequentialLR),
            f"scheduler.scheduler: a {type(one).__name__} cannot be inside a SequentialLR; put its schedulers there",
        )
    return build(optimizer=optimizer, schedulers=made, **found)


def inner_schedulers(options: Mapping[str, Any]) -> Sequence[Any]:
    """The schedulers inside a SequentialLR or ChainedScheduler, as in the config or as partials."""
    inner = options.get("schedulers")
    return inner if isinstance(inner, Sequence) and not isinstance(inner, str) else ()


def all_options(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The options of a scheduler, given as config or partial, and of those inside it."""
    yield options
    for inner in inner_schedulers(options):
        yield from all_options(inner if isinstance(inner, Mapping) else getattr(inner, "keywords", {}))


def longest_fixed_phase(options: Mapping[str, Any]) -> int:
    """The last milestone: a SequentialLR needs a longer run."""
    found = [milestone for one in all_options(options) for milestone in one.get("milestones") or ()]
    return max((m for m in found if isinstance(m, int)), default=0)


def spans_whole_run(options: Mapping[str, Any]) -> bool:
    """Whether the length of a scheduler with these options is computed from the run: a longer run then has another
    schedule.
    """
    if any(name in options and options[name] is None for name in LENGTHS):
        return True
    inner = inner_schedulers(options)
    last = inner[-1:] if options.get("milestones") else inner
    return any(spans_whole_run(one if isinstance(one, Mapping) else getattr(one, "keywords", {})) for one in last)


def _phases(given: Mapping[str, Any], count: int, total: int) -> list[int]:
    """The length of each inner scheduler."""
    milestones = given.get("milestones")
    if milestones is None:
        return [total] * count
    if len(milestones) != count - 1:
        raise ConfigError(
            f"scheduler.scheduler.milestones has {len(milestones)} numbers for {count} schedulers: give {count - 1}, "
            "where one ends and the next begins"
        )
    ends = [0, *milestones, total]
    lengths = [end - start for start, end in pairwise(ends)]
    if any(length <= 0 for length in lengths):
        raise ConfigError(
            f"scheduler.scheduler.milestones={list(milestones)} must rise and stay below {total}, the number of "
            "epochs or steps of the run (scheduler.interval says which)"
        )
    return lengths
