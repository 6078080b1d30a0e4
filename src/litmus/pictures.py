"""Pictures of images and weights. Drawn on figures of their own: pyplot would bring a global state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from litmus.files import replacing

if TYPE_CHECKING:  # what it takes half a second to import, a run without pictures need not
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
# From dark to light, so that the sign can be told without colour too; zero is the grey in the middle.
SIGNED = ("#02023a", "#2b55b8", "#8f8f8f", "#f0a040", "#fff6c8")


def boards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """Those of the trainer's loggers that take pictures, in the one process that writes."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero]


def show(trainer: pl.Trainer, tag: str, figure: Figure) -> None:
    """Puts the picture into TensorBoard, at the trainer's step. The figure is empty afterwards."""
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    for board in boards(trainer):
        board.experiment.add_image(tag, image, trainer.global_step, dataformats="HWC")
    # A figure's parts refer to each other, so that Python's collector finds them late: 2.5 MB each time until then.
    figure.clear()
    FigureCanvasBase(figure)


def save(figure: Figure, path: str | Path) -> None:
    with replacing(path) as draft:
        figure.savefig(draft, format="png")


def pixels(images: Tensor, preprocess: Any) -> Tensor:
    """What the network got, (N, C, H, W), as uint8 on the CPU; `preprocess` has the `mean` and `std` of a pixel."""
    values = images.detach().float() * preprocess.std + preprocess.mean
    return values.round().clamp(0, 255).to(torch.uint8).cpu()


def shortened(names: Sequence[str], most: int) -> list[str]:
    return [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]


def sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """An empty figure and axes that cover it, whose unit is the inch, from the lower left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    axes.text(0.1, height - 0.1, title, va="top", fontsize=10)
    return figure, axes


def image_grid(images: Tensor, captions: Sequence[str], title: str, columns: int, wide: float = 1.15) -> Figure:
    """uint8 images (N, C, H, W), `wide` inches each, above captions of one or more lines."""
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    tall = wide * images.shape[2] / images.shape[3]
    lines = [line for caption in captions for line in caption.split("\n")]
    size = min(13.0, 72 * wide / (0.6 * max(map(len, lines))))  # in points, of which a letter is about 0.6 wide
    cell = tall + 1.4 * size / 72 * len(lines) / len(captions) + 0.15
    figure, axes = sheet(max(columns * (wide + 0.1) + 0.1, 5.0), rows * cell + 0.4, title)
    colours = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    for i, (image, caption) in enumerate(zip(colours.permute(0, 2, 3, 1).numpy(), captions, strict=True)):
        left, top = 0.1 + i % columns * (wide + 0.1), (rows - i // columns) * cell
        axes.imshow(image, extent=(left, left + wide, top - tall, top), aspect="auto")
        axes.text(left + wide / 2, top - tall - 0.04, caption, ha="center", va="top", fontsize=size)
    return figure


def weight_grid(weights: Tensor, title: str) -> Figure:
    """Weights (N, C, H, W) of N units, all on one scale with zero in its middle: one channel in signed colours, three
    as the colour that a unit looks for, grey where it looks for none.

    The scale ends where 99 % of the weights are: a few large ones would leave the others without contrast.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    coloured = weights.shape[1] == 3
    most = float(np.quantile(weights.abs().numpy(), 0.99)) or 1.0
    scale = Normalize(-most, most, clip=True)
    tiles = tiled(weights.permute(0, 2, 3, 1).numpy())
    colours = ScalarMappable(scale, "gray" if coloured else LinearSegmentedColormap.from_list("signed", SIGNED, N=65))
    picture = np.nan_to_num(scale(tiles), nan=1.0) if coloured else colours.to_rgba(tiles[..., 0])
    dot = max(1, round(600 / max(tiles.shape[:2]))) / DOTS_PER_INCH  # whole pixels, all of one size
    tall, wide = tiles.shape[0] * dot, tiles.shape[1] * dot
    width, height = max(wide + 1.0, 5.0), tall + 0.5
    figure, axes = sheet(width, height, title)
    axes.imshow(picture, extent=(0.1, 0.1 + wide, 0.1, 0.1 + tall), aspect="auto", interpolation="nearest")
    bar = figure.add_axes(((wide + 0.25) / width, 0.1 / height, 0.15 / width, tall / height))
    figure.colorbar(colours, cax=bar, extend="both").ax.tick_params(labelsize=8)
    return figure


def tiled(tiles: np.ndarray) -> np.ndarray:
    """(N, H, W, C) side by side in about a square (H', W', C), with a line of nan between them."""
    count, height, width, channels = tiles.shape
    columns = math.ceil(math.sqrt(count * (height + 1) / (width + 1)))
    rows = math.ceil(count / columns)
    whole = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.nan, dtype=tiles.dtype)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        whole[y : y + height, x : x + width] = tile
    return whole
