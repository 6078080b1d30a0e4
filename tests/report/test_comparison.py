import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_runs import edit, fake_config, fake_run

from litmus.errors import ConfigError
from litmus.report.comparison_page import status_line, verdict_lines, write_comparison
from litmus.report.comparison_plan import FILE, Arm, Plan, hash_arm, read_plan, write_plan
from litmus.report.comparison_results import at_an_end, contrasts, deviations, is_complete, read_results, seeds_needed
from litmus.report.verdicts import contrast_sentence


def make_arm(override: str, *tuned: str) -> Arm:
    return Arm(override, (override,), tuned, hash_arm(fake_config(override), tuned), 3 if tuned else 0)


ARMS = (make_arm("optim=sgd", "optim.lr"), make_arm("optim=adam", "optim.lr"))
PLAN = Plan(
    arms=ARMS,
    common=("model=mlp",),
    space={"optim.lr": "tag(log,interval(1e-4,1.0))"},
    trials=3,
    search=("sampler=grid", "sampler.points=3", "pruner=none"),
    tuning_seed=1000,
    objective="val/acc",
    objective_mode="max",
    metric="test/acc",
    mode="max",
    contrasts=(("optim=adam", "optim=sgd"),),
    seeds=3,
    detect=None,
    max_seeds=3,
    equivalence=None,
)
TRIALS = {"0.001": 0.90, "0.01": 0.95, "0.1": 0.93}
TESTED = {"sgd": (0.90, 0.91, 0.92), "adam": (0.95, 0.955, 0.97)}  # by seed


@pytest.fixture
def finished(tmp_path):
    """A comparison that went as planned."""
    folder = tmp_path / "c"
    write_plan(folder, PLAN, ["python", "scripts/compare.py", "optim=sgd,adam"], "2026-01-02T03:04:05")
    for arm in PLAN.arms:
        for minute, (lr, accuracy) in enumerate(TRIALS.items()):
            path = folder / "tune" / arm.slug(PLAN) / lr
            fake_run(path, *arm.overrides, f"optim.lr={lr}", "seed=1000", accuracy=accuracy)
            start(path, f"2026-01-02T03:{10 - minute:02}:00")
        for seed, accuracy in enumerate(TESTED[arm.name.partition("=")[2]]):
            evaluate(folder, arm, seed, accuracy)
    return folder


def start(path, time) -> None:
    record = json.loads((path / "run.json").read_text())
    record["starts"][0]["time"] = time
    (path / "run.json").write_text(json.dumps(record))


def evaluate(folder, arm, seed, accuracy, lr="0.01", **options) -> None:
    path = folder / "evaluate" / arm.slug(PLAN) / f"{lr}-{seed}"
    fake_run(path, *arm.overrides, f"optim.lr={lr}", f"seed={seed}", metrics={"test/acc": accuracy}, **options)


def test_a_plan_is_read_as_it_was_written(finished):
    assert read_plan(finished) == PLAN


def test_the_same_plan_may_be_written_again(finished):
    before = (finished / FILE).read_bytes()
    write_plan(finished, PLAN, ["another"], "later")
    assert (finished / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seeds": 4}, "seeds is 3 there and 4 now"),
        ({"common": ("model=cnn",)}, "model=cnn"),
        ({"contrasts": (("optim=sgd", "optim=adam"),)}, "contrasts"),
        ({"arms": (replace(ARMS[0], config="other"), ARMS[1])}, "conf/"),
    ],
)
def test_a_changed_plan_is_refused_and_the_first_one_kept(finished, change, named):
    before = (finished / FILE).read_bytes()
    with pytest.raises(ConfigError, match="--name") as refused:
        write_plan(finished, replace(PLAN, **change), [], "")
    assert named in str(refused.value)
    assert (finished / FILE).read_bytes() == before


@pytest.mark.parametrize("damage", ["{}", "[]", "no JSON", '{"arms": 3}'])
def test_a_damaged_plan_is_one_sentence(tmp_path, damage):
    (tmp_path / FILE).write_text(damage)
    with pytest.raises(ConfigError, match=FILE):
        read_plan(tmp_path)


