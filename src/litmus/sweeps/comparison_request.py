"""From the command line of scripts/compare.py to the plan of a comparison. Nothing is run or written."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from litmus.core.hydra_values import key_of
from litmus.core.metric_direction import known_mode, mode
from litmus.errors import closest, require, whole_number
from litmus.report.comparison_plan import PILOT, Arm, Plan, hash_arm
from litmus.report.formatting import scaled
from litmus.report.statistics import MOST_SEEDS
from litmus.runs.identity import BYSTANDERS
from litmus.sweeps.comparison_checks import check_same_data, check_same_unit
from litmus.sweeps.space import Interval, Values, dimension

log = logging.getLogger("litmus")

DECIDED = {  # overrides that a comparison sets itself, with the option that does it
    "seed": "use --seeds",
    "n_trials": "use --trials",
    "sweep_name": "use --name",
    "stale": "use --stale",
    "sweep": "use --tune",
    **dict.fromkeys(("test", "output_dir", "resume", "trust", "hydra"), "leave it out"),
}
STARTED_BY = ("launcher", "jobs", *BYSTANDERS)  # how runs are started and watched, not part of the plan
SEARCHED_BY = ("sampler", "pruner")
Compose = Callable[..., DictConfig]


@dataclass(frozen=True)
class Request:
    """What the command line asks for. `detect` and `equivalence` are in points of accuracy, or the metric's unit."""

    overrides: Sequence[str]
    tune: Sequence[str] = ()
    trials: int = 12
    seeds: int = 5
    detect: float | None = None
    max_seeds: int = 50
    baseline: str | None = None
    all_pairs: bool = False
    metric: str | None = None
    equivalence: float | None = None
    tuning_seed: int = 1000


def make_plan(request: Request, compose: Compose, conf: Path) -> tuple[Plan, list[str]]:
    """The plan of a request, and the overrides that are not part of it: how runs are started and watched.

    `compose` gives the config of some overrides, as `litmus.compose` does. Raises ConfigError for what cannot be
    compared. Nothing is written.
    """
    _check_numbers(request)
    swept, common, search, extra = _sort_overrides(request)
    arms = [tuple(choice) for choice in product(*([f"{key}={v}" for v in values] for key, values in swept.items()))]
    space = dict(_read_space(text, tuple(swept), conf) for text in request.tune)
    require(
        not (both := swept.keys() & space.keys()), f"{', '.join(both)} is both compared and tuned: choose one of them"
    )
    repeated = [key for key in map(key_of, common) if key in swept or key in space]
    require(not repeated, f"{', '.join(repeated)} is given twice: keep one of the two")
    configs = {arm: compose(*common, *arm) for arm in arms}
    check_same_data(list(configs.values()))
    for key in space:
        require(
            any(_has(config, key) for config in configs.values()),
            f"--tune {key}: none of the arms has this key; choose one that python train.py --help lists",
        )
    plan_arms = [_arm(arm, configs[arm], space, request.trials) for arm in arms]
    first = configs[arms[0]]
    objective = str(first.objective)
    metric = request.metric or re.sub("^val/", "test/", objective)
    objective_mode = mode(objective, first.get("objective_mode"))
    if metric.partition("/")[2] == objective.partition("/")[2]:
        metric_mode = objective_mode
    else:
        metric_mode = mode(metric, None if known_mode(metric) else first.get("objective_mode"))
    check_same_unit(metric, list(configs.values()))
    names = [arm.name for arm in plan_arms]
    plan = Plan(
        arms=tuple(plan_arms),
        common=tuple(common),
        space=space,
        trials=request.trials if space else 0,
        search=tuple(search or _default_search(space, request.trials)) if space else (),
        tuning_seed=request.tuning_seed,
        objective=objective,
        objective_mode=objective_mode,
        metric=metric,
        mode=metric_mode,
        contrasts=_contrasts(names, request),
        seeds=PILOT if request.detect is not None else request.seeds,
        detect=None if request.detect is None else request.detect / scaled(metric, 1),
        max_seeds=request.max_seeds if request.detect is not None else request.seeds,
        equivalence=None if request.equivalence is None else request.equivalence / scaled(metric, 1),
    )
    return plan, extra


def _check_numbers(request: Request) -> None:
    whole_number("--trials", request.trials, least=1)
    whole_number("--seeds", request.seeds, least=2, most=MOST_SEEDS)
    whole_number("--tuning-seed", request.tuning_seed, least=0, most=2**32 - 1)
    if request.detect is not None:
        whole_number("--max-seeds", request.max_seeds, least=PILOT, most=MOST_SEEDS)
    for name, value in (("--detect", request.detect), ("--equivalence", request.equivalence)):
        require(
            value is None or 0 < value < float("inf"),
            f"{name} is {value}, and must be a difference above 0, such as 0.2",
        )
    most = request.seeds if request.detect is None else request.max_seeds
    require(
        request.tuning_seed >= most,
        f"--tuning-seed {request.tuning_seed} is also a seed of the evaluation (0 to {most - 1}): use another, such as "
        f"{max(1000, most)}",
    )


