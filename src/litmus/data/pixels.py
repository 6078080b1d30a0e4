"""Converts pixels of any number type and axis order to uint8 (N, C, H, W), if their unit is unambiguous."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from litmus.errors import ConfigError, require

LAYOUTS = ("channels_last", "channels_first")
CHANNELS = (1, 3, 4)  # an axis of one of these sizes may be the channels
ROWS = 4096  # converted at a time, because a float copy of a large set may not fit in memory


def channels_first(images: Tensor, layout: str | None = None, image_shape: Sequence[int] | None = None) -> Tensor:
    """Converts images (N, H, W), (N, H, W, C) or (N, C, H, W) to (N, C, H, W).

    The axis order is inferred from `layout`, from the expected `image_shape` (C, H, W), or from the only axis of size
    1, 3 or 4. Raises ConfigError if it is still ambiguous.
    """
    shape = tuple(images.shape)
    if images.ndim == 2:
        side = round(shape[1] ** 0.5)
        sides = f"{side}, {side}" if side * side == shape[1] else "height, width"
        raise ConfigError(f"images have 2 dimensions {shape}; restore theirs with x = x.reshape(-1, {sides})")
    require(images.ndim in (3, 4), f"images have {images.ndim} dimensions {shape}, and need (N, H, W) or (N, C, H, W)")
    if images.ndim == 3:
        return images.unsqueeze(1).contiguous()
    if layout is None and image_shape is not None:
        fits = {"channels_first": shape[1:], "channels_last": (shape[3], *shape[1:3])}
        layout = next((name for name, found in fits.items() if found == tuple(image_shape)), None)
    if layout is None:
        first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
        require(
            first != last,
            f"images of shape {shape} may have their channels first or last; set data.layout=channels_last for "
            f"{shape[3]} channels of {shape[1]}×{shape[2]} pixels, data.layout=channels_first for {shape[1]} of "
            f"{shape[2]}×{shape[3]}",
        )
        layout = "channels_first" if first else "channels_last"
    return (images if layout == "channels_first" else images.permute(0, 3, 1, 2)).contiguous()


def read_pixels(images: np.ndarray, name: str) -> tuple[Tensor, str]:
    """The images as uint8, and the unit of the given pixels: `0 to 255`, or `0 to 1` for fractions and booleans.

    Raises ConfigError, with the line of NumPy that converts them, for numbers of another or an ambiguous unit.
    """
    require(images.dtype.kind in "biuf", f"{name} holds {images.dtype}, and must hold uint8 pixels from 0 to 255")
    require(images.size > 0, f"{name} holds no images; it has shape {images.shape}")
    if images.dtype.kind == "b":
        return torch.from_numpy(images.astype(np.uint8) * 255), "0 to 1"
    parts = [images[start : start + ROWS] for start in range(0, len(images), ROWS)]
    low, high = float(np.min([part.min() for part in parts])), float(np.max([part.max() for part in parts]))
    require(low != 0 or high != 0, f"{name} holds nothing but zeros; give images that are not all black")
    whole = images.dtype.kind != "f" or all((part == np.rint(part)).all() for part in parts)
    factor = _factor(images.dtype, low, high, whole, name)
    if images.dtype == np.uint8:
        return torch.from_numpy(np.require(images, requirements=["C", "W"])), "0 to 255"
    converted = np.empty(images.shape, dtype=np.uint8)
    for start, part in zip(range(0, len(images), ROWS), parts, strict=True):
        converted[start : start + ROWS] = np.rint(part * factor) if factor != 1 else part
    return torch.from_numpy(converted), "0 to 255" if factor == 1 else "0 to 1"


def _factor(dtype: np.dtype, low: float, high: float, whole: bool, name: str) -> int:
    """The factor that converts numbers from `low` to `high` to pixels; raises ConfigError if it is ambiguous."""
    is_float = dtype.kind == "f"
    holds = f"{name} holds {dtype} from {low:g} to {high:g}"
    require(math.isfinite(low) and math.isfinite(high), f"{name} holds NaN or infinity; {name} = np.nan_to_num({name})")
    if whole and low >= 0 and 1 < high <= 255:
        return 1
    if is_float and low >= 0 and 0.5 < high <= 1:
        return 255
    if low < 0:
        line = f"(({name} - low) / (high - low) * 255).clip(0, 255).round().astype('uint8')"
        raise ConfigError(
            f"{holds}, normalized already, and data.scaling normalizes; give the pixels from 0 to 255, or take "
            f"low, high = x_train.min(), x_train.max() and {name} = {line}"
        )
    if high <= 1:
        raise ConfigError(f"{holds}, too little to tell its unit; if white is 1, {name} = np.uint8({name} * 255)")
    if high < 2 and not whole:
        raise ConfigError(f"{holds}; if white is 1, {name} = {name}.clip(0, 1)")
    if high <= 255:
        raise ConfigError(f"{holds} with fractions; if white is 255, {name} = {name}.round().astype('uint8')")
    top = 65535 if high > 4095 else 4095 if high > 1023 else 1023
    raise ConfigError(f"{holds}, above 255; if white is {top}, {name} = np.uint8({name} * (255 / {top}))")
