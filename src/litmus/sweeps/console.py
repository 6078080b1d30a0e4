"""Progress of a sweep on the terminal."""

import logging
import sys

from litmus.core.counts import format_count
from litmus.core.terminal import overwrite_line
from litmus.sweeps.jobs import Job, JobOutcome

log = logging.getLogger("litmus")


class SweepProgress:
    """Logs a line per finished job, and on a terminal a status line with the progress of the running jobs."""

    def __init__(self, total: int, done: int, side_by_side: int):
        self.total, self.done, self.side_by_side = total, done, side_by_side
        self.terminal = sys.stderr.isatty()
        self.seconds: list[float] = []
        self.running: dict[str, str] = {}

    def epoch(self, job: Job, shown: str, epoch: int, value: float) -> None:
        if self.terminal:
            self.running[job.hash] = f"{shown}: epoch {epoch}/{job.config.trainer.max_epochs}, {value:.4f}"
            overwrite_line("   ".join(self.running.values()))

    def ended(self, ended: JobOutcome, shown: str) -> None:
        self.clear()
        self.running.pop(ended.job.hash, None)
        self.done += 1
        self.seconds.append(ended.seconds)
        number = f"{self.done:>{len(str(self.total))}}/{self.total}"
        log.info(f"{number}  {shown}  {_outcome(ended)}  {duration(ended.seconds)}{self._left()}")

    def clear(self) -> None:
        if self.terminal:
            overwrite_line("")

    def _left(self) -> str:
        left = self.total - self.done
        if left <= 0:
            return ""
        mean = sum(self.seconds) / len(self.seconds)
        return f"  ({left} left, about {duration(mean * left / min(left, self.side_by_side))})"


def _outcome(ended: JobOutcome) -> str:
    if ended.result is None:
        return f"{'stopped' if ended.diverged else 'FAILED'}: {ended.reason}"
    outcome = f"{ended.result['objective_name']} {ended.result['objective']:.4f}"
    if ended.result.get("diverged"):
        outcome += ", diverged"
    return f"{outcome}, pruned after epoch {ended.result['epochs']}" if ended.result.get("pruned") else outcome


def describe_jobs(total: int, finished: int, started: int, stale: int, repeated: int) -> str:
    """What a sweep consists of; `stale` jobs run again because of stale=rerun, and `repeated` ones equal others."""
    parts = [f"{finished} finished already" if finished else "", f"{started} started before" if started else ""]
    if stale:
        parts.append(f"{stale} run{'s' * (stale == 1)} again because code or data have changed (stale=rerun)")
    listed = ", ".join(filter(None, parts))
    text = f"{format_count(total, 'job')}{f', of which {listed}' if listed else ''}"
    return f"{text}; {repeated} more {'is' if repeated == 1 else 'are'} the same as others" if repeated else text


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
