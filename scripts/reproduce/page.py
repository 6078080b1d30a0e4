"""The page of all reproduced experiments: published values beside measured ones."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from litmus.report.formatting import is_percentage
from litmus.report.reading import Run
from litmus.report.statistics import spread
from protocol import Experiment, Measure, measured

MOST_MEASURES = 2  # side by side with what was published; with more, what was published is a line of its own


def page(
    experiments: Sequence[Experiment], texts: Path, pictures: dict[str, list[tuple[str, str]]], before: str = ""
) -> str:
    """Markdown. `texts` holds a file of prose for each experiment; `pictures` the path and caption of its figures.
    Of an experiment that has no runs here the page as it was `before` is kept, if that had any."""
    kept = {section.partition("\n")[0]: section.strip() for section in before.split("\n## ")[1:]}
    parts = [(texts / "introduction.md").read_text(encoding="utf-8").strip()]
    for experiment in experiments:
        tables = [table_of(experiment, table) for table in experiment.tables]
        there = kept.get(experiment.title, "")
        if there and not experiment.runs and not all(table in there for table in tables):
            parts.append(f"## {there}")
            continue
        parts.append(f"## {experiment.title}")
        parts.append(f"`conf/experiment/{experiment.config}.yaml` says the protocol and what was chosen.")
        for described, table in zip(experiment.tables, tables, strict=True):
            parts += [str(described["text"]).strip(), table]
        parts += [f"![{caption.split(':')[0]}]({file})\n\n{caption}" for file, caption in pictures[experiment.name]]
        prose = texts / f"{experiment.name.upper()}.md"
        if prose.exists():
            parts.append(prose.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def table_of(experiment: Experiment, table: dict[str, Any]) -> str:
    measures: list[Measure] = table["measures"]
    side_by_side = len(measures) <= MOST_MEASURES
    who = table.get("theirs", "published")
    titles = [f"{m['title']}, {whose}" for m in measures for whose in (who, "ours")]
    columns = ["setting", *(titles if side_by_side else [m["title"] for m in measures]), "seeds", "seconds"]
    lines = [columns, ["---"] * len(columns)]
    for name, _, *published in table["rows"]:
        runs = experiment.runs_of(name)
        theirs = [_published(value, measure) for value, measure in zip(published, measures, strict=True)]
        ours = [_ours(runs, measure) for measure in measures]
        count = [str(len(runs)), f"{min(run.seconds for run in runs):.0f}"] if runs else ["–", "–"]
        if side_by_side:
            lines.append([name, *(cell for pair in zip(theirs, ours, strict=True) for cell in pair), *count])
        else:
            lines += [[f"{name}, {who}", *theirs, "", ""], [f"{name}, ours", *ours, *count]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _published(value: Any, measure: Measure) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.{_digits(measure)}f}"


def _ours(runs: Sequence[Run], measure: Measure) -> str:
    values = [value for run in runs if (value := measured(run, measure)) is not None]
    if not values:
        return "not run yet" if not runs else "not measured"
    scale, digits = (100 if is_percentage(measure["metric"]) else 1), _digits(measure)
    deviation = spread(values)
    around = "" if deviation is None else f" ± {scale * deviation:.{digits}f}"
    return f"{scale * fmean(values):.{digits}f}{around}"


def _digits(measure: Measure) -> int:
    return 4 if measure["metric"].endswith("/loss") else 2
