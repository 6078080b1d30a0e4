"""The contents of a report: summary, tables, and the rows of runs.csv."""

import shlex
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from litmus.core.counts import format_count
from litmus.core.hydra_values import key_of
from litmus.errors import first_few
from litmus.report.blocks import Block, Code, Folded, Heading, Lead, Paragraph, Table
from litmus.report.formatting import axis, format_metric, format_p, format_value, is_percentage, title, unit
from litmus.report.pairs import PairTable, better_is
from litmus.report.settings import Comparison, Setting, mixes_data
from litmus.report.statistics import spread
from litmus.report.verdicts import describe, format_interval, verdict_line
from litmus.runs.code_version import differing_files
from litmus.runs.reading import ExcludedRun, Run, Value, is_compared

METRICS = ("val/acc", "val/loss", "train/acc", "gap/acc", "test/acc", "test/loss")
INTERVAL = "corrected 95 % interval"
ENDS = ("best_epoch", "epochs", "seconds", "stop_reason")
MOST_COMMANDS, MOST_TO_REPEAT = 20, 50


def summary(comparison: Comparison | None, left_out: Sequence[ExcludedRun], delta: float | None = None) -> list[Block]:
    gone = Counter(run.status for run in left_out)
    besides = ", ".join(f"{count} {status}" for status, count in sorted(gone.items()))
    if comparison is None:
        return [Paragraph(f"Nothing has finished ({besides or 'there are no runs'}): there is nothing to compare.")]
    metric, best = comparison.metric, comparison.best
    values = best.all(metric)
    mean = f"{format_metric(metric, best.mean(metric))}{_plus_minus(metric, spread(values))}"
    of_metric = unit(metric, comparison.losses)
    measured_in = " %" if is_percentage(metric) else f" ({of_metric})" if of_metric else ""
    ties = comparison.ties
    counted = (
        f"{format_count(len(comparison.runs), 'finished run')} of {format_count(len(comparison.settings), 'setting')}"
    )
    blocks: list[Block] = [
        Paragraph(f"{counted}{f'; not counted: {besides}' if besides else ''}."),
        Paragraph(
            f"Best {title(metric)} by its mean over {format_count(len(values), 'seed')}: {best}, with {mean}"
            f"{measured_in}{f'; {ties} more have the same, none with a lower validation loss' if ties else ''}."
        ),
    ]
    by_seed = [(str(setting), setting.by_seed(metric)) for setting in comparison.settings]
    if line := verdict_line(by_seed, metric, comparison.mode, delta):
        blocks.append(Lead(line))
    if comparison.shared:
        blocks.append(Paragraph(f"All runs share {shlex.join(comparison.shared)}."))
    return blocks + [Paragraph(caution) for caution in cautions(comparison)]


