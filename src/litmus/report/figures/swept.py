"""The final metric against each swept key."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import pstdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from litmus.report.blocks import Image
from litmus.report.figures.style import MOST_LINES, draw, file_name, legend_below, look, reach, short
from litmus.report.formatting import axis, format_metric, format_value, scaled
from litmus.report.settings import Comparison, Setting, by_values
from litmus.report.statistics import spread
from litmus.runs.reading import Value

MOST_KEYS, MOST_TICKS, MOST_WORDS = 8, 12, 24
GREY = "#999999"


def draw_swept(comparison: Comparison, folder: Path) -> list[Image]:
    """A figure for each of the first eight swept keys, with a line per choice of the others. None for words that do not
    fit side by side.
    """
    keys = [
        key
        for key in comparison.keys
        if len(comparison.values(key)) > 1 and (comparison.is_number(key) or len(comparison.values(key)) <= MOST_WORDS)
    ]
    return [
        draw(folder, file_name("against", f"{key}.png"), (8.0, 5.0), partial(_paint, comparison=comparison, key=key))
        for key in keys[:MOST_KEYS]
    ]


@dataclass(frozen=True)
class Scale:
    """The positions of the values of a key on the x axis: `kind` is linear, log or words."""

    kind: str
    places: dict[Value, float]

    def moved(self, value: Value, share: float) -> float:
        """The position of `value`, shifted by a fraction of the axis, so that error bars do not overlap."""
        if self.kind == "words":
            return self.places[value] + 5 * share
        ends = self.places.values()
        place, low, high = self.places[value], min(ends), max(ends)
        return place * (high / low) ** share if self.kind == "log" else place + share * (high - low)


def scale(values: Sequence[Value]) -> Scale:
    """Logarithmic if positive values are more evenly spread so and span a factor of 4 or more. Zero is then a step left
    of the smallest.
    """
    if any(isinstance(value, str) for value in values):
        return Scale("words", {value: float(i) for i, value in enumerate(values)})
    numbers = sorted(float(value) for value in values)
    positive = [number for number in numbers if number > 0]
    calls_for_log = numbers[0] >= 0 and len(positive) > 1 and positive[-1] >= 4 * positive[0]
    if not calls_for_log or _unevenness(positive, ratio=False) < _unevenness(positive, ratio=True):
        return Scale("linear", {value: float(value) for value in values})
    ratio = positive[-1] / positive[0]
    step = max(2.0, ratio ** (1 / (len(positive) - 1)), ratio**0.1)
    return Scale("log", {value: float(value) or positive[0] / step for value in values})


def _unevenness(numbers: Sequence[float], ratio: bool) -> float:
    """The coefficient of variation of the steps (or log ratios) between consecutive numbers."""
    steps = [math.log(b / a) if ratio else b - a for a, b in pairwise(numbers)]
    return pstdev(steps) / (sum(steps) / len(steps))


def _paint(figure: Figure, comparison: Comparison, key: str) -> str:
    axes = figure.subplots()
    metric = comparison.metric
    places = scale(comparison.values(key))
    lines = _lines(comparison, key)
    lacking = [setting for setting in comparison.settings if key not in setting.values]
    is_search = sum(len(line) for line in lines if len(line) > 1) < sum(map(len, lines)) / 2
    if is_search:
        _scatter(axes, comparison, key, places)
        legend: list[tuple[Any, str]] = []
        how = (
            "A point for each setting. Other keys vary from point to point too, so this is not the effect of one alone."
        )
    else:
        legend = _draw_lines(axes, lines, comparison, key, places)
        how = "Mean over the seeds with a bar of ± one standard deviation; small dots are the seeds."
        if len(lines) > MOST_LINES:
            how += f" The best {MOST_LINES} of {len(lines)} lines are named, the others gray."
    if lacking and len(lacking) <= 2:
        legend += [_level(axes, setting, metric, len(legend) + i) for i, setting in enumerate(lacking)]
    dress_x_axis(axes, places, key)
    how += _leave_out_collapsed(axes, comparison, key, places)
    axes.set_ylabel(axis(metric, comparison.losses))
    if len(legend) > 1:
        legend_below(figure, *zip(*legend, strict=True))
    if any(value == 0 for value in places.places) and places.kind == "log":
        how += " The axis is logarithmic, with 0 put left of the smallest value."
    return f"{axis(metric, comparison.losses).capitalize()} at each run's best epoch, against {key}. {how}"


def _lines(comparison: Comparison, key: str) -> list[list[Setting]]:
    """Groups of settings that differ in `key` alone, best first."""
    lines: dict[tuple[Value | None, ...], list[Setting]] = {}
    for setting in comparison.settings:  # the best first
        if key in setting.values:
            others = tuple(setting.values.get(other) for other in comparison.keys if other != key)
            lines.setdefault(others, []).append(setting)
    order = {value: i for i, value in enumerate(comparison.values(key))}
    return [sorted(line, key=lambda setting: order[setting.values[key]]) for line in lines.values()]


def _draw_lines(
    axes: Axes, lines: Sequence[list[Setting]], comparison: Comparison, key: str, places: Scale
) -> list[tuple[Any, str]]:
    legend: list[tuple[Any, str]] = []
    metric, best = comparison.metric, {id(line[0]): line for line in lines[:MOST_LINES]}
    others_than_key = [other for other in comparison.keys if other != key]
    named = [best[id(s)] for s in by_values([line[0] for line in best.values()], others_than_key)]
    for line in lines[MOST_LINES:]:
        means = [scaled(metric, setting.mean(metric)) for setting in line]
        xs = [places.places[setting.values[key]] for setting in line]
        points = places.kind == "words" or len(line) == 1
        axes.plot(xs, means, color=GREY, linewidth=0 if points else 0.6, marker="." if points else "", zorder=1)
    for i, line in enumerate(named):
        share = 0.012 * (i - (len(named) - 1) / 2)
        xs = [places.moved(setting.values[key], share) for setting in line]
        means = [scaled(metric, setting.mean(metric)) for setting in line]
        bars = [scaled(metric, spread(setting.all(metric)) or 0.0) for setting in line]
        style = look(i) | ({"linestyle": "none"} if places.kind == "words" else {})
        drawn = axes.errorbar(xs, means, yerr=bars if any(bars) else None, capsize=3, elinewidth=1, zorder=3, **style)
        for x, setting in zip(xs, line, strict=True):
            seeds = [scaled(metric, value) for value in setting.all(metric)]
            if len(seeds) > 1:
                axes.plot([x] * len(seeds), seeds, ".", color=style["color"], alpha=0.45, markersize=4, zorder=2)
        others = [f"{k}={format_value(v)}" for k, v in line[0].values.items() if k != key]
        none = [f"no {k}" for k in comparison.keys if k not in line[0].values]
        legend.append((drawn, short(" ".join(others or none))))
    return legend


def _scatter(axes: Axes, comparison: Comparison, key: str, places: Scale) -> None:
    metric = comparison.metric
    settings = [setting for setting in comparison.settings if key in setting.values]
    xs = [places.places[setting.values[key]] for setting in settings]
    ys = [scaled(metric, setting.mean(metric)) for setting in settings]
    axes.plot(xs, ys, linestyle="none", marker="o", color=look(0)["color"], alpha=0.6)
    if comparison.best in settings:
        best = settings.index(comparison.best)
        axes.plot(xs[best], ys[best], linestyle="none", marker="*", markersize=15, color=look(1)["color"])
        axes.annotate("best", (xs[best], ys[best]), xytext=(8, 4), textcoords="offset points")


def _leave_out_collapsed(axes: Axes, comparison: Comparison, key: str, places: Scale) -> str:
    """Ends the axis before settings that are far worse, and writes their numbers at the edge."""
    metric = comparison.metric
    best = comparison.settings[0].mean(metric)
    far = {id(setting): abs(setting.mean(metric) - best) for setting in comparison.settings}
    furthest = reach(list(far.values()))
    if furthest is None:
        return ""
    ends: list[float] = []
    beyond: dict[float, list[str]] = {}
    for setting in comparison.settings:
        if far[id(setting)] <= furthest:
            mean, deviation = setting.mean(metric), spread(setting.all(metric)) or 0.0
            ends += [scaled(metric, end) for end in (*setting.all(metric), mean - deviation, mean + deviation)]
        elif key in setting.values:
            beyond.setdefault(places.places[setting.values[key]], []).append(
                format_metric(metric, setting.mean(metric))
            )
    arrow, edge, side = ("↑", 0.98, "top") if comparison.mode == "min" else ("↓", 0.02, "bottom")
    for x, texts in beyond.items():
        lines = [f"{arrow} {text}" for text in texts[:4]] + [f"{arrow} {len(texts) - 4} more"] * (len(texts) > 4)
        boxed = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        where: Any = {"xy": (x, edge), "xycoords": ("data", "axes fraction"), "ha": "right", "va": side}
        axes.annotate("\n".join(lines), **where, bbox=boxed)
    margin = 0.08 * (max(ends) - min(ends))
    axes.set_ylim(min(ends) - margin, max(ends) + margin)
    return " What is far worse lies beyond the axis, with its number at the edge."


def _level(axes: Axes, setting: Setting, metric: str, index: int) -> tuple[Any, str]:
    """A level line for a setting without the key, such as no penalty among penalty weights."""
    style = look(index) | {"marker": ""}
    return axes.axhline(scaled(metric, setting.mean(metric)), **style), short(str(setting))


def _tick(axes: Axes, places: Mapping[Value, float]) -> None:
    labels = [short(format_value(value), 24) for value in places]
    axes.set_xticks(list(places.values()), labels, rotation=30 if sum(map(len, labels)) > 60 else 0)
    axes.xaxis.set_minor_locator(NullLocator())


def dress_x_axis(axes: Axes, places: Scale, key: str) -> None:
    """Sets the label, the scale and the ticks of the axis of `key`."""
    axes.set_xlabel(key)
    if places.kind == "log":
        axes.set_xscale("log")
    if places.kind == "words" or len(places.places) <= MOST_TICKS:
        _tick(axes, places.places)
    elif places.kind == "log":
        ends = [float(value) for value in places.places if value]
        first, last = math.ceil(math.log10(min(ends)) - 0.1), math.floor(math.log10(max(ends)) + 0.1)
        zero: dict[Value, float] = {value: place for value, place in places.places.items() if not value}
        steps = (1,) if last > first else (1, 2, 5)
        ticks = [step * 10.0**power for power in range(first - 1, last + 1) for step in steps]
        _tick(axes, zero | {tick: tick for tick in ticks if 0.8 * min(ends) <= tick <= 1.25 * max(ends)})
    if places.kind == "words":
        axes.set_xlim(-0.5, len(places.places) - 0.5)