def test_a_plan_with_unknown_arms_is_refused(finished):
    found = json.loads((finished / FILE).read_text())
    (finished / FILE).write_text(json.dumps({**found, "contrasts": [["optim=adam", "optim=lion"]]}))
    with pytest.raises(ConfigError, match="damaged"):
        read_plan(finished)


def test_tuning_chooses_the_best_trial_and_keeps_the_order_of_starts(finished):
    sgd, adam = read_results(finished, PLAN)
    assert sgd.tuned == adam.tuned == ["optim.lr=0.01"]
    assert [run.path.name for run in sgd.trials] == ["0.1", "0.01", "0.001"]
    assert sgd.by_seed("test/acc") == dict(enumerate(TESTED["sgd"]))


def test_a_comparison_that_went_as_planned_says_so(finished):
    results = read_results(finished, PLAN)
    assert is_complete(PLAN, results)
    assert deviations(PLAN, results) == []
    assert status_line(PLAN, results) == "As planned."
    assert verdict_lines(PLAN, results) == [
        "optim=adam is better than optim=sgd by 4.83 points (95 % interval 4.12 to 5.55, 3 seeds)."
    ]


def test_the_interval_is_that_of_a_paired_t_test(finished):
    ((arm, reference, verdict),) = contrasts(
        PLAN, {r.arm.name: r.by_seed("test/acc") for r in read_results(finished, PLAN)}
    )
    differences = np.subtract(TESTED["adam"], TESTED["sgd"])
    half = 4.302652730 * differences.std(ddof=1) / 3**0.5  # t(0.975, 2)
    assert (arm, reference, verdict.kind) == ("optim=adam", "optim=sgd", "better")
    assert verdict.interval == pytest.approx((differences.mean() - half, differences.mean() + half))


@pytest.mark.parametrize(
    ("happen", "named"),
    [
        (lambda c: fail(c, ARMS[1], 2), "no result for seed 2"),
        (lambda c: evaluate(c, ARMS[0], 0, 0.99, lr="0.1"), "1 run of optim=sgd with other settings or seeds"),
        (lambda c: evaluate(c, ARMS[0], 7, 0.99), "1 run of optim=sgd with other settings or seeds"),
        (lambda c: record(c / "evaluate" / "2-optim-adam" / "0.01-1", threads=2), "same number of threads"),
        (lambda c: [record(r.path, code={"x.py": str(r.seed)}) for r in runs(c)], "same code: x.py"),
    ],
)
def test_what_deviates_from_the_plan_is_listed(finished, happen, named):
    happen(finished)
    results = read_results(finished, PLAN)
    (found,) = deviations(PLAN, results)
    assert named in found
    assert status_line(PLAN, results) == "1 deviation from the plan."


def runs(folder):
    return [run for result in read_results(folder, PLAN) for run in result.runs.values()]


def record(path, **facts) -> None:
    file = path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def fail(folder, arm, seed) -> None:
    path = folder / "evaluate" / arm.slug(PLAN) / f"0.01-{seed}"
    (path / "result.json").unlink()
    (path / "train.log").write_text("2026-01-02 03:04:06 stopped by Diverged('the loss became nan at step 1')\n")


def test_runs_of_other_settings_and_seeds_do_not_count(finished):
    evaluate(finished, ARMS[0], 0, 0.5, lr="0.1")
    evaluate(finished, ARMS[0], 7, 0.5)
    assert read_results(finished, PLAN)[0].by_seed("test/acc") == dict(enumerate(TESTED["sgd"]))


def test_an_interrupted_comparison_is_incomplete(finished):
    (finished / "evaluate" / "2-optim-adam" / "0.01-2" / "result.json").unlink()
    results = read_results(finished, PLAN)
    assert not is_complete(PLAN, results)
    assert status_line(PLAN, results).startswith("Incomplete: 6 tuning and 5 evaluation runs")


def test_before_the_first_run_there_is_a_page_too(tmp_path):
    write_plan(tmp_path / "c", PLAN, [], "")
    page = write_comparison(tmp_path / "c").read_text()
    assert "Nothing can be judged yet" in page


def test_the_page_has_the_verdict_the_plan_and_the_commands(finished):
    page = write_comparison(finished)
    text = page.with_name("report.md").read_text()
    assert text.index("optim=adam is better than optim=sgd by 4.83 points") < text.index("## Arms")
    assert "As planned." in text
    assert "python train.py -m model=mlp optim=sgd optim.lr=0.01 seed=0,1,2 test=true" in text
    assert "tag(log,interval(1e-4,1.0))" in text
    for image in ("pairs-contrasts", "tuning-budget", "sensitivity-optim.lr"):
        assert f"{image}.png" in text


