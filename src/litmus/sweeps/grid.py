"""Grid sweep: every combination."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from litmus.core.metric_direction import mode_of_result
from litmus.runs.stale import RERUN, data_fingerprint_elsewhere, find_changes, source_key
from litmus.sweeps.console import describe_jobs
from litmus.sweeps.jobs import Composer, Job, JobOutcome
from litmus.sweeps.leaderboard import JobResult, Row, ranked
from litmus.sweeps.space import Space, fixed, grid
from litmus.sweeps.versions import version_columns

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
        started = sum(job.started and job.path not in stale for job in self.all) - self.done
        self.introduction = describe_jobs(self.total, self.done, started, len(stale), len(jobs) - self.total)

    def _stale(self, stale: str | None) -> Sequence[Path]:
        """The jobs to run again. Raises ConfigError if code or data have changed and `stale` is null."""
        changes = find_changes({job.path: job.config for job in self.all}, data_fingerprint_elsewhere)
        changes.require_answer(stale)
        changes.warn_if_kept(stale)
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

    def rows(self) -> tuple[list[str], list[Row]]:
        """The columns of a setting (its keys except the seed, and code or data that differ), and the settings."""
        keys = [key for key in self.keys if key != "seed"]
        finished = sorted((job for job in self.all if job.hash in self.results), key=lambda job: job.path)
        versions = version_columns({job.path: source_key(job.config.data) for job in finished})
        results = []
        for job in finished:
            result = self.results[job.hash]
            setting = (*(job.settings[key] for key in keys), *(cells[job.path] for cells in versions.values()))
            mode = mode_of_result(result)
            ties = result["metrics"].get("val/loss")
            of_job = JobResult(setting, result["objective_name"], mode, job.config.seed, result["objective"], ties)
            results.append(of_job)
        return [*keys, *versions], ranked(results)

    def summary(self) -> str:
        return ""
