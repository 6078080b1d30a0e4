"""The page of all reproduced experiments: reported values beside measured ones, and verdicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import comparisons
from litmus.core.metric_direction import mode
from litmus.report.contents import pair_table
from litmus.report.formatting import is_percentage
from litmus.report.markdown import markdown_table
from litmus.report.pairs import Pair, PairTable
from litmus.report.settings import Setting
from litmus.report.statistics import paired_difference, spread
from litmus.report.verdicts import judge
from protocol import Experiment, Measure
from results import Result, Results, column

MOST_MEASURES = 2  # side by side with what was reported; with more, what was reported is a line of its own


def page(
    experiments: Sequence[Experiment],
    results: Mapping[str, Results],
    texts: Path,
    pictures: dict[str, list[tuple[str, str]]],
    before: str = "",
) -> str:
    """The page as Markdown. `results` and `pictures`, the paths and captions of figures, are by experiment; `texts` is
    the folder of its prose.

    The section of an experiment without results is kept as it was `before`, if that had any.
    """
    kept = {section.partition("\n")[0]: section.strip() for section in before.split("\n## ")[1:]}
    parts = [(texts / "introduction.md").read_text(encoding="utf-8").strip()]
    for experiment in experiments:
        found = results[experiment.name]
        tables = [table_of(found, table) for table in experiment.tables]
        there = kept.get(experiment.title, "")
        if there and not any(found.values()) and not all(table in there for table in tables):
            parts.append(f"## {there}")
            continue
        parts.append(f"## {experiment.title}")
        source = f"Source: {experiment.source}. " if experiment.source else ""
        parts.append(f"{source}`conf/experiment/{experiment.config}.yaml` has the protocol and what was chosen.")
        for described, table in zip(experiment.tables, tables, strict=True):
            parts += [str(described["text"]).strip(), table]
        for spec in experiment.verdicts:
            if table := verdicts_of(experiment, found, spec):
                parts += [str(spec["text"]).strip(), table]
        for spec in experiment.comparisons:
            parts += comparisons.section(spec, texts / "results")
        parts += [f"![{caption.split(':')[0]}]({file})\n\n{caption}" for file, caption in pictures[experiment.name]]
        prose = texts / f"{experiment.name.upper()}.md"
        if prose.exists():
            parts.append(prose.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def table_of(results: Results, table: dict[str, Any]) -> str:
    measures: list[Measure] = table["measures"]
    side_by_side = len(measures) <= MOST_MEASURES
    theirs = table.get("theirs", "reported")
    titles = [f"{m['title']}, {whose}" for m in measures for whose in (theirs, "ours")]
    columns = ["setting", *(titles if side_by_side else [m["title"] for m in measures]), "seeds", "seconds"]
    lines = [columns, ["---"] * len(columns)]
    for name, _, *reported in table["rows"]:
        found = results[str(name)]
        given = [_reported(value, measure) for value, measure in zip(reported, measures, strict=True)]
        ours = [_ours(found, measure) for measure in measures]
        count = [str(len(found)), f"{min(one.seconds for one in found):.0f}"] if found else ["–", "–"]
        if side_by_side:
            lines.append([str(name), *(cell for pair in zip(given, ours, strict=True) for cell in pair), *count])
        else:
            lines += [[f"{name}, {theirs}", *given, "", ""], [f"{name}, ours", *ours, *count]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdicts_of(experiment: Experiment, results: Results, spec: dict[str, Any]) -> str:
    """The verdicts on the paired differences of settings to a reference, one family; empty without results.

    `spec` has the measure, and either `against`, the reference of all other settings of the first table that has it, or
    `contrasts`, pairs of setting and reference.
    """
    measure: Measure = spec["measure"]
    values = {name: _by_seed(found, measure) for name, found in results.items()}
    candidates = [
        (str(setting), str(reference), difference)
        for setting, reference in spec.get("contrasts") or _against(experiment, str(spec["against"]))
        if (difference := paired_difference(values[str(setting)], values[str(reference)])) is not None
    ]
    metric = measure["metric"]
    direction = spec.get("mode") or mode(metric)
    found = judge([difference for *_, difference in candidates], direction)
    empty = Setting({}, [])
    pairs = [
        Pair(f"{setting} − {reference}", empty, empty, verdict)
        for (setting, reference, _), verdict in zip(candidates, found, strict=True)
    ]
    return markdown_table(pair_table(PairTable("verdicts", "", pairs), metric, direction)) if pairs else ""


def _against(experiment: Experiment, reference: str) -> list[tuple[str, str]]:
    names = next(
        [str(row[0]) for row in table["rows"]]
        for table in experiment.tables
        if any(str(row[0]) == reference for row in table["rows"])
    )
    return [(name, reference) for name in names if name != reference]


def _by_seed(found: Sequence[Result], measure: Measure) -> dict[int, float]:
    return {one.seed: one.values[column(measure)] for one in found if column(measure) in one.values}


def _reported(value: Any, measure: Measure) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.{_digits(measure)}f}"


def _ours(found: Sequence[Result], measure: Measure) -> str:
    values = list(_by_seed(found, measure).values())
    if not values:
        return "not run yet" if not found else "not measured"
    scale, digits = (100 if is_percentage(measure["metric"]) else 1), _digits(measure)
    deviation = spread(values)
    around = "" if deviation is None else f" ± {scale * deviation:.{digits}f}"
    return f"{scale * fmean(values):.{digits}f}{around}"


def _digits(measure: Measure) -> int:
    return 4 if measure["metric"].endswith("/loss") else 2
