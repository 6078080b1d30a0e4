"""Configs as flat options, and how two of them differ."""

from collections.abc import Mapping
from typing import Any


def flatten(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested options, as {"group.key": value}. An empty group is a value too."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        found |= flatten(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def differences(there: dict[str, Any], here: dict[str, Any], most: int = 5) -> str:
    flat_there, flat_here = flatten(there), flatten(here)
    keys = [k for k in sorted(flat_there.keys() | flat_here.keys()) if flat_there.get(k) != flat_here.get(k)]
    found = [f"{k} is {_shown(flat_there.get(k))} there and {_shown(flat_here.get(k))} here" for k in keys[:most]]
    return ", ".join(found) + (f", and {len(keys) - most} more" if len(keys) > most else "")


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
