"""Statistics of paired runs: t intervals, Holm's correction, equivalence, an exact check, and how many seeds to run.

Functions of a mean and a standard deviation also take arrays of them. SciPy is imported in the functions that need it:
a run needs none of them.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

T = TypeVar("T")
Array = NDArray[np.float64]

LEVEL = 0.05  # of a test; an interval covers with 1 − LEVEL
POWER = 0.8
MOST_SEEDS = 10_000


def spread(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n − 1), or None for a single value; NaN if a value is not finite."""
    if len(values) < 2:
        return None
    return stdev(values) if all(map(math.isfinite, values)) else math.nan


def rank_by_mean(
    items: Sequence[T],
    values: Callable[[T], Sequence[float]],
    mode: str,
    losses: Callable[[T], Sequence[float]],
) -> list[T]:
    """Items with the best mean of their `values` first (`mode` max or min), and among equals the lowest mean of their
    validation `losses`, then those without losses. Items that are equal in both keep their order.

    Items with fewer values than the median come last: with few seeds, luck wins.
    """
    if not items:
        return []
    enough, sign = median(len(values(item)) for item in items), -1 if mode == "max" else 1

    def place(item: T) -> tuple[bool, float, float]:
        tie = fmean(losses(item)) if losses(item) else math.inf
        return len(values(item)) < enough, sign * fmean(values(item)), tie

    return sorted(items, key=place)


@dataclass(frozen=True)
class Difference:
    """The paired differences of two settings, one for each common seed.

    Where the first `pilot` of them decided how many seeds to run, they alone estimate the standard deviation (Stein
    1945): the number of pairs would otherwise depend on what it is judged by.
    """

    values: tuple[float, ...]
    pilot: int | None = None

    @property
    def pairs(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the differences; None for a single pair, 0 if all are equal up to rounding."""
        values = self.values[: self.pilot]
        if math.isclose(min(values), max(values), rel_tol=1e-9, abs_tol=1e-12):
            return 0.0 if len(values) > 1 else None
        return spread(values)

    @property
    def degrees(self) -> int:
        """The degrees of freedom of the standard deviation."""
        return len(self.values[: self.pilot]) - 1


def paired_difference(
    values: Mapping[Any, float], reference: Mapping[Any, float], pilot_seeds: int | None = None
) -> Difference | None:
    """`values` − `reference` over their common seeds with finite values; None without one. If `pilot_seeds` is given,
    the pairs of seeds below it are the pilot.
    """
    common = [
        seed for seed in sorted(values.keys() & reference.keys()) if math.isfinite(values[seed] + reference[seed])
    ]
    differences = tuple(values[seed] - reference[seed] for seed in common)
    pilot = None if pilot_seeds is None else sum(seed < pilot_seeds for seed in common)
    return Difference(differences, pilot) if differences else None


def half_width(deviation: ArrayLike, pairs: ArrayLike, level: float = LEVEL, degrees: ArrayLike | None = None) -> Array:
    """Half the width of the 1 − `level` interval of a mean difference: t(1 − level/2, `degrees`) · s / √n.

    The degrees of freedom are n − 1 by default, here and in the tests below.
    """
    from scipy.special import stdtrit

    n = np.asarray(pairs)
    return np.asarray(stdtrit(n - 1 if degrees is None else degrees, 1 - level / 2) * deviation / np.sqrt(n))


def t_test(mean: ArrayLike, deviation: ArrayLike, pairs: int, degrees: int | None = None) -> Array:
    """The two-sided p-value of the paired t test of no difference. The deviation is above 0."""
    from scipy.special import stdtr

    t = np.abs(mean) / np.asarray(deviation) * math.sqrt(pairs)
    return np.asarray(2 * stdtr(pairs - 1 if degrees is None else degrees, -t))


def equivalence_test(
    mean: ArrayLike, deviation: ArrayLike, pairs: int, delta: float, degrees: int | None = None
) -> Array:
    """The p-value of the claim that the difference lies within ±`delta`: the larger one of two one-sided t tests
    (Schuirmann 1987). The deviation is above 0.
    """
    from scipy.special import stdtr

    t = (np.abs(mean) - delta) / np.asarray(deviation) * math.sqrt(pairs)
    return np.asarray(stdtr(pairs - 1 if degrees is None else degrees, t))


def holm(p_values: ArrayLike) -> Array:
    """p-values corrected for all comparisons along the last axis (Holm 1979): those at most `level` may be claimed, and
    the chance of any false claim among them is at most `level`, however the comparisons depend on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1)
    factors = np.arange(p.shape[-1], 0, -1)
    in_order = np.maximum.accumulate(np.take_along_axis(p, order, -1) * factors, axis=-1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(in_order, 1.0), axis=-1)
    return corrected


