import random

import pytest
from fake_runs import fake_run, fake_sweep

from litmus.errors import ConfigError
from litmus.report import compare, read_runs, write_report
from litmus.report.pairs import pair_tables
from litmus.report.statistics import Difference, detectable_difference, half_width, holm, t_test
from litmus.report.verdicts import FEW_SEEDS, SAME_RUNS, describe, judge, verdict_line

FAR = (1.1, 1.2, 1.0)
NEAR = (0.01, -0.01, 0.0)
WIDE = (1.0, -1.0, 0.5)


def kinds(*differences, mode="max", delta=None) -> list[str]:
    return [verdict.kind for verdict in judge([Difference(found) for found in differences], mode, delta)]


def test_the_sign_and_the_mode_say_which_setting_is_better():
    minus = tuple(-value for value in FAR)
    assert kinds(FAR, minus) == ["better", "worse"]
    assert kinds(FAR, minus, mode="min") == ["worse", "better"]


def test_equivalence_needs_a_delta_and_a_small_difference():
    assert kinds(NEAR) == ["undecided"]
    assert kinds(NEAR, delta=0.1) == ["equivalent"]
    assert kinds(WIDE, delta=0.1) == ["undecided"]


def test_a_proven_difference_below_delta_is_better_and_told_to_be_small():
    (verdict,) = judge([Difference((0.011, 0.010, 0.012))], "max", 0.1)
    assert (verdict.kind, verdict.is_within_delta) == ("better", True)
    assert describe(verdict, "val/acc") == "better by 1.10 points, which is within 10.00 points"


def test_one_pair_is_not_judged_and_not_counted_in_the_family():
    single, other = judge([Difference((5.0,)), Difference(FAR)], "max")
    assert (single.kind, single.interval, single.p_value) == ("not judged", None, None)
    assert (other.kind, other.family) == ("better", 1)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_equal_differences_prove_nothing(value):
    (verdict,) = judge([Difference((value, value))], "max", 0.1)
    assert (verdict.kind, verdict.interval) == ("undecided", None)
    assert "all 2 seeds give the same difference, so its spread is unknown" in describe(verdict, "val/loss")


def test_better_is_what_holm_rejects_and_what_the_interval_excludes():
    generator = random.Random(0)
    cut = 0
    for _ in range(300):
        effects = [generator.choice((0.0, 1.5, 3.0)) for _ in range(generator.randint(1, 6))]
        family = [Difference(tuple(generator.gauss(effect, 1) for _ in range(5))) for effect in effects]
        rejected = holm([float(t_test(one.mean, one.deviation, 5)) for one in family]) <= 0.05
        for verdict, reject in zip(judge(family, "max"), rejected, strict=True):
            low, high = verdict.interval
            assert (verdict.kind in ("better", "worse")) == reject == (not low < 0 < high)
            half = half_width(verdict.difference.deviation, 5, 0.05 / len(family))
            ends = verdict.difference.mean - half, verdict.difference.mean + half
            assert all(end in (pytest.approx(full), 0.0) for end, full in zip((low, high), ends, strict=True))
            cut += 0.0 in (low, high)
    assert cut > 10


def test_an_undecided_verdict_says_what_could_have_been_detected():
    first, second = judge([Difference(WIDE), Difference(FAR)], "max")
    deviation = first.difference.deviation
    assert first.detectable == pytest.approx(float(detectable_difference(deviation, 3, 0.025)))
    assert first.aim == pytest.approx(0.5 / 3)
    assert detectable_difference(deviation, first.seeds, 0.025) <= first.aim
    assert detectable_difference(deviation, first.seeds - 1, 0.025) > first.aim
    assert second.detectable is None


def test_the_aim_is_delta_unless_that_could_have_been_detected():
    (verdict,) = judge([Difference(WIDE)], "max", 0.3)
    assert verdict.aim == 0.3
    (verdict,) = judge([Difference(WIDE)], "max", 9.0)
    assert (verdict.kind, verdict.aim) == ("equivalent", 0.0)


def test_a_difference_that_one_seed_carries_is_doubted():
    steady = (1.0, 1.1, 0.9, 1.05, 0.95, 1.02)
    (verdict,) = judge([Difference(steady)], "max")
    assert verdict.sign_flip == 2 / 2**6
    assert "sign-flip" not in describe(verdict, "val/loss")
    uneven = (1.0, 1.1, 0.9, 1.05, 0.95, -0.2)
    (verdict,) = judge([Difference(uneven)], "max")
    assert (verdict.kind, verdict.sign_flip) == ("better", 4 / 2**6)
    assert "; the exact sign-flip test does not confirm it (p = 0.06)" in describe(verdict, "val/loss")


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_the_line_on_two_settings_is_one_sentence_without_a_caution():
    found = verdict_line([("a", by_seed(0.92, 0.93, 0.95)), ("b", by_seed(0.90, 0.91, 0.929))], "val/acc", "max")
    assert found == "a is better than b by 2.03 points (95 % interval 1.89 to 2.18, 3 seeds)."


