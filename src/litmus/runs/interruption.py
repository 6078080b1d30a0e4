"""Interruptions: signals, a full disk, a lost process."""

import _thread
import errno
import logging
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from litmus.errors import ConfigError, StoppedRun
from litmus.runs.distributed import child_processes, failed_rank_of
from litmus.training.signals import hold

log = logging.getLogger("litmus")

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PLAIN: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextmanager
def translate_errors(trainer: pl.Trainer, path: Path) -> Iterator[None]:
    """Converts errors of the machine or of Lightning during a run to one sentence each."""
    try:
        yield
    except (ConfigError, StoppedRun):
        raise
    except MisconfigurationException as error:
        raise StoppedRun(" ".join(str(error).split())) from error
    except OSError as error:
        if error.errno in FORBIDDEN:
            raise StoppedRun(
                f"{error.filename or path} can't be written ({error.strerror}): choose another output_dir"
            ) from error
        if error.errno not in FULL:
            raise
        raise StoppedRun(
            f"the disk is full ({error.strerror}): free some space, then set resume={path}, which continues from the "
            "last epoch that was saved"
        ) from error
    except Exception as error:
        sentence = failed_rank_of(error, child_processes(trainer)) or _unusable_checkpoint(error, trainer)
        if sentence is None:
            raise
        raise StoppedRun(sentence) from error


def _unusable_checkpoint(error: Exception, trainer: pl.Trainer) -> str | None:
    """A sentence for an error that is caused by the training state in a resumed checkpoint."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    innermost = next((name for name in reversed(files) if "/torch/" not in name or "/torch/optim/" in name), "")
    is_restoring = any(name.endswith("/checkpoint_connector.py") for name in files)
    if trainer.ckpt_path is None or not (is_restoring or "/torch/optim/" in innermost):
        return None
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"the training state in {trainer.ckpt_path} cannot be used ({reason}); restore the file from a backup, or "
        "start a new run"
    )


@contextmanager
def handle_signals(trainer: pl.Trainer, path: Path, in_sweep: bool) -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end the run, with the exit status that shells expect: 130 and 143.

    They raise, so that a file that is being written is left as it was. If they arrive while Python finalizes objects,
    where exceptions are lost, they raise again a moment later. A handler that is already installed (submitit, on a
    cluster) stays.
    """
    number = 0
    unraisable = sys.unraisablehook

    def end(signum: int, frame: Any) -> None:
        nonlocal number
        number = signum
        for other in ours:
            signal.signal(other, signal.SIG_DFL)  # a second signal ends the process at once
        if not hold(signum):
            raise SystemExit(128 + signum)

    def lost(what: Any) -> None:
        if not number or not isinstance(what.exc_value, SystemExit):
            unraisable(what)
            return
        signal.signal(number, end)
        again = threading.Timer(0.05, _thread.interrupt_main, (number,))
        again.daemon = True
        again.start()

    in_main = threading.current_thread() is threading.main_thread()
    ours = [signum for signum, plain in PLAIN.items() if in_main and signal.getsignal(signum) == plain]
    if signal.SIGTERM in ours:  # Lightning's handler would wait for the other processes
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    for signum in ours:
        signal.signal(signum, end)
    sys.unraisablehook = lost
    try:
        yield
    except BaseException:
        if number and not in_sweep and (path / ".hydra" / "overrides.yaml").exists():
            log.info(f"\nstopped; to resume: {shlex.join(['python', sys.argv[0], f'resume={path}'])}")
        for process in child_processes(trainer):
            process.kill()
            process.wait()
        raise
    finally:
        sys.unraisablehook = unraisable
        for signum in ours:
            signal.signal(signum, PLAIN[signum])
