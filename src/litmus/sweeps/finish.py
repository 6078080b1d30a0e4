"""The end of a sweep: leaderboard and report."""

import logging
from pathlib import Path

log = logging.getLogger("litmus")


def at_end(folder: Path) -> None:
    """Called when all jobs of the sweep in `folder` have ended, including failed ones."""
    from litmus.report import write_report

    try:
        log.info(f"\nreport: {write_report([folder])}")
    except Exception as error:  # the results are complete even if a figure fails
        log.info(f"\nno report, because of {error!r}: python scripts/report.py {folder} shows where")
