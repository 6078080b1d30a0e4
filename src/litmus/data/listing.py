"""Which files of a folder are pictures of which class."""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from litmus.errors import ConfigError, closest, require

PARTS = ("train", "val", "test")


@dataclass
class Listing:
    """The files of one part and their labels (N,), in a fixed order that mixes the classes, so that the first N are a
    fair sample. It goes by each file's name, so a new file leaves the order of the others."""

    files: list[Path]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, chosen: Tensor | slice) -> "Listing":
        if isinstance(chosen, slice):
            return Listing(self.files[chosen], self.labels[chosen])
        return Listing([self.files[i] for i in chosen.tolist()], self.labels[chosen])

    def __add__(self, other: "Listing") -> "Listing":
        return Listing(self.files + other.files, torch.cat([self.labels, other.labels]))


def part_folders(root: Path) -> dict[str, Path]:
    """The folders of `root` that hold its parts. Those that there are not are to be split off `train`, which is `root`
    itself where it has none of them, and the next one where only `train` is missing."""
    require(root.is_dir(), f"data.root={root} is not a folder: give one with a subfolder of pictures for each class")
    there = {part: root / part for part in PARTS if (root / part).is_dir()}
    if "train" not in there:
        there = {"train": there.pop(next(iter(there))) if there else root, **there}
    return there


def class_folders(folder: Path) -> dict[str, Path]:
    """The subfolders by name, in the names' order; the same name is the same class however its accents are encoded."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {unicodedata.normalize("NFC", path.name): path for path in found}


def listed(folder: Path, class_names: Sequence[str]) -> Listing:
    """Every file below the folders of these classes."""
    folders = class_folders(folder)
    found = [(path, label) for label, name in enumerate(class_names) for path in files_below(folders.get(name))]
    found.sort(key=lambda pair: hashlib.sha256(str(pair[0].relative_to(folder)).encode("utf-8", "replace")).digest())
    return Listing([path for path, _ in found], torch.tensor([label for _, label in found], dtype=torch.long))


def check_classes(folder: Path, class_names: Sequence[str]) -> None:
    """Raises ConfigError if the folder has files of any other class."""
    for name, path in class_folders(folder).items():
        if name not in class_names and any(files_below(path)):
            near = closest(name, class_names)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(class_names)}"
            raise ConfigError(f"{path} is none of the model's classes: {hint}")


def files_below(folder: Path | None) -> Iterator[Path]:
    """All that are not hidden, whatever they are called: what is no picture is told when it is read."""
    if folder is not None:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                yield from files_below(path)
            else:
                yield path
