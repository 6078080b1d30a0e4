"""Decodes an image file of any size and mode to the uint8 image for a network."""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from litmus.errors import one_of

# As for torchvision's pretrained networks: the short side scaled to 256 for a crop of 224.
MARGIN = 256 / 224
LONGEST = 8  # a longer image, in multiples of its short side, is cropped before it is resized
PIPELINES: dict[str, Callable[[int, int, float], Callable[[Image.Image], Image.Image]]] = {
    "resize": lambda height, width, margin: v2.Resize([height, width]),
    "imagenet": lambda height, width, margin: v2.Compose(
        [
            partial(crop_middle, longest=LONGEST * max(height, width) / min(height, width)),
            v2.Resize(round(min(height, width) * margin)),
            v2.CenterCrop([height, width]),
        ]
    ),
}


class ImageDecodeError(ValueError):
    """A file is damaged or not an image; the message is the reason."""


class ImageDecoder:
    """Decodes a file to a uint8 image (C, H, W) of `shape`.

    Pipeline `resize` scales the image to H × W pixels; `imagenet` scales its short side to `margin` times the shorter
    of H and W and crops the center. The EXIF rotation is applied, and transparent pixels are drawn on white.
    """

    def __init__(self, shape: Sequence[int], pipeline: str, margin: float = MARGIN):
        self.pipeline = one_of("data.pipeline", pipeline, PIPELINES)
        self.shape, self.margin = tuple(shape), margin

    def __call__(self, path: str | Path) -> Tensor:
        channels, height, width = self.shape
        pipeline = PIPELINES[self.pipeline](height, width, self.margin)
        picture = pipeline(open_image(path, least=2 * max(height, width)))
        return F.pil_to_tensor(picture if channels == 3 else picture.convert("L"))


def crop_middle(picture: Image.Image, longest: float) -> Image.Image:
    """Crops the center of a long image to at most `longest` times its short side: enlarging a whole image of
    8000 × 1 pixels would take gigabytes.
    """
    width, height = picture.size
    most = math.ceil(longest * min(width, height))
    across, down = (max(0, (side - most) // 2) for side in (width, height))
    if not across and not down:
        return picture
    return picture.crop((across, down, width - across, height - down))


def open_image(path: str | Path, least: int | None = None) -> Image.Image:
    """The image as RGB. A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, as long as each side keeps at least
    `least` pixels: a quarter of the time for a photograph. Raises ImageDecodeError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow raises an error at twice that size
            with Image.open(path) as picture:
                if least is not None:
                    picture.draft(None, (least, least))
                return rgb(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        raise ImageDecodeError("empty" if empty else "not a picture that can be read") from None
    except FileNotFoundError:
        raise ImageDecodeError("a link that leads nowhere" if Path(path).is_symlink() else "does not exist") from None
    except PermissionError:
        raise ImageDecodeError("not readable: permission denied") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise ImageDecodeError(f"larger than {most} megapixels, the most that is opened") from None
    except ImageDecodeError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds: OSError, SyntaxError, struct.error, ValueError
        raise ImageDecodeError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return from_numbers(picture)
    if picture.has_transparency_data:
        there = picture.convert("RGBA")
        white = Image.new("RGBA", there.size, "white")
        return Image.alpha_composite(white, there).convert("RGB")
    return picture.convert("RGB")


def from_numbers(picture: Image.Image) -> Image.Image:
    """Converts 16-bit pixels, which Pillow would clip at 255, and floating-point pixels from 0 to 1 or 0 to 255 to 8
    bits. Raises ImageDecodeError for other numbers.
    """
    values = np.asarray(picture).astype(np.float64)
    least, most = values.min(), values.max()
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ImageDecodeError("not a picture: it holds NaN or infinity")
    limit = 255 if picture.mode == "F" else 65535
    if least < 0 or most > limit:
        raise ImageDecodeError(
            f"not a picture of pixels from 0 to {limit}: it holds numbers from {least:g} to {most:g}"
        )
    top = (1 if most <= 1 else 255) if picture.mode == "F" else 65535 if most > 255 or ";16" in picture.mode else 255
    return Image.fromarray((values * (255 / top)).round().clip(0, 255).astype(np.uint8)).convert("RGB")
