"""Seeds all random generators at the start of each epoch."""

import pytorch_lightning as pl
import torch

from litmus.core.seeds import epoch_seed


class EpochSeed(pl.Callback):
    """Seeds torch at the start of each epoch: dropout depends only on (seed, epoch, rank), and an interrupted epoch can
    be repeated exactly without a saved random state.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(epoch_seed(self.seed, trainer.current_epoch, stream=f"rank {trainer.global_rank}"))
