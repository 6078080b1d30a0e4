"""What happens when a sweep has ended."""

from pathlib import Path


def at_end(folder: Path) -> None:
    """Called once all jobs of the sweep in `folder` have ended, failed ones too: the place to call a report from."""
