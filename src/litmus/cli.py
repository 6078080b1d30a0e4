"""The command line's mistakes, each answered with one sentence. Imports no torch, so the answer comes in a second."""

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from litmus.environment import prepare_environment
from litmus.errors import ConfigError, StoppedRun, closest, require
from litmus.runs.identity import ANNOUNCEMENT
from litmus.spinning import sleep_in_a_crowd
from litmus.sweeps.arguments import as_sweep, check_use, is_plain, lines, not_with_all, typed, values

NOT_COMPOSED = ("help", "hydra_help", "shell_completion", "info", "config_path", "config_name", "config_dir")
WANTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    list: "a list, such as [1,2]",
    dict: "a group of options",
}


def command(main: Callable[[DictConfig], Any]) -> Callable[[], Any]:
    """`hydra.main` over the conf/ beside the script, where a user's mistake ends in one sentence and exit status 2.

    With HYDRA_FULL_ERROR=1 in the environment, the traceback is shown as well.
    """
    conf = Path(sys.modules[main.__module__].__file__ or "").resolve().parent / "conf"
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Inside too, because Hydra prints "Error executing job" for what passes through it.
    hydra_main = hydra.main(version_base="1.3", config_path=str(conf), config_name="train")(
        functools.wraps(main)(lambda cfg: _answer(lambda: main(cfg), traceback_wanted))
    )

    @functools.wraps(main)
    def wrapped() -> Any:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
        if ANNOUNCEMENT in os.environ:  # another process of a run, which the first one ends
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        prepare_environment()
        start_logging()
        typed[:] = sys.argv[1:]
        sys.argv[1:] = _answer(lambda: check(sys.argv[1:], conf), traceback_wanted)
        return _answer(hydra_main, traceback_wanted)

    return wrapped


def script(main: Callable[[], Any]) -> Callable[[], Any]:
    """`main` of a script that reads its own arguments, with the same answer to a user's mistake."""

    @functools.wraps(main)
    def wrapped() -> Any:
        prepare_environment()
        sleep_in_a_crowd()
        start_logging()
        return _answer(main, os.environ.get("HYDRA_FULL_ERROR") == "1")

    return wrapped


def _answer(function: Callable[[], Any], traceback_wanted: bool) -> Any:
    try:
        return function()
    except (ConfigError, StoppedRun, HydraException, OmegaConfBaseException) as error:
        if traceback_wanted:
            raise
        if isinstance(error.__cause__, ConfigError):  # what Hydra wraps, of a launcher's or a sweeper's options
            error = error.__cause__
        sentence = " ".join(line.strip() for line in str(error).splitlines())
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before there is anything to go on with
        sys.exit(128 + signal.SIGINT)


def start_logging() -> None:
    """What Litmus logs goes to the screen as it is; train.log adds the time."""
    logger = logging.getLogger("litmus")
    if not logger.handlers:
        screen = logging.StreamHandler(sys.stdout)
        screen.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(screen)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def check(argv: list[str], conf: Path) -> list[str]:
    """Raises ConfigError for an unknown key or option, `+key`, or a value whose type differs from its default's.

    Gives the arguments for Hydra: the same, but for what it would refuse before it has seen a sweep's combinations.
    """
    args = get_args_parser().parse_args(argv)
    modes = {
        "--run": "run",
        "-m": "multirun",
        "--cfg": "cfg",
        "--info": "info",
        "--shell-completion": "shell_completion",
    }
    asked = [flag for flag, name in modes.items() if getattr(args, name)]
    require(len(asked) < 2, f"{' and '.join(asked)} cannot go together: choose one")
    if any(getattr(args, name) for name in NOT_COMPOSED):
        return argv
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        given = _parse(args.overrides, loader)
        groups = {name for name in loader.list_groups("") if name != "hydra"}
        base = _compose(_first_choices(given, groups, loader))
        multirun = args.multirun or str(base.hydra.mode).endswith("MULTIRUN")
        check_use(given, multirun)
        overrides = [*_of_the_file(base, given, loader), *given] if multirun else given
        choices = _first_choices(overrides, groups, loader)
        first = " ".join(f"{group}={choice}" for group, choice in choices.items())
        bases = {first: _compose(choices) if len(overrides) > len(given) else base}
        for override in overrides:
            if (group := override.key_or_group) in groups:
                for choice in _choices(override)[1:]:
                    bases[f"{group}={choice}"] = _compose(choices | {group: choice})
        single = {
            o.key_or_group: _choices(o)[0] for o in given if o.key_or_group in groups and not o.is_sweep_override()
        }
        master = _compose(single) if len(bases) > 1 or len(overrides) > len(given) else base
        names = {o.key_or_group for o in overrides}
        for name in sorted(OmegaConf.missing_keys(bases[first]) - names):
            if not name.startswith("hydra."):
                raise ConfigError(f"{name} has no default: say {name}=VALUE")
        for override in overrides:
            if override.key_or_group not in groups and not override.key_or_group.startswith("hydra"):
                _check_key(override, bases, groups, loader)
    known = set(_keys(master)) | groups
    unseen = {o.input_line for o in given if is_plain(o) and o.key_or_group not in known}
    return [as_sweep(argument) if argument in unseen else argument for argument in argv]


