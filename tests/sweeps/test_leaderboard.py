"""The leaderboard."""

import statistics

from litmus.report.verdicts import FEW_SEEDS
from litmus.sweeps import leaderboard
from litmus.sweeps.leaderboard import JobResult

RESULTS = [
    JobResult(("l1",), "val/acc", "max", 0, 0.9),
    JobResult(("l2",), "val/acc", "max", 0, 0.96),
    JobResult(("l1",), "val/acc", "max", 1, 0.94),
    JobResult(("none",), "val/acc", "max", 0, 0.5),
]


def test_a_setting_is_averaged_over_its_seeds_and_the_best_comes_first():
    rows = leaderboard.ranked(RESULTS)
    assert [row.setting for row in rows] == [("l2",), ("l1",), ("none",)]
    assert rows[1].mean == statistics.mean([0.9, 0.94])
    assert rows[1].deviation == statistics.stdev([0.9, 0.94])
    assert rows[0].deviation is None


def test_the_best_loss_is_the_lowest_and_objectives_are_never_mixed():
    rows = leaderboard.ranked(
        [
            JobResult(("a",), "val/loss", "min", 0, 0.2),
            JobResult(("b",), "val/loss", "min", 0, 0.1),
            JobResult(("a",), "val/acc", "max", 0, 0.3),
        ]
    )
    assert [(row.setting, row.objective) for row in rows] == [
        (("a",), "val/acc"),
        (("b",), "val/loss"),
        (("a",), "val/loss"),
    ]


def test_the_table_is_aligned():
    assert leaderboard.table(leaderboard.ranked(RESULTS), ["penalty"]) == (
        "         penalty                    n\n"
        "val/acc  l2       0.9600            1\n"
        "         l1       0.9200  ± 0.0283  2\n"
        "         none     0.5000            1"
    )


def test_the_file_has_all_rows_and_all_digits(tmp_path):
    leaderboard.write(tmp_path / "board.csv", leaderboard.ranked(RESULTS), ["penalty"])
    assert (tmp_path / "board.csv").read_text() == (
        "penalty,objective,mean,standard_deviation,n\n"
        "l2,val/acc,0.96,,1\n"
        f"l1,val/acc,{statistics.fmean([0.9, 0.94])!r},{statistics.stdev([0.9, 0.94])!r},2\n"
        "none,val/acc,0.5,,1\n"
    )


def test_a_setting_with_few_seeds_is_not_the_best():
    values = {"lucky": [0.9], "steady": [0.8, 0.7], "worse": [0.6, 0.6]}
    results = [
        JobResult((name,), "val/acc", "max", seed, value)
        for name, own in values.items()
        for seed, value in enumerate(own)
    ]
    assert [row.setting for row in leaderboard.ranked(results)] == [("steady",), ("worse",), ("lucky",)]


def test_the_verdict_pairs_the_seeds_of_the_best_with_those_of_the_others():
    values = {"l1": {2: 0.92, 0: 0.95, 1: 0.93}, "none": {0: 0.929, 1: 0.91, 2: 0.90}}
    results = [
        JobResult((name,), "val/acc", "max", seed, value) for name, own in values.items() for seed, value in own.items()
    ]
    line = leaderboard.verdict(leaderboard.ranked(results), ["penalty"])
    assert line.startswith("val/acc: penalty=l1 is better than penalty=none by 2.03 points (95 % interval")
    assert "\n" not in line


def test_each_objective_with_several_settings_has_a_verdict():
    results = [*RESULTS, JobResult(("l1",), "val/loss", "min", 0, 0.1)]
    assert leaderboard.verdict(leaderboard.ranked(results), ["penalty"]) == f"val/acc: {FEW_SEEDS}"
    assert leaderboard.verdict(leaderboard.ranked(results[-1:]), ["penalty"]) == ""


def test_among_equals_the_lowest_validation_loss_comes_first():
    losses = {"none known": None, "high": 0.3, "low": 0.1, "same as low": 0.1}
    results = [JobResult((name,), "val/acc", "max", 0, 0.9, loss) for name, loss in losses.items()]
    names = ["low", "same as low", "high", "none known"]
    assert [row.setting for row in leaderboard.ranked(results)] == [(name,) for name in names]


def test_the_verdict_shortens_numbers_as_a_report_does():
    results = [JobResult((lr,), "val/acc", "max", seed, float(lr) * seed) for lr in ("1e-3", "0.1") for seed in (1, 2)]
    line = leaderboard.verdict(leaderboard.ranked(results), ["optim.lr"])
    assert "optim.lr=0.1 is" in line or "optim.lr=0.1 against" in line
    assert "optim.lr=0.001" in line
