"""A user's own arrays: an `.npz` file or a folder of `.npy` files."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from litmus.data.duplicates import (
    DUPLICATES,
    answer_duplicates,
    find_repeats,
    image_digests,
    indices_to_keep,
    two_classes,
)
from litmus.data.in_memory import InMemory, Loaded, Part
from litmus.data.labels import Classes, read_labels
from litmus.data.part_names import PART_NAMES
from litmus.data.pixels import LAYOUTS, channels_first, read_pixels
from litmus.errors import ConfigError, first_few, one_of, prefix_errors, require, user_path

GZIP = b"\x1f\x8b"
SAVE = "np.savez('mine.npz', x_train=…, y_train=…, x_test=…, y_test=…)"


class ArrayFile(InMemory):
    """The arrays x_train and y_train of `path`, and optionally x_val, y_val, x_test, y_test and class_names. `path` is
    an `.npz` file, gzipped or not, or a folder of `.npy` files with these names.

    Without x_val, `val_size` splits the validation part off the training images; without x_test there is no test.
    Images are pixels from 0 to 255, or floats from 0 to 1, of shape (N, H, W), (N, C, H, W) or (N, H, W, C); `layout`
    chooses between the last two if the shape is ambiguous. Labels are whole numbers, text, or one-hot; each distinct
    label of y_train is a class. Raises ConfigError for ambiguous arrays.

    `duplicates` sets what happens to an image that is in two parts: an error, a warning, or removal from the first of
    the two parts.
    """

    required_part = "train"

    def __init__(self, path: str, layout: str | None = None, duplicates: str = "warn", **options: Any):
        self.path = path
        self.layout = layout if layout is None else one_of("data.layout", layout, LAYOUTS)
        self.duplicates = one_of("data.duplicates", duplicates, DUPLICATES)
        self.arrays = self._convert(read_arrays(path, self.notes, self.required_part))
        images, _ = next(iter(self.arrays.values()))
        # A file for testing may have images of a single class.
        num_classes = max(len(self.classes.names), 0 if self.required_part == "train" else 2)
        super().__init__("arrays", None, num_classes, images.shape[1:], **options)  # type: ignore[arg-type]

    def _convert(self, arrays: "Arrays") -> dict[str, Part]:
        """The images (N, C, H, W) uint8 and class indices (N,) of each part."""
        labels = {part: read_labels(y, f"y_{part}") for part, (_, y) in arrays.parts.items()}
        leading = "train" if "train" in labels else self.required_part  # the part whose labels define the classes
        name = f"y_{leading}"
        self.classes = Classes.of(labels[leading], arrays.class_names, name, may_be_empty=leading != "train")
        if not self.classes.are_numbered and self.classes.values.dtype.kind != "U":
            found, names = first_few(self.classes.values, most=6), first_few(self.classes.names, most=6)
            self.notes.append(f"data.path={self.path}: the labels {found} of {name} are the classes {names}")
        converted: dict[str, Part] = {}
        units: dict[str, str] = {}
        shape: Sequence[int] | None = None
        for part, (x, _) in arrays.parts.items():
            pixels, units[part] = read_pixels(x, f"x_{part}")
            with prefix_errors(f"x_{part} of data.path={self.path}"):
                images = channels_first(pixels, self.layout, shape)
            shape = shape or images.shape[1:]
            kinds = ["text" if labels[one].dtype.kind == "U" else "numbers" for one in (part, leading)]
            require(
                kinds[0] == kinds[1],
                f"y_{part} holds {kinds[0]} and {name} {kinds[1]}; give both as text or as numbers",
            )
            converted[part] = images, torch.from_numpy(self.classes.numbers(labels[part], f"y_{part}"))
        require(
            len(set(units.values())) == 1,
            f"the parts of data.path={self.path} have pixels in different units "
            f"({', '.join(f'x_{part} {unit}' for part, unit in units.items())}); bring all to 0 to 255",
        )
        if arrays.parts[leading][0].dtype.kind == "f" and units[leading] == "0 to 1":
            self.notes.append(f"data.path={self.path}: pixels from 0 to 1 are rounded to 8 bits")
        return converted

    def sources(self) -> list[Path]:
        return [Path(self.path)]

    def _load(self, part: str) -> Loaded | None:
        found = self.arrays.pop(part, None)
        return None if found is None else (*found, self.classes.names)

    def _check_parts(self) -> None:
        contents = {part: image_digests(images) for part, (images, _) in self.parts.items()}
        targets = {part: labels for part, (_, labels) in self.parts.items()}
        repeats = find_repeats(contents)
        self.notes += answer_duplicates(repeats, self.duplicates, _position)
        self.notes += two_classes(contents, targets, self.class_names, _position)
        if self.duplicates == "drop":
            for part in {repeat.part for repeat in repeats}:
                images, labels = self.parts[part]
                index = indices_to_keep(len(labels), part, repeats)
                require(len(index) > 0, f"all images of the {part} part are in a later part too; give other images")
                self.parts[part] = images[index], labels[index]

    def use_classes(self, names: list[str]) -> bool:
        """Maps the labels to these classes, in any order. Returns False if a class is not among them."""
        if not set(self.classes.names) <= set(names):
            return False
        index = torch.tensor([names.index(name) for name in self.classes.names])
        self.parts = {part: (images, index[labels]) for part, (images, labels) in self.parts.items()}
        self.arrays = {part: (images, index[labels]) for part, (images, labels) in self.arrays.items()}
        self.class_names, self.num_classes = names, len(names)
        return True


def _position(part: str, i: int) -> str:
    return f"{part}[{i}]"


@dataclass
class Arrays:
    parts: dict[str, tuple[np.ndarray, np.ndarray]]  # train, val, test: images and labels; train is the first
    class_names: list[Any] | None


def read_arrays(path: str, notes: list[str], required: str = "train") -> Arrays:
    """Reads the arrays of all parts. Raises ConfigError if the file is absent, damaged or incomplete, or contains
    anything other than numbers and text.
    """
    with _translate_read_errors(path), _opened(path) as (names, read):
        keys = {name: key for name in names if (key := _key(name)) is not None}
        for name, key in keys.items():
            first = next(other for other in keys if keys[other] == key)
            require(first == name, f"data.path={path} has {first} and {name}; keep one of them")
        there = {part for _, part in keys.values()} | {required}
        parts = [part for part in ("train", "val", "test") if part in there]
        missing = [f"{kind}_{part}" for part in parts for kind in "xy" if (kind, part) not in keys.values()]
        require(
            not missing,
            f"data.path={path} lacks the array {' and '.join(missing)}: it has {first_few(names, most=6)}; save "
            f"it with {SAVE}",
        )
        ignored = [name for name in names if name not in keys and name != "class_names"]
        if ignored:
            notes.append(f"data.path={path}: ignores the arrays {first_few(ignored, most=6)}")
        found = {key: _array(path, name, read) for name, key in keys.items()}
        class_names = np.ravel(_array(path, "class_names", read)).tolist() if "class_names" in names else None
    return Arrays({part: (found["x", part], found["y", part]) for part in parts}, class_names)


def _key(name: str) -> tuple[str, str] | None:
    """(`x` or `y`, part) of an array name such as x_train; None for another name."""
    kind, _, part = name.lower().partition("_")
    return (kind, PART_NAMES[part]) if kind in ("x", "y") and part in PART_NAMES else None


@contextmanager
def _opened(path: str) -> Iterator[tuple[list[str], Callable[[str], np.ndarray]]]:
    """The names of the arrays, and a function that reads one. The arrays of a folder stay on disk until converted."""
    place = user_path("data.path", path)
    if place.is_dir():
        names = sorted(file.stem for file in place.glob("*.npy"))
        yield names, lambda name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return
    with place.open("rb") as content:
        is_gzip = content.read(2) == GZIP
        content.seek(0)
        unpacked = io.BytesIO(gzip.decompress(content.read())) if is_gzip else content
        file = np.load(unpacked, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ConfigError(
                f"data.path={path} holds one array, of shape {file.shape}, and labels are needed too; save both with "
                f"{SAVE}, or give a folder with x_train.npy and y_train.npy"
            )
        with file:
            yield file.files, file.__getitem__


def _array(path: str, name: str, read: Callable[[str], np.ndarray]) -> np.ndarray:
    try:
        return read(name)
    except ValueError as error:
        require(
            "Object arrays" not in str(error) and "Python objects" not in str(error),
            f"{name} of data.path={path} is an array of Python objects, which is not opened because it may run code; "
            f"save {name} = np.array({name}.tolist())",
        )
        raise


@contextmanager
def _translate_read_errors(path: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"data.path={path} does not exist: give the path of an .npz file") from None
    except PermissionError:
        raise ConfigError(f"data.path={path} cannot be read (permission denied); change its permissions") from None
    except (ValueError, OSError, EOFError, BadZipFile, zlib.error) as error:
        reason = "a pickle is not opened because it may run code" if "pickled" in str(error) else error
        raise ConfigError(
            f"data.path={path} is not a readable .npz file of plain arrays ({reason}); save it with {SAVE}"
        ) from None
