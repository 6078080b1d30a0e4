"""Saved configs: read, flattened and compared. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from litmus.errors import ConfigError


def read_config(file: Path) -> Any:
    """Reads a YAML file of the .hydra folder of a run. Raises ConfigError if it is absent or damaged."""
    try:
        return OmegaConf.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{file} is gone: put it back, or start a new run") from None
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file} is damaged ({reason}): put it back, or start a new run") from None


def flatten(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as {"group.key": value}. An empty group is a value too."""
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
