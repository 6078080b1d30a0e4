"""Grid sweep: every combination."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from litmus.core.metric_direction import mode_of_result
from litmus.runs.stale import KEEP, RERUN, data_fingerprint_elsewhere, find_changes
from litmus.sweeps.console import format_count
from litmus.sweeps.jobs import Composer, Job, JobOutcome
from litmus.sweeps.leaderboard import JobResult, Row, ranked
from litmus.sweeps.space import Space, fixed, grid

log = logging.getLogger("litmus")


class Grid:
    """The jobs of every combination of `space`, without duplicates. Raises ConfigError if one cannot be composed."""

    prunes = False
    after_failures = "; the same command tries them again"

    def __init__(self, space: Space, composer: Composer):
        self.keys = [key for key in space if key not in fixed(space)]
        jobs = [composer.job(settings, self.keys) for settings in grid(space)]
        self.all = list({job.hash: job for job in reversed(jobs)}.values())[::-1]
        self.total = len(self.all)
        stale = self._stale(composer.master.stale)
        self.results = {job.hash: result for job in self.all if job.path not in stale and (result := job.result())}
        self.done = len(self.results)
        begun = sum(job.started for job in self.all) - self.done
        counts = [f"{self.done} finished already" if self.done else "", f"{begun} begun" if begun else ""]
        repeated = len(jobs) - self.total
        counts.append(f"{repeated} more are the same as others" if repeated else "")
        self.introduction = ", ".join([format_count(self.total, "job"), *filter(None, counts)])

    def _stale(self, stale: str | None) -> Sequence[Path]:
        """The jobs to run again. Raises ConfigError if code or data have changed and `stale` is null."""
        changes = find_changes({job.path: job.config for job in self.all}, data_fingerprint_elsewhere)
        changes.require_answer(stale)
        changes.warn_if_kept(stale)
        self.kept = set(changes.paths) if stale == KEEP else set()
        return changes.paths if stale == RERUN else []

    @property
    def over(self) -> bool:
        return self.done == self.total

    def open(self) -> None:
        pass

    def jobs(self) -> Iterator[Job]:
        return iter([job for job in self.all if job.hash not in self.results])

    def watch(self, job: Job, epoch: int, value: float) -> bool:
        return False

    def take(self, ended: JobOutcome) -> bool:
        """Returns whether the job failed."""
        if ended.result is not None:
            self.results[ended.job.hash] = ended.result
        return ended.result is None

    @property
    def setting(self) -> list[str]:
        """The columns of a setting: its keys but the seed, and which results are of other code or data."""
        return [*self._compared, *(["stale"] if self.kept else [])]

    @property
    def _compared(self) -> list[str]:
        return [key for key in self.keys if key != "seed"]

    def _cells(self, job: Job) -> tuple[str, ...]:
        kept = [KEEP if job.path in self.kept else "no"] if self.kept else []
        return (*(job.settings[key] for key in self._compared), *kept)

    def rows(self) -> list[Row]:
        return ranked(
            JobResult(
                self._cells(job),
                result["objective_name"],
                mode_of_result(result),
                job.config.seed,
                result["objective"],
                result["metrics"].get("val/loss"),
            )
            for job in sorted(self.all, key=lambda job: job.path)
            if (result := self.results.get(job.hash))
        )

    def summary(self) -> str:
        return ""
