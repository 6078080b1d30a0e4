"""Duplicate images: the same image in two parts, or under two labels."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from litmus.core.counts import format_count
from litmus.data.part_names import PARTS
from litmus.errors import require

DUPLICATES = ("error", "warn", "drop")
TAIL = 4096  # bytes read at the end of a file, where compressed images differ


@dataclass(frozen=True)
class Repeat:
    """The image at `position` of `part` that is also at `other_position` of `other_part`."""

    part: str
    position: int
    other_part: str
    other_position: int


def find_repeats(contents: Mapping[str, Sequence[Hashable | None]]) -> list[Repeat]:
    """The images that are also in a later part, in the order of `PARTS`. Images with the content None are skipped."""
    seen: dict[Hashable, tuple[str, int]] = {}
    found: list[Repeat] = []
    for part in reversed(PARTS):
        own = contents.get(part, ())
        found += [Repeat(part, i, *seen[c]) for i, c in enumerate(own) if c is not None and c in seen]
        for i, content in enumerate(own):
            if content is not None:
                seen.setdefault(content, (part, i))
    return found


def answer_duplicates(repeats: Sequence[Repeat], policy: str, name: Callable[[str, int], str]) -> list[str]:
    """Returns notes for the log: none, a warning, or the dropped images. Raises ConfigError if `policy` is `error`."""
    if not repeats:
        return []
    most = 3  # named in the message
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for repeat in repeats:
        counts[repeat.part, repeat.other_part] += 1
    sizes = ", ".join(f"{n:,} of the {PARTS[a]} part in the {PARTS[b]} part" for (a, b), n in counts.items())
    pairs = [f"{name(r.part, r.position)} = {name(r.other_part, r.other_position)}" for r in repeats[:most]]
    more = [f"and {len(repeats) - most:,} more"] if len(repeats) > most else []
    sentence = f"the same image is in two parts: {sizes} ({', '.join(pairs + more)})"
    fix = "set data.duplicates=drop to leave it out of the first of the two"
    require(policy != "error", f"{sentence}; remove one, or {fix}")
    return [f"warning: {sentence}; {fix}" if policy == "warn" else f"dropped from the first: {sentence}"]


def two_classes(
    contents: Mapping[str, Sequence[Hashable | None]],
    labels: Mapping[str, Tensor],
    class_names: Sequence[str],
    name: Callable[[str, int], str],
) -> list[str]:
    """A warning if the same image has two labels, in one part or in two."""
    first: dict[Hashable, tuple[str, int, int]] = {}
    found: list[tuple[str, ...]] = []
    for part, own in contents.items():
        for i, (content, label) in enumerate(zip(own, labels[part].tolist(), strict=True)):
            if content is None:
                continue
            other_part, other, known = first.setdefault(content, (part, i, label))
            if known != label:
                found.append((name(other_part, other), class_names[known], name(part, i), class_names[label]))
    if not found:
        return []
    one, its_class, other_one, other_class = found[0]
    return [
        f"warning: {format_count(len(found), 'image is', 'images are')} in two classes, such as {one} "
        f"({its_class}) = {other_one} ({other_class}); correct their labels"
    ]


def indices_to_keep(count: int, part: str, repeats: Sequence[Repeat]) -> Tensor:
    """The indices of those of the `count` images of a part that are not in a later part."""
    dropped = {repeat.position for repeat in repeats if repeat.part == part}
    return torch.tensor([i for i in range(count) if i not in dropped], dtype=torch.long)


def image_digests(images: Tensor) -> list[Hashable]:
    """A digest of each image in (N, …) uint8."""
    return [hashlib.blake2b(image.numpy(), digest_size=16).digest() for image in images.contiguous()]


def equal_files(files: Sequence[Path]) -> dict[Path, str]:
    """Maps each file with the same content as another file to the name of the first such file.

    Compares sizes first, then the last bytes of files of equal size, then whole files.
    """
    alike = [list(files)]
    for key in (_size, _tail, _digest):
        groups: dict[Hashable, list[Path]] = defaultdict(list)
        for i, group in enumerate(alike):
            for path in group:
                if (value := _read(key, path)) is not None:
                    groups[i, value].append(path)
        alike = [group for group in groups.values() if len(group) > 1]
    return {path: str(group[0]) for group in alike for path in group}


def _read(key: Callable[[Path], Hashable], path: Path) -> Hashable | None:
    try:
        return key(path)
    except OSError:
        return None  # a bad file, which is reported when it is decoded


def _size(path: Path) -> int | None:
    return path.stat().st_size or None  # empty files are not images


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(TAIL, path.stat().st_size), 2)
        return file.read()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
