"""The end of a sweep: leaderboard and report."""

import logging
from pathlib import Path

log = logging.getLogger("litmus")


def at_end(folder: Path) -> None:
    """Called once all jobs of the sweep in `folder` have ended, failed ones too."""
    from litmus.report import write_report

    try:
        log.info(f"\nreport: {write_report([folder])}")
    except Exception as error:  # the results are there, whatever a figure minds
        log.info(f"\nno report, because of {error!r}: python scripts/report.py {folder} shows where")