def sign_flip_test(differences: Sequence[float]) -> float:
    """The exact two-sided p-value of differences that are symmetric about 0 (Fisher 1935): the share of the 2^n sign
    patterns whose sum is at least as far from 0. It assumes no normal distribution, and cannot fall below 2 / 2^n.
    """
    n = len(differences)
    signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    sums = np.abs(signs @ np.asarray(differences, dtype=np.float64))
    return float(np.mean(sums >= sums[0] * (1 - 1e-9)))  # sums that are equal differ in their last bits


def detectable_difference(
    deviation: ArrayLike,
    pairs: ArrayLike,
    level: float = LEVEL,
    power: float = POWER,
    degrees: ArrayLike | None = None,
) -> Array:
    """The smallest true difference that a two-sided paired t test finds with probability `power`, by the noncentral t
    distribution: P(T > t(1 − level/2)) = power. The other tail is negligible.
    """
    from scipy.special import nctdtrinc, stdtrit

    n = np.asarray(pairs, dtype=np.float64)
    of_deviation = n - 1 if degrees is None else np.asarray(degrees, dtype=np.float64)
    noncentrality = nctdtrinc(of_deviation, 1 - power, stdtrit(of_deviation, 1 - level / 2))
    return np.asarray(noncentrality * deviation / np.sqrt(n))


def seeds_to_detect(difference: float, deviation: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """The fewest pairs that detect a true `difference`, taking the deviation as known; None if above `MOST_SEEDS`."""
    counts = range(2, MOST_SEEDS + 1)
    found = bisect_left(
        counts, True, key=lambda n: bool(detectable_difference(deviation, n, level, power) <= abs(difference))
    )
    return counts[found] if found < len(counts) else None


def seeds_for_half_width(width: float, deviation: ArrayLike, pilot: int, level: float = LEVEL) -> NDArray[np.int64]:
    """The number of pairs, those of the pilot included, after which mean ± `width` covers with at least 1 − `level`.

    Stein's two-stage rule (1945): max(n₀, ⌈(t(1 − level/2, n₀ − 1) · s₀ / width)²⌉) with the size n₀ and the deviation
    s₀ of the pilot. It is exact for normal differences whatever their true deviation; the mean is over all pairs.
    """
    if width <= 0:
        raise ValueError(f"width must be above 0, got {width}")
    wanted = np.ceil(pilot * (half_width(deviation, pilot, level) / width) ** 2)
    return np.maximum(pilot, wanted).astype(np.int64)


def seeds_for_power(
    difference: float, deviation: ArrayLike, pilot: int, level: float = LEVEL, power: float = POWER
) -> NDArray[np.int64]:
    """The number of pairs, those of the pilot included, that detect a true `difference` with at least `power`.

    Stein's two-stage rule (1945) for a test: max(n₀, ⌈((t(1 − level/2) + t(power)) · s₀ / difference)²⌉), with the
    quantiles of t at n₀ − 1 degrees of freedom. The test takes the pilot's deviation s₀ and its degrees of freedom, and
    the mean over all pairs. Its level and power hold whatever the true deviation is.
    """
    from scipy.special import stdtrit

    if difference <= 0:
        raise ValueError(f"difference must be above 0, got {difference}")
    quantiles = stdtrit(pilot - 1, 1 - level / 2) + stdtrit(pilot - 1, power)
    wanted = np.ceil((quantiles * np.asarray(deviation) / difference) ** 2)
    return np.maximum(pilot, wanted).astype(np.int64)
