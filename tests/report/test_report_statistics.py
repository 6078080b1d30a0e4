import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from litmus.report.statistics import (
    MOST_SEEDS,
    detectable_difference,
    equivalence_test,
    half_width,
    holm,
    paired_difference,
    seeds_for_half_width,
    seeds_for_power,
    seeds_to_detect,
    sign_flip_test,
    spread,
    t_test,
)

SLEEP = (1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4)  # hours; Student 1908, the example of R's t.test
MAIZE = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)  # eighths of an inch; Darwin, in Fisher 1935
EXPERIMENTS = 10_000


def test_the_spread_divides_by_one_less_than_the_number():
    assert spread([1.0, 2.0, 3.0, 6.0]) == pytest.approx(math.sqrt(14 / 3))
    assert spread([1.0]) is None


def test_a_paired_difference_takes_the_seeds_that_both_have():
    found = paired_difference({0: 2.0, 1: 5.0, 2: 7.0, 8: 99.0}, {2: 4.0, 1: 3.0, 0: 1.0, 9: -99.0})
    assert (found.values, found.mean, found.deviation, found.pairs) == ((1.0, 2.0, 3.0), 2.0, 1.0, 3)


def test_one_pair_has_a_difference_and_no_deviation():
    found = paired_difference({0: 2.0}, {0: 1.5, 1: 3.0})
    assert (found.mean, found.deviation, found.pairs) == (0.5, None, 1)


def test_differences_that_are_equal_up_to_rounding_have_no_spread():
    found = paired_difference({0: 0.3, 1: 0.4, 2: 0.9}, {0: 0.1, 1: 0.2, 2: 0.7})
    assert len(set(found.values)) > 1
    assert found.deviation == 0


def test_without_a_common_seed_there_is_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_the_paired_t_test_of_student_s_sleep_data():
    mean, deviation = np.mean(SLEEP), np.std(SLEEP, ddof=1)
    half = half_width(deviation, 10)
    assert (mean - half, mean + half) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert t_test(mean, deviation, 10) == pytest.approx(0.002833, abs=1e-6)


@pytest.mark.parametrize("delta", [1.0, 1.58, 2.5, 4.0])
def test_equivalence_is_the_larger_of_two_one_sided_p_values(delta):
    p_values = [
        stats.ttest_1samp(SLEEP, bound, alternative=side).pvalue
        for bound, side in ((-delta, "greater"), (delta, "less"))
    ]
    found = equivalence_test(np.mean(SLEEP), np.std(SLEEP, ddof=1), 10, delta)
    assert found == pytest.approx(max(p_values), rel=1e-9)


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.04], [0.04]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_multiplies_by_the_hypotheses_left_and_keeps_the_order(p_values, corrected):
    assert holm(p_values) == pytest.approx(corrected)


def test_the_exact_test_of_darwin_s_maize():
    assert sign_flip_test(MAIZE) == 1726 / 2**15  # Fisher counts 863 on each side


def test_equal_sums_count_as_far_despite_rounding():
    assert sign_flip_test([0.1, 0.2, 0.3]) == 2 / 8
    assert sign_flip_test([0.1, 0.2, -0.3]) == 1


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_number_of_pairs_for_cohen_s_effects(effect, pairs):
    assert seeds_to_detect(effect, 1.0) == pairs  # G*Power's example of two dependent means
    assert detectable_difference(1.0, pairs) <= effect < detectable_difference(1.0, pairs - 1)


def test_too_many_seeds_are_no_number():
    assert seeds_to_detect(1e-3, 1.0) is None
    assert seeds_to_detect(0.0, 1.0) is None
    assert seeds_to_detect(4 / math.sqrt(MOST_SEEDS), 1.0) is not None


@pytest.mark.parametrize("pairs", [2, 3, 5, 10, 100])
@pytest.mark.parametrize("level", [0.05, 0.05 / 11])
def test_the_detectable_difference_is_found_with_a_power_of_80_percent(pairs, level):
    effect = detectable_difference(2.0, pairs, level) / 2 * math.sqrt(pairs)
    critical = stats.t.ppf(1 - level / 2, pairs - 1)
    assert stats.nct.sf(critical, pairs - 1, effect) == pytest.approx(0.8, abs=1e-5)


def test_stein_s_rule_adds_to_the_pilot_what_its_deviation_requires():
    needed = (2.7764451 / 0.5) ** 2  # t(0.975, 4), deviation 1, width 0.5: 30.8 pairs
    assert seeds_for_half_width(0.5, 1.0, 5) == math.ceil(needed) == 31
    assert seeds_for_half_width(100.0, 1.0, 5) == 5
    with pytest.raises(ValueError, match="width must be above 0"):
        seeds_for_half_width(0.0, 1.0, 5)


def test_scipy_is_not_imported_before_it_is_needed():
    probe = "import sys, litmus.report, litmus.sweeps.leaderboard; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


