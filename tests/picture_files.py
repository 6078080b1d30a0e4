"""Folders of small pictures, written on the spot."""

from pathlib import Path

import numpy as np
from conftest import composed
from PIL import Image

from litmus.runs import build

TINY = ("data=image_folder", "data.image_size=8", "data.pipeline=resize", "data.batch_size=4", "data.workers=0")


def made(root, *overrides):
    """The data module of a picture folder, which has listed its files and decoded none."""
    return build(composed(*TINY, f"data.root='{root}'", f"data.data_dir='{root.parent}/downloads'", *overrides).data)


def ready(root, *overrides):
    data = made(root, *overrides)
    data.setup()
    return data


def picture(path: Path, value: int | tuple[int, int, int] = 0, size: tuple[int, int] = (12, 9)) -> Path:
    """A file of one color; `size` is width by height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, value if isinstance(value, tuple) else (value,) * 3).save(path)
    return path


def folder(root: Path, **counts: int) -> Path:
    """`counts` pictures of each class; no two are of the same gray, and a class's are near to each other."""
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            picture(root / name / f"{i:02}.png", 80 * label + i)
    return root


def noise(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def truncated(path: Path) -> Path:
    """A JPEG whose second half is lost."""
    noise(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
