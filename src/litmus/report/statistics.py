"""Statistics of a report: standard deviations and paired t intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any, TypeVar

T = TypeVar("T")


def spread(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n − 1), or None for a single value."""
    return stdev(values) if len(values) > 1 else None


def rank_by_mean(
    items: Sequence[T], values: Callable[[T], Sequence[float]], mode: str, tie: Callable[[T], float] = lambda _: 0.0
) -> list[T]:
    """Items with the best mean of their `values` first (`mode` max or min), and among equals by the lowest `tie`.

    Items with fewer values than the median come last: with few seeds, luck wins.
    """
    if not items:
        return []
    enough, sign = median(len(values(item)) for item in items), -1 if mode == "max" else 1
    return sorted(items, key=lambda item: (len(values(item)) < enough, sign * fmean(values(item)), tie(item)))


@dataclass(frozen=True)
class Difference:
    """A paired difference: mean, 95 % confidence interval and number of pairs. The ends are None for a single pair."""

    mean: float
    low: float | None
    high: float | None
    pairs: int


def paired_difference(values: Mapping[Any, float], reference: Mapping[Any, float]) -> Difference | None:
    """`values` − `reference` over their common seeds, by Student's t; None without a common seed."""
    differences = [values[seed] - reference[seed] for seed in sorted(values.keys() & reference.keys())]
    if not differences:
        return None
    mean, deviation, count = fmean(differences), spread(differences), len(differences)
    if deviation is None:
        return Difference(mean, None, None, count)
    half = t_quantile(0.975, count - 1) * deviation / math.sqrt(count)
    return Difference(mean, mean - half, mean + half, count)


def t_quantile(p: float, degrees: int) -> float:
    """The p-quantile, 0.5 <= p < 1, of Student's t distribution.

    By bisection over θ = atan(t/√ν), of which the distribution function is a finite sum where ν is whole (Abramowitz
    and Stegun 1964, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, degrees) < 2 * p - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(theta: float, degrees: int) -> float:
    """P(|T| <= √ν tan θ)."""
    odd = degrees % 2
    term, total = (math.cos(theta) if odd else 1.0), 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= (k - 1) / k * math.cos(theta) ** 2
    return 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total
