"""Finds modules without importing them."""

import importlib.util
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


def find_module(top: str) -> ModuleSpec | None:
    """The spec of a top-level module; None if there is none."""
    try:
        return importlib.util.find_spec(top)
    except (ValueError, ImportError):  # __main__ may have none
        return None


def find_source(module: str) -> Path | None:
    """The file, without symbolic links, that an import of the module would read; None if there is none."""
    top, *names = module.split(".")
    spec = find_module(top)
    for name in names:
        folders = spec.submodule_search_locations if spec is not None else None
        spec = PathFinder.find_spec(f"{spec.name}.{name}", folders) if spec is not None and folders else None
    return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None
