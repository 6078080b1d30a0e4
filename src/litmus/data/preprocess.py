"""Preprocessing of uint8 pixels to the input of the network, on the device of the batch."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litmus.errors import ConfigError, one_of, require

SCALINGS = ("raw", "unit", "standardize", "imagenet")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's pretrained networks


class Preprocess(nn.Module):
    """Converts images (N, C, H, W), uint8 or float pixels, to float32: (pixel − mean) / std for each channel.

    `mean` and `std` have shape (C,) and are in pixel values, 0 to 255. If C is three, a gray image is repeated to three
    channels. With a `size`, images are first resized to size × size, bilinear and antialiased.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, size: int | None = None):
        super().__init__()
        self.size = size
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    @classmethod
    def fit(cls, scaling: str, images: Tensor, size: int | None = None) -> "Preprocess":
        """`raw`: 0 to 255; `unit`: 0 to 1; `standardize`: mean 0 and variance 1 per channel over `images`; `imagenet`:
        as for torchvision's pretrained networks.

        `standardize` divides a channel without contrast by 1/255 of the largest pixel of all `images`.
        """
        one_of("data.scaling", scaling, SCALINGS)
        channels = images.shape[1]
        if scaling == "imagenet":
            return cls(255 * torch.tensor(IMAGENET_MEAN), 255 * torch.tensor(IMAGENET_STD), size)
        if scaling != "standardize":
            return cls(torch.zeros(channels), torch.full((channels,), 1.0 if scaling == "raw" else 255.0), size)
        sums = torch.stack([_sums(images[:, c].flatten()) for c in range(channels)])
        mean, mean_square = (sums / images[:, 0].numel()).unbind(dim=1)
        variance = mean_square - mean.square()
        least = max(float(images.max()), 1.0) / 255
        return cls(mean.float(), variance.clamp(min=least**2).sqrt().float(), size)

    def forward(self, images: Tensor) -> Tensor:
        images = images.to(torch.float32, copy=True)
        if self.size is not None and images.shape[2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        if len(self.mean) != images.shape[1]:  # a gray image is repeated to three channels
            return (images - self.mean) / self.std
        return images.sub_(self.mean).div_(self.std)


class UnknownPreprocess(Preprocess):
    """Stands for the preprocessing of a data module without `mean` and `std`; a call raises ConfigError."""

    def forward(self, images: Tensor) -> Tensor:
        raise ConfigError(
            "the data module of this run has no mean and std, so its preprocessing is unknown; preprocess the images, "
            "and call litmus.load(RUN).model(images)"
        )


def _sums(pixels: Tensor) -> Tensor:
    """The exact sums Σx and Σx² of uint8 pixels (N,), as float64 (2,)."""
    total = torch.zeros(2, dtype=torch.double)
    for part in pixels.split(2**18):  # the float copy of this size, 1 MB, stays in the cache
        # 256 · 255² < 2²⁴, so float32 sums of 256 values are exact in any order.
        blocks = F.pad(part.float(), (0, -len(part) % 256)).view(-1, 256)
        total += torch.stack([blocks.sum(dim=1).double().sum(), blocks.square_().sum(dim=1).double().sum()])
    return total


def shape_after(scaling: str, size: int | None, image_shape: Sequence[int]) -> tuple[int, int, int]:
    """The input shape (C, H, W) of the network for images of this shape. Raises ConfigError if the scaling does not
    support them.
    """
    channels, height, width = image_shape
    require(
        scaling != "imagenet" or channels in (1, 3),
        f"data.scaling=imagenet is for gray or color images, and these have {channels} channels; set "
        "data.scaling=standardize",
    )
    return 3 if scaling == "imagenet" else channels, size or height, size or width
