"""Litmus: controlled experiments on image classifiers."""

from typing import Any

__all__ = ["load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, because the command line answers a mistyped option before torch is imported.
    if name == "load":
        from litmus.runs import load

        return load
    raise AttributeError(f"module 'litmus' has no attribute {name!r}")
