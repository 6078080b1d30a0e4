"""The file that keeps what a run said."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def kept(log: logging.Logger, path: Path) -> Iterator[None]:
    """What `log` says within it is in the file too, each line with its time, and what it was stopped by."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(file)
    try:
        yield
    except BaseException as error:
        file.emit(log.makeRecord(log.name, logging.ERROR, "", 0, f"stopped by {error!r}", (), None))
        raise
    finally:
        log.removeHandler(file)
        file.close()
