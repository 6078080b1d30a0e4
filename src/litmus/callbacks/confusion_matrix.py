"""The confusion matrix of the test set."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from litmus.callbacks.plots import DOTS_PER_INCH, save, shorten_names, show
from litmus.core.checkpoint_io import write_text
from litmus.core.fonts import plain_text, replace_missing_glyphs
from litmus.data.labels import class_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTED = 30  # classes; with more, the cells do not show their counts


class ConfusionMatrix(pl.Callback):
    """Counts the test images per true class (row) and predicted class (column).

    Logs the matrix as a figure, and saves it as confusion_matrix.png and .csv in `directory`.
    """

    only_observes = True

    def __init__(self, directory: str = "test"):
        self.directory = Path(directory)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.names = [class_name(name) for name in data.class_names]
        self.counts = torch.zeros(len(self.names) ** 2, dtype=torch.long, device=pl_module.device)

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        cells = batch[1] * len(self.names) + outputs.argmax(dim=1)
        self.counts += torch.bincount(cells, minlength=len(self.counts))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.counts = trainer.strategy.reduce(self.counts, reduce_op="sum")  # each process counted its own images
        if not trainer.is_global_zero:
            return
        counts = self.counts.view(len(self.names), -1).cpu()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        title = f"{data.name}: {int(counts.trace()):,} of {int(counts.sum()):,} test images right"
        figure = draw(counts, self.names, title)
        save(figure, self.directory / "confusion_matrix.png")
        write_text(self.directory / "confusion_matrix.csv", as_csv(counts, self.names))
        show(trainer, "confusion_matrix", figure)


def as_csv(counts: Tensor, names: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true class", *names])
    writer.writerows([name, *row] for name, row in zip(names, counts.tolist(), strict=True))
    return text.getvalue()


@plain_text()
def draw(counts: Tensor, names: list[str], title: str) -> Figure:
    """The matrix as a figure. A darker cell has a larger share of its row; the color is proportional to the square root
    of the share, so that 1 % is visible.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    shares = (counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).numpy()
    cell = 0.5 if len(names) <= COUNTED else max(0.13, 5 / len(names))  # inches
    side = min(max(len(names) * cell, 2), 14) + 2
    figure = Figure(figsize=(side + 0.8, side), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    axes = figure.add_subplot(title=replace_missing_glyphs(title), xlabel="predicted class", ylabel="true class")
    drawn = axes.imshow(shares, "Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    bar = figure.colorbar(drawn, ax=axes, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1], format=lambda share, _: f"{share:.0%}")
    bar.set_label("share of the true class")
    if len(names) * cell <= 14:
        labels = shorten_names(names, 20)
        axes.set_xticks(range(len(names)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
        axes.set_yticks(range(len(names)), labels)
        axes.tick_params(labelsize=10 if len(names) <= COUNTED else 6, length=0)
    if len(names) <= COUNTED:
        for row, column in counts.nonzero().tolist():
            color = "white" if shares[row, column] > 0.3 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color, fontsize=9)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # keep this layout when the figure is drawn again
    return figure
