"""Command-line arguments before Hydra's grammar: flags in any position, paths as typed."""

import argparse
import shlex
from collections.abc import Collection, Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from litmus.core.hydra_values import quote
from litmus.errors import ConfigError, require, user_path

PATHS = ("output_dir", "resume", "sweep_name", "data.root", "data.path", "model.init_from", "model.weights")
PATH_ENDINGS = ("_dir", "_path", "_file")
INSTEAD = {  # Hydra's output paths, and what to set instead
    "hydra.run.dir": "set output_dir=DIR",
    "hydra.sweep.dir": "set sweep_name=NAME, which writes to outputs/sweeps/NAME",
    "hydra.sweep.subdir": "leave it out; a job's directory is named by its overrides",
    "hydra.output_subdir": "leave it out; a run's config is in its .hydra folder",
    "hydra.job.chdir": "leave it out; paths are relative to the current directory",
}


def read_flags(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags, in any position, as parsed and as typed.

    Raises ConfigError for an unknown flag.
    """
    parser = get_args_parser()
    found, others = parser.parse_known_args(argv)
    unknown = [argument for argument in others if argument.startswith("-")]
    if unknown:
        setting = unknown[0].lstrip("-").partition("=")[0]
        raise ConfigError(
            f"{unknown[0]} is not known: values are set without dashes, as in {setting}=VALUE; see --help"
        )
    found.overrides += others  # those after a flag that stands among them
    flags = list(argv)
    for override in found.overrides:
        flags.remove(override)
    return found, flags


def is_path(key: str) -> bool:
    key = key.lstrip("+")
    return key in PATHS or key.endswith(PATH_ENDINGS)


def read_paths(arguments: Sequence[str], multirun: bool) -> list[str]:
    """The overrides, with paths quoted where Hydra's grammar would not read them as typed.

    With `multirun`, commas separate several paths. `~` is the home directory. Raises ConfigError for an empty path, as
    of an unset shell variable.
    """
    return [_read_path(argument, multirun) for argument in arguments]


def _read_path(argument: str, multirun: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.startswith("~") or not is_path(key):
        return argument
    require(
        value.strip(" '\"") != "",
        f"{argument} is empty: give a path, or leave {key} out; a shell variable in it may not be set",
    )
    if value[0] in "'\"" or "${" in value:
        return argument
    several = multirun and key not in ("output_dir", "resume", "sweep_name") and "," in value
    if several and _parse(argument) is not None:
        return argument
    parts = value.split(",") if several else [value]
    return f"{key}=" + ",".join(_quote(key, part) for part in parts)


def _quote(key: str, path: str) -> str:
    if path.startswith("~"):
        path = str(user_path(key, path))
    override = _parse(f"{key}={path}")
    plain = override is not None and not override.is_sweep_override() and override.value() in (path, None)
    return path if plain else quote(path)


def _parse(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_overrides([argument])[0]
    except OverrideParseException:
        return None


def refuse_hydra_places(overrides: Collection[Override]) -> None:
    """Raises ConfigError for a Hydra option that Litmus replaces by its own."""
    for override in overrides:
        instead = INSTEAD.get(override.key_or_group)
        require(instead is None, f"{override.input_line} has no effect here: {instead}")
        is_no_option = override.key_or_group.startswith("hydra/") and override.value() is None
        require(not is_no_option, f"{override.input_line} is not an option: leave it out")


def unreadable(line: str) -> ConfigError:
    """The error for an argument outside Hydra's grammar, with how to type it if that is certain."""
    key, equals, value = line.partition("=")
    if not equals or not key.strip("+~") or not value:
        return ConfigError(f"{line!r} cannot be read: write key=value")
    typed = f"{key}={quote(value)}"
    if _parse(typed) is None:
        return ConfigError(f"{line!r} cannot be read: write key=value")
    return ConfigError(f"{line!r} cannot be read: for this text as the value, type {_in_shell(typed)}")


def _in_shell(argument: str) -> str:
    """The argument as typed in a shell, in double quotes if they suffice: single ones are part of the grammar."""
    return shlex.quote(argument) if set(argument) & set('"$`\\!') else f'"{argument}"'
