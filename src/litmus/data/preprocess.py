"""From uint8 pixels to the network's input, on whatever device the batch is on."""

import torch
from torch import Tensor, nn

from litmus.errors import one_of

SCALINGS = ("raw", "unit", "standardize")


class Preprocess(nn.Module):
    """uint8 images (N, C, H, W) to float32 of the same shape: (pixel − mean) / std, channel by channel.

    `mean` and `std` have shape (C,) and are in pixel values, 0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    @classmethod
    def fit(cls, scaling: str, images: Tensor) -> "Preprocess":
        """`raw`: 0 to 255; `unit`: 0 to 1; `standardize`: each channel of `images` to mean 0 and variance 1."""
        one_of("data.scaling", scaling, SCALINGS)
        channels = images.shape[1]
        if scaling != "standardize":
            return cls(torch.zeros(channels), torch.full((channels,), 1.0 if scaling == "raw" else 255.0))
        # Exact, and without a float copy of the images: the moments of each channel's histogram.
        counts = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(channels)])
        weights = counts.double() / counts.sum(dim=1, keepdim=True)
        values = torch.arange(256, dtype=torch.double)
        mean = weights @ values
        variance = weights @ values.square() - mean.square()
        return cls(mean.float(), variance.clamp(min=1.0).sqrt().float())

    def forward(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean) / self.std
