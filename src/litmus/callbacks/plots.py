"""Plots of images and weights, without pyplot and its global state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from matplotlib.artist import Artist  # costs nothing: torchmetrics imports matplotlib
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from litmus.core.checkpoint_io import replacing
from litmus.core.fonts import plain_text, replace_missing_glyphs
from litmus.core.tensorboard import write_image
from litmus.data.labels import class_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
# From dark to light, so that the sign is visible without color; zero is the gray in the middle.
SIGNED = ("#02023a", "#2b55b8", "#8f8f8f", "#f0a040", "#fff6c8")


def tensorboard_loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The TensorBoard loggers of the trainer, on rank zero."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero]


@plain_text()
def show(trainer: pl.Trainer, tag: str, figure: Figure) -> None:
    """Logs the figure to TensorBoard at the current step, and clears it."""
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    for board in tensorboard_loggers(trainer):
        write_image(board, tag, image, trainer.global_step)
    # A figure has reference cycles, so 2.5 MB would stay in memory until Python's garbage collector runs.
    for artist in [*figure.artists, *figure.texts]:
        artist.remove()
    figure.clear()
    FigureCanvasBase(figure)


@plain_text()
def save(figure: Figure, path: str | Path) -> None:
    with replacing(path) as draft:
        figure.savefig(draft, format="png")


def pixels(images: Tensor, preprocess: Any) -> Tensor:
    """Converts the network's input (N, C, H, W) back to uint8 pixels on the CPU, by mean and std of `preprocess`."""
    values = images.detach().float() * preprocess.std + preprocess.mean
    return values.round().clamp(0, 255).to(torch.uint8).cpu()


def shorten_names(names: Sequence[object], most: int) -> list[str]:
    """Class names of at most `most` characters that the font can draw."""
    texts = [replace_missing_glyphs(class_name(name)) for name in names]
    return [text if len(text) <= most else f"{text[: most - 1]}…" for text in texts]


@plain_text()
def sheet(width: float, height: float, title: str) -> Figure:
    """A white figure with a title; its size is in inches. It has no axes, which take longer to draw than the images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    figure.text(
        0.1, height - 0.1, replace_missing_glyphs(title), va="top", fontsize=10, transform=figure.dpi_scale_trans
    )
    return figure


class Pixels(Artist):
    """Draws uint8 pixels (H, W, 3 or 4) unscaled, `left` and `bottom` inches from the lower left corner of the figure.

    matplotlib's own images are resampled even at their original size, which takes longer than everything else.
    """

    def __init__(self, image: np.ndarray, left: float, bottom: float):
        super().__init__()
        self.corner = round(left * DOTS_PER_INCH), round(bottom * DOTS_PER_INCH)
        self.rgba = np.full((*image.shape[:2], 4), 255, dtype=np.uint8)
        self.rgba[..., : image.shape[2]] = image

    def draw(self, renderer: Any) -> None:
        context = renderer.new_gc()
        renderer.draw_image(context, *self.corner, self.rgba[::-1])
        context.restore()


@plain_text()
def image_grid(images: Tensor, captions: Sequence[str], title: str, columns: int, wide: float = 1.15) -> Figure:
    """A figure of uint8 images (N, C, H, W), each `wide` inches wide above its caption of one or more lines."""
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    tall = wide * images.shape[2] / images.shape[3]
    captions = [replace_missing_glyphs(caption) for caption in captions]
    lines = [line for caption in captions for line in caption.split("\n")]
    size = min(13.0, 72 * wide / (0.6 * max(map(len, lines))))  # font size in points; a letter is about 0.6 of it wide
    cell = tall + 1.4 * size / 72 * len(lines) / len(captions) + 0.15
    figure = sheet(max(columns * (wide + 0.1) + 0.1, 5.0), rows * cell + 0.4, title)
    colors = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    for i, (image, caption) in enumerate(zip(resize(colors, wide, tall), captions, strict=True)):
        left, top = 0.1 + i % columns * (wide + 0.1), (rows - i // columns) * cell
        figure.add_artist(Pixels(image, left, top - tall))
        position = left + wide / 2, top - tall - 0.04
        figure.text(*position, caption, ha="center", va="top", fontsize=size, transform=figure.dpi_scale_trans)
    return figure


def resize(images: Tensor, wide: float, tall: float) -> np.ndarray:
    """Resizes uint8 images (N, C, H, W) to (N, H, W, C) of `wide` × `tall` inches; enlarged pixels stay squares."""
    size = max(1, round(tall * DOTS_PER_INCH)), round(wide * DOTS_PER_INCH)
    if size[1] > 2 * images.shape[3]:
        return F.interpolate(images, size, mode="nearest-exact").permute(0, 2, 3, 1).numpy()
    smooth = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@plain_text()
def weight_grid(weights: Tensor, title: str) -> Figure:
    """A figure of the weights (N, C, H, W) of N units, with one color scale centered at zero.

    One channel is drawn in signed colors; three channels as the color that the unit responds to, gray for none. The
    scale ends at the 99th percentile, so that a few large weights do not hide the others.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colored = weights.shape[1] == 3
    most = float(np.quantile(weights.abs().numpy(), 0.99)) or 1.0
    scale = Normalize(-most, most, clip=True)
    tiles = tile(weights.permute(0, 2, 3, 1).numpy())
    colors = ScalarMappable(scale, "gray" if colored else LinearSegmentedColormap.from_list("signed", SIGNED, N=65))
    if colored:
        picture = (255 * np.nan_to_num(scale(tiles), nan=1.0)).astype(np.uint8)
    else:
        picture = colors.to_rgba(tiles[..., 0], bytes=True)
    dots = max(1, round(600 / max(tiles.shape[:2])))  # per side of a weight
    tall, wide = tiles.shape[0] * dots / DOTS_PER_INCH, tiles.shape[1] * dots / DOTS_PER_INCH
    width, height = max(wide + 1.0, 5.0), tall + 0.5
    figure = sheet(width, height, title)
    figure.add_artist(Pixels(picture.repeat(dots, axis=0).repeat(dots, axis=1), left=0.1, bottom=0.1))
    bar = figure.add_axes(((wide + 0.25) / width, 0.1 / height, 0.15 / width, tall / height))
    figure.colorbar(colors, cax=bar, extend="both").ax.tick_params(labelsize=8)
    return figure


def tile(tiles: np.ndarray) -> np.ndarray:
    """Arranges tiles (N, H, W, C) in roughly a square (H', W', C), with a line of NaN between them."""
    count, height, width, channels = tiles.shape
    columns = math.ceil(math.sqrt(count * (height + 1) / (width + 1)))
    rows = math.ceil(count / columns)
    whole = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.nan, dtype=tiles.dtype)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        whole[y : y + height, x : x + width] = tile
    return whole
