"""The jobs of a sweep: composed, named and looked up."""

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from litmus.errors import ConfigError, require
from litmus.runs.identity import config_hash, experiment, is_hash_of, job_directory
from litmus.runs.monitors import find_monitors
from litmus.runs.records import read_record
from litmus.training.trainer_options import check_trainer_options

Settings = dict[str, str]  # override key and value, as on the command line


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    settings: Settings
    config: DictConfig = field(repr=False)  # with Hydra's part
    hash: str
    path: Path

    @property
    def overrides(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.settings.items()]

    def shown(self, keys: Iterable[str]) -> str:
        """The settings that distinguish it from the other jobs."""
        return " ".join(f"{key}={self.settings[key]}" for key in keys) or "defaults"

    @property
    def started(self) -> bool:
        return (self.path / "run.json").exists()

    def result(self, pruned_too: bool = False) -> dict[str, Any] | None:
        """The contents of result.json if the run is complete; a pruned run is not."""
        path = self.path / "result.json"
        found = read_record(path, "config_hash", "objective", "metrics") if path.exists() else None
        if not found or (found.get("pruned") and not pruned_too):
            return None
        if found["config_hash"] != self.hash and not is_hash_of(found["config_hash"], experiment(self.config)):
            return None
        return dict(found)


@dataclass(frozen=True)
class JobOutcome:
    """A job with its result, or the reason why there is none."""

    job: Job
    result: dict[str, Any] | None
    seconds: float
    reason: str = ""
    diverged: bool = False  # only its training diverged
    log: Path | None = None
    refused: bool = False  # its options were refused before training


class Composer:
    """Composes jobs from settings. Raises ConfigError, naming the settings, for those that cannot be composed.

    Composing takes Hydra a tenth of a second, so it is done once per choice of group options; values are then set as
    Hydra sets them.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, sweep_name: str):
        self.loader = loader
        self.master = master
        self.sweep_name = sweep_name
        self.groups = set(loader.list_groups(""))
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def job(self, settings: Settings, swept: Collection[str]) -> Job:
        """The job of these settings, in a directory whose name starts with the `swept` ones."""
        lines = [f"{key}={value}" for key, value in settings.items()]
        try:
            config = self._config(lines)
            identity = experiment(config)
        except (HydraException, OmegaConfBaseException) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ConfigError(f"{' '.join(lines)} is not possible: {reason}") from error
        check_trainer_options(config.trainer)
        find_monitors(config)
        for key in ("output_dir", "resume"):
            require(
                config.get(key) is None,
                f"{key} is for a single run, and the jobs of a sweep have their own: leave it out; sweep_name=NAME "
                "names the whole",
            )
        named = sorted(lines, key=lambda line: (line.split("=")[0] not in swept, line))
        path = job_directory(self.sweep_name, named, identity)
        config.output_dir = str(path)
        return Job(settings, config, config_hash(identity), path)

    def is_group(self, key: str) -> bool:
        return key in self.groups or "/" in key

    def _config(self, lines: Sequence[str]) -> DictConfig:
        groups = tuple(line for line in lines if self.is_group(line.split("=")[0]))
        if groups not in self._composed:
            self._composed[groups] = self._compose(groups)
        config = copy.deepcopy(self._composed[groups])
        values = [self._parse(line) for line in lines if line not in groups]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.overrides.task = list(lines)
            config.hydra.mode = RunMode.MULTIRUN
        config.sweep_name, config.stale = self.sweep_name, self.master.stale
        return config

    def _compose(self, groups: Sequence[str]) -> DictConfig:
        hydra = self.master.hydra
        own = [line for line in hydra.overrides.hydra if not line.startswith(("hydra.mode", "hydra.sweeper"))]
        config = self.loader.load_configuration(hydra.job.config_name, [*own, *groups], RunMode.RUN)
        OmegaConf.copy_cache(from_config=self.master, to_config=config)  # of ${now:} and the like
        return config

    def _parse(self, line: str) -> Override:
        if line not in self._parsed:
            self._parsed[line] = OverridesParser.create(config_loader=self.loader).parse_overrides([line])[0]
        return self._parsed[line]
