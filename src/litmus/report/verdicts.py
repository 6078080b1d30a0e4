"""Verdicts on paired differences: better, worse, equivalent, undecided, or not judged.

The comparisons that are made at once are a family. *Better* and *worse* are what Holm's correction of the paired t
tests rejects: the chance of any false claim in a family is at most 5 %. The intervals of a family all cover at once
with 95 % (Bonferroni; Dunn 1961). Holm's test decides a little more than they do: there the end is set to 0, the bound
that agrees with Holm's test (Strassburger and Bretz 2008), so that an interval excludes 0 exactly where the verdict is
*better* or *worse*. Claims of equivalence are a family of their own with the same correction. The reasons and the
references are in docs/explanation/verdicts.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from litmus.core.counts import format_count
from litmus.report.formatting import format_metric, is_percentage
from litmus.report.statistics import (
    LEVEL,
    MOST_SEEDS,
    Difference,
    detectable_difference,
    equivalence_test,
    half_width,
    holm,
    paired_difference,
    seeds_to_detect,
    sign_flip_test,
    t_test,
)

MOST_FLIPPED = 12  # pairs in an exact sign-flip test, which visits 2^n sign patterns
Kind = Literal["better", "worse", "equivalent", "undecided", "not judged"]
SAME_RUNS = (
    "The runs that chose the best are compared with it again, so part of its lead is luck: confirm it with new seeds."
)
FEW_SEEDS = "Nothing can be judged from fewer than two common seeds: run the settings with seed=0,1,2 or more."


@dataclass(frozen=True)
class Verdict:
    """A verdict on one difference of a family of `family` comparisons.

    `interval` and `p_value` are corrected for the family; `sign_flip` is the uncorrected p-value of the exact test,
    where it could reach the level. An undecided verdict has the smallest `detectable` difference, and the `seeds` that
    would detect `aim`, None if they are too many.
    """

    kind: Kind
    difference: Difference
    family: int
    delta: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    is_within_delta: bool = False
    sign_flip: float | None = None
    detectable: float | None = None
    aim: float = 0.0
    seeds: int | None = None


def judge(differences: Sequence[Difference], mode: str, delta: float | None = None) -> list[Verdict]:
    """A verdict on each difference of a family, where `mode` (max or min) says which sign is better. Differences of a
    single pair are not judged and do not count in the family.
    """
    judged = [found for found in differences if found.degrees > 0]
    p_values = iter(holm([_p_value(found) for found in judged]))
    equivalent = iter(holm([_equivalence_p_value(found, delta) for found in judged]))
    return [
        _verdict(found, mode, len(judged), float(next(p_values)), delta, bool(next(equivalent) <= LEVEL))
        if found.degrees > 0
        else Verdict("not judged", found, len(judged), delta)
        for found in differences
    ]


def _p_value(found: Difference) -> float:
    return float(t_test(found.mean, found.deviation, found.pairs, found.degrees)) if found.deviation else 1.0


def _equivalence_p_value(found: Difference, delta: float | None) -> float:
    if not found.deviation or delta is None:
        return 1.0
    return float(equivalence_test(found.mean, found.deviation, found.pairs, delta, found.degrees))


def _verdict(
    found: Difference, mode: str, family: int, p_value: float, delta: float | None, is_within_delta: bool
) -> Verdict:
    if not found.deviation:
        return Verdict("undecided", found, family, delta, p_value=p_value)
    mean, level = found.mean, LEVEL / family
    half = float(half_width(found.deviation, found.pairs, level, found.degrees))
    low, high = mean - half, mean + half
    if p_value <= LEVEL:
        kind: Kind = "better" if (mean > 0) == (mode == "max") else "worse"
        interval = (max(low, 0.0), high) if mean > 0 else (low, min(high, 0.0))
        can_reach_level = found.pairs <= MOST_FLIPPED and 2 / 2**found.pairs <= LEVEL
        check = sign_flip_test(found.values) if can_reach_level else None
        return Verdict(kind, found, family, delta, interval, p_value, is_within_delta, check)
    if is_within_delta:
        return Verdict("equivalent", found, family, delta, (low, high), p_value, True)
    detectable = float(detectable_difference(found.deviation, found.pairs, level, degrees=found.degrees))
    aim = delta if delta is not None and delta < detectable else abs(mean)
    seeds = seeds_to_detect(aim, found.deviation, level)
    return Verdict("undecided", found, family, delta, (low, high), p_value, detectable=detectable, aim=aim, seeds=seeds)


def verdict_line(
    settings: Sequence[tuple[str, Mapping[Any, float]]], metric: str, mode: str, delta: float | None = None
) -> str:
    """One line on the first setting, the best, against all others: names and values by seed. Empty without others."""
    if len(settings) < 2:
        return ""
    (best, of_best), *others = settings
    found = [(name, paired_difference(values, of_best)) for name, values in others]
    paired = [(name, difference) for name, difference in found if difference is not None]
    verdicts = judge([difference for _, difference in paired], mode, delta)
    judged = [
        (name, verdict) for (name, _), verdict in zip(paired, verdicts, strict=True) if verdict.kind != "not judged"
    ]
    if not judged:
        return FEW_SEEDS
    closest = next((pair for pair in judged if pair[1].kind != "worse"), judged[0])
    sentence = verdict_sentence(best, *closest, metric, mode)
    if len(others) == 1:
        return sentence
    counts = _counts([verdict for _, verdict in judged], len(others), metric)
    return f"{best} against the {len(others)} other settings: {counts}. The closest: {sentence} {SAME_RUNS}"


def _counts(verdicts: Sequence[Verdict], others: int, metric: str) -> str:
    within = f"equivalent within {amount(metric, verdicts[0].delta)} to"
    phrases = {"worse": "better than", "better": "worse than", "equivalent": within, "undecided": "undecided against"}
    counts = {phrase: sum(verdict.kind == kind for verdict in verdicts) for kind, phrase in phrases.items()}
    told = [f"{phrase} {count}" for phrase, count in counts.items() if count]
    if left := others - len(verdicts):
        told.append(f"not judged against {left} (fewer than two common seeds)")
    return ", ".join(told)


def verdict_sentence(best: str, other: str, verdict: Verdict, metric: str, mode: str) -> str:
    """The verdict on `other` − `best`, told as the lead of the better one."""
    sign = 1 if (verdict.kind == "better") == (mode == "max") else -1
    lead = amount(metric, sign * verdict.difference.mean)
    figures = f"{_interval(verdict, metric, sign)}{format_count(verdict.difference.pairs, 'seed')}"
    match verdict.kind:
        case "worse":
            return f"{best} is better than {other} by {lead} ({figures}){_remarks(verdict, metric)}."
        case "better":
            return f"{other} is better than {best} by {lead} ({figures}){_remarks(verdict, metric)}."
        case "equivalent":
            within = amount(metric, verdict.delta)
            return f"{best} and {other} are equivalent within {within} (difference {lead}, {figures})."
        case _:
            return f"{best} against {other} is undecided (difference {lead}, {figures}): {_undecided(verdict, metric)}."


def contrast_sentence(arm: str, reference: str, verdict: Verdict, metric: str, mode: str) -> str:
    """The verdict on the planned difference `arm` − `reference`."""
    contrast, n = f"{arm} against {reference}", verdict.difference.pairs
    if verdict.kind == "not judged":
        which = "common seeds" if verdict.difference.pilot is None else "common seeds of the pilot"
        return f"{contrast} is not judged: it takes two {which} or more."
    if verdict.kind in ("better", "worse"):
        return verdict_sentence(reference, arm, verdict, metric, mode)
    figures = (
        f"difference {amount(metric, verdict.difference.mean, sign=True)}, {_interval(verdict, metric, 1)}{n} seeds"
    )
    if verdict.kind == "equivalent":
        return f"{contrast} is equivalent within {amount(metric, verdict.delta)} ({figures})."
    return f"{contrast} is undecided ({figures}): {_undecided(verdict, metric)}."


def _interval(verdict: Verdict, metric: str, sign: int) -> str:
    if verdict.interval is None:
        return ""
    low, high = sorted(sign * end for end in verdict.interval)
    simultaneous = "simultaneous " if verdict.family > 1 else ""
    return f"{simultaneous}95 % interval {format_interval(metric, low, high)}, "


def format_interval(metric: str, low: float, high: float, sign: bool = False) -> str:
    """`low to high`. An end at 0, where Holm's test excludes what the interval does not, is written as such."""
    first = "above 0" if low == 0 else format_metric(metric, low, sign)
    last = "below 0" if high == 0 else format_metric(metric, high, sign)
    return f"{first} to {last}"


