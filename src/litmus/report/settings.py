"""Settings: groups of runs that differ in their seed alone, and the config keys that distinguish them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from litmus.core.hydra_values import key_of
from litmus.report.formatting import format_value
from litmus.report.statistics import rank_by_mean
from litmus.runs.code_version import SHOWN_DIGITS, code_labels
from litmus.runs.reading import ExcludedRun, Run, Value, is_compared
from litmus.runs.stale import NOT_THE_SOURCE


@dataclass(eq=False)
class Setting:
    """Runs that differ in their seed alone. `values` holds the keys that distinguish it from other settings."""

    values: dict[str, Value]
    runs: list[Run]

    def __str__(self) -> str:
        return " ".join(f"{key}={format_value(value)}" for key, value in self.values.items()) or "the one setting"

    def by_seed(self, metric: str) -> dict[Value, float]:
        return {run.seed: run.metrics[metric] for run in self.runs if metric in run.metrics}

    def all(self, metric: str) -> list[float]:
        return list(self.by_seed(metric).values())

    def mean(self, metric: str) -> float:
        return fmean(self.all(metric))


@dataclass
class Comparison:
    """Settings, best first by the mean of `metric` (see `rank_by_mean`), ties by `val/loss`.

    `keys` are their columns; the keys `along` differ too, and follow from the columns.
    """

    metric: str
    mode: str
    keys: list[str]
    along: list[str]
    settings: list[Setting]
    shared: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        return [run for setting in self.settings for run in setting.runs]

    @property
    def best(self) -> Setting:
        return self.settings[0]

    @property
    def ties(self) -> int:
        """The number of other settings with the best mean."""
        best = self.best.mean(self.metric)
        return sum(setting.mean(self.metric) == best for setting in self.settings) - 1

    @property
    def losses(self) -> set[str]:
        return {run.choices.get("loss", "unknown") for run in self.runs}

    def values(self, key: str) -> list[Value]:
        """The swept values of `key`, sorted."""
        return in_order({setting.values[key] for setting in self.settings if key in setting.values})

    def is_number(self, key: str) -> bool:
        return all(isinstance(value, int | float) for value in self.values(key))


def in_order(values: Iterable[Value]) -> list[Value]:
    """Numbers by size, then words."""
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def by_values(settings: Sequence[Setting], keys: Sequence[str]) -> list[Setting]:
    """The settings in the order of their values; those without a key come first."""
    ranks = {key: in_order({s.values[key] for s in settings if key in s.values}) for key in keys}
    return sorted(settings, key=lambda s: [ranks[k].index(s.values[k]) if k in s.values else -1 for k in keys])


def compare(runs: Sequence[Run]) -> tuple[Comparison | None, list[ExcludedRun]]:
    """The settings of the finished runs, and the runs that cannot be counted; no comparison without runs."""
    if not runs:
        return None, []
    names = Counter(run.objective_name for run in runs)
    metric = max(sorted(names), key=lambda name: names[name])
    mode = next(run.objective_mode for run in runs if run.objective_name == metric)
    left_out = [
        ExcludedRun(run.path, "incomparable", f"it has no {metric}", run.overrides)
        for run in runs
        if metric not in run.metrics
    ]
    runs = [run for run in runs if metric in run.metrics]
    _label_versions(_by_config(runs, _differing(runs)))
    differing = _differing(runs)  # with the labels
    groups = [_one_for_each_seed(members, left_out) for members in _by_config(runs, differing)]
    keys, along = _columns(groups, differing, _asked(runs))
    settings = [
        Setting({key: value for key in keys if (value := value_of(members[0], key)) is not None}, members)
        for members in groups
    ]
    settings = rank_by_mean(settings, lambda s: s.all(metric), mode, lambda s: s.all("val/loss"))
    shared = [o for o in runs[0].overrides if is_compared(key_of(o)) and all(o in run.overrides for run in runs)]
    return Comparison(metric, mode, keys, along, settings, shared), left_out


def _by_config(runs: Sequence[Run], differing: Sequence[str]) -> list[list[Run]]:
    """The runs of each config, whatever their seed."""
    classes: dict[tuple[Value | None, ...], list[Run]] = {}
    for run in runs:
        classes.setdefault(tuple(run.config.get(key) for key in differing), []).append(run)
    return list(classes.values())


def mixes_data(runs: Iterable[Run]) -> bool:
    """Whether runs whose options read the same data have read different data."""
    versions: dict[tuple[tuple[str, Value], ...], set[str]] = {}
    for run in runs:
        if run.data:
            source = {
                k: v for k, v in run.config.items() if re.match(r"data\.", k) and k.split(".")[1] not in NOT_THE_SOURCE
            }
            versions.setdefault(tuple(sorted(source.items())), set()).add(run.data)
    return any(len(fingerprints) > 1 for fingerprints in versions.values())


def _label_versions(classes: Sequence[Sequence[Run]]) -> None:
    """Adds the keys `code` and `data_fingerprint` to the configs where runs of one config differ in them.

    They become settings of their own: their mean would be of two experiments. Runs that recorded neither keep no label.
    """
    for members in classes:
        code = {run.path: label for run, label in zip(members, code_labels([run.code for run in members]), strict=True)}
        data = {run.path: run.data[:SHOWN_DIGITS] for run in members if run.data}
        for key, labels in (("code", code), ("data_fingerprint", data)):
            if len(set(labels.values())) > 1:
                for run in members:
                    run.config[key] = labels.get(run.path, "unknown")


def _differing(runs: Sequence[Run]) -> list[str]:
    """The flat keys whose value differs between runs."""
    first = runs[0].config
    keys = dict.fromkeys(key for run in runs for key in run.config)
    return [key for key in keys if is_compared(key) and any(run.config.get(key) != first.get(key) for run in runs)]


def _one_for_each_seed(members: list[Run], left_out: list[ExcludedRun]) -> list[Run]:
    kept: dict[Value, Run] = {}
    for run in members:
        first = kept.setdefault(run.seed, run)
        if first is not run:
            why = f"{first.path} has the same setting and seed, and is counted; {_difference(run, first)}"
            left_out.append(ExcludedRun(run.path, "repeated", why, run.overrides))
    return sorted(kept.values(), key=lambda run: (isinstance(run.seed, str), run.seed))


def _difference(run: Run, other: Run) -> str:
    """How two runs of one config differ: in code, versions and machine, and in their metrics."""
    here, there = run.circumstances, other.circumstances
    facts = [
        f"{name.replace('_', ' ')} is {here.get(name, '?')} here and {there.get(name, '?')} there"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    shared = sorted(run.metrics.keys() & other.metrics.keys())
    facts += [
        f"{name} is {run.metrics[name]:.5g} here and {other.metrics[name]:.5g} there"
        for name in shared
        if run.metrics[name] != other.metrics[name]
    ]
    return "; ".join(facts) or "code, versions, machine and metrics are the same"


def _asked(runs: Sequence[Run]) -> list[str]:
    """The keys of all overrides, in the order of the command line."""
    return [key for key in dict.fromkeys(key_of(o) for run in runs for o in run.overrides) if is_compared(key)]


def _columns(groups: Sequence[Sequence[Run]], differing: list[str], asked: list[str]) -> tuple[list[str], list[str]]:
    """The fewest keys that distinguish the groups of runs: keys of the command line, then config groups, then single
    keys; and the keys that differ besides.
    """

    def parts(keys: list[str]) -> int:
        return len({tuple(value_of(members[0], key) for key in keys) for members in groups})

    def is_theirs(key: str) -> bool:  # an experiment may be one config under two names
        return all(value_of(run, key) == value_of(members[0], key) for members in groups for run in members[1:])

    options = [
        key for key in dict.fromkeys(name for members in groups for name in members[0].choices) if is_compared(key)
    ]
    keys = [key for key in asked if parts([key]) > 1 and is_theirs(key)]
    for key in filter(is_theirs, options + differing):
        if parts(keys) == len(groups):
            break
        if parts([*keys, key]) > parts(keys):
            keys.append(key)
    return keys, [key for key in differing if key not in keys and not any(key.startswith(f"{k}.") for k in keys)]


def value_of(run: Run, key: str) -> Value | None:
    """The name of an option, a value, `{…}` for a group of keys, or None if the run lacks the key."""
    if key in run.choices:
        return run.choices[key]
    if key in run.config:
        return run.config[key]
    return "{…}" if any(name.startswith(f"{key}.") for name in run.config) else None
