"""Paired comparisons of settings over their common seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from litmus.errors import ConfigError
from litmus.report.formatting import format_value
from litmus.report.settings import Comparison, Setting, by_values
from litmus.report.statistics import Difference, paired_difference
from litmus.report.verdicts import SAME_RUNS, Verdict, judge
from litmus.runs.reading import Value

MOST_ROWS, MOST_KEYS, MOST_OPTIONS = 15, 4, 4
BASELINES = ("none", "null", "false", "constant")  # the baseline of each group, if it is among the options


@dataclass(frozen=True)
class Pair:
    label: str
    setting: Setting
    reference: Setting
    verdict: Verdict

    @property
    def difference(self) -> Difference:
        return self.verdict.difference


@dataclass(frozen=True)
class PairTable:
    """Paired differences `setting` − `reference` under one heading, a family, with a caution where needed. The family
    includes the comparisons that are not shown.
    """

    name: str
    heading: str
    pairs: list[Pair]
    caution: str = ""


def pair_tables(
    comparison: Comparison, wanted: tuple[str, str] | None = None, delta: float | None = None
) -> list[PairTable]:
    """The requested pair, then each option against its baseline with all else equal, then all settings against the
    best. Differences within ±`delta` are equivalent.
    """
    tables = []
    if wanted:
        setting, reference = (find(comparison, text) for text in wanted)
        pairs = _judged(comparison, [(f"({setting}) − ({reference})", setting, reference)], delta)
        tables.append(PairTable("asked", "The two settings asked for", pairs))
    options = [key for key in comparison.keys if 1 < len(comparison.values(key)) <= MOST_OPTIONS]
    keys = [key for key in options if not _is_scale(comparison, key)][:MOST_KEYS]
    tables += [_one_change(comparison, key, delta) for key in keys]
    best = _against_best(comparison, delta)
    told_already = len(comparison.settings) == 2 and any(table.pairs for table in tables)
    if not told_already and any(pair.difference.pairs > 1 for pair in best.pairs):
        tables.append(best)
    return [table for table in tables if table.pairs]


def find(comparison: Comparison, text: str) -> Setting:
    """The setting that `key=value key=value…` describes. Raises ConfigError if none or several match."""
    parts = [part.partition("=") for part in text.split()]
    found = [
        setting
        for setting in comparison.settings
        if all(key in setting.values and _is(setting.values[key], value) for key, _, value in parts)
    ]
    if len(found) != 1:
        fits = f"{len(found)} settings" if found else "no setting"
        raise ConfigError(
            f"{text!r} fits {fits} of this report: give each of {', '.join(comparison.keys) or 'no keys'}, such as "
            f"{str(comparison.best)!r}"
        )
    return found[0]


def _is(value: Value, text: str) -> bool:
    if str(value) == text or format_value(value) == text:
        return True
    try:
        return not isinstance(value, str) and float(text) == value
    except ValueError:
        return False


def _is_scale(comparison: Comparison, key: str) -> bool:
    """Whether the values are numbers, more than two of them: a figure shows them better than pairs."""
    return comparison.is_number(key) and len(comparison.values(key)) > 2


def _judged(
    comparison: Comparison, candidates: Sequence[tuple[str, Setting, Setting]], delta: float | None
) -> list[Pair]:
    """The pairs (label, setting, reference) with common seeds, judged as one family."""
    metric = comparison.metric
    found = [
        (label, setting, reference, difference)
        for label, setting, reference in candidates
        if (difference := paired_difference(setting.by_seed(metric), reference.by_seed(metric))) is not None
    ]
    verdicts = judge([difference for *_, difference in found], comparison.mode, delta)
    return [
        Pair(label, setting, reference, verdict)
        for (label, setting, reference, _), verdict in zip(found, verdicts, strict=True)
    ]


def _one_change(comparison: Comparison, key: str, delta: float | None) -> PairTable:
    values = comparison.values(key)
    baseline = next((value for value in values if value in BASELINES), values[0])
    references = [setting for setting in comparison.settings if setting.values.get(key) == baseline]
    candidates = []
    for setting in comparison.settings:
        for reference in references:
            if setting.values.get(key) in (None, baseline) or not _alike_but_for(key, setting, reference):
                continue
            rest = " ".join(f"{k}={format_value(v)}" for k, v in setting.values.items() if k != key)
            label = f"{format_value(setting.values[key])} − {format_value(baseline)}{f' at {rest}' if rest else ''}"
            candidates.append((label, setting, reference))
    found = _judged(comparison, candidates, delta)
    total = f", for the best {MOST_ROWS} of {len(found)} settings" if len(found) > MOST_ROWS else ""
    heading = f"{key}: each option minus {format_value(baseline)}, all else the same{total}"
    kept = found[:MOST_ROWS]
    order = by_values([pair.setting for pair in kept], [*(k for k in comparison.keys if k != key), key])
    return PairTable(key, heading, sorted(kept, key=lambda pair: order.index(pair.setting)))


def _alike_but_for(key: str, setting: Setting, reference: Setting) -> bool:
    """Whether only `key` differs, or options below it that one of the two lacks: no penalty has no weight."""
    return all(
        setting.values.get(k) == reference.values.get(k)
        or (k.startswith(f"{key}.") and not (k in setting.values and k in reference.values))
        for k in setting.values.keys() | reference.values.keys()
        if k != key
    )


def judge_against_best(comparison: Comparison, delta: float | None) -> list[Pair]:
    """Every other setting minus the best, as one family."""
    best, *others = comparison.settings
    return _judged(comparison, [(str(setting), setting, best) for setting in others], delta)


def _against_best(comparison: Comparison, delta: float | None) -> PairTable:
    best, *others = comparison.settings
    found = judge_against_best(comparison, delta)
    total = f"the next {MOST_ROWS} of {len(found)}" if len(found) > MOST_ROWS else "each other setting"
    heading = f"{total} minus the best ({best})".capitalize()
    return PairTable("best", heading, found[:MOST_ROWS], SAME_RUNS if len(others) > 1 else "")


def better_is(mode: str) -> str:
    return "above 0 is better" if mode == "max" else "below 0 is better"
