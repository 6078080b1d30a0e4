"""How train.py and the scripts are started, and how a user's mistake is answered: with one sentence."""

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from litmus.environment import prepare_environment
from litmus.errors import ConfigError, StoppedRun
from litmus.overrides import check
from litmus.runs.identity import ANNOUNCEMENT
from litmus.sweeps.arguments import typed


def command(main: Callable[[DictConfig], Any]) -> Callable[[], Any]:
    """`hydra.main` over the conf/ beside the script, where a user's mistake ends in one sentence and exit status 2.

    With HYDRA_FULL_ERROR=1 in the environment, the traceback is shown as well.
    """
    conf = Path(sys.modules[main.__module__].__file__ or "").resolve().parent / "conf"
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Inside too, because Hydra prints "Error executing job" for what passes through it.
    hydra_main = hydra.main(version_base="1.3", config_path=str(conf), config_name="train")(
        functools.wraps(main)(lambda cfg: _answer(lambda: main(cfg), traceback_wanted))
    )

    @functools.wraps(main)
    def wrapped() -> Any:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
        if ANNOUNCEMENT in os.environ:  # another process of a run, which the first one ends
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _answer(prepare_environment, traceback_wanted)
        start_logging()
        typed[:] = sys.argv[1:]
        sys.argv[1:] = _answer(lambda: check(sys.argv[1:], conf), traceback_wanted)
        return _answer(hydra_main, traceback_wanted)

    return wrapped


def script(main: Callable[[], Any]) -> Callable[[], Any]:
    """`main` of a script that reads its own arguments, with the same answer to a user's mistake."""

    @functools.wraps(main)
    def wrapped() -> Any:
        # A module of one's own beside train.py is found there, as train.py finds it.
        sys.path.append(str(Path(main.__code__.co_filename).resolve().parents[1]))
        traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
        _answer(prepare_environment, traceback_wanted)
        start_logging()
        return _answer(main, traceback_wanted)

    return wrapped


def _answer(function: Callable[[], Any], traceback_wanted: bool) -> Any:
    try:
        return function()
    except (ConfigError, StoppedRun, HydraException, OmegaConfBaseException) as error:
        if traceback_wanted:
            raise
        if isinstance(error.__cause__, ConfigError):  # what Hydra wraps, of a launcher's or a sweeper's options
            error = error.__cause__
        sentence = " ".join(line.strip() for line in str(error).splitlines())
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before there is anything to go on with
        sys.exit(128 + signal.SIGINT)


class Screen(logging.StreamHandler):
    """Silent once nobody reads it any more, as after `| head`."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def start_logging() -> None:
    """What Litmus logs goes to the screen as it is; train.log adds the time."""
    logger = logging.getLogger("litmus")
    if not logger.handlers:
        screen = Screen(sys.stdout)
        screen.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(screen)
        logger.setLevel(logging.INFO)
        logger.propagate = False
