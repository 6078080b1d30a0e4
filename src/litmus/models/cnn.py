"""The convolutional network (CNN)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from litmus.errors import number, require, whole_number
from litmus.models.classifier import Classifier
from litmus.models.layers import Dropout, check_widths, dense, initialize, sequential
from litmus.models.layers import activation as activation_layer


class CNN(Classifier):
    """Blocks of convolution, batch normalization, activation and 2×2 max-pooling, then linear layers to the logits.

    `channels` are the output channels of each block, `hidden` the sizes of the linear layers before the last. A block
    has `depth` convolutions before its pooling, each with normalization and activation. Dropout acts on the flattened
    features and after each hidden linear layer.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Sequence[int],
        channels: Sequence[int] = (16, 16),
        hidden: Sequence[int] = (128,),
        depth: int = 1,
        kernel_size: int = 3,
        batch_norm: bool = True,
        activation: str = "relu",
        dropout: float = 0.3,
        init: str = "torch",
        init_std: float = 0.1,
        channels_last: bool = True,
        **parts: Any,
    ):
        channels = check_widths("model.channels", channels, "[32,64]", least=2)
        hidden = check_widths("model.hidden", hidden, "[128]", least=0)
        dropout = number("model.dropout", dropout, least=0, below=1)
        depth = whole_number("model.depth", depth, least=1)
        kernel_size = whole_number("model.kernel_size", kernel_size, least=1)
        require(kernel_size % 2 == 1, f"model.kernel_size={kernel_size} must be odd, so that a block keeps the size")
        image_channels, height, width = image_shape
        shrink = 2 ** len(channels)
        require(
            min(height, width) >= shrink,
            f"model.channels={channels} halves the image {len(channels)} times, and {height}×{width} pixels "
            f"are too few: use fewer blocks",
        )
        blocks = _blocks([image_channels, *channels], depth, kernel_size, batch_norm, activation)
        blocks["flatten"] = nn.Flatten()
        if dropout:
            blocks["dropout"] = Dropout(dropout)
        features = channels[-1] * (height // shrink) * (width // shrink)
        network = sequential({**blocks, **dense(features, hidden, num_classes, activation, dropout)})
        initialize(network, init, init_std)
        super().__init__(network, num_classes, channels_last=channels_last, **parts)


def _blocks(
    channels: Sequence[int], depth: int, kernel_size: int, batch_norm: bool, activation: str
) -> dict[str, nn.Module]:
    """The convolutional blocks; `channels` starts with the channels of the image."""
    layers: dict[str, nn.Module] = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(channels), start=1):
        for j in range(1, depth + 1):
            inputs, name = (fan_in, str(i)) if j == 1 else (fan_out, f"{i}_{j}")
            # Without a bias: batch normalization subtracts the mean.
            layers[f"conv{name}"] = nn.Conv2d(
                inputs, fan_out, kernel_size, padding=kernel_size // 2, bias=not batch_norm
            )
            if batch_norm:
                layers[f"norm{name}"] = nn.BatchNorm2d(fan_out)
            last: dict[str, nn.Module] = {f"conv{name}_activation": activation_layer(activation)}
            if j == depth:
                last[f"pool{i}"] = nn.MaxPool2d(2)
            # A monotonic activation commutes with max-pooling; after the pooling it takes a quarter of the time.
            layers |= last if activation == "gelu" else dict(reversed(last.items()))
    return layers
