"""Augmentation: drawn per image, applied to a whole batch on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from litmus.core.seeds import epoch_seed
from litmus.errors import number, require, whole_number

POINTS = 4  # control points of the elastic deformation, along each side


class Augmentation:
    """Augments uint8 images (N, C, H, W) by crop, shift, flip, a warp (rotation, scale and elastic deformation in one
    step) and erasing, in this order.

    Lengths are in pixels of the data set's images, before resizing. `crop` translates by up to that many pixels in each
    direction and fills the border with the mirrored image; `shift` does the same and fills with black (0). `flip`
    mirrors left to right with probability 0.5. `rotation` rotates about the center by up to that many degrees in either
    direction; `scale` enlarges or shrinks by up to this fraction; `elastic` displaces each of 4 × 4 control points by
    up to that many pixels along each axis, interpolated smoothly between them. These three fill with black. `erasing`
    is the probability that a rectangle of 2 to 33 % of the area is set to black (Zhong et al. 2017).
    """

    # Each augmentation has its own columns, so that switching one on does not change the others.
    CROP, SHIFT, FLIP, ROTATION, ERASING, SCALE, ELASTIC = (
        slice(0, 2), slice(2, 4), 4, 5, slice(6, 11), 11, slice(12, 12 + 2 * POINTS**2),
    )  # fmt: skip

    def __init__(
        self,
        crop: int = 0,
        shift: int = 0,
        flip: bool = False,
        rotation: float = 0.0,
        erasing: float = 0.0,
        scale: float = 0.0,
        elastic: float = 0.0,
    ):
        self.crop = whole_number("data.augment.crop", crop, least=0)
        self.shift = whole_number("data.augment.shift", shift, least=0)
        self.flip = flip
        self.rotation = number("data.augment.rotation", rotation, least=0)
        require(
            self.rotation <= 180, f"data.augment.rotation={rotation} is more than 180 degrees; set 180 for any angle"
        )
        self.erasing = number("data.augment.erasing", erasing, least=0)
        require(self.erasing <= 1, f"data.augment.erasing={erasing} is a probability; set 1.0 to erase in every image")
        self.scale = number("data.augment.scale", scale, least=0, below=1)
        self.elastic = number("data.augment.elastic", elastic, least=0)

    def __bool__(self) -> bool:
        return bool(self.crop or self.shift or self.flip or self._warps or self.erasing)

    @property
    def _warps(self) -> bool:
        return bool(self.rotation or self.scale or self.elastic)

    def check(self, height: int, width: int) -> None:
        """Raises ConfigError if images of this size cannot be translated or deformed that far."""
        apart = (min(height, width) - 1) // (POINTS - 1)
        require(
            self.elastic <= apart,
            f"data.augment.elastic={self.elastic} displaces points that are {apart} pixels apart across each other; "
            f"set {apart} or less",
        )
        for name in ("crop", "shift"):
            require(
                getattr(self, name) < min(height, width),
                f"data.augment.{name}={getattr(self, name)} moves an image of {height}×{width} pixels out of itself: "
                f"say {min(height, width) - 1} or less",
            )

    def draw(self, count: int, seed: int, epoch: int) -> Tensor:
        """The random numbers of `count` images: (count, columns) in [0, 1), on the CPU."""
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch, stream="augmentation"))
        drawn = torch.rand(count, self.SCALE, generator=generator)
        if not (self.scale or self.elastic):
            return drawn
        # Drawn last, so that the other random numbers do not depend on it.
        return torch.cat([drawn, torch.rand(count, self.ELASTIC.stop - self.SCALE, generator=generator)], dim=1)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Augments the images (N, C, H, W) with their rows of `draw`. Returns uint8, or float32 if they were warped."""
        if self.crop or self.shift or self.flip:
            flipped = drawn[:, self.FLIP] < 0.5 if self.flip else torch.zeros_like(drawn[:, 0], dtype=torch.bool)
            images = move(
                images, _steps(drawn[:, self.CROP], self.crop), _steps(drawn[:, self.SHIFT], self.shift), flipped
            )
        if self._warps:
            degrees = (2 * drawn[:, self.ROTATION] - 1) * self.rotation
            factor = 1 + (2 * drawn[:, self.SCALE] - 1) * self.scale if self.scale else None
            displacements = (2 * drawn[:, self.ELASTIC] - 1) * self.elastic if self.elastic else None
            images = warp(images, degrees, factor, displacements)
        if self.erasing:
            images = erase(images, *_rectangles(drawn[:, self.ERASING], self.erasing, *images.shape[2:]))
        return images


