"""The fraction of near-zero weights."""

import pytorch_lightning as pl
import torch

from litmus.errors import number
from litmus.penalties import weights_by_layer


class Sparsity(pl.Callback):
    """Logs `sparsity/<layer>`, the fraction of weights w of each layer with |w| <= `threshold`, at the end of an epoch.

    The default is not 0 because, with L1, optimizers move weights back and forth across zero and rarely to exactly 0.
    """

    only_observes = True

    def __init__(self, threshold: float = 1e-3):
        self.threshold = number("callbacks.sparsity.threshold", threshold, least=0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        weights = weights_by_layer(pl_module.network)  # type: ignore[arg-type]
        counts = torch.stack([(weight.detach().abs() <= self.threshold).sum() for weight in weights.values()]).tolist()
        shares = [count / weight.numel() for count, weight in zip(counts, weights.values(), strict=True)]
        pl_module.log_dict({f"sparsity/{layer}": share for layer, share in zip(weights, shares, strict=True)})
