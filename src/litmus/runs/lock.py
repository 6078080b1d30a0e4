"""One process at a time in a run directory."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from litmus.errors import ConfigError

LOCK = ".lock"  # in the run directory; it stays there, and only an open one is locked
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # some clusters' file systems
PATIENCE = 5.0  # seconds for a killed process, or the workers it started, to be gone


@contextmanager
def lock_directory(path: Path, patience: float | None = None) -> Iterator[None]:
    """Holds the lock of a run directory, which is created if it does not exist.

    The operating system releases the lock when the process ends, however it ends. Raises ConfigError, naming the
    process that holds it, if it is not free within `patience` seconds (by default, PATIENCE). Does nothing where the
    file system has no locks.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # of a file system that has no new folders, such as /proc
        raise ConfigError(f"{path} cannot be created ({error.strerror}); choose another output_dir") from None
    file = path / LOCK
    lock = FileLock(file, timeout=PATIENCE if patience is None else patience)
    try:
        lock.acquire(poll_interval=0.1)
    except Timeout:
        raise ConfigError(
            f"{path} is in use by {_read_holder(file)}; wait until it ends, or choose another output_dir"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        yield
        return
    try:
        file.write_text(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        yield
    finally:
        lock.release()


@contextmanager
def discard_if_refused(path: Path) -> Iterator[None]:
    """Removes the directory of a run or a sweep that did not exist before, where ConfigError is raised within.

    Not one with a checkpoint. Some options are only checked when training starts, and a refused command must not leave
    anything.
    """
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except ConfigError:
        if new and not any(path.rglob("last.ckpt")):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # a parent that another run uses as well
                for parent in new[1:]:
                    parent.rmdir()
        raise


def _read_holder(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text().strip() or "another process"
    return "another process"
