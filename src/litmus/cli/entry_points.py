"""Entry points of train.py and the scripts: user errors become one sentence."""

import argparse
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from litmus.cli.overrides import check
from litmus.cli.streams import prepare_streams
from litmus.core.console_log import start_logging
from litmus.core.environment import prepare_environment
from litmus.errors import ConfigError, StoppedRun
from litmus.runs.identity import ANNOUNCEMENT
from litmus.sweeps.override_syntax import cli_args

FULL_ERROR = "HYDRA_FULL_ERROR"  # in the environment
PLACES = {  # errors of the file system
    errno.EACCES: "permission denied; change its permissions, or choose another place",
    errno.EPERM: "permission denied; change its permissions, or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose one of at most 255 bytes",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another place",
    errno.ENOSPC: "the disk is full; free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space, then run the same command again",
}


def command(main: Callable[[DictConfig], Any]) -> Callable[[], Any]:
    """`hydra.main` over the conf/ beside the script. A user error becomes one sentence and exit status 2.

    With HYDRA_FULL_ERROR=1 in the environment, the traceback is shown as well.
    """
    conf = Path(sys.modules[main.__module__].__file__ or "").resolve().parent / "conf"
    traceback_wanted = os.environ.get(FULL_ERROR) == "1"

    @functools.wraps(main)
    def answered(cfg: DictConfig) -> Any:
        # Inside too, because Hydra prints "Error executing job" for what passes through it.
        with _full_error("1" if traceback_wanted else "0"):  # for the processes that a run starts
            return _answer(lambda: main(cfg), traceback_wanted)

    hydra_main = hydra.main(version_base="1.3", config_path=str(conf), config_name="train")(answered)

    @functools.wraps(main)
    def wrapped() -> Any:
        if ANNOUNCEMENT in os.environ:  # another rank, which rank zero ends
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _prepare_process(traceback_wanted)
        cli_args[:] = sys.argv[1:]
        sys.argv[1:] = _answer(lambda: check(sys.argv[1:], conf), traceback_wanted)
        with _full_error("1"):  # Hydra then raises its errors instead of printing them
            return _answer(hydra_main, traceback_wanted)

    return wrapped


def script(main: Callable[[], Any]) -> Callable[[], Any]:
    """`main` of a script with its own arguments. A user error becomes one sentence and exit status 2."""

    @functools.wraps(main)
    def wrapped() -> Any:
        # Your own module beside train.py is found there, as train.py finds it.
        folders = Path(main.__code__.co_filename).resolve().parents
        sys.path.append(str(next((folder for folder in folders if (folder / "train.py").exists()), folders[0])))
        traceback_wanted = os.environ.get(FULL_ERROR) == "1"
        _prepare_process(traceback_wanted, warnings_to_stderr=True)
        return _answer(main, traceback_wanted)

    return wrapped


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds --trust, which a script passes on to `litmus.load`."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module outside the project that the run may use",
    )


def _prepare_process(traceback_wanted: bool, warnings_to_stderr: bool = False) -> None:
    prepare_streams()
    _answer(prepare_environment, traceback_wanted)
    start_logging(warnings_to_stderr)


@contextmanager
def _full_error(value: str) -> Iterator[None]:
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(FULL_ERROR, None)
        else:
            os.environ[FULL_ERROR] = before


def _answer(function: Callable[[], Any], traceback_wanted: bool) -> Any:
    try:
        result = function()
        sys.stdout.flush()
        return result
    except BrokenPipeError:  # `| head` does not read the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:  # before anything can be resumed
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if _was_interrupted(error):
            sys.exit(128 + signal.SIGINT)
        sentence = _sentence(error)
        if sentence is None or traceback_wanted:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused the error; OmegaConf wraps it in its own errors."""
    seen: set[int] = set()  # an error may be raised from itself
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _sentence(error: Exception) -> str | None:
    """The message for a user error, with the fix; None for any other error."""
    if isinstance(error.__cause__, ConfigError):  # Hydra wraps the errors of launchers and sweepers
        error = error.__cause__
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}, is not valid YAML: {error.problem}"
    if isinstance(error, OSError) and error.errno in PLACES and error.filename is not None:
        return f"{_shortened(str(error.filename))}: {PLACES[error.errno]}"
    if isinstance(error, ModuleNotFoundError):  # an optional dependency, or an import of the user's
        return str(error) if error.name is None else f"{error}; install it, or correct the import"
    if _is_out_of_memory(error):
        return (
            f"out of memory ({str(error).strip().splitlines()[0]}); set a smaller data.batch_size or "
            "data.eval_batch_size, or choose a smaller model"
        )
    if isinstance(error, ConfigError | StoppedRun | HydraException | OmegaConfBaseException):
        return " ".join(line.strip() for line in str(error).splitlines())
    return None


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error)
    too_much = ("allocate" in said and "memory" in said.lower()) or "Storage size calculation overflowed" in said
    on_cpu = isinstance(error, MemoryError | RuntimeError) and too_much
    return on_cpu or type(error).__name__ == "OutOfMemoryError"  # torch's, which is not imported here


def _shortened(path: str) -> str:
    return path if len(path) <= 120 else f"{path[:60]}…{path[-50:]}"