def cautions(comparison: Comparison) -> list[str]:
    """What limits a comparison of the settings."""
    sentences = []
    runs, settings = comparison.runs, comparison.settings
    for group, what in (("data", "their figures are of different tasks"), ("loss", "their losses have unlike units")):
        options = sorted({run.choices.get(group, "?") for run in runs})
        if len(options) > 1:
            sentences.append(
                f"The settings differ in {group} ({', '.join(options)}): {what}, so do not rank them by those."
            )
    if comparison.metric.startswith("train/"):
        sentences.append(
            f"The settings are ranked by {title(comparison.metric)}: that says how well the training images were "
            "learned, and can't choose a penalty, a dropout or an augmentation."
        )
    if len({run.objective_name for run in runs}) > 1:
        sentences.append(f"Not all runs chose their best epoch by {comparison.metric}, though all are compared by it.")
    for setting in settings:
        if diverged := sum(run.diverged for run in setting.runs):
            sentences.append(
                f"Training diverged in {diverged} of the {format_count(len(setting.runs), 'run')} of {setting}."
            )
    counts = sorted({len(setting.runs) for setting in settings})
    if len(counts) > 1:
        sentences.append(
            f"The settings have from {counts[0]} to {counts[-1]} seeds. Those with fewer than the median come last."
        )
    if comparison.along:
        keys = ", ".join(comparison.along[:20]) + (" and more" if len(comparison.along) > 20 else "")
        sentences.append(f"The columns decide these other keys, which differ as well: {keys}.")
    lacking = sum(not run.curves() for run in runs)
    if lacking:
        sentences.append(
            f"{format_count(lacking, 'run')} without a readable metrics.csv: in the tables, not in the curves."
        )
    if files := differing_files(run.code for run in runs):
        sentences.append(f"The runs were not made with the same code: {first_few(files)} differs among them.")
    if mixes_data(runs):
        sentences.append("The runs were not made with the same data, although their options name the same.")
    if mixed := sum(run.is_mixed for run in runs):
        sentences.append(f"{format_count(mixed, 'run')} resumed after code or data had changed (stale=keep).")
    for name in dict.fromkeys(name for run in runs for name in run.circumstances):
        found = Counter(run.circumstances.get(name, "unknown") for run in runs)
        if len(found) > 1:
            which = ", ".join(f"{value[:60]} ({format_count(count, 'run')})" for value, count in found.most_common(6))
            sentences.append(f"The runs were not made alike: {name.replace('_', ' ')} was {which}.")
    return sentences


def settings_table(comparison: Comparison) -> Table:
    losses = comparison.losses
    present = {name for run in comparison.runs for name in run.metrics}
    metrics = [comparison.metric, *(name for name in METRICS if name in present and name != comparison.metric)]
    first, *others = (axis(name, losses) for name in metrics)
    columns = ["#", first, *comparison.keys, "seeds", *others, "best epoch", "seconds"]
    rows, keys = [], list[list[Value]]()
    for rank, setting in enumerate(comparison.settings, start=1):
        epoch, seconds = fmean(r.best_epoch for r in setting.runs), fmean(r.seconds for r in setting.runs)
        values = [setting.values.get(key) for key in comparison.keys]
        shown_first, *shown_after = (_mean_cell(setting, name) for name in metrics)
        row = [str(rank), shown_first, *map(format_value, values), str(len(setting.runs))]
        rows.append([*row, *shown_after, f"{epoch:.1f}", f"{seconds:.1f}"])
        mean, *means = (setting.mean(name) if setting.all(name) else "" for name in metrics)
        sort_by = ["" if value is None else value for value in values]
        keys.append([rank, mean, *sort_by, len(setting.runs), *means, epoch, seconds])
    return Table(columns, rows, keys)


def _mean_cell(setting: Setting, metric: str) -> str:
    values = setting.all(metric)
    fewer = f" ({len(values)} of {len(setting.runs)})" if 0 < len(values) < len(setting.runs) else ""
    return f"{mean_cell(metric, values)}{fewer}"


