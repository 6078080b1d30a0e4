"""The stored results of an experiment: a line per run, small enough for the repository.

From these files alone, docs/experiments/results/*.csv, the tables and verdicts of the page can be recomputed.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from litmus.core.atomic_files import write_text
from litmus.runs.reading import Run
from protocol import Experiment, Measure, measured

FACTS = ("setting", "seed", "seconds", "git_commit", "torch", "machine")


@dataclass(frozen=True)
class Result:
    """One run: its training time in seconds, and the measured values by `metric@epoch`."""

    seed: int
    seconds: float
    values: Mapping[str, float]
    made_with: tuple[str, str, str] = ("", "", "")  # commit, torch, machine


Results = dict[str, list[Result]]  # by setting


def column(measure: Measure) -> str:
    return f"{measure['metric']}@{measure['at']}"


def read_results(experiment: Experiment, file: Path) -> Results:
    """The results of the experiment's runs, and for settings without a run those that are stored."""
    stored = _read(file) if file.exists() else {}
    runs = {row: experiment.runs_of(row) for row in experiment.rows}
    return {row: _of_runs(experiment, runs[row]) if runs[row] else stored.get(row, []) for row in experiment.rows}


def _of_runs(experiment: Experiment, runs: Iterable[Run]) -> list[Result]:
    return [_of_run(run, experiment.measures) for run in runs]


def _of_run(run: Run, measures: Iterable[Measure]) -> Result:
    values = {column(measure): value for measure in measures if (value := measured(run, measure)) is not None}
    facts = run.circumstances
    made_with = (facts.get("git_commit", ""), facts.get("version of torch", ""), facts.get("machine", ""))
    return Result(int(run.seed), run.seconds, values, made_with)


def write_results(file: Path, results: Results, measures: Sequence[Measure]) -> None:
    """Writes the values in full precision, and the times in seconds."""
    names = list(dict.fromkeys(map(column, measures)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FACTS, *names])
    for setting, found in results.items():
        for one in found:
            values = [repr(one.values[name]) if name in one.values else "" for name in names]
            writer.writerow([setting, one.seed, f"{one.seconds:.1f}", *one.made_with, *values])
    write_text(file, text.getvalue())


def _read(file: Path) -> Results:
    found: Results = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            values = {name: float(text) for name, text in line.items() if name not in FACTS and text}
            made_with = (line["git_commit"], line["torch"], line["machine"])
            result = Result(int(line["seed"]), float(line["seconds"]), values, made_with)
            found.setdefault(line["setting"], []).append(result)
    return found
