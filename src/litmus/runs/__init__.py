"""One run and its directory: identity, resume, provenance, result. Many runs are in litmus.sweeps and litmus.report."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litmus.runs.building import build
    from litmus.runs.data_frame import frame
    from litmus.runs.model_building import build_model
    from litmus.runs.run import Run
    from litmus.runs.training import train

__all__ = ["Run", "build", "build_model", "frame", "train"]

PLACES = {
    "Run": "run",
    "build": "building",
    "build_model": "model_building",
    "frame": "data_frame",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    # Lazy, because `identity` is imported where torch is not needed.
    if name in PLACES:
        return getattr(import_module(f"litmus.runs.{PLACES[name]}"), name)
    raise AttributeError(f"module 'litmus.runs' has no attribute {name!r}")
