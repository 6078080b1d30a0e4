"""Lightning as its documentation shows it: a DataLoader, self.log and torchmetrics at every step."""

import logging
import time
import warnings

import pytorch_lightning as pl
import torch
from case import case, report
from networks import network
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
given = case()
x, y, x_val, y_val = (torch.from_numpy(array) for array in given.arrays())


class Plain(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = network(given.model, tuple(x.shape[1:]))
        self.train_accuracy, self.val_accuracy = MulticlassAccuracy(10), MulticlassAccuracy(10)
        self.times: list[float] = []

    def training_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        images, labels = batch
        logits = self.network(images)
        loss = nn.functional.cross_entropy(logits, labels)
        self.train_accuracy(logits, labels)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        images, labels = batch
        logits = self.network(images)
        self.val_accuracy(logits, labels)
        self.log("val/acc", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        return torch.optim.Adam(self.parameters(), lr=given.learning_rate)

    def on_train_epoch_start(self) -> None:
        self.times.append(time.perf_counter())

    def on_train_end(self) -> None:
        self.times.append(time.perf_counter())


model = Plain()
trainer = pl.Trainer(
    max_epochs=given.epochs, accelerator="cpu", logger=TensorBoardLogger("logs"), enable_model_summary=False
)
trainer.fit(
    model,
    DataLoader(TensorDataset(x, y), batch_size=given.batch_size, shuffle=True),
    DataLoader(TensorDataset(x_val, y_val), batch_size=1000),
)
report([after - before for before, after in zip(model.times, model.times[1:], strict=False)])
