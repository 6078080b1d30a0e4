"""Finds modules without importing them."""

import importlib.util
from importlib.machinery import ModuleSpec


def find_module(top: str) -> ModuleSpec | None:
    """The spec of a top-level module; None if there is none."""
    try:
        return importlib.util.find_spec(top)
    except (ValueError, ImportError):  # __main__ may have none
        return None
