"""Image sources, called like torchvision data sets: source(root=, train=, download=)."""

import gzip
import hashlib
import inspect
import struct
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from litmus.data.labels import class_name, read_labels
from litmus.data.pixels import channels_first, read_pixels
from litmus.errors import ConfigError, prefix_errors, require, whole_number

Source = Callable[..., Any]

# What torchvision data sets raise for damaged or absent files.
DAMAGED_OR_ABSENT = (OSError, RuntimeError, ValueError, AssertionError, IndexError, EOFError, UnpicklingError)


class MNIST:
    """The MNIST files embedded in the package: `data` (N, 28, 28) uint8, `targets` (N,) int64."""

    classes: ClassVar = [str(digit) for digit in range(10)]
    files: ClassVar = {  # name: SHA-256 of the unpacked file
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }

    _preloaded: ClassVar[dict[str, bytearray]] = {}

    def __init__(self, root: str | None = None, train: bool = True, download: bool = False):
        part = "train" if train else "t10k"
        self.data = self._read(f"{part}-images-idx3-ubyte")
        self.targets = self._read(f"{part}-labels-idx1-ubyte").long()

    @classmethod
    def preload(cls) -> None:
        """Unpacks the files for this process and its forks, which share the 55 MB. Starts no threads."""
        cls._preloaded.update({name: cls._unpack(name) for name in cls.files})

    @classmethod
    def _read(cls, name: str) -> Tensor:
        return read_idx(cls._preloaded.get(name) or cls._unpack(name))

    @classmethod
    def _unpack(cls, name: str) -> bytearray:
        raw = gzip.decompress(resources.files("litmus.data").joinpath("mnist", f"{name}.gz").read_bytes())
        if hashlib.sha256(raw).hexdigest() != cls.files[name]:
            raise ConfigError(f"MNIST's file {name}.gz inside the package is damaged: install Litmus again")
        return bytearray(raw)  # torch.frombuffer needs a writable buffer


def read_idx(raw: bytearray) -> Tensor:
    """Reads the IDX format: 00 00, 08 for uint8, the number of dimensions, each dimension as 4 bytes, the data. The
    tensor shares memory with `raw`.
    """
    dimensions = raw[3]
    shape = struct.unpack(f">{dimensions}I", raw[4 : 4 + 4 * dimensions])
    return torch.frombuffer(raw, dtype=torch.uint8, offset=4 + 4 * dimensions).view(shape)


class Synthetic:
    """Learnable synthetic images for tests and benchmarks: each class has a random pattern, and each image is the
    pattern of its class plus noise.
    """

    def __init__(
        self,
        num_images: int,
        num_classes: int,
        image_shape: Sequence[int],
        root: str | None = None,
        train: bool = True,
        download: bool = False,
    ):
        count = whole_number("data.num_images", num_images, least=num_classes) // (1 if train else 4) or num_classes
        patterns = torch.rand(num_classes, *image_shape, generator=torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(1 if train else 2)
        self.targets = torch.arange(count) % num_classes
        noise = torch.rand(count, *image_shape, generator=generator)
        self.data = ((patterns[self.targets] + noise) * 127.5).to(torch.uint8)
        self.classes = [f"class {label}" for label in range(num_classes)]


def read(
    source: Source, data_dir: str, train: bool, name: str, image_shape: Sequence[int] | None
) -> tuple[Tensor, Tensor, list[str] | None]:
    """Images (N, C, H, W) uint8, labels (N,) int64 and class names of one part of a source.

    Raises ConfigError, with the names of the files and their folder, if they can be neither read nor downloaded.
    """
    part: dict[str, Any] = {"train": train}
    if "split" in inspect.signature(source).parameters and "train" not in inspect.signature(source).parameters:
        part = {"split": "train" if train else "test"}
    folders = _folders(data_dir)
    try:
        dataset = source(root=data_dir, download=True, **part)
    except ConfigError:
        raise
    except DAMAGED_OR_ABSENT as error:
        _remove_empty(_folders(data_dir) - folders)
        lines = str(error).strip().splitlines()
        raise ConfigError(
            f"data={name} could neither be read from {data_dir} nor be downloaded into it "
            f"({lines[-1] if lines else 'a damaged file'}): {_wanted(source, data_dir)}, or set data.data_dir=FOLDER"
        ) from error
    attribute = "targets" if hasattr(dataset, "targets") else "labels"
    with prefix_errors(f"the {'training' if train else 'test'} part of data={name}"):
        labels = read_labels(np.asarray(getattr(dataset, attribute)), f"self.{attribute}")
        require(labels.dtype.kind != "U", f"self.{attribute} holds text; give the classes as numbers from 0")
        pixels, _ = read_pixels(np.asarray(dataset.data), "self.data")
        images = channels_first(pixels, image_shape=image_shape)
    names = getattr(dataset, "classes", None)
    return images, torch.from_numpy(labels).long(), None if names is None else [class_name(value) for value in names]


def _folders(data_dir: str) -> set[Path]:
    """The folders in which torchvision data sets may create files, such as MNIST/raw."""
    root = Path(data_dir).expanduser()
    return {path for path in (root, *root.glob("*/"), *root.glob("*/*/")) if path.is_dir()}


def _remove_empty(folders: set[Path]) -> None:
    """Removes the folders that a download created and did not fill."""
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _wanted(source: Source, data_dir: str) -> str:
    """How to provide the files that torchvision looks for."""
    dataset: Any = getattr(source, "func", source)
    folder = Path(data_dir).expanduser()
    if hasattr(dataset, "resources"):  # the MNIST family, which accepts a .gz file only with the published checksum
        files = ", ".join(Path(url).stem for url, _ in dataset.resources)
        return f"put {files}, unpacked, into {folder / dataset.__name__ / 'raw'}"
    if hasattr(dataset, "tgz_md5"):  # the CIFARs
        return f"put {dataset.filename} (MD5 {dataset.tgz_md5}), or {dataset.base_folder} out of it, into {folder}"
    return f"put {getattr(dataset, 'filename', 'its files')} into {folder}"
