"""Runs a planned comparison through sweeps: tunes each arm, then evaluates all of them with fresh seeds."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from litmus.core.saved_config import read_config
from litmus.errors import StoppedRun
from litmus.report.comparison_plan import Arm, Plan
from litmus.report.comparison_results import read_results, seeds_needed
from litmus.report.contents import command_line
from litmus.runs.identity import sweep_folder
from litmus.runs.stale import data_fingerprint_elsewhere, find_changes

log = logging.getLogger("litmus")


class Comparison:
    """Runs the sweeps of a plan with `train`, which takes the arguments of train.py and returns its exit status.

    Repeated, it does what is left. `after_sweep` is called when a sweep has ended.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        train: Callable[[list[str]], int],
        extra: Sequence[str] = (),
        after_sweep: Callable[[], None] = lambda: None,
    ):
        self.name, self.plan, self.train, self.extra, self.after_sweep = name, plan, train, extra, after_sweep
        self.folder = sweep_folder(name)

    def run(self) -> None:
        """Raises StoppedRun if a sweep is refused or interrupted, or if an arm has no finished tuning trial."""
        for arm in self.plan.arms:
            if arm.tuned:
                self._sweep(self.plan.tuning(self.name, arm))
                self._require_test_images()
        self._evaluate(self.plan.seeds)
        if self.plan.detect is not None:
            needed = seeds_needed(self.plan, read_results(self.folder, self.plan))
            seeds = min(needed, self.plan.max_seeds)
            log.info(f"\nStein's rule: {needed} seeds, {seeds - self.plan.seeds} more than the pilot")
            self._evaluate(seeds)

    def _require_test_images(self) -> None:
        """Raises StoppedRun if the metric is of a test that the data do not have."""
        trials = [run for result in read_results(self.folder, self.plan) for run in result.trials]
        if self.plan.metric.startswith("test/") and any(run.images.get("test") == 0 for run in trials):
            raise StoppedRun(
                f"the data have no test images, so {self.plan.metric} cannot be measured; compare again with "
                f"--metric {self.plan.objective}"
            )

    def _evaluate(self, seeds: int) -> None:
        for result in read_results(self.folder, self.plan):
            if result.arm.tuned and result.best is None:
                raise StoppedRun(f"no tuning trial of {result.arm.name} has finished, so it cannot be evaluated")
            if not result.runs.keys() >= set(range(seeds)):
                self._sweep(self.plan.evaluation(self.name, result.arm, result.tuned, seeds))
                self._check_evaluated(result.arm)

    def _check_evaluated(self, arm: Arm) -> None:
        """Raises StoppedRun if the runs of an arm are not those of the plan, or lack its metric."""
        result = next(one for one in read_results(self.folder, self.plan) if one.arm == arm)
        if result.unplanned and not result.runs:
            raise StoppedRun(
                f"the runs of {arm.name} have another config than the plan, such as {result.unplanned[0]}: conf/ has "
                "changed since; restore it, or start another comparison with --name"
            )
        if result.runs and not result.by_seed(self.plan.metric):
            known = ", ".join(sorted({name for run in result.runs.values() for name in run.metrics}))
            raise StoppedRun(
                f"no run of {arm.name} has {self.plan.metric}; compare again with --metric, one of {known}"
            )

    def _sweep(self, arguments: list[str]) -> None:
        log.info(f"\n{command_line(arguments)}")
        status = self.train([*arguments, *self.extra])
        if status not in (0, 1):  # 1: some of its jobs failed, which the report lists
            raise StoppedRun(f"the sweep ended with exit status {status}, for the reason above")
        self.after_sweep()


def refuse_changed_runs(folder: Path, stale: str | None) -> None:
    """Raises ConfigError if runs of the comparison were made with other code or data, unless `stale` is keep."""
    runs = {file.parent: read_config(file.parent / ".hydra" / "config.yaml") for file in _run_files(folder)}
    changes = find_changes(runs, data_fingerprint_elsewhere)
    changes.require_answer(stale, "start another comparison with --name", keep="--stale keep")
    changes.warn_if_kept(stale)


def has_runs(folder: Path) -> bool:
    return next(iter(_run_files(folder)), None) is not None


def _run_files(folder: Path) -> Iterable[Path]:
    return (file for stage in ("tune", "evaluate") for file in sorted(folder.glob(f"{stage}/*/*/run.json")))
