"""A reported experiment: its sweeps, its figures, and the runs of each of its rows."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from litmus.runs.reading import Row, Run, Value, read_runs

Measure = dict[str, Any]  # metric, at (an epoch, last or best), title


@dataclass
class Experiment:
    """One file of docs/experiments, and the finished runs of its sweep below `out`."""

    name: str
    out: Path
    title: str
    config: str
    sweeps: list[str]
    tables: list[dict[str, Any]]
    source: str = ""
    seeds: int = 5
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    needs: dict[str, list[str]] = field(default_factory=dict)
    by_request: str = ""  # what it needs, where that is more than this machine has
    runs: list[Run] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def rows(self) -> dict[str, str]:
        """The overrides of each row, by its name."""
        return {str(row[0]): str(row[1]) for table in self.tables for row in table["rows"]}

    @property
    def measures(self) -> list[Measure]:
        """What the tables and the verdicts need of each run."""
        return [m for table in self.tables for m in table["measures"]] + [spec["measure"] for spec in self.verdicts]

    def read(self) -> None:
        self.runs = read_runs([self.folder])[0] if self.folder.is_dir() else []

    def runs_of(self, row: str) -> list[Run]:
        """The newest run of each seed."""
        try:
            wanted = _settings(self.filled_in(self.rows[row]))
        except LookupError:
            return []
        newest: dict[Value, Run] = {}
        for run in sorted(self.runs, key=lambda run: (run.path / "result.json").stat().st_mtime):
            if _settings(" ".join(o for o in run.overrides if not o.startswith("seed="))) == wanted:
                newest[run.seed] = run
        return [newest[seed] for seed in sorted(newest, key=str)]

    def found(self, rows: Iterable[str]) -> dict[str, list[Run]]:
        """Of these rows those that have runs, with them."""
        return {row: runs for row in rows if (runs := self.runs_of(row))}

    def filled_in(self, overrides: str) -> str:
        """With the directories of the runs that it starts from. Raises LookupError where one has not finished."""
        for name, (experiment, row) in self.needs.items():
            if f"{{{name}}}" in overrides:
                start = first_run(self.out / experiment, self.filled_in(row))
                overrides = overrides.replace(f"{{{name}}}", os.path.relpath(start))
        return overrides


def load(file: Path, out: Path) -> Experiment:
    return Experiment(file.stem, out, **yaml.safe_load(file.read_text(encoding="utf-8")))


def first_run(folder: Path, overrides: str) -> Path:
    """The directory of the finished run of these overrides with the lowest seed."""
    runs = read_runs([folder])[0] if folder.is_dir() else []
    found = [run for run in runs if _settings(" ".join(run.overrides), without="seed") == _settings(overrides)]
    if not found:
        raise LookupError(f"{overrides} has not finished in {folder}")
    return min(found, key=lambda run: str(run.seed)).path


def _settings(overrides: str, without: str = "") -> dict[str, str | float]:
    """1e-4 and 0.0001 are one value, and so are true and True, as Hydra writes it."""
    pairs = dict(word.split("=", 1) for word in overrides.split())
    return {key: _number(value) for key, value in pairs.items() if key != without}


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text.lower() if text.lower() in ("true", "false") else text


def measured(run: Run, measure: Measure) -> float | None:
    """The figure in the unit of the tables; None if that epoch did not measure it."""
    if measure["at"] == "best":
        value = run.metrics.get(measure["metric"])
    else:
        rows = run.curves()
        chosen = rows[-1:] if measure["at"] == "last" else [row for row in rows if row["epoch"] == measure["at"]]
        value = value_in(chosen[0], measure["metric"], run) if chosen else None
    return value


def value_in(row: Row, metric: str, run: Run) -> float | None:
    """A metric of an epoch, or one that follows from others: `gap/test` is the gap in accuracy between the training
    and the test images, `val/cost` the validation loss plus the L2 penalty of the weights at the epoch's end."""
    if metric == "gap/test":
        return row["train_eval/acc"] - row["test/acc"] if {"train_eval/acc", "test/acc"} <= row.keys() else None
    if metric == "val/cost":
        norms = [value for name, value in row.items() if name.startswith("weight_norm/")]
        return row["val/loss"] + 0.5 * float(run.config["penalty.weight"]) * sum(norm**2 for norm in norms)
    return row.get(metric)