def moments(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return samples.mean(axis=-1), samples.std(axis=-1, ddof=1)


@pytest.mark.parametrize("pairs", [2, 3, 5, 10])
def test_intervals_cover_and_tests_have_their_power_in_simulation(pairs):
    mean, deviation = moments(np.random.default_rng(pairs).normal(size=(EXPERIMENTS, pairs)))
    covered = np.abs(mean) <= half_width(deviation, pairs)
    assert 0.94 <= covered.mean() <= 0.96
    assert np.array_equal(covered, t_test(mean, deviation, pairs) >= 0.05)
    found = t_test(mean + detectable_difference(1.0, pairs), deviation, pairs) <= 0.05
    assert 0.79 <= found.mean() <= 0.81
    too_far = equivalence_test(mean + 3.0, deviation, pairs, delta=3.0) <= 0.05
    assert too_far.mean() <= 0.055


@pytest.mark.parametrize("different", [0, 4, 10])
def test_holm_s_family_error_and_simultaneous_coverage_in_simulation(different):
    """Eleven settings against one baseline, over five common seeds; some of them differ."""
    effects = np.where(np.arange(11) < different, 4.0, 0.0)
    settings = np.random.default_rng(different).normal(size=(EXPERIMENTS, 12, 5))
    mean, deviation = moments(settings[:, 1:] + effects[:, None] - settings[:, :1])
    claims = holm(t_test(mean, deviation, 5)) <= 0.05
    assert claims[:, different:].any(axis=1).mean() <= 0.055
    covered = np.abs(mean - effects) <= half_width(deviation, 5, 0.05 / 11)
    assert covered.all(axis=1).mean() >= 0.945


@pytest.mark.parametrize(("settings", "least", "most"), [(2, 0.045, 0.055), (6, 0.07, 0.09), (12, 0.11, 0.135)])
def test_choosing_the_best_by_the_same_runs_raises_the_family_error(settings, least, most):
    """The figures of docs/explanation/verdicts.md: equal settings over five seeds, all against the best of them."""
    values = np.random.default_rng(settings).normal(size=(EXPERIMENTS, settings, 5))
    order = np.argsort(values.mean(axis=2), axis=1)
    ranked = np.take_along_axis(values, order[:, :, None], axis=1)
    mean, deviation = moments(ranked[:, :-1] - ranked[:, -1:])
    assert least <= (holm(t_test(mean, deviation, 5)) <= 0.05).any(axis=1).mean() <= most


@pytest.mark.parametrize("deviation", [0.2, 1.0, 4.0])
def test_stein_s_half_width_is_met_in_simulation(deviation):
    pilot, width, random = 5, 1.0, np.random.default_rng(0)
    mean, estimate = moments(deviation * random.normal(size=(EXPERIMENTS, pilot)))
    total = seeds_for_half_width(width, estimate, pilot)
    later = deviation * np.sqrt(total - pilot) * random.normal(size=EXPERIMENTS)  # the sum of the other pairs
    covered = np.abs((pilot * mean + later) / total) <= width
    assert covered.mean() >= 0.945


def test_stein_s_test_adds_to_the_pilot_what_its_power_requires():
    needed = ((2.7764451 + 0.9409646) / 0.5) ** 2  # t(0.975, 4) + t(0.8, 4), deviation 1, difference 0.5: 55.3 pairs
    assert seeds_for_power(0.5, 1.0, 5) == math.ceil(needed) == 56
    assert seeds_for_power(100.0, 1.0, 5) == 5
    with pytest.raises(ValueError, match="difference must be above 0"):
        seeds_for_power(0.0, 1.0, 5)


@pytest.mark.parametrize("deviation", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("difference", [0.0, 1.0])
def test_stein_s_test_has_its_level_and_power_in_simulation(deviation, difference):
    pilot, random = 5, np.random.default_rng(0)
    mean, estimate = moments(deviation * random.normal(size=(EXPERIMENTS, pilot)))
    total = seeds_for_power(1.0, estimate, pilot)
    later = deviation * np.sqrt(total - pilot) * random.normal(size=EXPERIMENTS)  # the sum of the other pairs
    whole = (pilot * mean + later) / total + difference
    p_values = np.array([t_test(m, s, int(n), pilot - 1) for m, s, n in zip(whole, estimate, total, strict=True)])
    found = (p_values <= 0.05).mean()
    assert found >= 0.79 if difference else 0.045 <= found <= 0.055


def test_a_pilot_alone_gives_the_deviation():
    found = paired_difference({0: 1.0, 1: 3.0, 2: 10.0}, {0: 0.0, 1: 0.0, 2: 0.0}, pilot_seeds=2)
    assert (found.mean, found.deviation, found.degrees, found.pairs) == (14 / 3, math.sqrt(2), 1, 3)