def test_a_best_value_at_the_end_of_those_tried_is_a_caution(finished):
    sgd, _ = read_results(finished, PLAN)
    assert at_an_end(sgd, "optim.lr") is None
    (finished / "tune" / ARMS[0].slug(PLAN) / "0.001" / "result.json").unlink()
    fake_run(finished / "tune" / ARMS[0].slug(PLAN) / "0.5", "optim=sgd", "optim.lr=0.5", "seed=1000", accuracy=0.99)
    sgd, _ = read_results(finished, PLAN)
    assert at_an_end(sgd, "optim.lr") == "largest"
    assert "wider space" in write_comparison(finished).with_name("report.md").read_text()


def test_trials_of_another_seed_do_not_choose(finished):
    fake_run(finished / "tune" / ARMS[0].slug(PLAN) / "0.5", "optim=sgd", "optim.lr=0.5", "seed=3", accuracy=0.99)
    assert read_results(finished, PLAN)[0].tuned == ["optim.lr=0.01"]


def test_the_number_of_seeds_follows_from_the_pilot(finished):
    plan = replace(PLAN, detect=0.002, max_seeds=50)
    differences = np.subtract(TESTED["adam"], TESTED["sgd"])
    quantiles = 4.302652730 + 1.060660172  # t(0.975, 2) + t(0.8, 2)
    needed = int(np.ceil((quantiles * differences.std(ddof=1) / 0.002) ** 2))
    results = read_results(finished, plan)
    assert seeds_needed(plan, results) == needed == 60
    assert not is_complete(plan, results)
    assert any("--max-seeds allows 50" in sentence for sentence in deviations(plan, results))


def test_a_contrast_after_a_pilot_takes_the_deviation_of_the_pilot():
    plan = replace(PLAN, detect=0.1, max_seeds=50)
    values = {"optim=sgd": dict.fromkeys(range(4), 0.0), "optim=adam": {0: 1.0, 1: 2.0, 2: 3.0, 3: 10.0}}
    ((*_, verdict),) = contrasts(plan, values)
    assert (verdict.difference.mean, verdict.difference.deviation, verdict.difference.degrees) == (4.0, 1.0, 2)
    assert verdict.interval == pytest.approx((4 - 4.302652730 / 2, 4 + 4.302652730 / 2))


@pytest.mark.parametrize("detect", [None, 0.003])
def test_equal_arms_are_called_different_in_at_most_5_percent(detect):
    """2,000 simulated comparisons of one setting under two names; the standard error of a rate of 5 % is 0.5 points."""
    plan = replace(PLAN, seeds=5, detect=detect, max_seeds=200)
    random = np.random.default_rng(0)
    false = [
        verdict.kind in ("better", "worse")
        for values in (simulate(plan, random) for _ in range(2000))
        for *_, verdict in contrasts(plan, values)
    ]
    assert len(false) == 2000
    assert sum(false) / 2000 <= 0.05 + 3 * 0.005


def simulate(plan, random) -> dict[str, dict[int, float]]:
    """Test accuracies of two equal arms, with an effect of the seed that they share."""

    def values(first, last):
        shared = random.normal(0.95, 0.004, last - first)
        return [
            dict(zip(range(first, last), shared + random.normal(0, 0.002, last - first), strict=True)) for _ in ARMS
        ]

    found = values(0, plan.seeds)
    results = [SimpleNamespace(arm=arm, by_seed=lambda _, i=i: found[i]) for i, arm in enumerate(ARMS)]
    total = min(seeds_needed(plan, results), plan.max_seeds)
    more = values(plan.seeds, total)
    return {arm.name: first | second for arm, first, second in zip(ARMS, found, more, strict=True)}