def _first_choices(overrides: list[Override], groups: set[str], loader: ConfigLoader) -> dict[str, str]:
    chosen = [o for o in overrides if o.key_or_group in groups]
    for override in chosen:
        _check_option(override, loader)
    return {o.key_or_group: _choices(o)[0] for o in chosen}


def _of_the_file(base: DictConfig, given: list[Override], loader: ConfigLoader) -> list[Override]:
    """What `sweep=` sets and the command line does not."""
    names = {o.key_or_group for o in given}
    return [o for o in _parse(lines(base.hydra.sweeper.get("params") or {}), loader) if o.key_or_group not in names]


def _parse(lines: list[str], loader: ConfigLoader) -> list[Override]:
    parser = OverridesParser.create(config_loader=loader)
    overrides = []
    for line in lines:
        try:
            overrides += parser.parse_overrides([line])
        except OverrideParseException:
            raise ConfigError(
                f"{line!r} cannot be read: write key=value, and put quotes around a value with spaces, commas or ="
            ) from None
    return overrides


def _choices(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [str(override.get_value_element_as_str())]


def _check_option(override: Override, loader: ConfigLoader) -> None:
    group = override.key_or_group
    if override.is_add() or override.is_delete():
        raise ConfigError(f"{override.input_line}: say {group}=OPTION, without the {(override.input_line or '+')[0]}")
    options = loader.get_group_options(group, ObjectType.CONFIG)
    for choice in _choices(override):
        if choice not in options and choice != "null":
            near = closest(choice, options)
            hint = f"did you mean {group}={near}?" if near else f"choose one of {', '.join(options)}"
            raise ConfigError(f"{group}={choice} does not exist: {hint}")


def _compose(choices: dict[str, str]) -> DictConfig:
    return compose("train", [f"{group}={choice}" for group, choice in choices.items()], return_hydra_config=True)


def _check_key(override: Override, bases: dict[str, DictConfig], groups: set[str], loader: ConfigLoader) -> None:
    key = override.key_or_group
    known = sorted({name for base in bases.values() for name in _keys(base)} | groups)
    if override.is_add():
        raise ConfigError(
            f"{override.input_line}: there is no option {key}; "
            + _meant(key, known, "leave it out, or add it to a file in conf/")
        )
    if key not in known:
        group = key.split(".")[0]
        options = loader.get_group_options(group, ObjectType.CONFIG) if group in groups else []
        others = [option for option in options if key in _keys(_compose({group: option}))]
        if others:
            raise ConfigError(
                f"{key} is an option of {group}={' and '.join(others)} only: choose that, or leave it out"
            )
        raise ConfigError(f"{key} does not exist: " + _meant(key, known, "see --help"))
    having = [label for label, base in bases.items() if key in _keys(base)]
    if len(having) < len(bases):
        raise ConfigError(not_with_all(override, list(bases), having))
    if override.is_delete():
        return
    for value in values(override):
        for base in bases.values():
            default = OmegaConf.select(base, key)
            if override.is_interval_sweep() and isinstance(default, int) and not isinstance(value, int):
                raise ConfigError(
                    f"{override.input_line} does not fit: {key} takes a whole number, so write int(interval(A,B))"
                )
            if value is None and default is not None:  # an experiment may have set what is null by itself
                default = OmegaConf.select(_without_experiment(base, groups), key)
            _check_type(key, value, default)


def _without_experiment(base: DictConfig, groups: set[str]) -> DictConfig:
    """The same options of every group as their files have them."""
    chosen = {name: choice for name, choice in base.hydra.runtime.choices.items() if choice and name in groups}
    return _compose({name: choice for name, choice in chosen.items() if name not in ("experiment", "sweep")})


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, node):
        if not prefix and name == "hydra":
            continue
        yield f"{prefix}{name}"
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from _keys(child, f"{prefix}{name}.")


def _meant(key: str, known: list[str], otherwise: str) -> str:
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == leaf]
    near = same_leaf[0] if len(same_leaf) == 1 else closest(key, known)
    if near:
        return f"did you mean {near}?"
    siblings = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    return f"choose one of {', '.join(siblings)}" if "." in key and siblings else otherwise


def _check_type(key: str, value: Any, default: Any) -> None:
    if default is None or (isinstance(value, str) and "${" in value):
        return
    kind = dict if OmegaConf.is_dict(default) else list if OmegaConf.is_list(default) else type(default)
    accepted: dict[type, tuple[type, ...]] = {float: (float, int), str: (str,)}
    fits = isinstance(value, accepted.get(kind, (kind,))) and (kind is bool or not isinstance(value, bool))
    switched_off = value is None and kind is dict
    require(
        fits or switched_off,
        f"{key}={'null' if value is None else str(value)} does not fit: {key} takes {WANTED.get(kind, kind.__name__)}, "
        f"such as {OmegaConf.to_container(default) if kind in (dict, list) else default}",
    )
