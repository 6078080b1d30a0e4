"""Checks command-line overrides in under a second. Imports no torch."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from litmus.cli.additions import COMBINED, added_parts, adds, is_addition, is_named
from litmus.cli.arguments import read_flags, read_paths, refuse_hydra_places, unreadable
from litmus.cli.configs import Configs, open_configs
from litmus.cli.value_types import check_type
from litmus.core.hydra_values import quote
from litmus.errors import DECODE, ConfigError, closest, require
from litmus.sweeps.override_syntax import as_sweep, check_sweep, check_use, is_plain, lines, not_with_all, values

NOT_COMPOSED = ("help", "hydra_help", "shell_completion", "info")
MODES = {
    "--run": "run",
    "-m": "multirun",
    "--cfg": "cfg",
    "--info": "info",
    "--shell-completion": "shell_completion",
}


def check(argv: list[str], conf: Path) -> list[str]:
    """Raises ConfigError for an unknown key or option, `+key`, or a value whose type differs from its default's.

    Returns the arguments for Hydra, without those that Hydra would refuse before it composes the combinations of a
    sweep.
    """
    args, flags = read_flags(argv)
    asked = [flag for flag, name in MODES.items() if getattr(args, name)]
    require(len(asked) < 2, f"{' and '.join(asked)} cannot go together: choose one")
    if any(getattr(args, name) for name in NOT_COMPOSED):
        return [*args.overrides, *flags]
    conf = conf if args.config_path is None else conf.parent / args.config_path
    require(conf.is_dir(), f"--config-path {args.config_path}: there is no folder {conf}")
    multirun = args.multirun or _asks_for_multirun(args.overrides)
    typed = read_paths(args.overrides, multirun)
    places = [line for line in typed if line.startswith("hydra.searchpath=")]
    if args.config_dir is not None:
        require(Path(args.config_dir).is_dir(), f"--config-dir {args.config_dir}: there is no such folder")
        require(
            not places, "--config-dir and hydra.searchpath cannot go together: name both folders in hydra.searchpath"
        )
        places = [f"hydra.searchpath=[{quote(f'file://{Path(args.config_dir).resolve()}')}]"]
    with open_configs(conf, args.config_name or "train", places) as configs:
        given = _parse(typed, configs.loader)
        refuse_hydra_places(given)
        base = configs.compose(_first_choices(given, configs))
        multirun = multirun or str(base.hydra.mode).endswith("MULTIRUN")
        check_use(given, multirun)
        overrides = [*_of_the_file(base, given, configs.loader), *given] if multirun else given
        bases = _bases(overrides, configs, base if len(overrides) == len(given) else None)
        _check_keys(overrides, bases, configs)
        single = [o for o in given if not o.is_sweep_override()]
        many = len(bases) > 1 or len(overrides) > len(given)
        master = configs.compose(_first_choices(single, configs)) if many else base
    known = set(_keys(master)) | configs.groups
    unseen = {o.input_line for o in given if is_plain(o) and not adds(o) and o.key_or_group not in known}
    return [*flags, *(as_sweep(argument) if argument in unseen else argument for argument in typed)]


def _asks_for_multirun(overrides: list[str]) -> bool:
    return any(line.replace(" ", "").upper() == "HYDRA.MODE=MULTIRUN" for line in overrides)


def _bases(overrides: list[Override], configs: Configs, first: DictConfig | None) -> dict[str, DictConfig]:
    """The configs that the command composes without its values: with the first option of each group (`first`, if
    known), and with each other option in its place.
    """
    choices = _first_choices(overrides, configs)
    label = " ".join(f"{group}={choice}" for group, choice in choices.items())
    bases = {label: configs.compose(choices) if first is None else first}
    for override in overrides:
        if (group := override.key_or_group) in configs.groups:
            for choice in _choices(override)[1:]:
                bases[f"{group}={choice}"] = configs.compose(choices | {group: choice})
    return bases


def _check_keys(overrides: list[Override], bases: dict[str, DictConfig], configs: Configs) -> None:
    names = {o.key_or_group for o in overrides}
    first = next(iter(bases.values()))
    added = added_parts(overrides)
    for name in sorted(OmegaConf.missing_keys(first) - names):
        require(name.startswith("hydra."), f"{name} has no default; set {name}=VALUE")
    for override in overrides:
        if override.key_or_group not in configs.groups and not override.key_or_group.startswith("hydra"):
            _check_key(override, bases, added, configs)


def _first_choices(overrides: list[Override], configs: Configs) -> dict[str, str]:
    chosen = [o for o in overrides if o.key_or_group in configs.groups]
    for override in chosen:
        _check_option(override, configs)
    return {o.key_or_group: _choices(o)[0] for o in chosen}


def _of_the_file(base: DictConfig, given: list[Override], loader: ConfigLoader) -> list[Override]:
    """The overrides of the `sweep=` file that the command line does not set."""
    names = {o.key_or_group for o in given}
    return [o for o in _parse(lines(base.hydra.sweeper.get("params") or {}), loader) if o.key_or_group not in names]


def _parse(lines: list[str], loader: ConfigLoader) -> list[Override]:
    parser = OverridesParser.create(config_loader=loader)
    overrides = []
    for line in lines:
        try:
            overrides += parser.parse_overrides([line])
        except OverrideParseException:
            raise unreadable(line) from None
        except ValueError:  # of Python, for an integer of more than 4,300 digits
            raise ConfigError(f"{line[:40]}… is too long for a number; write one with fewer digits") from None
    for override in overrides:
        check_sweep(override)
    return overrides


def _choices(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [str(override.get_value_element_as_str())]


def _check_option(override: Override, configs: Configs) -> None:
    group = override.key_or_group
    if override.is_add() or override.is_delete():
        raise ConfigError(f"{override.input_line}: set {group}=OPTION, without the {(override.input_line or '+')[0]}")
    options = configs.options(group)
    require(bool(_choices(override)), f"{override.input_line} matches none of {', '.join(options)}")
    for choice in _choices(override):
        combined = [name.strip() for name in choice[1:-1].split(",")] if choice.startswith("[") else None
        if combined is not None:
            require(
                group in COMBINED,
                f"{group}={choice} combines options, which only {' and '.join(COMBINED)} can: choose one; with -m, "
                f"{group}={choice[1:-1]} runs each",
            )
            require(combined != [""], f"{group}={choice} combines nothing: write {group}=none")
        _check_names(group, combined or [choice], options)


def _check_names(group: str, choices: list[str], options: list[str]) -> None:
    for choice in choices:
        if choice == "null":
            others = f"leave {group} out, or choose one of {', '.join(options)}"
            raise ConfigError(
                f"{group}=null is not an option: {f'write {group}=none' if 'none' in options else others}"
            )
        if choice not in options:
            near = closest(choice, options)
            hint = f"did you mean {group}={near}?" if near else f"choose one of {', '.join(options)}"
            raise ConfigError(f"{group}={choice} does not exist: {hint}")


def _check_key(override: Override, bases: dict[str, DictConfig], added: set[str], configs: Configs) -> None:
    key = override.key_or_group
    known = sorted({name for base in bases.values() for name in _keys(base)} | configs.groups)
    having = [label for label, base in bases.items() if key in _keys(base)]
    if adds(override):
        line, forced = override.input_line, override.is_force_add()
        require(forced or len(having) < len(bases), f"{line}: {key} is there already: leave out the +")
        require(forced or not having, f"{line}: only some of the options lack {key}: write ++{key}")
        if not having and not is_addition(override, bases.values(), added):
            _refuse_unknown(f"{line}: there is no option {key}", key, known, configs)
        if len(having) < len(bases):
            return
    if key not in known:
        _refuse_unknown(f"{key} does not exist", key, known, configs)
    if len(having) < len(bases):
        raise ConfigError(not_with_all(override, list(bases), having))
    if override.is_delete():
        require("." in key, f"{override.input_line} removes what every run needs: leave it out, or set {key}=VALUE")
        return
    for value in values(override):
        for base in bases.values():
            default = OmegaConf.select(base, key)
            if override.is_interval_sweep() and isinstance(default, int) and not isinstance(value, int):
                raise ConfigError(
                    f"{override.input_line} does not fit: {key} takes a whole number, so write int(interval(A,B))"
                )
            if value is None and default is not None:  # an experiment may have set what is null by itself
                default = OmegaConf.select(_without_experiment(base, configs), key)
            check_type(key, _resolved(value, key, base), default, hint=DECODE if "oc.env" in str(value) else "")


def _refuse_unknown(problem: str, key: str, known: list[str], configs: Configs) -> NoReturn:
    """Raises ConfigError that names the option with the key, or with its parent, or a similar key."""
    group, parent = key.split(".")[0], key.rpartition(".")[0]
    options = configs.options(group) if group in configs.groups else []
    keys = {option: set(_keys(configs.compose({group: option}))) for option in options}
    if others := [option for option in options if key in keys[option]]:
        add = f", or add it to your own model as +{key}=VALUE" if group == "model" and parent == group else ""
        raise ConfigError(
            f"{key} is an option of {group}={' and '.join(others)} only: choose that, or leave it out{add}"
        )
    if not parent or parent in known:
        raise ConfigError(f"{problem}: " + _meant(key, known, "see --help, or add it to a file in conf/"))
    if others := [option for option in options if parent in keys[option]]:
        there = [name.removeprefix(f"{parent}.") for name in sorted(keys[others[0]]) if name.startswith(f"{parent}.")]
        raise ConfigError(
            f"{problem}: {parent} is a part of {group}={' and '.join(others)} only; choose that, and set one of "
            f"{', '.join(name for name in there if name != '_target_')}"
        )
    there = [name.split(".")[1] for name in known if is_named(name) and name.startswith(f"{group}.")]
    if is_named(parent) and closest(parent.split(".")[1], there) is None:
        raise ConfigError(f"{problem}: nothing is called {parent}; add it with +{parent}._target_=CLASS")
    raise ConfigError(f"{problem}: " + _meant(key, known, "see --help, or add it to a file in conf/"))


def _without_experiment(base: DictConfig, configs: Configs) -> DictConfig:
    """The same options of every group as in their files."""
    chosen = {name: choice for name, choice in base.hydra.runtime.choices.items() if choice and name in configs.groups}
    return configs.compose({name: choice for name, choice in chosen.items() if name not in ("experiment", "sweep")})


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in node:
        # Hydra overrides a key that is a number (GradientAccumulationScheduler has such) only together with its group.
        if not isinstance(name, str) or (not prefix and name == "hydra"):
            continue
        yield f"{prefix}{name}"
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from _keys(child, f"{prefix}{name}.")


def _meant(key: str, known: list[str], otherwise: str) -> str:
    if "." in key:
        known = [name for name in known if "." in name]
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == leaf]
    near = same_leaf[0] if len(same_leaf) == 1 else closest(key, known)
    if near is None and "." not in key:  # given without its group
        leaves = {name.rsplit(".", 1)[-1]: name for name in known}
        near = leaves.get(closest(key, leaves) or "")
    if near:
        return f"did you mean {near}?"
    siblings = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    return f"choose one of {', '.join(siblings)}" if "." in key and siblings else otherwise


def _resolved(value: Any, key: str, base: DictConfig) -> Any:
    """The value of an interpolation in this config; the interpolation itself where it is unknown yet."""
    if not isinstance(value, str) or "${" not in value:
        return value
    changed = copy.deepcopy(base)
    try:
        OmegaConf.update(changed, key, value, merge=False)
        return OmegaConf.select(changed, key)
    except OmegaConfBaseException:
        return value
