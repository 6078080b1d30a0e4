"""Calibration of the test predictions: reliability diagram and expected calibration error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from litmus.callbacks.plots import DOTS_PER_INCH, save, show
from litmus.core.fonts import plain_text, replace_missing_glyphs
from litmus.errors import whole_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Calibration(pl.Callback):
    """Plots the reliability diagram of the test predictions and saves it as calibration.png in `directory`.

    After the test, `error` is the expected calibration error.
    """

    only_observes = True

    def __init__(self, bins: int, directory: str):
        self.bins = whole_number("callbacks.calibration.bins", bins, least=1)
        self.path = Path(directory) / "calibration.png"

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        confidence, said = outputs.float().softmax(dim=1).max(dim=1)
        self.seen.append((confidence, said == batch[1]))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        confidence, right = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        if trainer.world_size > 1:
            confidence, right = (torch.cat(gather_all_tensors(part)) for part in (confidence, right))
        counts, sure, correct = binned(confidence.cpu(), right.cpu(), self.bins)
        self.error = expected_error(counts, sure, correct)
        if trainer.is_global_zero:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            figure = draw(counts, sure, correct, f"{data.name}: expected calibration error {100 * self.error:.2f} %")
            save(figure, self.path)
            show(trainer, "calibration", figure)


def binned(confidence: Tensor, right: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bins images by the probability of the predicted class, with `bins` bins of equal width: (0, 1/bins] and so on.
    Returns the count, the mean probability and the accuracy of each bin, (bins,) each; 0 for an empty bin.
    """
    place = ((confidence.double() * bins).ceil().long() - 1).clamp(0, bins - 1)
    counts = torch.bincount(place, minlength=bins)
    sums = (torch.zeros(bins, dtype=torch.double).index_add(0, place, v.double()) for v in (confidence, right))
    sure, correct = (total / counts.clamp(min=1) for total in sums)
    return counts, sure, correct


def expected_error(counts: Tensor, sure: Tensor, correct: Tensor) -> float:
    """Expected calibration error (Guo et al. 2017): |accuracy − mean probability| of each bin, averaged over images."""
    return float((counts * (correct - sure).abs()).sum() / counts.sum())


@plain_text()
def draw(counts: Tensor, sure: Tensor, correct: Tensor, title: str) -> Figure:
    """The reliability diagram, and below it the number of images per bin. The distance of a bar from the diagonal is
    the calibration error of the bin.
    """
    from matplotlib.figure import Figure

    bins = len(counts)
    figure = Figure(figsize=(5, 6), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    left, wide = [i / bins for i in range(bins)], 1 / bins
    own = sure[counts > 0].tolist()
    above.bar(left, correct.tolist(), wide, align="edge", color="#2b55b8", edgecolor="white", label="right")
    above.plot(own, own, "o", color="#f0a040", markersize=5, label="the model's own probability")
    above.plot([0, 1], [0, 1], "--", color="0.4", linewidth=1)
    above.set(title=replace_missing_glyphs(title), ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="upper left")
    below.bar(left, counts.tolist(), wide, align="edge", color="0.6", edgecolor="white")
    below.set(xlabel="the model's probability of the class it says", ylabel="images")
    return figure
