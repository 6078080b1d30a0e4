"""Image files of a folder and their classes."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from litmus.data.part_names import PART_NAMES, PARTS
from litmus.errors import ConfigError, closest, require


@dataclass
class Listing:
    """The files of one part and their labels (N,), in a fixed shuffled order, so that the first N are a random
    sample of all classes.

    Files are sorted by a hash of their names, so that a new file does not reorder the others.
    """

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
    """The folder of each part in `root`; without part folders, `root` itself is the folder of the training images.

    Raises ConfigError if other parts have a folder and the training part has none.
    """
    there = find_part_folders(root)
    if not there:
        return {"train": root}
    names = [readable(path.name) for path in there.values()]
    require(
        "train" in there,
        f"data.root={readable(root)} has {' and '.join(f'{name}/' for name in names)} and no train/; add train/ with a "
        f"subfolder of pictures for each class, or set data.root={readable(root / names[0])} to split the pictures of "
        f"{names[0]}/ into all parts",
    )
    return there


def find_part_folders(root: Path) -> dict[str, Path]:
    """The folders of `root` that are named for a part, such as `train`.

    Such a folder may also be a class named `train`: it is a part if one of these folders has subfolders, or if all
    folders of `root` are named for parts. Raises ConfigError for two folders of one part, and for a folder beside them
    that is not a part.
    """
    require(  # Path.is_dir raises an error if a parent folder cannot be read
        os.path.isdir(root), f"data.root={root} is not a folder: give one with a subfolder of pictures for each class"
    )
    folders = subfolders(root)
    named = [path for path in folders if path.name.lower() in PART_NAMES]
    if not any(subfolders(path) for path in named) and len(named) < len(folders):
        return {}
    parts: dict[str, Path] = {}
    for path in folders:
        part = PART_NAMES.get(path.name.lower())
        if part is None:
            raise ConfigError(
                f"{readable(path)} lies beside {named[0].name}/ and is none of {', '.join(PART_NAMES)}: rename it, or "
                "move it out of data.root"
            )
        require(part not in parts, f"{parts.get(part)} and {path} are both the {part} part: merge them")
        parts[part] = path
    return {part: parts[part] for part in PARTS if part in parts}


def subfolders(folder: Path) -> list[Path]:
    """The subfolders that are not hidden, sorted by name."""
    return sorted(Path(entry.path) for entry in _entries(folder) if _is_folder(entry))


def class_folders(folder: Path) -> dict[str, Path]:
    """Maps class names, sorted, to subfolders. Names are normalized (NFC): encodings of an accent are the same class.

    Raises ConfigError for two folders of one name, and for a class folder that contains only folders.
    """
    found: dict[str, Path] = {}
    for path in subfolders(folder):
        name = readable(unicodedata.normalize("NFC", path.name))
        require(
            name not in found,
            f"{readable(folder)} has two folders {name}, whose accents are encoded differently (NFC, NFD): merge them",
        )
        found[name] = path
        inside = subfolders(path) if all(_is_folder(entry) for entry in _entries(path)) else []
        require(
            not inside,
            f"{readable(path)} holds only folders ({', '.join(readable(inner.name) for inner in inside[:5])}) and no "
            f"picture; set data.root={readable(path)} if those are the classes, or else move the pictures up",
        )
    return found


def count_loose_pictures(folder: Path) -> int:
    """The number of image files directly in `folder`, outside the class folders."""
    endings = Image.registered_extensions()
    return sum(Path(entry.path).suffix.lower() in endings and not _is_folder(entry) for entry in _entries(folder))


def readable(path: str | os.PathLike[str]) -> str:
    """The path as printable text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def list_images(folder: Path, class_names: Sequence[str]) -> Listing:
    """Every file below the folders of these classes."""
    folders = class_folders(folder)
    found = [(path, label) for label, name in enumerate(class_names) for path in files_below(folders.get(name))]
    order = name_order([path for path, _ in found], folder)
    labels = torch.tensor([label for _, label in found], dtype=torch.long)
    return Listing([path for path, _ in found], labels)[order]


def name_order(files: Sequence[Path], folder: Path, seed: int | None = None) -> Tensor:
    """The indices (N,) that sort the files by a hash of the seed and of the path inside the folder."""
    salt = "" if seed is None else f"{seed}:"

    def digest(i: int) -> bytes:
        return hashlib.sha256(f"{salt}{files[i].relative_to(folder)}".encode("utf-8", "replace")).digest()

    return torch.tensor(sorted(range(len(files)), key=digest), dtype=torch.long)


def drop_repeated_files(parts: dict[str, Listing], notes: list[str]) -> dict[str, Listing]:
    """Keeps each file once, in the last part that has it, even if several links point to it. Adds the dropped files to
    `notes`. Raises ConfigError if a file is in two classes.
    """
    first: dict[tuple[int, int], tuple[Path, int]] = {}
    kept: dict[str, Listing] = {}
    repeated: list[str] = []
    for part in [part for part in reversed(PARTS) if part in parts]:
        own, chosen = parts[part], []
        for i, (path, label) in enumerate(zip(own.files, own.labels.tolist(), strict=True)):
            file = _identity(path)
            if file is None or file not in first:
                chosen.append(i)
                if file is not None:
                    first[file] = path, label
                continue
            other, other_label = first[file]
            require(
                label == other_label,
                f"{readable(path)} and {readable(other)} are the same file in two classes: remove one of the two links",
            )
            repeated.append(f"{readable(path)} = {readable(other)}")
        kept[part] = own[torch.tensor(chosen, dtype=torch.long)]
    if repeated:
        more = ", …" if len(repeated) > 3 else ""
        notes.append(f"left out {len(repeated):,} links to files that count already: {', '.join(repeated[:3])}{more}")
    return {part: kept[part] for part in parts}


def check_classes(folder: Path, class_names: Sequence[str]) -> None:
    """Raises ConfigError if the folder has files of any other class."""
    for name, path in class_folders(folder).items():
        if name not in class_names and any(files_below(path)):
            near = closest(name, class_names)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(class_names)}"
            raise ConfigError(f"{readable(path)} is none of the model's classes: {hint}")


def require_classes(folder: Path, class_names: Sequence[str], train: Path) -> None:
    """Raises ConfigError if the folder lacks a class of the training folder."""
    there = class_folders(folder)
    lacking = [name for name in class_names if name not in there]
    require(
        not lacking,
        f"{readable(folder)} has no folder {', '.join(lacking[:5])}, which {readable(train)} has: add it, empty if "
        "there is no picture of that class",
    )


def files_below(folder: Path | None, above: frozenset[tuple[int, int] | None] = frozenset()) -> Iterator[Path]:
    """All files that are not hidden, with any suffix: a file that is not an image is reported when it is decoded. Links
    to a parent folder are not followed.
    """
    if folder is None:
        return
    above |= {_identity(folder)}
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if not _is_folder(entry):
            yield path
        elif _identity(path) not in above:
            yield from files_below(path, above)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, in any order."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{readable(folder)} cannot be read ({reason}): change its permissions, or move it") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    """The device and inode, the same for all links to a file or folder; None for a dangling link."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