def mean_cell(metric: str, values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    return f"{format_metric(metric, fmean(values))}{_plus_minus(metric, spread(values))}" if values else "–"


def _plus_minus(metric: str, deviation: float | None) -> str:
    return "" if deviation is None else f" ± {format_metric(metric, deviation)}"


def pair_table(table: PairTable, metric: str, mode: str) -> Table:
    columns = ["difference", f"mean ({better_is(mode)})", INTERVAL, "p (Holm)", "pairs", "verdict on the first"]
    rows, keys = [], list[list[Value]]()
    for pair in table.pairs:
        found, verdict = pair.difference, pair.verdict
        interval = "–" if verdict.interval is None else format_interval(metric, *verdict.interval, sign=True)
        p_value = "–" if verdict.p_value is None else format_p(verdict.p_value)
        told = describe(verdict, metric)
        rows.append(
            [pair.label, format_metric(metric, found.mean, sign=True), interval, p_value, str(found.pairs), told]
        )
        low = found.mean if verdict.interval is None else verdict.interval[0]
        p_key = "" if verdict.p_value is None else verdict.p_value
        keys.append([pair.label, found.mean, low, p_key, found.pairs, told])
    return Table(columns, rows, keys)


def commands(comparison: Comparison, of_sweeps: Sequence[str]) -> list[Block]:
    """The commands that started the sweeps, or the runs; and those that repeat a setting."""
    started = list(dict.fromkeys(of_sweeps or [command for run in comparison.runs for command in run.commands]))
    lines = [_with_python(command) for command in started[:MOST_COMMANDS]]
    blocks: list[Block] = [Heading("Commands")]
    if lines:
        more = f", the first {MOST_COMMANDS} of {len(started)}" if len(started) > MOST_COMMANDS else ""
        who = "The sweep was" if of_sweeps else "The runs were"
        blocks += [Paragraph(f"{who} started by{more}:"), Code(lines)]
    best = comparison.settings[:MOST_TO_REPEAT]
    which = f"the best {MOST_TO_REPEAT} settings" if len(comparison.settings) > MOST_TO_REPEAT else "a setting"
    return [*blocks, Folded(f"To repeat {which}, in the table's order", [Code([to_repeat(s.runs) for s in best])])]


def _with_python(command: str) -> str:
    return f"python {command}" if command.split(" ")[0].endswith(".py") else command


def to_repeat(runs: Sequence[Run]) -> str:
    """The command line that repeats the setting, with its seeds."""
    overrides = [override for override in runs[0].overrides if is_compared(key_of(override))]
    seeds = ",".join(str(run.seed) for run in runs)
    return command_line([*["-m"] * (len(runs) > 1), *overrides, f"seed={seeds}"])


def command_line(arguments: Sequence[str]) -> str:
    """The shell command of train.py with these arguments."""
    return shlex.join(["python", "train.py", *arguments])


def excluded_runs_table(left_out: Sequence[ExcludedRun]) -> list[Block]:
    if not left_out:
        return []
    ordered = sorted(left_out, key=lambda run: (run.status, run.path))
    rows = [[str(run.path), run.status, run.why, shlex.join(run.overrides)] for run in ordered]
    return [Heading("Not counted"), Table(["directory", "status", "why", "overrides"], rows)]


def runs_table(comparison: Comparison) -> Table:
    metric = comparison.metric
    columns = ["directory", *comparison.keys, "seed", axis(metric, comparison.losses), "best epoch", "it ended by"]
    rows, keys = [], list[list[Value]]()
    for setting in comparison.settings:
        values = [setting.values.get(key) for key in comparison.keys]
        for run in setting.runs:
            value = run.metrics[metric]
            ended_by = f"{run.stop_reason}; diverged" if run.diverged else run.stop_reason
            ends = [str(run.seed), format_metric(metric, value), f"{run.best_epoch} of {run.epochs}", ended_by]
            rows.append([str(run.path), *map(format_value, values), *ends])
            sort_by = ["" if v is None else v for v in values]
            keys.append([str(run.path), *sort_by, run.seed, value, run.best_epoch, run.stop_reason])
    return Table(columns, rows, keys)


def csv_rows(comparison: Comparison | None, left_out: Sequence[ExcludedRun]) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and rows of runs.csv, in full precision: every run, including those that are not counted."""
    keys = comparison.keys if comparison else []
    rows: list[dict[str, Any]] = []
    for setting in comparison.settings if comparison else []:
        for run in setting.runs:
            ends = {name: getattr(run, name) for name in ENDS}
            facts = {"directory": run.path, "status": "finished", "seed": run.seed, **ends, "command": to_repeat([run])}
            rows.append({**setting.values, **run.metrics, **facts})
    for other in left_out:
        command = shlex.join(["python", "train.py", *other.overrides]) if other.overrides else ""
        rows.append({"directory": other.path, "status": other.status, "why": other.why, "command": command})
    names = sorted({name for run in (comparison.runs if comparison else []) for name in run.metrics})
    return ["directory", "status", "why", *keys, "seed", *names, *ENDS, "command"], rows
