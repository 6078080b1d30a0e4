"""Litmus' log on the terminal."""

import logging
import sys


class ConsoleHandler(logging.StreamHandler):
    """A handler that stops writing when nobody reads any more, as after `| head`."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def start_logging(warnings_to_stderr: bool = False) -> None:
    """Logs to stdout without prefixes; train.log adds the time. A script whose output programs read sends its warnings
    to stderr.
    """
    logger = logging.getLogger("litmus")
    if not logger.handlers:
        screen = ConsoleHandler(sys.stdout)
        screen.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(screen)
        if warnings_to_stderr:
            screen.addFilter(lambda record: record.levelno < logging.WARNING)
            errors = ConsoleHandler(sys.stderr)
            errors.setFormatter(screen.formatter)
            errors.setLevel(logging.WARNING)
            logger.addHandler(errors)
        logger.setLevel(logging.INFO)
        logger.propagate = False
