"""Figure style: settings differ in color, line style and marker."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from litmus.core.atomic_files import replacing
from litmus.core.fonts import plain_text
from litmus.report.blocks import Image

# Okabe and Ito's colors, without the yellow that white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.2)),
    (0, (6, 2, 1, 2)),
    (0, (9, 3)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)
MARKERS = ("o", "s", "^", "D", "v", "X")
MOST_LINES = len(COLOURS)
WIDTH = 11.0  # inches
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}


def look(index: int) -> dict[str, Any]:
    """The color, line and marker of the index-th line."""
    i = index % MOST_LINES
    return {"color": COLOURS[i], "linestyle": LINES[i], "marker": MARKERS[i]}


def draw(folder: Path, name: str, size: tuple[float, float], paint: Callable[[Figure], str]) -> Image:
    """`paint` fills a figure and gives its caption. No pyplot: it keeps state, and may want a display."""
    with plain_text(), matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        caption = paint(figure)
        with replacing(folder / name) as draft:
            figure.savefig(draft, format="png", dpi=120)
    return Image(name, caption)


def reach(distances: Sequence[float]) -> float | None:
    """How far from the best a figure needs to reach so that a few collapsed settings don't press all the others into
    one line: to the last one before the largest jump, if that is fivefold and at least half are before it. None: all
    the way."""
    ordered = sorted(distances)
    jumps = [
        (ordered[i + 1] / ordered[i], ordered[i])
        for i in range(max(2, math.ceil(len(ordered) / 2)) - 1, len(ordered) - 1)
        if ordered[i] > 0
    ]
    largest, before = max(jumps, default=(0.0, 0.0))
    return before if len(ordered) > 3 and largest >= 5 else None


def show_errors(axes: Axes) -> None:
    """An axis of accuracies in percent, logarithmic in the errors: both 10 and 99.5 % can be read from it."""
    floor = 0.05  # of the errors: an accuracy of 100 % has a place too
    axes.set_yscale(
        "function",
        functions=(
            lambda accuracy: -np.log10(np.maximum(100 - accuracy, 0) + floor),
            lambda place: 100 + floor - 10.0**-place,
        ),
    )
    ticks = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())


def logarithmic_ticks(axis: Axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Of an axis that is logarithmic: at these multiples of the powers of ten, written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, lines: Sequence[Any], labels: Sequence[str]) -> None:
    """In as many columns as the longest label lets stand side by side."""
    longest = max(len(label) for label in labels)
    most = max(1, min(len(labels), int(figure.get_figwidth() * 11 / (longest + 8))))
    columns = math.ceil(len(labels) / math.ceil(len(labels) / most))
    figure.legend(lines, labels, loc="outside lower center", ncols=columns, handlelength=4)


def short(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def file_name(*keys: str) -> str:
    return "-".join(keys).replace("/", "_")