def test_an_arm_without_the_tuned_key_is_evaluated_as_it_is(tmp_path):
    none, l1 = make_arm("penalty=none"), make_arm("penalty=l1", "penalty.weight")
    plan = replace(
        PLAN, arms=(none, l1), space={"penalty.weight": "1e-4,1e-3"}, contrasts=(("penalty=l1", "penalty=none"),)
    )
    assert plan.evaluation("c", none, [], 2)[-4:] == [
        "penalty=none",
        "seed=0,1",
        "test=true",
        "sweep_name=c/evaluate/1-penalty-none",
    ]
    assert "penalty.weight=1e-4,1e-3" in plan.tuning("c", l1)
    write_plan(tmp_path, plan, [], "")
    fake_run(tmp_path / "evaluate" / none.slug(plan) / "0", "penalty=none", "seed=0", metrics={"test/acc": 0.9})
    first, second = read_results(tmp_path, plan)
    assert (first.is_tuned(plan), first.tuned, list(first.runs)) == (True, [], [0])
    assert not second.is_tuned(plan)


def test_an_evaluation_at_another_value_is_not_counted(finished):
    edit(finished / "evaluate" / ARMS[0].slug(PLAN) / "0.01-0", optim__lr=0.3)
    assert list(read_results(finished, PLAN)[0].runs) == [1, 2]


def test_a_run_of_another_config_does_not_count(finished):
    edit(finished / "evaluate" / ARMS[1].slug(PLAN) / "0.01-0", trainer__max_epochs=999)
    results = read_results(finished, PLAN)
    assert list(results[1].runs) == [1, 2]
    assert any("1 run of optim=adam with other settings" in sentence for sentence in deviations(PLAN, results))


def test_a_tuning_trial_of_another_config_does_not_choose(finished):
    fake_run(finished / "tune" / ARMS[0].slug(PLAN) / "0.5", "optim=sgd", "optim.lr=0.5", "seed=1000", accuracy=0.99)
    edit(finished / "tune" / ARMS[0].slug(PLAN) / "0.5", trainer__max_epochs=999)
    sgd, _ = read_results(finished, PLAN)
    assert sgd.tuned == ["optim.lr=0.01"]
    assert len(sgd.unplanned) == 1


def test_more_trials_than_planned_are_a_deviation(finished):
    fake_run(finished / "tune" / ARMS[0].slug(PLAN) / "0.5", "optim=sgd", "optim.lr=0.5", "seed=1000", accuracy=0.1)
    (found,) = deviations(PLAN, read_results(finished, PLAN))
    assert "4 tuning trials, and 3 are planned" in found


def test_fewer_runs_than_trials_are_complete_once_evaluation_has_begun(finished):
    plan = replace(PLAN, arms=tuple(replace(arm, trials=9) for arm in ARMS))
    assert is_complete(plan, read_results(finished, plan))


@pytest.mark.parametrize(("name", "value"), [("trials", "x"), ("seeds", None), ("metric", 3), ("detect", "0.2")])
def test_a_plan_with_a_wrong_type_is_refused(finished, name, value):
    found = json.loads((finished / FILE).read_text())
    (finished / FILE).write_text(json.dumps({**found, name: value}))
    with pytest.raises(ConfigError, match=name):
        read_plan(finished)


def test_a_contrast_without_a_pilot_says_so():
    plan = replace(PLAN, detect=0.1, max_seeds=50)
    values = {"optim=sgd": dict.fromkeys(range(6), 0.0), "optim=adam": {2: 1.0, 3: 2.0, 4: 3.0}}
    ((*_, verdict),) = contrasts(plan, values)
    assert verdict.kind == "not judged"
    assert "common seeds of the pilot" in contrast_sentence("a", "b", verdict, "test/acc", "max")


@pytest.mark.parametrize(("happen", "named"), [(fail, "Deviations from the plan"), (None, None)])
def test_the_methods_paragraph_has_the_deviations(finished, happen, named):
    if happen:
        happen(finished, ARMS[1], 2)
    write_comparison(finished, for_paper=True)
    text = (finished / "report" / "methods.md").read_text()
    assert ("Deviations" in text) == bool(named)
    assert "INCOMPLETE" not in text


def test_the_methods_paragraph_of_an_incomplete_comparison_says_so(finished):
    (finished / "evaluate" / "2-optim-adam" / "0.01-2" / "result.json").unlink()
    write_comparison(finished, for_paper=True)
    assert (finished / "report" / "methods.md").read_text().startswith("THE COMPARISON IS INCOMPLETE")
