"""Weight norms per layer."""

import pytorch_lightning as pl
import torch

from litmus.penalties import weights_by_layer


class WeightNorm(pl.Callback):
    """Logs `weight_norm/<layer>`, the L2 norm of each layer's weight at the end of the epoch."""

    only_observes = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        weights = weights_by_layer(pl_module.network)  # type: ignore[arg-type]
        norms = torch.stack([weight.detach().norm() for weight in weights.values()]).tolist()
        pl_module.log_dict({f"weight_norm/{layer}": norm for layer, norm in zip(weights, norms, strict=True)})
