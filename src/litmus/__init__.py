"""Litmus: controlled experiments on image classifiers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from litmus.core.imported_sources import record_imports

if TYPE_CHECKING:
    from litmus.cli.from_python import compose, train
    from litmus.inference.loading import load

__all__ = ["compose", "load", "train"]
__version__ = "0.2.0"

PLACES = {"compose": "cli.from_python", "train": "cli.from_python", "load": "inference.loading"}

record_imports()  # here, so that a notebook's own modules are imported later


def __getattr__(name: str) -> Any:
    # Late, because the command line answers a mistyped option before torch is imported.
    if name == "runs":
        return import_module("litmus.runs")
    if name in PLACES:
        return getattr(import_module(f"litmus.{PLACES[name]}"), name)
    raise AttributeError(f"module 'litmus' has no attribute {name!r}")
