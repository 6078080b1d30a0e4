"""Reads the JSON files of a run directory, and checks the types of their values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from litmus.core.atomic_files import read_json
from litmus.errors import ConfigError


def read_record(file: Path, *keys: str) -> dict[str, Any]:
    """Reads run.json, result.json or sweep.json. Raises ConfigError if it is damaged or lacks one of `keys`."""
    record = read_json(file, *keys)
    check_record(record, file)
    return record


def check_record(record: dict[str, Any], file: Path) -> None:
    """Raises ConfigError if a value has a type that Litmus does not write."""
    for key, is_valid in VALID.items():
        if key in record and not is_valid(record[key]):
            shown = repr(record[key])
            shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
            raise ConfigError(f"{file} is damaged (its {key} is {shown}): delete it and start the run again")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _list_of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_valid, value))


def _object_of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_valid, value.values()))


VALID = {
    **dict.fromkeys(("config_hash", "data_state", "objective_name", "stop_reason"), _is_text),
    "data_fingerprint": _is_text_or_null,
    **dict.fromkeys(("choices", "code", "modules"), _object_of(_is_text)),
    "packages": _object_of(_is_text_or_null),
    **dict.fromkeys(("overrides", "data_sources"), _list_of(_is_text)),
    "starts": _list_of(lambda start: isinstance(start, dict) and _is_text(start.get("command"))),
    **dict.fromkeys(("objective", "best_epoch", "epochs", "seconds"), _is_number),
    **dict.fromkeys(("metrics", "images"), _object_of(_is_number)),
    "threads": lambda value: value is None or isinstance(value, int),
}
