"""Overrides of a sweep: checked before Hydra composes anything."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep

from litmus.errors import require

cli_args: list[str] = []  # the command line's arguments as the user gave them

SWEEP_ONLY = ("sweep_name", "launcher", "jobs")
SEARCH_ONLY = ("sampler", "pruner", "n_trials")
MOST_VALUES = 100_000  # of a range


def lines(params: Mapping[Any, Any]) -> list[str]:
    """The `params` of a sweep file as command-line overrides."""
    return [f"{key!s}={'null' if value is None else value}" for key, value in params.items()]


def check_use(overrides: Collection[Override], multirun: bool) -> None:
    """Raises ConfigError for several values outside a sweep, and for a sweep's options where they say nothing.

    Also for a key that is swept in two ways, of which Hydra would take the last.
    """
    given: dict[str, Override] = {}
    for override in overrides:
        other = given.setdefault(override.key_or_group, override)
        require(
            other.input_line == override.input_line or not (other.is_sweep_override() and override.is_sweep_override()),
            f"{override.key_or_group} is swept twice, {other.input_line} and {override.input_line}: keep one of them",
        )
    for override in overrides:
        line, top = override.input_line, override.key_or_group.split(".")[0]
        if not multirun:
            require(
                not override.is_sweep_override(),
                f"{line} names several values: add -m to train.py to run each of them, or write a list as [1,2]",
            )
            require(
                top not in SEARCH_ONLY,
                f"{line} is for a search, and this is a single run; set what to search with sweep=NAME "
                "or with -m and, say, optim.lr='tag(log,interval(1e-4,1e-1))'",
            )
            require(
                top not in SWEEP_ONLY,
                f"{line} is for a sweep, and this is a single run: add -m and several values, or sweep=NAME",
            )
        elif top in ("sweep", *SWEEP_ONLY, *SEARCH_ONLY):
            require(not override.is_sweep_override(), f"{line} names several values: a sweep has one {top}")


def check_sweep(override: Override) -> None:
    """Raises ConfigError for a sweep function that Hydra parses and cannot evaluate."""
    value: Any = override.value()
    line = override.input_line
    if isinstance(value, ChoiceSweep):
        require(
            not any(isinstance(item, Sweep) for item in value.list),
            f"{line} has a sweep inside another: list the values as {override.key_or_group}=A,B,C",
        )
    if isinstance(value, IntervalSweep):
        require(
            _are_finite(value.start, value.end),
            f"{line} has an infinite end: write two numbers, as in interval(1e-4,1e-1)",
        )
    if isinstance(value, RangeSweep):
        require(
            _are_finite(value.start, value.stop, value.step) and value.step != 0,
            f"{line} never ends: write range(START,STOP,STEP) with finite numbers and a step other than 0",
        )
        assert value.start is not None
        assert value.stop is not None
        require(
            (value.stop - value.start) / value.step <= MOST_VALUES,
            f"{line} has more than {MOST_VALUES:,} values: write a larger step, or an interval(A,B) for a search",
        )


def _are_finite(*ends: float | None) -> bool:
    return all(end is not None and abs(end) < math.inf for end in ends)


def values(override: Override) -> list[Any]:
    """All values of an override; for an interval, its ends."""
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    if not override.is_sweep_override():
        return [value]
    return [getattr(item, "text", item) for item in override.sweep_iterator()]


def not_with_all(override: Override, labels: list[str], having: list[str]) -> str:
    """The message for a key that only some of the swept options have.

    The first label holds the first option of every group, and each other label changes one option.
    """
    first = dict(choice.split("=", 1) for choice in labels[0].split())
    changed = having[0] if labels[0] not in having else next(label for label in labels if label not in having)
    group = changed.split("=")[0]
    options = [f"{group}={first[group]}", *(label for label in labels[1:] if label.startswith(f"{group}="))]
    wrong = [o for o in options if (labels[0] if o == options[0] else o) not in having]
    return (
        f"{wrong[0]} {override.input_line} is not possible, because {override.key_or_group} does not exist with "
        f"{' or '.join(wrong)}: give that a command of its own, without {override.key_or_group}"
    )


def is_plain(override: Override) -> bool:
    """Whether it sets a single value of the job config."""
    return not (override.is_sweep_override() or override.is_hydra_override() or override.is_delete())


def as_sweep(line: str) -> str:
    """The same override as a sweep over one value, given twice.

    When Hydra composes the config of the sweep itself, with the default option of every swept group, it skips sweeps,
    but would refuse a plain value whose key that option lacks.
    """
    key, value = line.split("=", 1)
    return f"{key}={value},{value}"
