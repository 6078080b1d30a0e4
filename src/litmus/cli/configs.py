"""Composes the config of a command line without its values."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig


@dataclass(frozen=True)
class Configs:
    """The options of every group, and the config that choices compose. `places` are overrides of hydra.searchpath."""

    loader: ConfigLoader
    name: str
    places: Sequence[str]
    groups: set[str] = field(init=False)

    def __post_init__(self) -> None:
        names = self.loader.get_group_options("", ObjectType.GROUP, self.name, list(self.places))
        object.__setattr__(self, "groups", {name for name in names if name != "hydra"})

    def options(self, group: str) -> list[str]:
        return self.loader.get_group_options(group, ObjectType.CONFIG, self.name, list(self.places))

    def compose(self, choices: dict[str, str]) -> DictConfig:
        chosen = [f"{group}={choice}" for group, choice in choices.items()]
        return compose(self.name, [*self.places, *chosen], return_hydra_config=True)


@contextmanager
def open_configs(conf: Path, name: str, places: Sequence[str]) -> Iterator[Configs]:
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        yield Configs(GlobalHydra.instance().config_loader(), name, places)