def describe(verdict: Verdict, metric: str) -> str:
    """The verdict on the first setting of a pair, for a table that has its mean and interval."""
    match verdict.kind:
        case "better" | "worse":
            size = amount(metric, abs(verdict.difference.mean))
            return f"{verdict.kind} by {size}{_remarks(verdict, metric)}"
        case "equivalent":
            return f"equivalent within {amount(metric, verdict.delta)}"
        case "undecided":
            return f"undecided: {_undecided(verdict, metric)}"
        case _:
            return "not judged: one pair"


def _remarks(verdict: Verdict, metric: str) -> str:
    small = f", which is within {amount(metric, verdict.delta)}" if verdict.is_within_delta else ""
    doubt = verdict.sign_flip is not None and verdict.sign_flip > LEVEL
    return small + (f"; the exact sign-flip test does not confirm it (p = {verdict.sign_flip:.2f})" if doubt else "")


def _undecided(verdict: Verdict, metric: str) -> str:
    pairs = verdict.difference.pairs
    if verdict.detectable is None:
        return f"all {pairs} seeds give the same difference, so its spread is unknown"
    if is_percentage(metric) and verdict.detectable > 1:
        told = f"these {pairs} seeds could not have detected any difference"
    else:
        told = f"these {pairs} seeds could have detected {amount(metric, verdict.detectable)}"
    aim = amount(metric, verdict.aim)
    if aim == amount(metric, 0.0):
        return told
    count = f"more than {MOST_SEEDS:,}" if verdict.seeds is None else f"about {verdict.seeds:,}"
    return f"{told}; {count} seeds would settle a difference of {aim}"


def amount(metric: str, value: float | None, sign: bool = False) -> str:
    """A difference with its unit: accuracies in percentage points."""
    return f"{format_metric(metric, value, sign)}{' points' if is_percentage(metric) else ''}"
