"""Decides which `_target_` of a stored config is imported and called: the file may come from someone else."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import torchvision
from pytorch_lightning.callbacks import Callback
from torch import nn

from litmus.core.modules import find_module
from litmus.errors import ConfigError, require
from litmus.runs.model_building import PRETRAINED

PACKAGE = __name__.partition(".")[0]
OWN_SCRIPTS = (PACKAGE, "hydra_plugins", "scripts", "tests", "train")  # in the project, and not the user's own parts
MOST_NODES = 1000
NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+"
BY_PATH = ("hydra.utils.get_method", "hydra.utils.get_class")  # return what `path` names, without a call


@dataclass(frozen=True)
class Library:
    """A library or a part of it. Its objects for which `accepts` returns True are trusted."""

    root: str
    accepts: Callable[[Any], bool]


def _is_module_class(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, nn.Module)


def _is_class(found: Any) -> bool:
    return isinstance(found, type)


def _is_torchvision_network(found: Any) -> bool:
    names = torchvision.models.list_models(torchvision.models)
    name = getattr(found, "__name__", None)
    return _is_module_class(found) or (name in names and torchvision.models.get_model_builder(name) is found)


def _is_timm_network(found: Any) -> bool:
    import timm

    return _is_module_class(found) or found is timm.create_model or timm.is_model(getattr(found, "__name__", ""))


def _is_one_of(*names: str) -> Callable[[Any], bool]:
    return lambda found: getattr(found, "__name__", None) in names


NETWORKS = (
    Library(PACKAGE, _is_module_class),
    Library("torch.nn", _is_module_class),
    Library("torchvision.models", _is_torchvision_network),
    Library("timm", _is_timm_network),
)
LOSSES = (
    Library(PACKAGE, _is_module_class),
    Library("torch.nn", _is_module_class),
    Library("torch.nn.functional", inspect.isfunction),
)
DATA = (
    Library(f"{PACKAGE}.data", _is_class),
    Library(f"{PACKAGE}.data", _is_one_of("arrays", "synthetic")),
    # LSUN unpickles a file of its folder.
    Library("torchvision.datasets", lambda found: _is_class(found) and not found.__name__.startswith("LSUN")),
)
RUNS = (
    *(*NETWORKS, *LOSSES, *DATA),
    Library(f"{PACKAGE}.penalties", _is_class),
    Library(f"{PACKAGE}.callbacks", lambda found: _is_class(found) and issubclass(found, Callback)),
    Library(f"{PACKAGE}.training.trainer", _is_one_of("build")),
    *(Library(root, _is_class) for root in ("torch.optim", "torchmetrics")),
    *(
        Library(f"pytorch_lightning.{part}", _is_class)
        for part in ("callbacks", "loggers", "profilers", "strategies", "plugins")
    ),
)


@dataclass(frozen=True)
class TargetCheck:
    """Decides which targets of the config in `file` are trusted: those of `libraries`, of the project, and of the
    modules or classes named in `trust`. `advice` says how to trust another one, with {} for its name.
    """

    libraries: Sequence[Library]
    file: Path
    trust: str | Sequence[str] = ()
    advice: str = "--trust {0}, or trust=['{0}'] in Python"

    def check(self, config: Any) -> bool:
        """Raises ConfigError if a target in `config` is not trusted; nothing of it has been imported then.

        Returns whether all targets are of the libraries alone.
        """
        nodes = list(_nodes(config))
        require(len(nodes) <= MOST_NODES, f"{self.file} names {len(nodes)} classes, and {MOST_NODES} are the most")
        are_of_libraries = [self._check_node(node) for node in nodes]
        return all(are_of_libraries)

    def _check_node(self, node: dict[Any, Any]) -> bool:
        target = node["_target_"]
        if target in BY_PATH and self.libraries is RUNS:
            target = node.get("path")
        if not isinstance(target, str) or re.fullmatch(NAME, target) is None:
            raise ConfigError(f"{self.file} has a _target_ of {str(target)[:80]!r}, which is not the name of a class")
        module, _, name = target.rpartition(".")
        if not (self.is_named(target) or self._in_library(module) or self._in_project(module)):
            raise self._refusal(target, module)
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # an import may raise anything
            raise ConfigError(
                f"_target_: {target} cannot be imported ({type(error).__name__}: {error}); correct the name, or give "
                "the folder of its module: PYTHONPATH=FOLDER, or sys.path.append(FOLDER) in Python"
            ) from error
        return self._check_object(target, found, node)

    def _check_object(self, target: str, found: Any, node: dict[Any, Any]) -> bool:
        """Checks the object itself: a trusted name may lead elsewhere, as `mine.os.system` does."""
        place = str(getattr(found, "__module__", None))
        if any(_is_within(place, library.root) and library.accepts(found) for library in self.libraries):
            if place.startswith("torchvision.") and not isinstance(found, type):
                _check_no_download(node, self.file)
            if place.partition(".")[0] == "timm" and found.__name__ == "create_model":
                _check_timm_name(node.get("model_name"), self.file)
            return True
        is_own = isinstance(found, type) or (isinstance(found, FunctionType) and place != "__main__")
        is_named = self.is_named(f"{place}.{getattr(found, '__qualname__', '')}") and callable(found)
        if not is_named and not (is_own and self._in_project(place)):
            raise self._refusal(target, place)
        return False

    def _refusal(self, target: str, module: str) -> ConfigError:
        top = module.partition(".")[0]
        is_absent = top not in sys.modules and find_module(top) is None
        add = f"add the folder of {top} to PYTHONPATH, and " if is_absent else ""
        return ConfigError(
            f"{self.file} names {target}, which is neither a known part of a library nor of this project, so it is not "
            f"built; if you know and trust it, {add}set {self.advice.format(top)}"
        )

    def is_named(self, target: str) -> bool:
        names = [self.trust] if isinstance(self.trust, str) else self.trust
        return any(_is_within(target, name) for name in names)

    def _in_library(self, module: str) -> bool:
        return any(_is_within(module, library.root) for library in self.libraries)

    def _in_project(self, module: str) -> bool:
        """Whether the module is the user's own: below the folder of train.py, or beside one in the current folder.

        Not one that is installed, in scripts/, or came with the run itself.
        """
        top = module.partition(".")[0]
        place = None if top in (*OWN_SCRIPTS, *sys.stdlib_module_names) else _location(top)
        if place is None or {"site-packages", "dist-packages"} & set(place.parts):
            return top == "__main__"
        run = self.file.resolve()
        if run.is_relative_to(place) or (
            run.parent.name in (".hydra", "checkpoints") and place.is_relative_to(run.parents[1])
        ):
            return False
        if any(place.is_relative_to(folder / "scripts") for folder in _projects()):
            return False
        here = Path.cwd()
        is_here = place.parent == here and (here / "train.py").exists()
        return is_here or any(place.is_relative_to(folder) for folder in _projects())


def _check_no_download(node: dict[Any, Any], file: Path) -> None:
    """Raises ConfigError for positional arguments and weights: torchvision would download them."""
    given = [node.get(name) for name in PRETRAINED]
    require(
        "_args_" not in node and all(value is None or isinstance(value, str | bool) for value in given),
        f"{file} builds a torchvision network with positional arguments or weights; use another file",
    )


def _check_timm_name(name: Any, file: Path) -> None:
    import timm

    require(
        isinstance(name, str) and timm.is_model(name),
        f"{file} names the timm model {str(name)[:80]!r}, which timm does not have; use another file",
    )


def _nodes(config: Any) -> Iterator[dict[Any, Any]]:
    """The nodes with a `_target_` at or below `config`."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield config
        config = list(config.values())
    for value in config if isinstance(config, list) else ():
        yield from _nodes(value)


def _is_within(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")


def _location(top: str) -> Path | None:
    """The file of a top-level module, or the folder of a package, without importing it; None for anything else."""
    spec = find_module(top)
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    place = Path(spec.origin).resolve()
    return place.parent if spec.submodule_search_locations else place


def _projects() -> list[Path]:
    """The folders with a train.py: that of this package, and that of the script that runs."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    files = [Path(__file__), *([Path(script)] if script else [])]
    found = [next((f for f in file.resolve().parents if (f / "train.py").exists()), None) for file in files]
    return [folder for folder in found if folder is not None]
