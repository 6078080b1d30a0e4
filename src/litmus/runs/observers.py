"""Finds out from their source which callbacks only observe a run: importing them would import torch."""

import ast
import functools
from pathlib import Path

from litmus.core.modules import find_module

DECLARATION = "only_observes"  # a class attribute, True where training and its result are the same without the callback


@functools.cache
def only_observes(target: str) -> bool:
    """Whether the class of this dotted name declares `only_observes = True`."""
    module, _, name = target.rpartition(".")
    return any(_declares(file, name) for file in _files(module))


def _files(module: str) -> list[Path]:
    """The files in which a name that can be imported from `module` may be defined: its own, or those of a package."""
    top, *rest = module.split(".")
    spec = find_module(top)
    if spec is None or spec.origin is None:
        return []
    place = Path(spec.origin)
    for part in rest:
        place = place.parent / part / "__init__.py" if place.name == "__init__.py" else place / part
        if not place.exists():
            place = place.parent.with_suffix(".py")
    if not place.is_file():
        return []
    return sorted(place.parent.glob("*.py")) if place.name == "__init__.py" else [place]


def _declares(file: Path, name: str) -> bool:
    try:
        source = file.read_text(encoding="utf-8")
        tree = ast.parse(source) if f"class {name}" in source else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return False
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    lines = [line for node in classes for line in node.body if isinstance(line, ast.Assign)]
    return any(
        isinstance(target, ast.Name) and target.id == DECLARATION and getattr(line.value, "value", None) is True
        for line in lines
        for target in line.targets
    )
