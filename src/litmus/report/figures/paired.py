"""Paired differences with their confidence intervals."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from litmus.report.blocks import Image
from litmus.report.figures.style import WIDTH, draw, file_name, look, reach, short
from litmus.report.formatting import format_metric, is_percentage, scaled, title
from litmus.report.pairs import PairTable, better_is


def draw_paired(table: PairTable, metric: str, mode: str, folder: Path) -> Image:
    labels = [fill(short(pair.label, 110), 60) for pair in table.pairs]
    lines = sum(label.count("\n") + 1 for label in labels)
    size = (WIDTH, 1.3 + 0.2 * (lines + len(labels)))
    paint = partial(_paint, table=table, metric=metric, mode=mode, labels=labels)
    return draw(folder, file_name("pairs", f"{table.name}.png"), size, paint)


def _paint(figure: Figure, table: PairTable, metric: str, mode: str, labels: Sequence[str]) -> str:
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=1)
    furthest = reach([abs(pair.difference.mean) for pair in table.pairs])
    ends_seen = []
    for y, pair in enumerate(table.pairs):
        found = pair.difference
        mean = scaled(metric, found.mean)
        if pair.verdict.interval is not None:
            ends = [scaled(metric, end) for end in pair.verdict.interval]
            ends_seen += ends if furthest is None or abs(found.mean) <= furthest else []
            axes.plot(ends, [y, y], color=look(0)["color"], marker="|", markersize=9)
        axes.plot([mean], [y], linestyle="none", color=look(0)["color"], marker="o", markersize=6)
        if furthest is not None and abs(found.mean) > furthest:
            edge, arrow = (0.01, "←") if mean < 0 else (0.99, "→")
            side = "left" if mean < 0 else "right"
            axes.annotate(arrow, (edge, y), xycoords=("axes fraction", "data"), ha=side, va="center", fontsize=14)
        _beside(axes, y, format_metric(metric, found.mean, sign=True), str(found.pairs))
    _beside(axes, -0.75, "mean", "pairs")
    if furthest is not None and ends_seen:
        margin = 0.08 * (max(*ends_seen, 0) - min(*ends_seen, 0))
        axes.set_xlim(min(*ends_seen, 0) - margin, max(*ends_seen, 0) + margin)
    axes.set_yticks(range(len(table.pairs)), labels)
    axes.set_ylim(len(table.pairs) - 0.5, -0.5)
    axes.grid(False, axis="y")
    unit = "percentage points" if is_percentage(metric) else ""
    axes.set_xlabel(f"difference in {title(metric)}{f' ({unit})' if unit else ''}; {better_is(mode)}")
    family = table.pairs[0].verdict.family
    corrected = f", simultaneous over {family} comparisons (Bonferroni; an end at 0 is from Holm's test)"
    return (
        f"{table.heading}: the mean difference in {title(metric)} over common seeds, with its 95 % confidence interval "
        f"(Student's t; none from a single pair){corrected if family > 1 else ''}. "
        f"{'An arrow points to what lies far beyond. ' if furthest is not None else ''}{table.caution}"
    ).strip()


def _beside(axes: Axes, y: float, *texts: str) -> None:
    """Writes columns to the right of the axes."""
    for column, text in enumerate(texts):
        place = (1.0, y)
        offset = (60 + 40 * column, 0)
        axes.annotate(
            text, place, offset, ("axes fraction", "data"), textcoords="offset points", ha="right", va="center"
        )
