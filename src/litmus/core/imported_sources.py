"""The source of each project module as it was when this process imported it. Imports no torch."""

import functools
import site
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


class ImportedSource(NamedTuple):
    file: Path
    path: Path  # the same without symbolic links
    content: bytes
    spec: ModuleSpec | None  # of the import that read it


_sources: dict[str, ImportedSource] = {}


class _Recorder(MetaPathFinder):
    """Leaves every import to the other finders, and reads the source that they find just before it is executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        later = sys.meta_path[sys.meta_path.index(self) + 1 :]
        found = (finder.find_spec(name, path, target) for finder in later if hasattr(finder, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None:
            _remember(name, spec.origin, spec)
        return spec


def record_imports() -> None:
    """Records what this process imports from now on, and the present source of what it has imported already."""
    if not any(isinstance(finder, _Recorder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Recorder())
    imported_sources()


def imported_sources() -> dict[str, ImportedSource]:
    """The sources of the imported modules, by their names; those of installed packages and of Python are left out.

    A module that was imported before `record_imports`, or without Python's finders, has the source of the first call
    that saw it.
    """
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name not in _sources or _sources[name].spec is not spec:
            _sources.pop(name, None)
            _remember(name, getattr(module, "__file__", None), spec)
    return {name: source for name, source in _sources.items() if name in sys.modules}


def _remember(name: str, file: object, spec: ModuleSpec | None) -> None:
    if not isinstance(file, str) or not file.endswith(".py") or file.startswith(_installed_folders()):
        return
    path = Path(file)
    try:
        if path.is_absolute():
            _sources[name] = ImportedSource(path, path.resolve(), path.read_bytes(), spec)
    except OSError:
        pass  # no source is left


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    names = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [Path(name) for name in [*names, *site.getsitepackages(), site.getusersitepackages()]]
    return tuple({f"{path}/" for folder in folders for path in (folder, folder.resolve())})