def _sort_overrides(request: Request) -> tuple[dict[str, list[str]], list[str], list[str], list[str]]:
    """The values of the compared keys, the overrides of all arms, those of the search, and those outside the plan.

    Raises ConfigError for overrides that the comparison sets itself.
    """
    swept: dict[str, list[str]] = {}
    common: list[str] = []
    search: list[str] = []
    extra: list[str] = []
    for line in request.overrides:
        key = key_of(line)
        top = key.replace("/", ".").split(".")[0]
        require(top not in DECIDED, f"{line} is what a comparison sets itself: {DECIDED.get(top)}")
        if top in STARTED_BY:
            extra.append(line)
        elif top in SEARCHED_BY:
            search.append(line)
        elif isinstance(values := _values(line), list) and len(values) > 1:
            require(key not in swept, f"{key} is compared twice: keep one of them")
            require(
                key != "data", f"{line} compares data sets, which have no accuracy in common: compare on one of them"
            )
            swept[key] = values
        else:
            require(
                not isinstance(values, Interval),
                f"{line} has no list of values to compare: list them as {key}=A,B,C, or tune it with --tune '{line}'",
            )
            common.append(line)
    require(bool(swept), "there is nothing to compare: give a key several values, such as optim=sgd,adam")
    return swept, common, search, extra


def _values(line: str) -> Values | Interval:
    parsed = OverridesParser.create().parse_override(line)
    values = dimension(parsed)
    return list(values.listed) if isinstance(values, Interval) and values.listed else values


def _arm(overrides: tuple[str, ...], config: DictConfig, space: Mapping[str, str], trials: int) -> Arm:
    tuned = tuple(key for key in space if _has(config, key))
    values = [_values(f"{key}={space[key]}") for key in tuned]
    if values and all(isinstance(one, list) for one in values):
        trials = min(trials, prod(len(one) for one in values if isinstance(one, list)))
    return Arm(" ".join(overrides), overrides, tuned, hash_arm(config, tuned), trials if tuned else 0)


def _has(config: DictConfig, key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not OmegaConf.is_dict(node) or part not in node:
            return False
        node = node._get_node(part)
    return True


def _read_space(text: str, compared: Sequence[str], conf: Path) -> tuple[str, str]:
    """A tuned key with its values, in Hydra's syntax: as given, or those of the file in conf/sweep that has them."""
    key, _, given = text.partition("=")
    space = given or _space_of_sweeps(key, compared, conf)
    values = _values(f"{key}={space}")
    require(
        isinstance(values, Interval) or len(values) > 1,
        f"--tune {text} has one value: give several, such as --tune '{key}=tag(log,interval(1e-4,1e-1))'",
    )
    require(key != "seed", "seed cannot be tuned: use --seeds for the seeds of the evaluation")
    return key, space


def _space_of_sweeps(key: str, compared: Sequence[str], conf: Path) -> str:
    """The values of a key in the file of conf/sweep that also sweeps most of the compared keys."""
    found: dict[Path, dict[str, Any]] = {}
    for file in sorted((conf / "sweep").glob("*.yaml")):
        params = ((yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("hydra") or {}).get("sweeper") or {}
        found[file] = params.get("params") or {}
    having = {file: params for file, params in found.items() if key in params}
    near = closest(key, {name for params in found.values() for name in params})
    example = f"--tune '{key}=tag(log,interval(1e-4,1e-1))'"
    require(
        bool(having),
        f"--tune {key}: no file in conf/sweep has its values{f' (did you mean {near}?)' if near else ''}; give them, "
        f"as in {example}",
    )
    score = {file: sum(name in params for name in compared) for file, params in having.items()}
    best = {str(params[key]): file for file, params in having.items() if score[file] == max(score.values())}
    options = ", ".join(f"{space} in {file.name}" for space, file in best.items())
    require(len(best) == 1, f"--tune {key} has several spaces in conf/sweep ({options}): give one, as in {example}")
    return next(iter(best))


def _default_search(space: dict[str, str], trials: int) -> list[str]:
    """One key is tuned on a grid, several by a TPE sampler; every trial runs to its end."""
    if len(space) > 1:
        return ["sampler=tpe", "pruner=none"]
    ((key, text),) = space.items()
    values = _values(f"{key}={text}")
    count = len(values) if isinstance(values, list) else 0
    require(count <= trials, f"--trials {trials} cannot try the {count} values of {key}: use --trials {count}")
    return ["sampler=grid", f"sampler.points={trials}", "pruner=none"]


def _contrasts(names: Sequence[str], request: Request) -> tuple[tuple[str, str], ...]:
    if request.all_pairs:
        require(request.baseline is None, "--all-pairs has no baseline: leave out one of the two")
        return tuple((second, first) for i, first in enumerate(names) for second in names[i + 1 :])
    baseline = request.baseline or names[0]
    matching = [
        name for name in names if baseline in (name, *name.split(), *(p.split("=", 1)[1] for p in name.split()))
    ]
    require(len(matching) == 1, f"--baseline {baseline} is not an arm: choose one of {'; '.join(names)}")
    return tuple((name, matching[0]) for name in names if name != matching[0])
