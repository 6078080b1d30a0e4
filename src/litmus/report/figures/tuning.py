"""Tuning in a comparison: the best value so far against trials, and the objective against each tuned key."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from litmus.report.blocks import Image
from litmus.report.comparison_plan import Plan
from litmus.report.comparison_results import ArmResult
from litmus.report.figures.style import draw, file_name, legend_below, look, reach, short
from litmus.report.figures.swept import Scale, dress_x_axis, scale
from litmus.report.formatting import axis, scaled
from litmus.report.settings import in_order, value_of
from litmus.runs.reading import Value

SIZE = (8.0, 5.0)  # inches


def draw_budget(plan: Plan, results: Sequence[ArmResult], losses: set[str], folder: Path) -> Image:
    """For each arm, the best objective of its first n tuning trials against n."""
    return draw(folder, "tuning-budget.png", SIZE, partial(_paint_budget, plan=plan, results=results, losses=losses))


def _paint_budget(figure: Figure, plan: Plan, results: Sequence[ArmResult], losses: set[str]) -> str:
    axes = figure.subplots()
    lines, values = [], []
    for i, result in enumerate(results):
        found = [scaled(plan.objective, run.metrics[plan.objective]) for run in result.trials]
        best = list(accumulate(found, max if plan.objective_mode == "max" else min))
        (line,) = axes.step(range(1, len(best) + 1), best, where="post", **look(i))
        lines.append(line)
        values += best
    _limit(axes, values, plan.objective_mode)
    axes.set_xlabel("tuning trials finished")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"best {axis(plan.objective, losses)} so far")
    legend_below(figure, lines, [short(result.arm.name) for result in results])
    return (
        f"Best {axis(plan.objective, losses)} so far against tuning trials. A curve that still improves at its end may "
        "need more trials."
    )


def draw_sensitivity(plan: Plan, results: Sequence[ArmResult], key: str, losses: set[str], folder: Path) -> Image:
    """The objective of every tuning trial against one tuned key."""
    paint = partial(_paint_sensitivity, plan=plan, results=results, key=key, losses=losses)
    return draw(folder, file_name("sensitivity", f"{key}.png"), SIZE, paint)


def _paint_sensitivity(figure: Figure, plan: Plan, results: Sequence[ArmResult], key: str, losses: set[str]) -> str:
    axes = figure.subplots()
    tried = {value for result in results for run in result.trials if (value := value_of(run, key)) is not None}
    places = scale(in_order(tried))
    lines, values = [], []
    for i, result in enumerate(results):
        points = _points(plan, result, key, places)
        is_line = len(result.arm.tuned) == 1 and places.kind != "words"
        style = look(i) | ({} if is_line else {"linestyle": "none"})
        (line,) = axes.plot([x for x, _ in points], [y for _, y in points], **style)
        lines.append(line)
        values += [y for _, y in points]
        if result.best is not None and (chosen := value_of(result.best, key)) is not None:
            objective = scaled(plan.objective, result.best.metrics[plan.objective])
            mark = {"linestyle": "none", "marker": "*", "markersize": 15, "color": look(i)["color"]}
            axes.plot([places.places[chosen]], [objective], **mark)
    _limit(axes, values, plan.objective_mode)
    dress_x_axis(axes, places, key)
    axes.set_ylabel(axis(plan.objective, losses))
    legend_below(figure, lines, [short(result.arm.name) for result in results])
    others = " Other tuned keys vary from point to point too." if len(plan.space) > 1 else ""
    return f"{axis(plan.objective, losses).capitalize()} of the tuning trials against {key}. Stars are chosen.{others}"


def _points(plan: Plan, result: ArmResult, key: str, places: Scale) -> list[tuple[float, float]]:
    found: list[tuple[Value | None, float]] = [
        (value_of(run, key), scaled(plan.objective, run.metrics[plan.objective])) for run in result.trials
    ]
    return sorted((places.places[value], objective) for value, objective in found if value is not None)


def _limit(axes: Axes, values: Iterable[float], mode: str) -> None:
    """Ends the axis before trials that are far worse than the best."""
    values = list(values)
    best = max(values) if mode == "max" else min(values)
    furthest = reach([abs(value - best) for value in values])
    if furthest is not None:
        low, high = sorted((best, best - furthest if mode == "max" else best + furthest))
        margin = 0.08 * (high - low)
        axes.set_ylim(low - margin, high + margin)
