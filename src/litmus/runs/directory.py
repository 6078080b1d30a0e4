"""Locks a run directory for one process, and removes what a refused run left."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from litmus.errors import ConfigError, DirectoryInUse

LOCK = ".lock"  # stays in the run directory; only an open file is locked
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # some clusters' file systems
PATIENCE = 5.0  # seconds to wait for a killed process and its workers to be gone


@contextmanager
def lock_directory(
    path: Path, patience: float | None = None, alternative: str = "another output_dir"
) -> Iterator[None]:
    """Holds the lock of a run directory, which is created if needed.

    The operating system releases the lock when the process ends, even if it is killed. Raises DirectoryInUse, naming
    the process that holds it, if it is not free within `patience` seconds (by default, PATIENCE); `alternative`
    completes "choose …" in the message. Does nothing on a file system without locks.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError) as error:  # as in /proc, and where a link leads nowhere
        raise ConfigError(f"{path} cannot be created ({error.strerror}); choose {alternative}") from None
    file = path / LOCK
    lock = FileLock(file, timeout=PATIENCE if patience is None else patience)
    try:
        lock.acquire(poll_interval=0.1)
    except Timeout:
        raise DirectoryInUse(
            f"{path} is in use by {_read_holder(file)}; wait until it ends, or choose {alternative}"
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
    """Empties a run directory that was empty if ConfigError is raised before its first checkpoint.

    Some options are only checked when training starts, and a refused command must leave nothing behind. Use it while
    the directory is locked, so that no other process writes there.
    """
    is_new = all(entry.name == LOCK for entry in path.iterdir())
    try:
        yield
    except ConfigError:
        if is_new and not (path / "checkpoints" / "last.ckpt").exists():
            for entry in path.iterdir():
                if entry.name != LOCK:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        raise


@contextmanager
def discard_if_empty(path: Path) -> Iterator[None]:
    """Removes the folder and its parents, if they are new and empty, after a ConfigError."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except ConfigError:
        with suppress(OSError):  # another process has written there
            if new and [entry.name for entry in path.iterdir()] == [LOCK]:
                (path / LOCK).unlink()
            for folder in new:
                folder.rmdir()
        raise


def _read_holder(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text().strip() or "another process"
    return "another process"
