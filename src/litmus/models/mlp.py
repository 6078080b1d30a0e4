"""The multilayer perceptron (MLP)."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from litmus.errors import StoppedRun, number
from litmus.models.classifier import Classifier
from litmus.models.layers import Dropout, check_widths, dense, initialize, sequential


class MLP(Classifier):
    """Flattened pixels, hidden layers of the sizes in `hidden`, logits (N, num_classes)."""

    def __init__(
        self,
        num_classes: int,
        image_shape: Sequence[int],
        hidden: Sequence[int] = (100, 100),
        batch_norm: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        input_dropout: float = 0.2,
        init: str = "torch",
        init_std: float = 0.1,
        **parts: Any,
    ):
        hidden = check_widths("model.hidden", hidden, "[100,100]", least=0)
        dropout = number("model.dropout", dropout, least=0, below=1)
        input_dropout = number("model.input_dropout", input_dropout, least=0, below=1)
        inputs = math.prod(image_shape)
        layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
        if input_dropout:
            layers["input_dropout"] = Dropout(input_dropout)
        network = sequential({**layers, **dense(inputs, hidden, num_classes, activation, dropout, batch_norm)})
        initialize(network, init, init_std)
        super().__init__(network, num_classes, **parts)
        self.normalized = batch_norm and bool(hidden)

    def check_batch(self, images: int) -> None:
        if self.normalized and images == 1:
            raise StoppedRun(
                "a batch of one image can't be normalized: choose a data.batch_size that leaves no single image over"
            )

    def threads(self, batch_size: int) -> int | None:
        return 1 if batch_size <= 256 else None  # in small batches, threads cost as much time as they save
