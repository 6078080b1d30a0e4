"""A run: its directory, what is in it, and its model rebuilt from it."""

from litmus.runs.building import build, build_model
from litmus.runs.loading import Trained, load
from litmus.runs.run import Run

__all__ = ["Run", "Trained", "build", "build_model", "load"]
