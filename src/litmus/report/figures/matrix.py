"""Heat map of two swept keys."""

from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from litmus.report.blocks import Image
from litmus.report.figures.style import draw, file_name, reach, short
from litmus.report.formatting import axis, format_metric, format_value, scaled
from litmus.report.settings import Comparison, Setting
from litmus.report.statistics import spread

MOST_PAIRS, MOST_CELLS = 6, 12
FILLED = 0.6  # of the cells must have a run


def draw_matrices(comparison: Comparison, folder: Path) -> list[Image]:
    """A heat map for each of the first pairs of swept keys.

    Further swept keys are fixed at their value in the best setting, so that only seeds are averaged.
    """
    pictures: list[Image] = []
    for across, down in combinations(reversed(comparison.keys), 2):
        cells = _cells(comparison, across, down)
        columns, rows = {c for c, _ in cells}, {r for _, r in cells}
        small = 2 <= len(columns) <= MOST_CELLS and 2 <= len(rows) <= MOST_CELLS
        if small and len(cells) >= FILLED * len(columns) * len(rows) and len(pictures) < MOST_PAIRS:
            size = (3.2 + 1.05 * len(columns), 1.8 + 0.62 * len(rows))
            paint = partial(_paint, comparison=comparison, across=across, down=down, cells=cells)
            pictures.append(draw(folder, file_name("matrix", down, f"{across}.png"), size, paint))
    return pictures


def _cells(comparison: Comparison, across: str, down: str) -> dict[tuple[Any, Any], Setting]:
    others = [key for key in comparison.keys if key not in (across, down)]
    held = [comparison.best.values.get(key) for key in others]
    return {
        (setting.values[across], setting.values[down]): setting
        for setting in comparison.settings
        if across in setting.values and down in setting.values
        if [setting.values.get(key) for key in others] == held
    }


def _paint(
    figure: Figure, comparison: Comparison, across: str, down: str, cells: dict[tuple[Any, Any], Setting]
) -> str:
    metric = comparison.metric
    columns = [value for value in comparison.values(across) if any(c == value for c, _ in cells)]
    rows = [value for value in comparison.values(down) if any(r == value for _, r in cells)]
    means = {place: scaled(metric, setting.mean(metric)) for place, setting in cells.items()}
    axes = figure.subplots()
    best = scaled(metric, comparison.best.mean(metric))
    furthest = reach([abs(mean - best) for mean in means.values()])
    seen = [mean for mean in means.values() if furthest is None or abs(mean - best) <= furthest]
    image = axes.imshow(
        [[means.get((c, r), float("nan")) for c in columns] for r in rows],
        cmap="cividis",
        aspect="auto",
        vmin=min(seen),
        vmax=max(seen),
    )
    axes.grid(False)
    for (c, r), setting in cells.items():
        x, y = columns.index(c), rows.index(r)
        deviation = spread(setting.all(metric))
        text = format_metric(metric, setting.mean(metric)) + (
            f"\n± {format_metric(metric, deviation)}" if deviation is not None else ""
        )
        dark = means[c, r] < (min(seen) + max(seen)) / 2
        look: dict[str, Any] = {"color": "white" if dark else "black"}
        if means[c, r] not in seen:
            gray: dict[str, Any] = {"facecolor": "#dddddd", "edgecolor": "#888888", "hatch": "///", "linewidth": 0}
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **gray))
            look = {"color": "black", "bbox": {"facecolor": "#dddddd", "edgecolor": "none", "pad": 2}}
        axes.text(x, y, text, ha="center", va="center", fontsize=9, **look)
        if setting is comparison.best:
            axes.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, edgecolor="white", linewidth=4))
            axes.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=2))
    axes.set_xticks(range(len(columns)), [short(format_value(value), 24) for value in columns])
    axes.set_yticks(range(len(rows)), [short(format_value(value), 24) for value in rows])
    axes.set(xlabel=across, ylabel=down)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label=axis(metric, comparison.losses))
    others = {k: v for k, v in comparison.best.values.items() if k not in (across, down)}
    held = " ".join(f"{key}={format_value(value)}" for key, value in others.items())
    where = f" where {held}, as in the best setting" if held else ""
    return (
        f"{axis(metric, comparison.losses).capitalize()} at each run's best epoch by {down} and {across}{where}: mean "
        "and standard deviation over the seeds; the best setting has a frame."
        + (" What is far worse is hatched: it lies beyond the colors." if furthest else "")
    )
