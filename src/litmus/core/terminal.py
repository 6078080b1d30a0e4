"""A terminal line that is overwritten in place."""

import shutil
import sys


def overwrite_line(text: str) -> None:
    """Replaces the last line of standard error, truncated to the width of the terminal."""
    columns = shutil.get_terminal_size((120, 24)).columns
    sys.stderr.write(f"\r\033[K{text[: columns - 1]}")
    sys.stderr.flush()
