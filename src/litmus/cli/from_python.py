"""Configs and runs from Python, as in a notebook."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from litmus.cli.overrides import check
from litmus.cli.value_types import check_type
from litmus.core.console_log import start_logging
from litmus.core.environment import prepare_environment
from litmus.core.hydra_values import as_hydra_value, key_of
from litmus.core.saved_config import flatten
from litmus.errors import ConfigError, require
from litmus.runs.code_version import require_unchanged_modules

if TYPE_CHECKING:
    from litmus.inference.loading import TrainedModel

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class FinishedRun:
    """A complete run: its directory and the contents of its result.json."""

    path: Path
    objective: float  # its best value
    metrics: dict[str, float]  # of the best epoch, and of the test if there was one
    best_epoch: int
    epochs: int
    stop_reason: str
    result: dict[str, Any] = field(repr=False)  # all of result.json

    def load(self, checkpoint: str = "best", trust: str | Sequence[str] = ()) -> TrainedModel:
        """The trained model, as `litmus.load` gives it."""
        from litmus.inference.loading import load

        return load(self.path, checkpoint, trust)


def compose(*overrides: str, conf: str | Path | None = None) -> DictConfig:
    """The config of `python train.py OVERRIDES`, for `litmus.train`. Its values may be changed.

    `conf` is the folder of options; by default conf/ in the current directory, or that of the repository. Raises
    ConfigError for what the command line would refuse.
    """
    folder = Path(conf) if conf is not None else _default_conf()
    require((folder / "train.yaml").is_file(), f"{folder} has no train.yaml; give the folder of options as conf=FOLDER")
    for override in overrides:
        is_override = isinstance(override, str) and ("=" in override or override.startswith("~"))
        require(is_override and not override.startswith("-"), f"{override!r} is not an override; write 'KEY=VALUE'")
        several = re.fullmatch(r"[\w.+~]+=[^'\"\s]+(\s+[\w.+~]+=[^'\"\s]+)+", override.strip())
        require(several is None, f"{override!r} holds several overrides; give each as an argument of its own")
    cfg = _compose(check(list(overrides), folder), folder)
    require(
        not str(cfg.hydra.mode).endswith("MULTIRUN"),
        f"{' '.join(overrides)} is a sweep, and litmus.train runs one run; use python train.py {' '.join(overrides)}, "
        "or call litmus.train for each setting",
    )
    return cfg


def _compose(checked: list[str], conf: Path) -> DictConfig:
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        cfg = hydra_compose("train", checked, return_hydra_config=True)
    OmegaConf.set_readonly(cfg.hydra, False)
    return cfg


def train(cfg: DictConfig) -> FinishedRun:
    """Trains the run of a config of `litmus.compose` in this process, or shows its result if it is complete.

    Raises ConfigError for an error in the config and for an imported module whose file has changed, StoppedRun for a
    run that had to end, and KeyboardInterrupt on an interrupt; with an output_dir, the same call then resumes the run.
    """
    is_composed = isinstance(cfg, DictConfig) and "hydra" in cfg
    require(is_composed, "litmus.train takes a config of litmus.compose('KEY=VALUE', …)")
    cfg = _with_changes(cfg)
    processes = cfg.accelerator.devices * cfg.accelerator.num_nodes
    if processes != 1:
        raise ConfigError(f"litmus.train runs one process, and this config requests {processes}; use python train.py")
    require_unchanged_modules()
    prepare_environment()
    start_logging()
    import torch

    from litmus import runs

    own = cfg.copy()
    with open_dict(own):
        del own["hydra"]
    threads = torch.get_num_threads()
    with _as_command(cfg):
        try:
            run = runs.Run(own)
            if run.result is None:
                runs.train(run)
            else:
                run.show_again(run.result)
        finally:
            torch.set_num_threads(threads)
    result = run.result
    assert result is not None
    names = ("objective", "metrics", "best_epoch", "epochs", "stop_reason")
    return FinishedRun(run.path, **{name: result[name] for name in names}, result=result)


def _with_changes(cfg: DictConfig) -> DictConfig:
    """A copy of the config, with what was changed after composing added to its overrides, which name the run.

    Raises ConfigError for a value that the command line could not give. Paths become strings.
    """
    cfg = cfg.copy()
    _make_paths_strings(cfg)
    task = list(cfg.hydra.overrides.task)
    conf = next(source.path for source in cfg.hydra.runtime.config_sources if source.provider == "main")
    composed = _compose([*cfg.hydra.overrides.hydra, *task], Path(conf))  # with hydra.searchpath
    for group in map(str, composed):
        is_group = OmegaConf.is_dict(composed[group]) and group != "hydra"
        require(
            not is_group or OmegaConf.is_dict(cfg.get(group)),
            f"{group} is {cfg.get(group)!r}, not a group of options; choose its option with "
            f"litmus.compose('{group}=OPTION')",
        )
    before, after = (_leaves(one) for one in (composed, cfg))
    for key, value in after.items():
        require(
            _is_plain(value), f"{key} is {value!r}, which a config cannot hold; give a number, a text, a list or a dict"
        )
        if key in before and before[key] != value and value is not None:
            check_type(key, value, OmegaConf.select(composed, key, throw_on_resolution_failure=False))
    removed = [f"~{key}" for key in before if key not in after]
    changed = [
        f"{'' if key in before else '+'}{key}={as_hydra_value(value)}"
        for key, value in after.items()
        if key not in before or before[key] != value
    ]
    keys = {key_of(line) for line in changed + removed}
    cfg.hydra.overrides.task = [line for line in task if line.partition("=")[0] not in keys] + changed + removed
    return cfg


def _leaves(cfg: DictConfig) -> dict[str, Any]:
    """The values by dotted key, without Hydra's own; interpolations are unresolved."""
    values = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(values, dict)
    return flatten({key: value for key, value in values.items() if key != "hydra"})


def _make_paths_strings(node: Any) -> None:
    for key in list(node) if OmegaConf.is_dict(node) else range(len(node)):
        child = node._get_node(key)
        if isinstance(child._value(), Path):
            node[key] = str(child._value())
        elif OmegaConf.is_config(child) and not (child._is_none() or child._is_missing() or child._is_interpolation()):
            _make_paths_strings(child)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return type(value) in (type(None), bool, int, float, str)


@contextmanager
def _as_command(cfg: DictConfig) -> Iterator[None]:
    """Sets up what train.py has: Hydra's config and the arguments."""
    hydra, argv = HydraConfig.instance(), sys.argv
    before = hydra.cfg
    hydra.set_config(cfg)
    sys.argv = ["train.py", *cfg.hydra.overrides.task]
    try:
        yield
    except SystemExit as stop:
        if stop.code == 130:
            raise KeyboardInterrupt from None
        raise
    finally:
        hydra.cfg, sys.argv = before, argv


def _default_conf() -> Path:
    here = Path("conf")
    return here if (here / "train.yaml").is_file() else REPOSITORY / "conf"
