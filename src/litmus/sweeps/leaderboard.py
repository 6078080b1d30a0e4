"""The leaderboard: settings of a sweep, best first, and the verdict on the best."""

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from litmus.core.atomic_files import write_text
from litmus.report.formatting import format_value
from litmus.report.statistics import rank_by_mean, spread
from litmus.report.verdicts import verdict_line

SHOWN = 20


class JobResult(NamedTuple):
    """What one job adds to the leaderboard."""

    setting: tuple[str, ...]
    objective: str
    mode: str  # max or min
    seed: int
    value: float
    val_loss: float | None = None  # breaks ties


@dataclass
class Row:
    """The objective of one setting over its seeds."""

    setting: tuple[str, ...]
    objective: str
    mode: str  # max or min
    by_seed: dict[int, float] = field(default_factory=dict)
    val_losses: dict[int, float] = field(default_factory=dict)  # by seed, of the jobs that have one

    @property
    def values(self) -> list[float]:
        return list(self.by_seed.values())

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation; None for a single value."""
        return spread(self.values)


def ranked(results: Iterable[JobResult]) -> list[Row]:
    """The rows by objective, best first. A report of the sweep ranks them the same if `results` are in the order of
    the run directories.
    """
    rows: dict[tuple[tuple[str, ...], str], Row] = {}
    for setting, objective, mode, seed, value, val_loss in results:
        row = rows.setdefault((setting, objective), Row(setting, objective, mode))
        row.by_seed[seed] = value
        if val_loss is not None:
            row.val_losses[seed] = val_loss

    groups = _by_objective(sorted(rows.values(), key=lambda row: row.objective))
    return [row for group in groups.values() for row in _best_first(group)]


def _best_first(rows: Sequence[Row]) -> list[Row]:
    return rank_by_mean(rows, lambda row: row.values, rows[0].mode, lambda row: list(row.val_losses.values()))


def _by_objective(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.objective, []).append(row)
    return groups


def table(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """The first rows as text."""
    lines = [["", *keys, "", "", "n"]]
    for i, row in enumerate(rows[:SHOWN]):
        first = i == 0 or rows[i - 1].objective != row.objective
        deviation = "" if row.deviation is None else f"± {row.deviation:.4f}"
        name = row.objective if first else ""
        lines.append([name, *row.setting, f"{row.mean:.4f}", deviation, str(len(row.values))])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    if len(rows) > SHOWN:
        text.append(f"and {len(rows) - SHOWN} more")
    return "\n".join(text)


def verdict(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """A line on the best row against the others, for each objective that has several; empty if none has."""
    lines = []
    for objective, group in _by_objective(rows).items():
        named = [(_name(keys, row.setting), row.by_seed) for row in group]
        if line := verdict_line(named, objective, group[0].mode):
            lines.append(f"{objective}: {line}")
    return "\n".join(lines)


def _name(keys: Sequence[str], setting: Sequence[str]) -> str:
    """The setting as a report writes it."""
    return " ".join(f"{key}={_shorten_number(value)}" for key, value in zip(keys, setting, strict=True))


def _shorten_number(text: str) -> str:
    with suppress(ValueError):
        return text if text.lstrip("+-").isdecimal() else format_value(float(text))
    return text


def write(path: Path, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """All rows in full precision, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "objective", "mean", "standard_deviation", "n"])
    for row in rows:
        deviation = "" if row.deviation is None else repr(row.deviation)
        writer.writerow([*row.setting, row.objective, repr(row.mean), deviation, len(row.values)])
    write_text(path, text.getvalue())
