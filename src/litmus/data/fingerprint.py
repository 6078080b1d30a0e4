"""Fingerprints of data sets: equal if and only if the bytes are equal."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from torch import Tensor

UNREADABLE = "unreadable"
FILES_PER_TASK = 64  # a task for each file takes longer than hashing a small one
BLOCK = 2**18  # bytes


def content_digest(images: Tensor, labels: Tensor, class_names: Sequence[str]) -> str:
    """A digest of images (N, C, H, W) uint8, labels (N,) and the names of the classes."""
    digest = hashlib.sha256(json.dumps([list(images.shape), list(class_names)]).encode())
    for tensor in (images, labels):
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def file_digests(files: Sequence[Path]) -> dict[Path, str]:
    """A digest of the content of each file."""
    tasks = [files[start : start + FILES_PER_TASK] for start in range(0, len(files), FILES_PER_TASK)]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda task: [_file_digest(file) for file in task], tasks)
        return dict(zip(files, chain.from_iterable(found), strict=True))


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:  # hashlib.file_digest fills a buffer of 256 KiB for each small file
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError:
        return UNREADABLE
    return digest.hexdigest()
