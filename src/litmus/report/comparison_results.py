"""The runs of a comparison: what tuning chose for each arm, the evaluation by seed, and what deviates from the plan."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from litmus.core.hydra_values import key_of
from litmus.core.saved_config import read_config
from litmus.errors import first_few
from litmus.report.comparison_plan import Arm, Plan, hash_arm
from litmus.report.settings import mixes_data, value_of
from litmus.report.statistics import LEVEL, paired_difference, rank_by_mean, seeds_for_power
from litmus.report.verdicts import Verdict, judge
from litmus.runs.code_version import differing_files
from litmus.runs.reading import ExcludedRun, Run, Value, read_runs


@dataclass(frozen=True)
class ArmResult:
    """The runs of one arm. `trials` are the finished tuning runs in the order of their start, `best` the one that was
    chosen (None before the first has finished, and for an arm without tuned keys), and `runs` the evaluation by seed.
    """

    arm: Arm
    trials: list[Run]
    lost_trials: list[ExcludedRun]
    best: Run | None
    runs: Mapping[int, Run]
    lost_runs: list[ExcludedRun]
    unplanned: list[Path]  # finished runs of other settings or seeds

    @property
    def tuned(self) -> list[str]:
        """The overrides that tuning chose."""
        return [] if self.best is None else [o for o in self.best.overrides if key_of(o) in self.arm.tuned]

    def is_tuned(self, plan: Plan) -> bool:
        if not self.arm.tuned:
            return True
        ended = [run for run in self.lost_trials if run.status in ("failed", "pruned")]
        # Evaluation starts after tuning. A sampler may have chosen a combination twice, which is one run.
        return self.best is not None and (len(self.trials) + len(ended) >= self.arm.trials or bool(self.runs))

    def by_seed(self, metric: str) -> dict[int, float]:
        return {seed: run.metrics[metric] for seed, run in self.runs.items() if metric in run.metrics}


def read_results(folder: Path, plan: Plan) -> list[ArmResult]:
    """The results so far, in the order of the plan's arms."""
    return [_read_arm(folder, plan, arm) for arm in plan.arms]


def _read_arm(folder: Path, plan: Plan, arm: Arm) -> ArmResult:
    trials, lost_trials = _read(folder / "tune" / arm.slug(plan)) if arm.tuned else ([], [])
    found, trials = trials, []
    unplanned: list[Path] = []
    for run in sorted(found, key=lambda run: (run.started, str(run.path))):
        is_planned = plan.objective in run.metrics and run.seed == plan.tuning_seed and _is_of(arm, run)
        trials.append(run) if is_planned else unplanned.append(run.path)
    best = next(iter(rank_trials(trials, plan)), None)
    runs, lost_runs = _read(folder / "evaluate" / arm.slug(plan))
    planned: dict[int, Run] = {}
    for run in runs:
        is_chosen = best is None or all(value_of(run, key) == value_of(best, key) for key in arm.tuned)
        is_chosen = is_chosen and _is_of(arm, run)
        seed = run.seed
        if is_chosen and isinstance(seed, int) and 0 <= seed < plan.max_seeds and seed not in planned:
            planned[seed] = run
        else:
            unplanned.append(run.path)
    return ArmResult(arm, trials, lost_trials, best, dict(sorted(planned.items())), lost_runs, unplanned)


def _is_of(arm: Arm, run: Run) -> bool:
    """Whether the run has the config of the arm, apart from the tuned values."""
    file = run.path / ".hydra" / "config.yaml"
    return _hash_file(file, file.stat().st_mtime_ns, arm.tuned) == arm.config


@functools.cache  # a live page reads the same runs every few seconds
def _hash_file(file: Path, changed: int, tuned: tuple[str, ...]) -> str:
    return hash_arm(read_config(file), tuned)


def _read(folder: Path) -> tuple[list[Run], list[ExcludedRun]]:
    return read_runs([folder]) if folder.is_dir() else ([], [])


def rank_trials(trials: Sequence[Run], plan: Plan) -> list[Run]:
    """Tuning runs, best first; among equals by the validation loss."""
    return rank_by_mean(
        trials,
        lambda run: [run.metrics[plan.objective]],
        plan.objective_mode,
        lambda run: [run.metrics["val/loss"]] if "val/loss" in run.metrics else [],
    )


def seeds_needed(plan: Plan, results: Sequence[ArmResult]) -> int:
    """The number of seeds that the plan requires, given the results so far; it may exceed the plan's `max_seeds`.

    It is fixed, or follows from the pilot by Stein's rule, for the contrast that needs most.
    """
    if plan.detect is None:
        return plan.seeds
    by_name = {result.arm.name: result.by_seed(plan.metric) for result in results}
    needed = plan.seeds
    for arm, reference in plan.contrasts:
        pilot = {name: {seed: v for seed, v in by_name[name].items() if seed < plan.seeds} for name in (arm, reference)}
        found = paired_difference(pilot[arm], pilot[reference])
        if found is not None and found.deviation:
            level = LEVEL / len(plan.contrasts)
            needed = max(needed, int(seeds_for_power(plan.detect, found.deviation, found.pairs, level)))
    return needed


