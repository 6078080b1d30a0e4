"""The protocol of a data module, and the defaults for attributes that your own data module leaves out."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from litmus.core.lightning_hooks import is_overridden
from litmus.data.preprocess import Preprocess, UnknownPreprocess
from litmus.errors import ConfigError, require


class ImageData(Protocol):
    """The part of a data module that Litmus reads, besides Lightning's hooks.

    A LightningDataModule of your own needs `num_classes` and `image_shape`, both set by its constructor, and the hooks
    train_dataloader and val_dataloader, whose batches are (images, labels): float images (N, C, H, W), preprocessed,
    and class numbers (N,) from 0. Without test_dataloader there is no test. Everything else has a default:

    - `name`: of the class, in lower case; in logs and figures;
    - `class_names`: the class numbers;
    - `batch_size`: that of the train_dataloader, or 1 as far as it is unknown;
    - `mean` and `std`, C numbers each: how pixels from 0 to 255 become the images, as (pixel − mean) / std. Without
      them, the loaded model takes preprocessed images only: ``litmus.load(run).model(images)``;
    - `fingerprint()`: a string that changes with the data; without it, changed data is not noticed; and `sources()`,
      the files and folders that are read: while none of them has changed, the fingerprint is not computed again;
    - `size(part)`: the length of the dataset behind the loader of "train", "val" or "test".
    """

    num_classes: int
    image_shape: Sequence[int]  # (C, H, W)

    def train_dataloader(self) -> Any: ...

    def val_dataloader(self) -> Any: ...


def complete_data_module(data: Any) -> Any:
    """The data module, with defaults for missing attributes. Raises ConfigError for a missing one without a default."""
    if hasattr(data, "facts"):  # one of litmus.data
        return data
    _check_required(data)
    kind = type(data).__name__
    defaults = {
        "name": kind.lower(),
        "class_names": [str(number) for number in range(data.num_classes)],
        "batch_size": 1,
        "mean": None,
        "std": None,
        "notes": [],
        "features": {},
    }
    for name, value in defaults.items():
        if getattr(data, name, None) is None:
            setattr(data, name, value)
    require(
        len(data.class_names) == data.num_classes,
        f"{kind} has {len(data.class_names)} class_names for {data.num_classes} classes; give one for each",
    )
    data.preprocess = _preprocess(data)
    if isinstance(data.preprocess, UnknownPreprocess):
        data.notes.append(
            f"{kind} has no mean and std, so no image is drawn, and the loaded model takes preprocessed images only"
        )
    for name in ("fingerprint", "sources"):
        if not hasattr(data, name):
            setattr(data, name, lambda: None)
    if not hasattr(data, "size"):
        data.size = lambda part: _count(data, part)
    data.facts = lambda: _facts(data)
    return data


def _check_required(data: Any) -> None:
    kind = type(data).__name__
    require(
        isinstance(data, pl.LightningDataModule),
        f"data._target_ gives a {kind}, not a LightningDataModule; derive it from that",
    )
    for name in ("num_classes", "image_shape"):
        require(hasattr(data, name), f"{kind} has no {name}; set self.{name} in its __init__")
    require(
        isinstance(data.num_classes, int) and data.num_classes >= 2,
        f"num_classes of {kind} is {data.num_classes!r}; set self.num_classes to a whole number of 2 or more",
    )
    shape = data.image_shape
    require(
        isinstance(shape, Sequence) and len(shape) == 3 and all(isinstance(side, int) and side > 0 for side in shape),
        f"image_shape of {kind} is {shape!r}; set self.image_shape to (channels, height, width)",
    )
    for hook in ("train_dataloader", "val_dataloader"):
        require(is_overridden(data, hook, pl.LightningDataModule), f"{kind} has no {hook}; define it")


def _preprocess(data: Any) -> Preprocess:
    """The preprocessing with the mean and std of the data module, or UnknownPreprocess without them."""
    kind, channels = type(data).__name__, data.image_shape[0]
    for name in ("mean", "std"):
        value = getattr(data, name)
        require(
            value is None or (isinstance(value, Sequence) and len(value) == channels),
            f"{name} of {kind} is {value!r}; set it to {channels} numbers, one per channel, for pixels from 0 to 255",
        )
    require((data.mean is None) == (data.std is None), f"{kind} has one of mean and std; set both, or neither")
    if data.mean is None:
        return UnknownPreprocess(*torch.full((2, channels), math.nan))
    return Preprocess(*torch.tensor([data.mean, data.std], dtype=torch.float32))


def _count(data: Any, part: str) -> int:
    hook = f"{part}_dataloader"
    if not is_overridden(data, hook, pl.LightningDataModule):
        return 0
    loader = getattr(data, hook)()
    if loader is None or (isinstance(loader, list) and not loader):
        return 0
    try:
        images: Any = loader.dataset if isinstance(loader, DataLoader) else loader
        return len(images)
    except TypeError:
        kind = type(data).__name__
        raise ConfigError(f"the {hook} of {kind} has no length; define size(part), the number of images") from None


def _facts(data: Any) -> dict[str, Any]:
    """As `InMemory.facts`; the source shape is the shape of the images that the model gets."""
    return {
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
        "source_shape": list(data.image_shape),
        "pipeline": "resize",
        "mean": data.preprocess.mean.flatten().cpu(),
        "std": data.preprocess.std.flatten().cpu(),
        "image_size": None,
    }
