"""Errors that a user can fix, each one sentence that says how."""

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

DECODE = (
    "; a variable of the environment is a string: write ${oc.decode:${oc.env:NAME}} in a YAML file for its number, or "
    "let the shell put it into the command, as in KEY=$NAME"
)


MOST = 2**31 - 1  # of a count, which many libraries store in 32 bits


class ConfigError(ValueError):
    """Shown to the user as it stands, without a traceback, before anything is lost or written."""


class DirectoryInUse(ConfigError):
    """Another process has locked a run directory. Nothing is wrong with the options."""


class StoppedRun(RuntimeError):
    """A run that had to end, said in one sentence; what it has saved stays good."""


class Diverged(StoppedRun):
    """Nothing was wrong but the training."""


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ConfigError(sentence)


@contextmanager
def prefix_errors(what: str) -> Iterator[None]:
    """Says at the start of a ConfigError what it is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None


def user_path(name: str, path: object) -> Path:
    """The path, with `~` expanded. Raises ConfigError for an unknown user, and for bytes that are not UTF-8, which no
    config file can hold."""
    path = str(path)
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    require(shown == path, f"{name}={shown} is not UTF-8: rename it, or give a link to it")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{name}={path} names a user without a home directory: write the whole path") from None


def first_few(values: Any, most: int = 5) -> str:
    """The first `most` of a sequence or an array (N,), for a sentence."""
    shown = ", ".join(map(str, values[:most].tolist() if hasattr(values, "tolist") else values[:most]))
    return shown + (", …" if len(values) > most else "")


def closest(name: str, names: Iterable[str]) -> str | None:
    """The valid name that was most likely meant, or None if nothing is near."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return found[0] if found else None


def whole_number(name: str, value: object, least: int, most: int = MOST) -> int:
    """`value` as an int. Raises ConfigError unless it is a whole number from `least` to `most`."""
    ok = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and value >= least
    require(
        ok, f"{name} is {short_number(value)}, and must be a whole number of {least} or more{_of_environment(value)}"
    )
    require(value <= most, f"{name} is {short_number(value)}, and must be at most {most}")  # type: ignore[operator]
    return int(value)  # type: ignore[call-overload]


def number(name: str, value: object, least: float, below: float = float("inf")) -> float:
    """`value` as a float. Raises ConfigError unless least <= value < below."""
    below = min(below, sys.float_info.max)  # a larger int is not a float
    ok = isinstance(value, int | float) and not isinstance(value, bool) and least <= value < below
    span = f"of {least:g} or more" if below == sys.float_info.max else f"from {least:g} to below {below:g}"
    require(ok, f"{name} is {short_number(value)}, and must be a number {span}{_of_environment(value)}")
    return float(value)  # type: ignore[arg-type]


def short_number(value: object) -> str:
    """The value as text; an int of many digits is rounded."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"{Decimal(value):.3g}"
    return repr(value)


def _of_environment(value: object) -> str:
    """A hint for a number that is a string."""
    if not isinstance(value, str) or re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", value.strip(), re.IGNORECASE) is None:
        return ""
    return DECODE


def one_of(name: str, value: object, choices: Iterable[str]) -> str:
    """`value`. Raises ConfigError, with the closest choice, unless it is one of `choices`."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        near = closest(str(value), choices)
        hint = f"did you mean {near}?" if near else f"choose one of {', '.join(choices)}"
        raise ConfigError(f"{name} is {value!r}, which does not exist: {hint}")
    return value
