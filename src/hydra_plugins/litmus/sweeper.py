"""The sweeper: a grid over listed values, or a search with `sampler=`."""

import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig

from litmus.core.atomic_files import write_json
from litmus.core.counts import format_count
from litmus.errors import ConfigError, require
from litmus.runs.directory import discard_if_empty
from litmus.runs.identity import NOT_THE_EXPERIMENT, sweep_folder
from litmus.runs.launch_history import append_launch
from litmus.sweeps import leaderboard, space
from litmus.sweeps.console import SweepProgress
from litmus.sweeps.grid import Grid
from litmus.sweeps.jobs import Composer, Job, JobOutcome
from litmus.sweeps.override_syntax import cli_args
from litmus.sweeps.sweep_page import SweepPage

log = logging.getLogger("litmus")


class LitmusSweeper(Sweeper):
    """Runs the remaining jobs of a sweep, and ends with its leaderboard. The sweep folder decides what remains.

    `params` are overrides in Hydra's sweep syntax that come before those of the command line.
    """

    def __init__(self, params: DictConfig | None = None):
        self.params = params or DictConfig({})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.config: DictConfig = config
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        require(
            hasattr(self.launcher, "work"),
            "this launcher is not one of Litmus': leave hydra/launcher out, and choose with launcher=",
        )

    def sweep(self, arguments: list[str]) -> None:
        name = str(self.config.sweep_name)
        refuse_own_values(self.loader, self.config)
        plan = self._plan(space.read(self.params, arguments, self.loader), Composer(self.loader, self.config, name))
        log.info(f"sweep {name}: {plan.introduction}")
        folder = sweep_folder(name)
        with discard_if_empty(folder), written(folder / "sweep.json"):
            failures: list[JobOutcome] = []
            if not plan.over:
                with stoppable(name), self.launcher:
                    plan.open()
                    failures = self._work(plan)
        self._conclude(plan, name, failures)

    def _plan(self, swept: space.Space, composer: Composer) -> Any:
        if self.config.get("sampler") is None:
            for option, plain in {"pruner": "none", "n_trials": None}.items():
                given = self.config.hydra.runtime.choices.get(option, self.config.get(option))
                require(given == plain, f"{option}={given} is for a search: add sampler=tpe, or leave it out")
            return Grid(swept, composer)
        from litmus.sweeps.search import Search

        return Search(swept, composer, self.config)

    def _work(self, plan: Any) -> list[JobOutcome]:
        failures = []
        screen = SweepProgress(plan.total, plan.done, self.launcher.jobs)
        page = SweepPage(sweep_folder(str(self.config.sweep_name)), plan.total)

        def watch(job: Job, epoch: int, value: float) -> bool:
            screen.epoch(job, job.shown(plan.keys), epoch, value)
            return bool(plan.watch(job, epoch, value))

        try:
            for ended in self.launcher.work(plan.jobs(), watch, plan.prunes):
                if ended.refused and screen.done == 0:  # most likely refused for all jobs
                    if ended.log is not None:
                        ended.log.unlink(missing_ok=True)
                    raise ConfigError(
                        f"the first job ({ended.job.shown(plan.keys)}) is refused, so none was run: {ended.reason}"
                    )
                if plan.take(ended):
                    failures.append(ended)
                screen.ended(ended, ended.job.shown(plan.keys))
                page.update(screen.done)
        except BaseException:
            page.stop(screen.done)
            raise
        return failures

    def _conclude(self, plan: Any, name: str, failures: list[JobOutcome]) -> None:
        folder = sweep_folder(name)
        with suppress(OSError):
            (folder / "logs").rmdir()  # if no job left anything there
        columns, rows = plan.rows()
        if rows:
            leaderboard.write(folder / "leaderboard.csv", rows, columns)
            log.info(f"\n{leaderboard.table(rows, columns)}")
        page = SweepPage(folder, plan.total)
        # A comparison judges and reports its sweeps together.
        if rows and page.comparison is None and (line := leaderboard.verdict(rows, columns)):
            log.info(f"\n{line}")
        page.finish()
        if summary := plan.summary():
            log.info(f"\n{summary}")
        log.info(f"\n{folder}")
        if failures:
            log.info(f"\n{len(failures)} of {format_count(plan.total, 'job')} failed{plan.after_failures}:")
            for ended in failures:
                log.info(f"  {ended.job.shown(plan.keys)}: {ended.reason}\n    {ended.log}")
            sys.exit(1)


@contextmanager
def written(record: Path) -> Iterator[None]:
    """Adds this launch to sweep.json, which is removed again if it is new and ConfigError is raised."""
    is_new = not record.exists()
    write_json(record, {"starts": append_launch(record, cli_args)})
    try:
        yield
    except ConfigError:
        if is_new:
            record.unlink()
        with suppress(OSError):  # not there, or not empty
            (record.parent / "logs").rmdir()
        raise


def refuse_own_values(loader: ConfigLoader, config: DictConfig) -> None:
    """Raises ConfigError if the `sweep=` file sets a job value where the jobs would not see it."""
    sweep = config.hydra.runtime.choices.get("sweep")
    if not sweep:
        return
    name, own = config.hydra.job.config_name, list(config.hydra.overrides.hydra)
    plain = loader.load_configuration(name, own, RunMode.MULTIRUN)
    with_sweep = loader.load_configuration(name, [*own, f"sweep={sweep}"], RunMode.MULTIRUN)
    for key in map(str, plain):
        require(
            key in NOT_THE_EXPERIMENT or plain._get_node(key) == with_sweep._get_node(key),
            f"sweep={sweep} sets something in {key} itself: put it under hydra.sweeper.params in its file, so that "
            "the jobs are started with it",
        )


@contextmanager
def stoppable(sweep_name: str) -> Iterator[None]:
    """Ends with the exit statuses that shells expect on Ctrl-C and SIGTERM, after all jobs have ended."""

    def terminate(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        named = [] if any(a.startswith("sweep_name=") for a in cli_args) else [f"sweep_name={sweep_name}"]
        log.info(f"\nstopped; to resume: {shlex.join(['python', sys.argv[0], *cli_args, *named])}")
        sys.exit(128 + signal.SIGINT if isinstance(stop, KeyboardInterrupt) else stop.code)
    finally:
        signal.signal(signal.SIGTERM, before)