def _steps(drawn: Tensor, most: int) -> Tensor:
    """Maps [0, 1) to the whole numbers −most … most, each equally likely."""
    return (drawn * (2 * most + 1)).long() - most


def move(images: Tensor, crop: Tensor, shift: Tensor, flipped: Tensor) -> Tensor:
    """Translates images (N, C, H, W) by whole pixels: by `crop` (N, 2) rows down and columns right, filled with the
    mirrored image, then by `shift` (N, 2), filled with black. Then mirrors those where `flipped` (N,) is true.
    """
    count, channels, height, width = images.shape
    across = torch.arange(width, device=images.device).expand(count, width)
    across = torch.where(flipped[:, None], width - 1 - across, across) - shift[:, 1:]
    down = torch.arange(height, device=images.device) - shift[:, :1]
    inside = _within(down, height)[:, None, :, None] & _within(across, width)[:, None, None, :]
    rows, columns = _mirrored(down - crop[:, :1], height), _mirrored(across - crop[:, 1:], width)
    # One gather is faster than a crop, a pad and a flip.
    index = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).view(images.shape) * inside


def _within(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)


def _mirrored(index: Tensor, size: int) -> Tensor:
    """The index mirrored at both edges: … 2 1 0 1 2 … size−2 size−1 size−2 …; farther out, some valid index."""
    return ((size - 1) - ((size - 1) - index.abs()).abs()).clamp(min=0)


def warp(images: Tensor, degrees: Tensor, factor: Tensor | None = None, displacements: Tensor | None = None) -> Tensor:
    """Rotates images (N, C, H, W) counterclockwise about the center by `degrees` (N,), scales them by `factor` (N,) and
    deforms them by `displacements` (N, 2 · POINTS²) in pixels. Returns float32, bilinear, with black outside.
    """
    count, _, height, width = images.shape
    angle = (degrees * (math.pi / 180))[:, None, None]
    cos, sin = angle.cos(), angle.sin()
    if factor is not None:
        cos, sin = cos / factor[:, None, None], sin / factor[:, None, None]
    y = torch.arange(height, device=images.device).sub((height - 1) / 2)[:, None]
    x = torch.arange(width, device=images.device).sub((width - 1) / 2)
    # Source coordinates for grid_sample: −1 and 1 are the outer edges. affine_grid is slower.
    grid = torch.empty(count, height, width, 2, device=images.device)
    torch.sub(cos * x, sin * y, out=grid[..., 0])
    torch.add(sin * x, cos * y, out=grid[..., 1])
    if displacements is not None:
        grid += elastic_field(displacements.view(count, 2, POINTS, POINTS), height, width).permute(0, 2, 3, 1)
    grid[..., 0].mul_(2 / width)
    grid[..., 1].mul_(2 / height)
    return F.grid_sample(images.float(), grid, align_corners=False)


def elastic_field(displacements: Tensor, height: int, width: int) -> Tensor:
    """Displacements (N, 2, POINTS, POINTS) at evenly spaced points, interpolated to (N, 2, height, width), bicubic
    (Ronneberger et al. 2015).
    """
    points = torch.eye(POINTS, device=displacements.device)[None, :, :, None]
    down, across = (
        F.interpolate(points, (side, 1), None, "bicubic", True)
        .view(POINTS, side)
        for side in (height, width)
    )  # fmt: skip
    # Bicubic interpolation is linear, so two matrix products compute it, much faster than F.interpolate.
    return down.T @ displacements @ across


def _rectangles(drawn: Tensor, chance: float, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(top, left, height, width), each (N,), of rectangles inside the image; empty for images without one."""
    chosen, area, aspect, top, left = drawn.unbind(dim=1)
    area = (0.02 + 0.31 * area) * (height * width) * (chosen < chance)
    root = torch.exp((aspect - 0.5) * math.log(3.3))  # the root of an aspect ratio between 1 / 3.3 and 3.3
    tall = (area.sqrt() * root).round().clamp(max=height)
    wide = (area.sqrt() / root).round().clamp(max=width)
    return (top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor(), tall, wide


def erase(images: Tensor, top: Tensor, left: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """(N, C, H, W) with the rectangle of each image set to black."""
    y = torch.arange(images.shape[2], device=images.device) - top[:, None]
    x = torch.arange(images.shape[3], device=images.device) - left[:, None]
    rows, columns = (y >= 0) & (y < tall[:, None]), (x >= 0) & (x < wide[:, None])
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])
