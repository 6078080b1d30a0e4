"""Litmus' log on the terminal."""

import logging
import sys


class ConsoleHandler(logging.StreamHandler):
    """A handler that stops writing when nobody reads any more, as after `| head`."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def start_logging() -> None:
    """Logs to the terminal without prefixes; train.log adds the time."""
    logger = logging.getLogger("litmus")
    if not logger.handlers:
        screen = ConsoleHandler(sys.stdout)
        screen.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(screen)
        logger.setLevel(logging.INFO)
        logger.propagate = False
