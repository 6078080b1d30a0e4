"""metrics.csv: one row of metrics per epoch."""

import csv
import io
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from litmus.callbacks.logged_metrics import metrics_of_epoch
from litmus.core.checkpoint_io import write_text
from litmus.errors import ConfigError

Row = dict[str, float]


class MetricsCSV(Checkpoint):
    """Keeps metrics.csv: one row for each epoch that ended, numbered from 1, with every metric of that epoch.

    A Checkpoint to Lightning only so that it comes after the callbacks that log at the epoch's end.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.rows: list[Row] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows = [row for row in read_metrics(self.path) if row["epoch"] <= trainer.current_epoch]

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


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.csv; none if it is not there. A metric that an epoch did not measure is not in its row.

    Raises ConfigError if it is damaged.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        names, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        if not text.endswith("\n") or "epoch" not in names or any(len(line) != len(names) for line in lines):
            raise ValueError("it is truncated, or its rows differ in length")
        return [
            {
                name: int(value) if name == "epoch" else float(value)
                for name, value in zip(names, line, strict=True)
                if value
            }
            for line in lines
        ]
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path} is damaged ({error}): put it back, or start a new run") from None
