"""The report of a comparison: verdicts first, then what they rest on."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from litmus.core.atomic_files import write_text
from litmus.report import contents, latex, methods, pdf_figures
from litmus.report.blocks import Block, Code, Folded, Heading, Lead, Paragraph, Table
from litmus.report.comparison_plan import Plan, read_command, read_plan
from litmus.report.comparison_results import (
    ArmResult,
    at_an_end,
    contrasts,
    deviations,
    is_complete,
    read_results,
    seeds_needed,
)
from litmus.report.formatting import axis, title
from litmus.report.html import html
from litmus.report.markdown import markdown
from litmus.report.pairs import Pair, PairTable
from litmus.report.progress import RELOAD_AFTER, running_note
from litmus.report.settings import Setting
from litmus.report.statistics import POWER
from litmus.report.verdicts import Verdict, amount, contrast_sentence

NAME = "contrasts"


def write_comparison(folder: Path, out: Path | None = None, is_running: bool = False, for_paper: bool = False) -> Path:
    """Writes index.html, report.md and the figures of a comparison. Returns the path of index.html. If it is
    `for_paper`, also table.tex, methods.md, and the figures as PDF.

    They are written to `out`, or to `report` in the folder. If it `is_running`, index.html alone is written: without
    figures, and so that it reloads itself. Raises ConfigError if the plan is damaged.
    """
    folder = Path(folder)
    out = Path(out) if out else folder / "report"
    plan = read_plan(folder)
    results = read_results(folder, plan)
    name = f"Comparison: {folder.resolve().name}"
    if is_running:
        blocks = [running_note(), *_blocks(folder, plan, results)]
        write_text(out / "index.html", html(name, blocks, out, RELOAD_AFTER))
        return out / "index.html"
    with pdf_figures(for_paper):
        blocks = _blocks(folder, plan, results, out)
    if for_paper:
        judged = contrasts(plan, {result.arm.name: result.by_seed(plan.metric) for result in results})
        write_text(out / "table.tex", latex.arms_table(plan, results, judged))
        write_text(out / "methods.md", methods.methods_of_comparison(plan, results))
    write_text(out / "report.md", markdown(name, blocks))
    write_text(out / "index.html", html(name, blocks, out))
    return out / "index.html"


def verdict_lines(plan: Plan, results: Sequence[ArmResult]) -> list[str]:
    """A sentence per planned contrast."""
    judged = contrasts(plan, {result.arm.name: result.by_seed(plan.metric) for result in results})
    return [contrast_sentence(*one, plan.metric, plan.mode) for one in judged]


def status_line(plan: Plan, results: Sequence[ArmResult]) -> str:
    """`As planned.`, or that there are deviations, or what is left to run."""
    if not is_complete(plan, results):
        tuned = sum(len(result.trials) for result in results)
        evaluated = sum(len(result.runs) for result in results)
        return (
            f"Incomplete: {tuned} tuning and {evaluated} evaluation runs have finished. Repeat the command to resume."
        )
    found = deviations(plan, results)
    return "As planned." if not found else f"{len(found)} deviation{'s' * (len(found) != 1)} from the plan."


def _blocks(folder: Path, plan: Plan, results: Sequence[ArmResult], out: Path | None = None) -> list[Block]:
    """The page, with figures if there is a folder `out` for them."""
    runs = [run for result in results for run in [*result.runs.values(), *result.trials]]
    losses = {run.choices.get("loss", "unknown") for run in runs}
    judged = contrasts(plan, {result.arm.name: result.by_seed(plan.metric) for result in results})
    blocks: list[Block] = [Heading("Verdicts")]
    blocks += [Lead(line) for line in verdict_lines(plan, results)] or [Paragraph("Nothing can be judged yet.")]
    blocks += [Paragraph(status_line(plan, results))] if out else []  # a running page says that it runs
    blocks += [Paragraph(sentence) for sentence in deviations(plan, results)]
    blocks += [Heading("Arms"), Paragraph(_about_arms(plan)), _arms_table(plan, results, losses)]
    if judged:
        table = _pair_table(plan, results, judged)
        blocks.append(Heading("Planned contrasts"))
        blocks += _draw_contrasts(plan, table, out) if out else []
        blocks.append(contents.pair_table(table, plan.metric, plan.mode))
    tuned = [result for result in results if result.trials]
    if tuned:
        blocks += [Heading("Tuning"), *(Paragraph(caution) for caution in _cautions(plan, tuned))]
        blocks += _draw_tuning(plan, tuned, losses, out) if out else []
    return [*blocks, *_plan_blocks(folder, plan, results)]


def _draw_contrasts(plan: Plan, table: PairTable, out: Path) -> list[Block]:
    from litmus.report import figures  # matplotlib takes half a second

    return [figures.draw_paired(table, plan.metric, plan.mode, out)]


def _draw_tuning(plan: Plan, tuned: Sequence[ArmResult], losses: set[str], out: Path) -> list[Block]:
    from litmus.report import figures

    drawn: list[Block] = [figures.draw_budget(plan, tuned, losses, out)]
    for key in plan.space:
        if of_key := [result for result in tuned if key in result.arm.tuned]:
            drawn.append(figures.draw_sensitivity(plan, of_key, key, losses, out))
    return drawn


def _about_arms(plan: Plan) -> str:
    once = "; each run tests its best epoch once" if plan.metric.startswith("test/") else ""
    chosen = f"its best of {plan.trials} tuning trials (seed {plan.tuning_seed})" if plan.space else "its defaults"
    return (
        f"Each arm runs at {chosen}, with seeds that tuning has not used and that all arms share{once}. The table "
        "gives the mean ± one standard deviation over these seeds."
    )


def _arms_table(plan: Plan, results: Sequence[ArmResult], losses: set[str]) -> Table:
    metrics = list(dict.fromkeys([plan.metric, plan.objective, "val/acc"]))
    columns = ["arm", "chosen by tuning", "seeds", *(axis(name, losses) for name in metrics)]
    columns += ["best epoch", "epochs", "seconds per run", "tuning trials", "tuning minutes"]
    rows, keys = [], list[list[float | str]]()
    for result in results:
        found = list(result.runs.values())
        values = [[run.metrics[name] for run in found if name in run.metrics] for name in metrics]
        measures: list[list[float]] = [
            [run.best_epoch for run in found],
            [run.epochs for run in found],
            [run.seconds for run in found],
        ]
        minutes = sum(run.seconds for run in result.trials) / 60
        chosen = " ".join(result.tuned) or "–"
        shown = [contents.mean_cell(name, one) for name, one in zip(metrics, values, strict=True)]
        numbers = [f"{fmean(one):.1f}" if one else "–" for one in measures]
        trials = [str(len(result.trials)), f"{minutes:.1f}"]
        rows.append([result.arm.name, chosen, str(len(found)), *shown, *numbers, *trials])
        means: list[float | str] = [fmean(one) if one else "" for one in (*values, *measures)]
        keys.append([result.arm.name, chosen, len(found), *means, len(result.trials), minutes])
    return Table(columns, rows, keys)


def _pair_table(plan: Plan, results: Sequence[ArmResult], judged: Sequence[tuple[str, str, Verdict]]) -> PairTable:
    settings = {r.arm.name: Setting({"arm": r.arm.name}, list(r.runs.values())) for r in results}
    pairs = [Pair(f"{arm} − {ref}", settings[arm], settings[ref], verdict) for arm, ref, verdict in judged]
    return PairTable(NAME, "The planned contrasts", pairs)


def _cautions(plan: Plan, results: Sequence[ArmResult]) -> list[str]:
    """Where the search space or the budget may have been too small for an arm."""
    sentences = []
    for result in results:
        for key in result.arm.tuned:
            if end := at_an_end(result, key):
                sentences.append(
                    f"{result.arm.name} was best at the {end} {key} that was tried: a wider space may favor it."
                )
        if lost := [run for run in result.lost_trials if run.status == "failed"]:
            sentences.append(f"{len(lost)} of the trials of {result.arm.name} gave no result ({lost[0].why}).")
    return sentences


def _plan_blocks(folder: Path, plan: Plan, results: Sequence[ArmResult]) -> list[Block]:
    command, time = read_command(folder)
    name = folder.resolve().name
    seeds = min(seeds_needed(plan, results), plan.max_seeds)
    commands = []
    for result in results:
        if result.arm.tuned:
            commands.append(contents.command_line(plan.tuning(name, result.arm)))
        if result.best is not None or not result.arm.tuned:
            commands.append(contents.command_line(plan.evaluation(name, result.arm, result.tuned, seeds)))
    return [
        Heading("Plan"),
        Paragraph(f"Written at {time}, before the first run, to plan.json; a changed plan is another comparison."),
        Table(["what", "planned"], _plan_rows(plan)),
        Heading("Commands"),
        Code([command]),
        Folded("The sweeps that it ran", [Code(commands)]),
    ]


def _plan_rows(plan: Plan) -> list[list[str]]:
    tests = "paired t tests" if plan.detect is None else "Stein's two-stage t tests"
    rows = [
        ["arms", ", ".join(arm.name for arm in plan.arms)],
        ["shared settings", " ".join(plan.common) or "defaults"],
        ["tuned", ", ".join(f"{key} in {text}" for key, text in plan.space.items()) or "nothing"],
    ]
    if plan.space:
        untuned = [arm.name for arm in plan.arms if not arm.tuned]
        rows += [["not tuned", f"{', '.join(untuned)}, which has none of these keys"]] if untuned else []
        rows.append(["budget", f"{plan.trials} trials for each arm ({' '.join(plan.search)}), seed {plan.tuning_seed}"])
        rows.append(["tuning selects", f"the best {title(plan.objective)}"])
    rows.append(["evaluation", f"{title(plan.metric)}, {'higher' if plan.mode == 'max' else 'lower'} is better"])
    if plan.detect is None:
        rows.append(["seeds", f"0 to {plan.seeds - 1}"])
    else:
        wanted = f"a difference of {amount(plan.metric, plan.detect)} with a power of {POWER:.0%}"
        rows.append(["seeds", f"a pilot of {plan.seeds}, then as many as detect {wanted}, at most {plan.max_seeds}"])
    rows.append(["contrasts", ", ".join(f"{arm} − {reference}" for arm, reference in plan.contrasts)])
    rows.append(["tests", f"{tests}, Holm's correction over {len(plan.contrasts)}"])
    equivalence = plan.equivalence if plan.equivalence is not None else math.nan
    rows.append(
        ["equivalence", "not tested" if math.isnan(equivalence) else f"within {amount(plan.metric, equivalence)}"]
    )
    return rows
