"""Saved configs: read, flattened and compared. Imports no torch."""

import re
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from litmus.core.atomic_files import read_text
from litmus.errors import ConfigError, require

MOST_BYTES, MOST_VALUES, MOST_LEVELS = 2**22, 50_000, 50  # of a stored config
LONGEST = 10_000  # text, which an error may repeat
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
REFERENCE = r"\$\{(\.*)(\w[\w.]*)\}"  # to another key, from here if it begins with a dot


def read_config(file: Path) -> Any:
    """Reads a YAML file of the .hydra folder of a run. Raises ConfigError if it is absent or damaged."""
    try:
        text = read_text(file, MOST_BYTES)
        _check_events(text, file)
        return OmegaConf.load(StringIO(text))
    except FileNotFoundError:
        raise ConfigError(f"{file} is gone: put it back, or start a new run") from None
    except ConfigError:
        raise
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file} is damaged ({reason}): put it back, or start a new run") from None


def _check_events(text: str, file: Path) -> None:
    """Raises ConfigError for a YAML file that would take much time or memory to load: OmegaConf needs 50 µs for a
    value, and an alias, which Litmus does not write, could repeat values without end.
    """
    level = 0
    for number, event in enumerate(yaml.parse(text, Loader=YAML_LOADER)):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        is_alias, is_small = isinstance(event, yaml.AliasEvent), number <= MOST_VALUES and level <= MOST_LEVELS
        require(not is_alias, f"{file} contains a YAML alias; use another run, or start a new one")
        require(is_small, f"{file} is too large for a config; use another run, or start a new one")


def check_stored_size(config: Any, file: Path) -> None:
    """Raises ConfigError unless a stored config is made of plain, short values, and of a limited number of them."""
    for value in _values(config, file):
        is_plain = isinstance(value, dict | list | str | int | float | None)
        require(is_plain, f"the config in {file} contains a {type(value).__name__}; use another file")
        is_short = not isinstance(value, str) or len(value) <= LONGEST
        require(is_short, f"the config in {file} contains a text of more than {LONGEST:,} characters; use another file")


def check_nothing_evaluated(config: Any, file: Path) -> None:
    """Raises ConfigError if a stored config has interpolations, such as `${oc.env:HOME}`, which may read anything."""
    for value in _values(config, file):
        if isinstance(value, str) and "${" in value:
            raise _not_evaluated(value, file)


def check_references(config: Any, file: Path) -> None:
    """Raises ConfigError if a stored config has resolvers, or references to other keys that do not hold a plain value.

    A reference to a value with references could make a few lines fill the memory.
    """
    left = MOST_VALUES
    for path, value in _interpolated(config):
        if "${" in re.sub(REFERENCE, "", value):
            raise _not_evaluated(value, file)
        for dots, key in re.findall(REFERENCE, value):
            found: Any = config
            for step in (*(path[: -len(dots)] if dots else ()), *key.split(".")):
                found = found.get(step) if isinstance(found, dict) else None
            inner = list(_values(found, file))
            left -= sum(len(one) if isinstance(one, str) else 1 for one in inner)
            if left < 0 or any(isinstance(one, str) and "${" in one for one in inner):
                raise _not_evaluated(value, file)


def _not_evaluated(value: str, file: Path) -> ConfigError:
    return ConfigError(
        f"the config in {file} contains {value[:80]!r}, which is not evaluated because the file may come from someone "
        "else; write its value there, or use another file"
    )


def _interpolated(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The strings with interpolations at or below `value`, each with its path."""
    if isinstance(value, str) and "${" in value:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _interpolated(inner, (*path, key))


def _values(config: Any, file: Path) -> Iterator[Any]:
    """The values and keys of a stored config, and those inside them. Raises ConfigError for too many or too deep ones,
    as a config that contains the same list many times can have.
    """
    stack: list[tuple[Any, int]] = [(config, 0)]
    count = 0
    while stack:
        value, level = stack.pop()
        yield value
        inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += len(inner)
        require(count <= MOST_VALUES and level <= MOST_LEVELS, f"the config in {file} is too large; use another file")
        stack += [(one, level + 1) for one in inner]


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
