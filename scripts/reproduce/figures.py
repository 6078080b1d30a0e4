"""Figures of the reproduced experiments."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from litmus.report.blocks import Image
from litmus.report.figures.style import COLOURS, LINES, WIDTH, draw, legend_below, logarithmic_ticks, look
from litmus.report.formatting import scaled
from litmus.report.statistics import spread
from litmus.runs.reading import Run
from protocol import Experiment, measured, value_in

AXES = {
    "train/loss": "training loss",
    "train/cost": "training cost",
    "train_eval/acc": "training accuracy (%)",
    "val/acc": "validation accuracy (%)",
    "val/loss": "validation loss",
    "test/acc": "test accuracy (%)",
    "gap/test": "training − test accuracy (% points)",
}


def draw_figures(experiment: Experiment, folder: Path) -> list[Image]:
    """Those whose runs have finished."""
    kinds: dict[str, Callable[..., Image | None]] = {
        "curves": _curves,
        "steps": _steps,
        "weights": _weights,
        "against": _against,
    }
    drawn = [kinds[spec["kind"]](experiment, spec, folder) for spec in experiment.figures]
    return [image for image in drawn if image is not None]


def _curves(experiment: Experiment, spec: dict[str, Any], folder: Path) -> Image | None:
    found = experiment.found(spec.get("rows") or experiment.rows)
    if not found:
        return None
    metrics = spec["metrics"]

    def paint(figure: Figure) -> str:
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            for i, runs in enumerate(found.values()):
                _line(axes, runs, metric, i, spec.get("smooth", 1), band=len(found) <= len(COLOURS))
            axes.set(xlabel="epoch", ylabel=AXES[metric])
            if spec.get("epochs") == "log":  # runs of very different lengths
                axes.set_xscale("log")
                logarithmic_ticks(axes.xaxis)
            else:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if metric.startswith("train/") and all(low > 0 for line in axes.lines for low in line.get_ydata()):
                _logarithmic(axes)
        legend_below(figure, panels[0].lines[: len(found)], list(found))
        return str(spec["caption"])

    return draw(folder, f"{spec['file']}.png", (WIDTH, 4.2 if len(metrics) > 1 else 5.0), paint)


def _line(axes: Axes, runs: Sequence[Run], metric: str, index: int, smooth: int, band: bool) -> None:
    """The mean over the runs at each epoch that all have; with `smooth`, each point averages that many epochs."""
    seeds = []
    for run in runs:
        values = [(row["epoch"], value_in(row, metric, run)) for row in run.curves()]
        scale = 100 if metric == "gap/test" else scaled(metric, 1.0)
        seeds.append([(epoch, scale * value) for epoch, value in values if value is not None])
    count = min(map(len, seeds)) // smooth * smooth
    if not count:
        return
    table = np.array([seed[:count] for seed in seeds]).reshape(len(seeds), -1, smooth, 2).mean(axis=2)
    epochs, mean = table[0, :, 0], table[:, :, 1].mean(axis=0)
    style = _look(index)
    every = max(1, len(epochs) // 8)
    axes.plot(epochs, mean, **style, markevery=(index % every, every), linewidth=1.2 if count > 100 else 1.6)
    if band and len(seeds) > 1:
        off = table[:, :, 1].std(axis=0, ddof=1)
        axes.fill_between(epochs, mean - off, mean + off, color=style["color"], alpha=0.15, linewidth=0)


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    logarithmic_ticks(axes.yaxis, subs=(1, 2, 5) if high < 100 * low else (1,))


def _look(index: int) -> dict[str, Any]:
    """As in a report; after six, the colors begin again with the lines shifted and hollow markers."""
    style = look(index)
    if index >= len(COLOURS):
        style |= {"linestyle": LINES[(index + 2) % len(LINES)], "markerfacecolor": "white"}
    return style


def _steps(experiment: Experiment, spec: dict[str, Any], folder: Path) -> Image | None:
    found = experiment.found(experiment.rows)
    if not found:
        return None

    def paint(figure: Figure) -> str:
        panels = figure.subplots(1, len(spec["tags"]), squeeze=False)[0]
        for i, (name, runs) in enumerate(found.items()):
            scalars = _scalars(runs[0])
            for axes, tag in zip(panels, spec["tags"], strict=True):
                steps, values = scalars(tag)
                axes.plot(steps, values, color=COLOURS[i], alpha=0.25, linewidth=0.4)
                hundreds = range(0, len(values) - 99, 100)
                medians = [median(values[j : j + 100]) for j in hundreds]
                axes.plot([steps[j + 50] for j in hundreds], medians, color=COLOURS[i], linestyle=LINES[i], label=name)
        for axes, title in zip(panels, spec["tags"].values(), strict=True):
            axes.set(xlabel="step", ylabel=title)
            _logarithmic(axes)
        lines = [line for line in panels[0].lines if not line.get_label().startswith("_")]
        legend_below(figure, lines, list(found))
        return str(spec["caption"])

    return draw(folder, f"{spec['file']}.png", (WIDTH, 4.2), paint)


def _scalars(run: Run) -> Callable[[str], tuple[list[int], list[float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0, "images": 1})
    events.Reload()

    def read(tag: str) -> tuple[list[int], list[float]]:
        points = events.Scalars(tag)
        return [point.step for point in points], [point.value for point in points]

    return read


def _weights(experiment: Experiment, spec: dict[str, Any], folder: Path) -> Image | None:
    from litmus.callbacks.plots import SIGNED, tile
    from litmus.core.checkpoint_io import load_checkpoint

    found = experiment.found(experiment.rows)
    if not found:
        return None

    def paint(figure: Figure) -> str:
        from matplotlib.colors import LinearSegmentedColormap

        colors = LinearSegmentedColormap.from_list("signed", SIGNED)
        for axes, (name, runs) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
            checkpoint = load_checkpoint(runs[0].path / "checkpoints" / "last.ckpt")
            weights = checkpoint["state_dict"]["network.hidden1.weight"].numpy().reshape(-1, 28, 28, 1)
            most = float(np.quantile(np.abs(weights), 0.99))
            grid = axes.imshow(tile(weights)[..., 0], cmap=colors, vmin=-most, vmax=most, interpolation="nearest")
            axes.set(title=name, xticks=[], yticks=[])
            axes.grid(False)
            figure.colorbar(grid, ax=axes, label="weight", shrink=0.8, extend="both")
        return str(spec["caption"])

    return draw(folder, f"{spec['file']}.png", (8.0, 3.8), paint)


def _against(experiment: Experiment, spec: dict[str, Any], folder: Path) -> Image | None:
    """Test accuracy against a value that ends the rows' names."""
    reported = {str(row[0]): row[2] for table in experiment.tables for row in table["rows"]}
    if not experiment.found(reported):
        return None

    def paint(figure: Figure) -> str:
        for axes, panel in zip(figure.subplots(1, len(spec["panels"]), squeeze=False)[0], spec["panels"], strict=True):
            for i, (label, start) in enumerate(panel["rows"].items()):
                points = {float(name.removeprefix(start)): name for name in reported if name.startswith(start)}
                if "one" in panel:
                    points[1.0] = panel["one"]
                if "zero" in panel:
                    points[0.0] = panel["zero"]
                _reported_and_ours(axes, experiment, reported, dict(sorted(points.items())), label, i)
            if panel.get("log"):
                axes.set_xscale("symlog", linthresh=1e-4)
                axes.set_xticks([0, 1e-4, 1e-3, 1e-2, 1e-1], ["0", "1e-4", "1e-3", "1e-2", "1e-1"])
                axes.minorticks_off()
            axes.set(xlabel=panel["title"], ylabel="test accuracy (%)", ylim=(0, 100))
            axes.legend()
        return str(spec["caption"])

    return draw(folder, f"{spec['file']}.png", (WIDTH, 4.5), paint)


def _reported_and_ours(
    axes: Axes, experiment: Experiment, reported: dict[str, float], points: dict[float, str], label: str, index: int
) -> None:
    style: dict[str, Any] = {"color": COLOURS[index], "marker": "os^"[index]}
    last = partial(measured, measure={"metric": "test/acc", "at": "last"})
    found = {x: [v for run in experiment.runs_of(name) if (v := last(run)) is not None] for x, name in points.items()}
    ours = {x: [scaled("test/acc", value) for value in values] for x, values in found.items() if values}
    axes.errorbar(
        list(ours),
        [fmean(v) for v in ours.values()],
        [spread(v) or 0.0 for v in ours.values()],
        label=f"{label}, ours",
        **style,
    )
    theirs = {x: reported[name] for x, name in points.items()}
    axes.plot(
        *zip(*theirs.items(), strict=True),
        linestyle="--",
        markerfacecolor="white",
        label=f"{label}, reported",
        **style,
    )
