"""What every contestant of scripts/benchmark is given, and what it gives back."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """A network and its data: `images` is an .npz file with x_train, y_train (and x_test, y_test), uint8, of which the
    last `val_size` training images are for validation."""

    images: str
    model: str  # mlp, cnn, resnet or frozen
    batch_size: int
    val_size: int
    epochs: int
    threads: int | None  # None: the library's own choice
    learning_rate: float = 1e-3

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Training images, (N, C, H, W), float32 of mean 0 and variance 1, labels, int64; the same to validate."""
        with np.load(self.images) as file:
            pixels, labels = file["x_train"].astype(np.float32), file["y_train"].astype(np.int64)
        pixels = pixels.reshape(len(pixels), -1, *pixels.shape[-2:])
        pixels = (pixels - pixels.mean()) / pixels.std()
        cut = len(labels) - self.val_size
        return pixels[:cut], labels[:cut], pixels[cut:], labels[cut:]


def case() -> Case:
    """The one that the command line holds as JSON."""
    return Case(**json.loads(sys.argv[1]))


def timed(epochs: int, epoch: Callable[[], Any]) -> None:
    """Prints the seconds of each call of `epoch`."""
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    report(seconds)


def report(seconds: list[float]) -> None:
    """The last line that a contestant prints."""
    print(json.dumps(seconds))
