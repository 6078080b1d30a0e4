"""A run: its directory, what is in it, and its model rebuilt from it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litmus.runs.building import build
    from litmus.runs.loading import Trained, load
    from litmus.runs.model_building import build_model
    from litmus.runs.run import Run
    from litmus.runs.training import train

__all__ = ["Run", "Trained", "build", "build_model", "load", "train"]

PLACES = {
    "Run": "run",
    "Trained": "loading",
    "build": "building",
    "build_model": "model_building",
    "load": "loading",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    # Late, because what a run is called (`identity`) is asked by those that need no torch.
    if name in PLACES:
        return getattr(import_module(f"litmus.runs.{PLACES[name]}"), name)
    raise AttributeError(f"module 'litmus.runs' has no attribute {name!r}")
