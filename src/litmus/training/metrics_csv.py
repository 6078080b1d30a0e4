"""metrics.csv: one row of metrics per epoch."""

import csv
import io
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from litmus.callbacks.logged_metrics import metrics_of_epoch
from litmus.core.checkpoint_io import write_text
from litmus.core.metrics_file import Row, read_metrics


class MetricsCSV(Checkpoint):
    """Writes metrics.csv: one row per completed epoch, numbered from 1, with all metrics of the epoch.

    Derives from Checkpoint because Lightning calls Checkpoint callbacks after the callbacks that log.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.rows: list[Row] = []

    # Not only in on_train_start, which is not called if no epoch is left.
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.rows = read_metrics(self.path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows = [row for row in self.rows if row["epoch"] <= trainer.current_epoch]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in metrics_of_epoch(trainer).items()}
        self.rows.append({"epoch": trainer.current_epoch + 1, **dict(sorted(metrics.items()))})
        if trainer.is_global_zero:
            names = list(dict.fromkeys(name for row in self.rows for name in row))
            text = io.StringIO()
            writer = csv.DictWriter(text, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
            write_text(self.path, text.getvalue())