def test_the_line_gives_the_lead_of_the_better_one_for_a_loss_too():
    found = verdict_line([("a", by_seed(0.1, 0.2, 0.31)), ("b", by_seed(0.3, 0.4, 0.5))], "val/loss", "min")
    assert found.startswith("a is better than b by 0.1967 (95 % interval 0.1823 to 0.2110, 3 seeds).")


def test_verdict_line_names_a_top_rank_that_is_worse_on_common_seeds():
    first = {0: 0.5, 1: 0.51, 2: 0.52, 3: 0.99, 4: 0.99}
    found = verdict_line([("a", first), ("b", by_seed(0.6, 0.611, 0.62))], "val/acc", "max")
    assert found.startswith("b is better than a by 10.03 points")


def test_the_line_on_many_counts_them_and_tells_the_closest_with_a_caution():
    settings = [
        ("a", by_seed(0.92, 0.93, 0.95)),
        ("b", by_seed(0.92, 0.925, 0.952)),
        ("c", by_seed(0.80, 0.81, 0.8295)),
        ("d", {0: 0.7}),
        ("e", {9: 0.7, 8: 0.8}),
    ]
    line = verdict_line(settings, "val/acc", "max")
    counts = "better than 1, undecided against 1, not judged against 2 (fewer than two common seeds)"
    assert line.startswith(f"a against the 4 other settings: {counts}. The closest: a against b is undecided (")
    assert "these 3 seeds could have detected" in line
    assert "seeds would settle a difference of 0.10 points." in line
    assert line.endswith(SAME_RUNS)
    assert "\n" not in line


def test_too_few_seeds_are_said_and_one_setting_needs_no_verdict():
    assert verdict_line([("a", {0: 0.5}), ("b", {0: 0.4, 1: 0.3})], "val/acc", "max") == FEW_SEEDS
    assert verdict_line([("a", by_seed(0.5, 0.6))], "val/acc", "max") == ""


def test_what_two_seeds_cannot_detect_is_not_given_as_more_than_all_points():
    settings = [("a", by_seed(0.9, 0.3)), ("b", by_seed(0.2, 0.8))]
    line = verdict_line(settings, "val/acc", "max")
    assert "these 2 seeds could not have detected any difference; about" in line


def test_two_equal_settings_are_rarely_called_different():
    generator = random.Random(1)
    pairs = [[tuple(generator.gauss(0, 1) for _ in range(5))] for _ in range(2000)]
    assert 0.04 <= sum(kinds(*pair)[0] != "undecided" for pair in pairs) / 2000 <= 0.06


def test_a_family_includes_the_comparisons_that_are_not_shown(tmp_path):
    values = ",".join(str(value) for value in range(1, 19))
    found, _ = compare(read_runs([fake_sweep(tmp_path, f"optim.lr={values}", "seed=0,1,2")])[0])
    (table,) = pair_tables(found)
    assert len(table.pairs) == 15
    assert {pair.verdict.family for pair in table.pairs} == {17}
    assert table.caution == SAME_RUNS


def two_settings(folder):
    for seed, noise in enumerate((0.001, -0.001, 0.0005)):
        fake_run(folder / f"a{seed}", "optim=adam", f"seed={seed}", accuracy=0.9 + 0.05 * seed)
        fake_run(folder / f"b{seed}", "optim=sgd", f"seed={seed}", accuracy=0.9 + 0.05 * seed + noise)
    return folder


def test_a_report_has_the_verdict_above_and_one_for_each_pair(tmp_path):
    page = write_report([two_settings(tmp_path)]).with_name("report.md").read_text()
    assert "optim=sgd against optim=adam is undecided (difference 0.02 points" in page
    assert "| sgd − adam | +0.02 | −0.24 to +0.28 | 0.808 | 3 | undecided: these 3 seeds could have detected" in page
    assert "equivalent" not in page


def test_equivalence_is_in_points_of_accuracy(tmp_path):
    page = write_report([two_settings(tmp_path)], equivalence=1.0).with_name("report.md").read_text()
    assert "optim=sgd and optim=adam are equivalent within 1.00 points (difference 0.02 points" in page


@pytest.mark.parametrize("equivalence", [0.0, -1.0, float("nan"), float("inf")])
def test_an_equivalence_that_is_no_difference_is_refused_before_writing(tmp_path, equivalence):
    fake_run(tmp_path / "a")
    with pytest.raises(ConfigError, match="--equivalence=.* above 0.*such as 0.2"):
        write_report([tmp_path], equivalence=equivalence)
    assert not (tmp_path / "report").exists()
