"""Figure style: settings differ in color, line style and marker."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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

# The colors of Okabe and Ito, without yellow, which is invisible on white.
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


_WITH_PDF = ContextVar("with_pdf", default=False)


def look(index: int) -> dict[str, Any]:
    """The color, line and marker of the index-th line."""
    i = index % MOST_LINES
    return {"color": COLOURS[i], "linestyle": LINES[i], "marker": MARKERS[i]}


@contextmanager
def also_as_pdf() -> Iterator[None]:
    """Inside, `draw` writes each figure as PDF too, beside the PNG."""
    token = _WITH_PDF.set(True)
    try:
        yield
    finally:
        _WITH_PDF.reset(token)


def draw(folder: Path, name: str, size: tuple[float, float], paint: Callable[[Figure], str]) -> Image:
    """`paint` fills a figure and returns its caption. Avoids pyplot, which keeps global state and needs a display."""
    with plain_text(), matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        caption = paint(figure)
        with replacing(folder / name) as draft:
            figure.savefig(draft, format="png", dpi=120)
        if _WITH_PDF.get():
            with replacing((folder / name).with_suffix(".pdf")) as draft:
                figure.savefig(draft, format="pdf")
    return Image(name, caption)


def reach(distances: Sequence[float]) -> float | None:
    """The distance from the best value that a figure shows, so that collapsed settings do not compress the others;
    None: all.

    It ends before the largest jump if that is at least fivefold and at least half of the settings are before it.
    """
    ordered = sorted(distances)
    jumps = [
        (ordered[i + 1] / ordered[i], ordered[i])
        for i in range(max(2, math.ceil(len(ordered) / 2)) - 1, len(ordered) - 1)
        if ordered[i] > 0
    ]
    largest, before = max(jumps, default=(0.0, 0.0))
    return before if len(ordered) > 3 and largest >= 5 else None


def show_errors(axes: Axes) -> None:
    """An accuracy axis in percent, logarithmic in the error, so that both 10 and 99.5 % are readable."""
    floor = 0.05  # smallest error shown: an accuracy of 100 % has a place too
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
    """Ticks of a logarithmic axis at these multiples of powers of ten, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, lines: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend with as many columns as the longest label allows."""
    longest = max(len(label) for label in labels)
    most = max(1, min(len(labels), int(figure.get_figwidth() * 11 / (longest + 8))))
    columns = math.ceil(len(labels) / math.ceil(len(labels) / most))
    figure.legend(lines, labels, loc="outside lower center", ncols=columns, handlelength=4)


def short(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def file_name(*keys: str) -> str:
    return "-".join(keys).replace("/", "_")
