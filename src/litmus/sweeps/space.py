"""Search space: overrides in Hydra's sweep syntax, from a sweep file and the command line."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from litmus.errors import ConfigError, require
from litmus.runs.identity import NOT_THE_EXPERIMENT
from litmus.sweeps.jobs import Settings
from litmus.sweeps.override_syntax import lines


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, inclusive; whole numbers if `step` is whole."""

    low: float
    high: float
    step: float | None = None
    log: bool = False
    listed: tuple[str, ...] = ()  # all of them, where they can be

    @property
    def whole(self) -> bool:
        return isinstance(self.step, int)

    def text(self, value: float) -> str:
        """A number of the interval with four digits, as in names and commands."""
        return str(self.rounded(value))

    def __str__(self) -> str:
        inside = f"{self.low},{self.high}"
        span = f"range {inside} by {self.step}" if self.listed else f"interval({inside})"
        return f"tag(log,{span})" if self.log else span

    def points(self, count: int) -> list[float]:
        """`count` numbers from end to end at equal distances (of the logarithms, if `log`), or all that are listed."""
        if self.listed:
            return [int(text) if self.whole else float(text) for text in self.listed]
        parts = [i / max(1, count - 1) for i in range(count)]
        if self.log:
            found = [self.low * (self.high / self.low) ** part for part in parts]
        else:
            found = [self.low + (self.high - self.low) * part for part in parts]
        return sorted({self.rounded(value) for value in found})

    def rounded(self, value: float) -> float:
        value = round(value) if self.whole else float(f"{value:.4g}")
        return min(max(value, self.low), self.high)


Values = list[str]
Space = dict[str, Values | Interval]


def read(params: DictConfig, arguments: list[str], loader: ConfigLoader) -> Space:
    """The values or the interval of each key, in order. The command line overrides the file."""
    parser = OverridesParser.create(config_loader=loader)
    found: Space = {}
    for override in parser.parse_overrides([*lines(params), *arguments]):
        if not of_the_sweep(override.key_or_group):
            found[override.get_key_element()] = dimension(override)
    return found


def of_the_sweep(key: str) -> bool:
    """Whether a key configures the sweep rather than its jobs."""
    return key.replace("/", ".").split(".")[0] in NOT_THE_EXPERIMENT and key not in ("output_dir", "resume")


def dimension(override: Override) -> Values | Interval:
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        low: Any = value.start
        high: Any = value.end
        require(low < high, f"{override.input_line} is empty: the first end must be the smaller")
        require(
            value.tags <= {"log"}, f"{override.input_line}: the only tag known is log, as in tag(log,interval(1e-4,1))"
        )
        log = "log" in value.tags
        require(not log or low > 0, f"{override.input_line}: a logarithmic interval starts above 0")
        return Interval(low, high, 1 if isinstance(low, int) and isinstance(high, int) else None, log)
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    values = list(dict.fromkeys(override.sweep_string_iterator()))
    require(bool(values), f"{override.input_line} has no values")
    if isinstance(value, RangeSweep) and not value.shuffle and len(values) > 1:
        numbers = [float(text) for text in values]
        whole = all(isinstance(end, int) for end in (value.start, value.stop, value.step))
        step = abs(int(value.step) if whole else value.step)
        return Interval(min(numbers), max(numbers), step, listed=tuple(values))
    return values


def grid(space: Space) -> Iterator[Settings]:
    """Every combination; the last key changes fastest."""
    lists = []
    for key, values in space.items():
        if isinstance(values, Interval) and not values.listed:
            raise ConfigError(
                f"{key} is given an interval, which has no list of values: list them as {key}=A,B,C, "
                "or let a search choose with sampler=tpe"
            )
        lists.append(values.listed if isinstance(values, Interval) else values)
    for combination in product(*lists):
        yield dict(zip(space, combination, strict=True))


def fixed(space: Space) -> Settings:
    """The keys with a single value."""
    return {key: values[0] for key, values in space.items() if not isinstance(values, Interval) and len(values) == 1}
