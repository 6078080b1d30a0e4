"""Learning curves: a line per setting, with a band over its seeds."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from litmus.core.counts import format_count
from litmus.report.blocks import Image
from litmus.report.figures.style import (
    MOST_LINES,
    WIDTH,
    draw,
    legend_below,
    logarithmic_ticks,
    look,
    short,
    show_errors,
)
from litmus.report.formatting import format_value, scaled, title, unit
from litmus.report.settings import Comparison, Setting, by_values, in_order
from litmus.report.statistics import spread
from litmus.runs.reading import Row

MOST_SETTINGS = 24
PARTS, KINDS = ("train", "val", "gap", "test"), {"loss": "loss", "acc": "accuracy"}
COLUMNS = 3  # of panels; test curves replace missing validation curves
Curve = tuple[list[float], list[float], list[float]]


def draw_curves(comparison: Comparison, folder: Path) -> list[Image]:
    """The curves of the best settings, at most six per figure; similar settings share a figure."""
    drawn = comparison.settings[:MOST_SETTINGS]
    total = len(comparison.settings)
    which = "" if total <= MOST_SETTINGS else f"Of {total} settings the best {MOST_SETTINGS} are drawn. "
    pictures = []
    for number, together in enumerate(_sheets(drawn, comparison.keys), start=1):
        common = [key for key in comparison.keys if len({setting.values.get(key) for setting in together}) == 1]
        rows = {id(setting): [rows for run in setting.runs if (rows := run.curves())] for setting in together}
        if not any(rows.values()):
            continue
        ranks = [comparison.settings.index(setting) + 1 for setting in together]
        lines = [(_label(s, rank, common), rows[id(s)]) for s, rank in zip(together, ranks, strict=True) if rows[id(s)]]
        heading = " ".join(
            f"{key}={format_value(together[0].values[key])}" for key in common if key in together[0].values
        )
        losses = {str(together[0].values["loss"])} if "loss" in common else comparison.losses
        paint = partial(_paint, lines=lines, heading=short(heading), losses=losses, which=which)
        pictures.append(draw(folder, f"curves-{number}.png", (WIDTH, 6.6), paint))
    return pictures


def _sheets(settings: Sequence[Setting], keys: Sequence[str]) -> list[list[Setting]]:
    """The settings of each figure: split by the first key that divides them while they are too many, and merged where
    neighbors fit.
    """
    if len(settings) <= MOST_LINES:
        return [by_values(settings, keys)]
    for key in keys:
        values = {setting.values.get(key) for setting in settings}
        if 1 < len(values) <= len(settings) / 2:
            ordered = [None] * (None in values) + in_order(value for value in values if value is not None)
            parts = [[setting for setting in settings if setting.values.get(key) == value] for value in ordered]
            return _joined([sheet for part in parts for sheet in _sheets(part, keys)])
    return [list(settings[i : i + MOST_LINES]) for i in range(0, len(settings), MOST_LINES)]


def _joined(sheets: Sequence[list[Setting]]) -> list[list[Setting]]:
    joined: list[list[Setting]] = []
    for sheet in sheets:
        if joined and len(joined[-1]) + len(sheet) <= MOST_LINES:
            joined[-1] += sheet
        else:
            joined.append(sheet)
    return joined


def _label(setting: Setting, rank: int, common: Sequence[str]) -> str:
    """The label with the rank of the setting in the table, for labels that are too long."""
    own = [f"{key}={format_value(value)}" for key, value in setting.values.items() if key not in common]
    seeds = len(setting.runs)
    return f"#{rank} {short(' '.join(own) or 'all runs')} ({format_count(seeds, 'seed')})"


def _paint(
    figure: Figure, lines: Sequence[tuple[str, list[list[Row]]]], heading: str, losses: set[str], which: str
) -> str:
    figure.suptitle(heading)
    curves = {(k, p): [band(rows, f"{p}/{k}") for _, rows in lines] for k in KINDS for p in PARTS}
    known = {key for key, of_all in curves.items() if any(epochs for epochs, _, _ in of_all)}
    kinds = [kind for kind in KINDS if any((kind, part) in known for part in PARTS)]
    parts = [part for part in PARTS if any((kind, part) in known for kind in KINDS)][:COLUMNS]
    grid = figure.subplots(len(kinds), len(parts), sharex=True, squeeze=False)
    for axes_of_kind, kind in zip(grid, kinds, strict=True):
        for axes, part in zip(axes_of_kind, parts, strict=True):
            _panel(axes, curves[kind, part])
            name = f"{part}/{kind}"
            axes.set(ylabel=f"{KINDS[kind]} ({unit(name, losses)})", title=title(name).capitalize())
        alike = [i for i, part in enumerate(parts) if part != "gap" and (kind, part) in known]
        _same_scale([axes_of_kind[i] for i in alike], [curves[kind, parts[i]] for i in alike], kind)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_below(figure, [Line2D([], [], **look(i)) for i in range(len(lines))], [label for label, _ in lines])
    seeds = max(len(rows) for _, rows in lines)
    bands = " with a band of ± one standard deviation over the seeds, as far as every seed went" if seeds > 1 else ""
    sentences = [
        f"{which}Curves over the epochs{f' where {heading}' if heading else ''}: a line for each setting{bands}.",
        "The training figures are the epoch's running mean in train mode.",
    ]
    if "gap" in parts:
        sentences.append(
            "The gap in accuracy is measured in eval mode, the gap in loss is the validation's minus the training's."
        )
    if any(axes.get_yscale() != "linear" for axes in grid.flat):
        sentences.append("Axes that span much are logarithmic, those of accuracies in the errors.")
    return " ".join(sentences)


def _panel(axes: Axes, curves: Sequence[Curve]) -> None:
    axes.set_visible(any(epochs for epochs, _, _ in curves))
    for i, (epochs, mean, deviation) in enumerate(curves):
        step = max(1, len(epochs) // 6)
        axes.plot(epochs, mean, **look(i), markevery=(i * step // len(curves) if step > 1 else 0, step))
        if any(deviation):
            low = [m - d for m, d in zip(mean, deviation, strict=True)]
            high = [m + d for m, d in zip(mean, deviation, strict=True)]
            edge = {"color": look(i)["color"], "linestyle": look(i)["linestyle"], "linewidth": 0.6, "alpha": 0.7}
            axes.fill_between(epochs, low, high, color=look(i)["color"], alpha=0.13, linewidth=0)
            axes.plot(epochs, low, epochs, high, **edge)


def _same_scale(panels: Sequence[Axes], curves: Sequence[Sequence[Curve]], kind: str) -> None:
    """Puts the training, validation and test panels on one scale: logarithmic, in the loss or in the error, if it spans
    much.

    In the error only if every panel reaches small ones: beside 99.9 %, 50 and 70 % would be indistinguishable.
    """
    heights = [list(chain(*(mean for _, mean, _ in panel))) for panel in curves]
    values = list(chain(*heights))
    if not values:
        return
    limits = [axes.get_ylim() for axes in panels]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    for axes in panels:
        if kind == "acc" and min(map(max, heights)) > 85 and min(values) < max(values) - 20:
            show_errors(axes)
            axes.set_ylim(max(low, 0), 100 - 0.7 * max(100 - max(values), 0))
        elif kind == "loss" and min(values) > 0 and max(values) > 5 * min(values):
            axes.set_yscale("log")
            logarithmic_ticks(axes.yaxis)
            axes.set_ylim(0.8 * min(values), 1.2 * max(values))
        else:
            axes.set_ylim(low, min(high, 102) if kind == "acc" else high)


def band(rows_of_seeds: Sequence[Sequence[Row]], metric: str) -> Curve:
    """Epochs, mean and standard deviation over the seeds, up to the last epoch that every seed reached."""
    seeds = [
        {row["epoch"]: value for row in rows if (value := measure(row, metric)) is not None} for rows in rows_of_seeds
    ]
    seeds = [values for values in seeds if values]
    epochs = sorted(set.intersection(*map(set, seeds))) if seeds else []
    columns = [[scaled(metric, values[epoch]) for values in seeds] for epoch in epochs]
    return epochs, [fmean(column) for column in columns], [spread(column) or 0.0 for column in columns]


def measure(row: Row, metric: str) -> float | None:
    """A metric of an epoch; `gap/loss` is validation loss minus training loss."""
    if metric == "gap/loss" and "val/loss" in row and "train/loss" in row:
        return row["val/loss"] - row["train/loss"]
    return row.get(metric)
