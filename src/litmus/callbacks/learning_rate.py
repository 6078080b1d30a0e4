"""The learning rate of each epoch."""

import pytorch_lightning as pl


class LearningRate(pl.Callback):
    """Logs `lr`, the learning rate of the first step of an epoch, and `lr/<group>` if there are several parameter
    groups.
    """

    only_observes = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        self.rates = {"lr": groups[-1]["lr"]}
        if len(groups) > 1:
            self.rates |= {f"lr/{group.get('name', i)}": group["lr"] for i, group in enumerate(groups)}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log_dict(self.rates)
