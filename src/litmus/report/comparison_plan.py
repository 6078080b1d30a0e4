"""The plan of a comparison: what is compared, tuned, tested and judged. It is written before the first run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from litmus.core.atomic_files import read_json, write_json
from litmus.errors import ConfigError, require
from litmus.runs.identity import NOT_THE_EXPERIMENT, config_hash, resolve_environment

FILE = "plan.json"
FORMAT = 1
COUNTS = ("trials", "tuning_seed", "seeds", "max_seeds")
TEXTS = ("objective", "metric", "mode", "objective_mode")
AMOUNTS = ("detect", "equivalence")
PILOT = 5  # seeds of which the deviations decide how many more are run


@dataclass(frozen=True)
class Arm:
    """One of the settings that are compared.

    `tuned` are those of the tuned keys that it has, `trials` its budget for them, and `config` the hash of its config
    without them (see `hash_arm`).
    """

    name: str
    overrides: tuple[str, ...]
    tuned: tuple[str, ...]
    config: str
    trials: int = 0

    def slug(self, plan: "Plan") -> str:
        """The folder of its tuning runs, below `tune`."""
        words = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in self.name)
        return f"{plan.arms.index(self) + 1}-{words[:60].strip('-')}"


@dataclass(frozen=True)
class Plan:
    """What a comparison does. Its name, and who started it when, are not part of it.

    `contrasts` are pairs (arm, reference) by name. `detect` is the difference to detect, None if the number of
    `seeds` is fixed; it and `equivalence` are in the metric's own unit (0.002 for 0.2 points of accuracy).
    """

    arms: tuple[Arm, ...]
    common: tuple[str, ...]  # overrides of all arms
    space: Mapping[str, str]  # of each tuned key, in Hydra's syntax
    trials: int  # for each arm; an arm with fewer combinations of listed values has as many
    search: tuple[str, ...]  # overrides that choose the sampler
    tuning_seed: int
    objective: str  # of tuning
    metric: str  # of evaluation
    mode: str  # max or min, of the metric
    objective_mode: str
    contrasts: tuple[tuple[str, str], ...]
    seeds: int
    detect: float | None
    max_seeds: int
    equivalence: float | None

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def tuning(self, name: str, arm: Arm) -> list[str]:
        """The arguments of train.py that tune an arm of the comparison `name`."""
        space = [f"{key}={self.space[key]}" for key in arm.tuned]
        own = [*self.search, f"n_trials={arm.trials}", f"seed={self.tuning_seed}"]
        return ["-m", *self.common, *arm.overrides, *space, *own, f"sweep_name={name}/tune/{arm.slug(self)}"]

    def evaluation(self, name: str, arm: Arm, tuned: Sequence[str], seeds: int) -> list[str]:
        """The arguments of train.py that run an arm at its `tuned` overrides with the seeds from 0 to `seeds` − 1."""
        listed = ",".join(map(str, range(seeds)))
        test = ["test=true"] if self.metric.startswith("test/") else []
        return [
            *["-m", *self.common, *arm.overrides],
            *tuned,
            f"seed={listed}",
            *test,
            f"sweep_name={name}/evaluate/{arm.slug(self)}",
        ]


def hash_arm(cfg: Any, tuned: Sequence[str]) -> str:
    """The hash of a config without the tuned keys and without what differs between the runs of an arm: the seed, the
    test, and how and where a run is started.
    """
    config = OmegaConf.create(OmegaConf.to_yaml(resolve_environment(cfg)))  # as a run directory stores it
    found: Any = OmegaConf.to_container(config, resolve=False)
    kept = {key: value for key, value in found.items() if key not in (*NOT_THE_EXPERIMENT, "seed", "test")}
    for key in tuned:
        *parents, name = key.replace("/", ".").split(".")
        node: Any = kept
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node.pop(name, None)
    return config_hash(kept)


def write_plan(folder: Path, plan: Plan, command: Sequence[str], time: str) -> None:
    """Writes the plan, or checks that the folder holds the same one. Raises ConfigError, naming the difference, if it
    holds another.
    """
    file = folder / FILE
    if file.exists():
        found = read_plan(folder)
        different = [field.name for field in fields(Plan) if getattr(found, field.name) != getattr(plan, field.name)]
        require(
            not different,
            f"{file} plans another comparison ({_differences(found, plan, different)}): a plan does not change; use "
            "another --name",
        )
        return
    write_json(file, {"format": FORMAT, "time": time, "command": shlex.join(command), **asdict(plan)})


def _differences(found: Plan, plan: Plan, names: Sequence[str]) -> str:
    if names == ["arms"] and [arm.name for arm in found.arms] == [arm.name for arm in plan.arms]:
        return "the defaults in conf/ have changed since"
    shown = [f"{name} is {_short(getattr(found, name))} there and {_short(getattr(plan, name))} now" for name in names]
    return "; ".join(shown[:3])


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(part.name if isinstance(part, Arm) else str(part) for part in value) or "empty"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text}" for key, text in value.items()) or "empty"
    return str(value)


def is_comparison(folder: Path) -> bool:
    return (folder / FILE).is_file()


def read_plan(folder: Path) -> Plan:
    """Raises ConfigError if the file is damaged."""
    file = folder / FILE
    try:
        found = read_json(file, *(field.name for field in fields(Plan)))
    except ConfigError:
        raise ConfigError(f"{file} is damaged; use another --name") from None
    return plan_from(found, file)


def plan_from(found: Mapping[str, Any], file: Path) -> Plan:
    """The plan in the contents of `file`. Raises ConfigError if it is damaged."""
    try:
        arms = tuple(
            Arm(str(a["name"]), tuple(a["overrides"]), tuple(a["tuned"]), str(a["config"]), int(a["trials"]))
            for a in found["arms"]
        )
        wrong = [name for name in COUNTS if type(found[name]) is not int]
        wrong += [name for name in TEXTS if not isinstance(found[name], str)]
        wrong += [name for name in AMOUNTS if not isinstance(found[name], int | float | None)]
        require(not wrong, f"{file} is damaged ({', '.join(wrong)}); use another --name")
        contrasts = tuple((str(arm), str(reference)) for arm, reference in found["contrasts"])
        plain = {f.name: found[f.name] for f in fields(Plan) if f.name not in ("arms", "contrasts", "common", "search")}
        plan = Plan(
            arms=arms, contrasts=contrasts, common=tuple(found["common"]), search=tuple(found["search"]), **plain
        )
        names = {arm.name for arm in arms}
        require(all(set(pair) <= names for pair in contrasts), f"{file} is damaged: it contrasts arms that it lacks")
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{file} is damaged ({error}); use another --name") from None
    return plan


def read_command(folder: Path) -> tuple[str, str]:
    """The command that started a comparison, and when."""
    found = read_json(folder / FILE, "command", "time")
    return str(found["command"]), str(found["time"])