def contrasts(plan: Plan, values: Mapping[str, Mapping[int, float]]) -> list[tuple[str, str, Verdict]]:
    """The planned contrasts (arm, reference) with their verdicts, judged as one family.

    `values` are those of each arm by seed. A contrast without a common seed is left out.
    """
    pilot = None if plan.detect is None else plan.seeds
    found = [(arm, ref, paired_difference(values[arm], values[ref], pilot)) for arm, ref in plan.contrasts]
    paired = [(arm, ref, difference) for arm, ref, difference in found if difference is not None]
    verdicts = judge([difference for *_, difference in paired], plan.mode, plan.equivalence)
    return [(arm, ref, verdict) for (arm, ref, _), verdict in zip(paired, verdicts, strict=True)]


def is_complete(plan: Plan, results: Sequence[ArmResult]) -> bool:
    """Whether every planned run has ended, also with an error."""
    if not all(result.is_tuned(plan) for result in results):
        return False
    seeds = min(seeds_needed(plan, results), plan.max_seeds)
    return all(
        len(result.runs) + sum(run.status == "failed" for run in result.lost_runs) >= seeds for result in results
    )


def deviations(plan: Plan, results: Sequence[ArmResult]) -> list[str]:
    """What is not as planned, a sentence each."""
    needed = seeds_needed(plan, results)
    seeds = min(needed, plan.max_seeds)
    sentences = [sentence for result in results for sentence in _deviations_of_arm(plan, result, seeds)]
    if needed > plan.max_seeds:
        sentences.append(
            f"Detecting the planned difference takes {needed:,} seeds by Stein's rule, and --max-seeds allows "
            f"{plan.max_seeds:,}: the power is below the planned 80 %."
        )
    runs = [run for result in results for run in [*result.trials, *result.runs.values()]]
    if files := differing_files(run.code for run in runs):
        sentences.append(f"The runs were not made with the same code: {first_few(files)} differs among them.")
    if mixes_data(runs):
        sentences.append("The runs were not made with the same data.")
    if mixed := sum(run.is_mixed for run in runs):
        sentences.append(f"{_runs(mixed)} resumed after code or data had changed.")
    # Litmus chooses the number of threads by the model, so the arms may differ in it.
    if any(len({run.circumstances.get("threads") for run in result.runs.values()}) > 1 for result in results):
        sentences.append("The runs of an arm were not made with the same number of threads.")
    for name in ("machine", "gpu", "python"):
        values = sorted({run.circumstances.get(name, "unknown") for run in runs})
        if len(values) > 1:
            sentences.append(f"The runs were not made alike: {name} was {first_few(values)}.")
    return sentences


def _deviations_of_arm(plan: Plan, result: ArmResult, seeds: int) -> Iterator[str]:
    name = result.arm.name
    missing = [seed for seed in range(seeds) if seed not in result.runs]
    if missing and any(run.status == "failed" for run in result.lost_runs):
        yield f"{name} has no result for seed {first_few(missing)}{_reasons(result.lost_runs)}."
    without = [seed for seed, run in result.runs.items() if plan.metric not in run.metrics]
    if without:
        yield f"{name} has no {plan.metric} for seed {first_few(without)}."
    if diverged := sum(run.diverged for run in result.runs.values()):
        yield f"Training diverged in {_runs(diverged)} of {name}; the best epoch before that is counted."
    if result.unplanned:
        count = len(result.unplanned)
        yield f"{_runs(count)} of {name} with other settings or seeds, such as {result.unplanned[0]}, not counted."
    if len(result.trials) > result.arm.trials:
        yield f"{name} has {len(result.trials)} tuning trials, and {result.arm.trials} are planned."
    broken = [run for run in result.lost_trials if run.status not in ("failed", "pruned", "unfinished", "foreign")]
    if broken:
        yield f"{len(broken)} tuning trials of {name} are unreadable{_reasons(broken)}."


def _reasons(lost: Sequence[ExcludedRun]) -> str:
    reasons = list(dict.fromkeys(run.why for run in lost if run.status != "foreign"))
    return f" ({'; '.join(reasons[:2])})" if reasons else ""


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def at_an_end(result: ArmResult, key: str) -> str | None:
    """`smallest` or `largest` if the best value of a tuned key is at an end of the numbers that were tried."""
    values: list[Value] = [value for run in result.trials if (value := value_of(run, key)) is not None]
    numbers = [value for value in values if isinstance(value, int | float)]
    best = None if result.best is None else value_of(result.best, key)
    if len(numbers) < len(values) or len(set(numbers)) < 3 or not isinstance(best, int | float):
        return None
    return "smallest" if best == min(numbers) else "largest" if best == max(numbers) else None
