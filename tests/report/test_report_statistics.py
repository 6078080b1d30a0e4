import math

import pytest

from litmus.report.statistics import paired_difference, spread, t_quantile


@pytest.mark.parametrize(
    ("degrees", "t"),
    [
        (1, 12.706204736432095),
        (2, 4.302652729911275),
        (3, 3.182446305284263),
        (4, 2.776445105197793),
        (9, 2.262157162740992),
        (30, 2.042272456301238),
        (120, 1.979930405052777),
    ],
)
def test_the_t_quantiles_are_those_of_the_tables(degrees, t):
    assert t_quantile(0.975, degrees) == pytest.approx(t, rel=1e-9)


def test_with_many_degrees_t_is_nearly_normal():
    assert t_quantile(0.975, 10_000) == pytest.approx(1.959964, abs=3e-4)


def test_the_median_of_t_is_zero():
    assert t_quantile(0.5, 5) == pytest.approx(0, abs=1e-12)


def test_the_spread_divides_by_one_less_than_the_number():
    assert spread([1.0, 2.0, 3.0, 6.0]) == pytest.approx(math.sqrt(14 / 3))
    assert spread([1.0]) is None


def test_a_paired_difference_takes_the_seeds_that_both_have():
    found = paired_difference({0: 2.0, 1: 5.0, 2: 7.0, 8: 99.0}, {2: 4.0, 1: 3.0, 0: 1.0, 9: -99.0})
    half = 4.302652729911275 * 1 / math.sqrt(3)  # the differences are 1, 2 and 3
    assert (found.mean, found.pairs) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_one_pair_has_a_difference_and_no_interval():
    found = paired_difference({0: 2.0}, {0: 1.5, 1: 3.0})
    assert (found.mean, found.low, found.high, found.pairs) == (0.5, None, None, 1)


def test_without_a_common_seed_there_is_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
