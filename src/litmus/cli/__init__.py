"""The command line: entry points of train.py and the scripts, checked overrides, and answers to a user's mistakes.

What a run or a sweep does is elsewhere. Nothing here imports torch.
"""

import sys
from types import TracebackType


def _exit_without_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Ends with the exit status of an interrupt, without a traceback, for Ctrl-C during imports."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _exit_without_traceback

from litmus.cli.entry_points import add_trust, command, script  # noqa: E402 (importing takes most of it)

__all__ = ["add_trust", "command", "script"]
