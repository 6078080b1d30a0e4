"""train.log: a run's log as a file."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def log_to_file(log: logging.Logger, path: Path) -> Iterator[None]:
    """Writes the lines of `log` to a file too, with their time, and the error or signal that ended the run."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(file)
    try:
        yield
    except BaseException as error:
        file.emit(log.makeRecord(log.name, logging.ERROR, "", 0, f"stopped by {_cause(error)}", (), None))
        raise
    finally:
        log.removeHandler(file)
        file.close()


def _cause(error: BaseException) -> str:
    """The name of the signal behind a SystemExit, or the error itself."""
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        with suppress(ValueError):
            return signal.Signals(error.code - 128).name
    return repr(error)
