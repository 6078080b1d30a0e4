"""A table of settings or arms for a paper, in LaTeX with booktabs."""

import re
from collections.abc import Sequence

from litmus.report.comparison_plan import Plan
from litmus.report.comparison_results import ArmResult
from litmus.report.contents import mean_cell
from litmus.report.formatting import format_metric, format_value, is_percentage, title
from litmus.report.pairs import judge_against_best
from litmus.report.settings import Comparison
from litmus.report.verdicts import Verdict, format_interval

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
    "δ": r"$\delta$",
    "×": r"$\times$",
}
BREAK = r" \\"


def escape(text: str) -> str:
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda match: SPECIAL[match[0]], text)


def settings_table(comparison: Comparison, delta: float | None = None) -> str:
    """All settings, best first, each with its paired difference to the best."""
    metric, best = comparison.metric, comparison.best
    verdicts = {id(pair.setting): pair.verdict for pair in judge_against_best(comparison, delta)}
    rows = [
        [
            *(format_value(setting.values.get(key)) for key in comparison.keys),
            mean_cell(metric, setting.all(metric)),
            str(len(setting.all(metric))),
            *_against(metric, None if setting is best else verdicts.get(id(setting))),
        ]
        for setting in comparison.settings
    ]
    columns = [*comparison.keys, _with_unit(metric), "seeds", "difference to the best", "verdict"]
    return booktabs(columns, rows, "l" * len(comparison.keys) + "rrrl")


def arms_table(plan: Plan, results: Sequence[ArmResult], judged: Sequence[tuple[str, str, Verdict]]) -> str:
    """The arms of a planned comparison in its order, each with its planned contrasts."""
    rows = []
    for result in results:
        values = list(result.by_seed(plan.metric).values())
        own = [(reference, verdict) for arm, reference, verdict in judged if arm == result.arm.name]
        first = [result.arm.name, " ".join(result.tuned) or "–", mean_cell(plan.metric, values), str(len(values))]
        for i, (reference, verdict) in enumerate(own or [("–", None)]):
            rows.append([*(first if i == 0 else [""] * 4), reference, *_against(plan.metric, verdict)])
    columns = ["arm", "chosen by tuning", _with_unit(plan.metric), "seeds", "compared with", "difference", "verdict"]
    return booktabs(columns, rows, "llrrlrl")


def _with_unit(metric: str) -> str:
    return f"{title(metric)}{' (%)' if is_percentage(metric) else ''}"


def _against(metric: str, verdict: Verdict | None) -> list[str]:
    """The difference with its corrected interval, and the verdict in a word."""
    if verdict is None:
        return ["–", "–"]
    mean = format_metric(metric, verdict.difference.mean, sign=True)
    interval = "" if verdict.interval is None else f" [{format_interval(metric, *verdict.interval, sign=True)}]"
    return [f"{mean}{interval}", verdict.kind]


def booktabs(columns: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> str:
    """The tabular environment alone, for \\input in a table environment. Cells are escaped."""
    lines = [" & ".join(map(escape, line)) + BREAK for line in (columns, *rows)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{alignment}}}",
            "\\toprule",
            lines[0],
            "\\midrule",
            *lines[1:],
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )
