"""Plain Lightning on one device: a DataLoader, self.log and torchmetrics at every step, the logger and checkpoints."""

import logging
import warnings

import pytorch_lightning as pl
import torch
from device_case import DeviceCase, Normalize, StepTimer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
case = DeviceCase.from_command_line()
images, labels, val_images, val_labels = case.load()
timer = StepTimer(case.device, case.steps)


class Plain(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = case.network(tuple(images.shape[1:]))
        self.normalize = Normalize.fit(images, case.memory_format)
        self.train_accuracy, self.val_accuracy = MulticlassAccuracy(10), MulticlassAccuracy(10)

    def training_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        logits = self.network(self.normalize(batch[0]))
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.train_accuracy(logits, batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        self.val_accuracy(self.network(self.normalize(batch[0])), batch[1])
        self.log("val/acc", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        return torch.optim.Adam(self.parameters(), lr=case.learning_rate)

    def on_train_epoch_start(self) -> None:
        if self.current_epoch > 0:
            timer.end_epoch()
        timer.start_epoch()

    def on_train_batch_end(self, outputs, batch, batch_idx):  # type: ignore[no-untyped-def]
        timer.end_step()

    def on_train_end(self) -> None:
        timer.end_epoch()


on_gpu = case.device == "cuda"
options = {"batch_size": case.batch_size, "pin_memory": on_gpu}
options |= {"num_workers": 4, "persistent_workers": True} if on_gpu else {}
trainer = pl.Trainer(
    max_epochs=case.epochs,
    accelerator="gpu" if on_gpu else "cpu",
    devices=1,
    precision=case.precision,
    logger=TensorBoardLogger("logs"),
    enable_model_summary=False,
    num_sanity_val_steps=0,
)
trainer.fit(
    Plain(),
    DataLoader(TensorDataset(images, labels), shuffle=True, **options),
    DataLoader(TensorDataset(val_images, val_labels), **options),
)
timer.report()
