"""Image perturbations by torchvision name: gaussian_blur:kernel=51,sigma=8."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from litmus.errors import ConfigError, one_of, require

KINDS: dict[str, tuple[Callable[..., v2.Transform], dict[str, str]]] = {  # its options, by torchvision's names
    "gaussian_blur": (v2.GaussianBlur, {"kernel": "kernel_size", "sigma": "sigma"}),
    "gaussian_noise": (v2.GaussianNoise, {"mean": "mean", "sigma": "sigma"}),
    "color_jitter": (v2.ColorJitter, {name: name for name in ("brightness", "contrast", "saturation", "hue")}),
    "rotation": (v2.RandomRotation, {"degrees": "degrees"}),
    "grayscale": (lambda: v2.Grayscale(3), {}),
    "flip": (lambda: v2.RandomHorizontalFlip(p=1.0), {}),
}


class Perturbation:
    """`name:option=value,option=value`, several joined by `+`; a value such as 0.1..2 is drawn from that range by the
    seed.

    Maps images (C, H, W) of float32 pixels from 0 to 255 to perturbed ones.
    """

    def __init__(self, text: str, seed: int):
        self.transforms = [_transform(part) for part in text.split("+")]
        self.seed = seed

    def __call__(self, image: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            try:
                image = image / 255
                for transform in self.transforms:
                    image = transform(image)
            except (ValueError, TypeError, RuntimeError) as error:
                raise ConfigError(f"--perturb can't be done to an image of {list(image.shape)}: {error}") from error
        return image * 255


def _transform(text: str) -> v2.Transform:
    name, _, options = text.strip().partition(":")
    build, names = KINDS[one_of("--perturb", name, KINDS)]
    values: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        key, equals, value = option.strip().partition("=")
        require(bool(equals), f"--perturb {text}: {option!r} is no option; write {name}:key=value")
        require(bool(names), f"--perturb {name} takes no options: leave out {option}")
        values[names[one_of(f"--perturb {name}'s option", key, names)]] = _value(value, text)
    try:
        return build(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"--perturb {text} is refused: {error}; its options are {', '.join(names)}") from error


def _value(text: str, whole: str) -> Any:
    try:
        low, dots, high = text.partition("..")
        return (float(low), float(high)) if dots else int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        raise ConfigError(f"--perturb {whole}: {text!r} is neither a number nor a range such as 0.1..2") from None
