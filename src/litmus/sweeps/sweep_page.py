"""The report of a sweep: rewritten as its jobs end, and complete when all have ended."""

import logging
import time
from pathlib import Path

log = logging.getLogger("litmus")

SECONDS = 10.0  # at least, between two versions of the page of a running sweep


class SweepPage:
    """The page of the sweep in `folder`, or of the comparison that the sweep belongs to. It never fails a sweep."""

    def __init__(self, folder: Path, total: int):
        from litmus.report.comparison_plan import is_comparison

        self.folder, self.total = folder, total
        above = folder.parent.parent
        self.comparison = above if is_comparison(above) else None
        self.due = time.monotonic() + SECONDS
        self.is_shown = self.is_broken = False

    def update(self, done: int) -> None:
        """Rewrites the page, without figures, if its last version is old enough. `done` jobs have ended."""
        if time.monotonic() >= self.due and done < self.total:
            self._write(done, is_running=True)
            self.due = time.monotonic() + SECONDS

    def stop(self, done: int) -> None:
        """Says on the page that the sweep was interrupted, if the page says that it runs."""
        if self.is_shown and self.comparison is None:
            self._write(done, is_running=False)

    def _write(self, done: int, is_running: bool) -> None:
        from litmus.report import write_progress
        from litmus.report.comparison_page import write_comparison

        if self.is_broken:
            return
        try:
            if self.comparison is not None:
                write_comparison(self.comparison, is_running=True)
            else:
                write_progress(self.folder, done, self.total, is_running)
            self.is_shown = True
        except Exception as error:  # the sweep does not need the page
            self.is_broken = True
            log.warning(f"the report is not updated until the sweep ends, because of {error!r}")

    def finish(self) -> None:
        """Writes the report, also if jobs have failed. That of a comparison is written by scripts/compare.py."""
        from litmus.report import write_report

        if self.comparison is not None:
            return
        try:
            log.info(f"\nreport: {write_report([self.folder])}")
        except Exception as error:  # the results are complete even if a figure fails
            log.info(f"\nno report, because of {error!r}: python scripts/report.py {self.folder} shows where")
