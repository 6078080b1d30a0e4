"""The data, the device and the step timer that the contestants of `scripts/benchmark gpu` share."""

import contextlib
import json
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from networks import network
from torch import Tensor, nn


@dataclass(frozen=True)
class DeviceCase:
    """A network and its data: `images` is an .npz file with x_train and y_train (uint8), (N, C, H, W), of which the
    last `val_size` images are for validation."""

    images: str
    model: str  # mlp, cnn or resnet
    batch_size: int
    val_size: int
    epochs: int
    steps: int  # in a timed window
    device: str  # cuda or cpu
    precision: str  # 32-true or bf16-mixed
    channels_last: bool
    small_stem: bool
    learning_rate: float = 1e-3

    @classmethod
    def from_command_line(cls) -> "DeviceCase":
        return cls(**json.loads(sys.argv[1]))

    def load(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Training images and labels, then validation images and labels, in CPU memory."""
        with np.load(self.images) as file:
            images, labels = torch.from_numpy(file["x_train"]), torch.from_numpy(file["y_train"])
        cut = len(labels) - self.val_size
        return images[:cut], labels[:cut], images[cut:], labels[cut:]

    def network(self, image_shape: tuple[int, ...]) -> nn.Module:
        return network(self.model, image_shape, small_stem=self.small_stem, channels_last=self.channels_last)

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last and self.model != "mlp" else torch.contiguous_format

    def autocast(self) -> contextlib.AbstractContextManager:
        # Without the cache, which a CUDA graph cannot replay: weights are cast in every step.
        enabled = self.precision == "bf16-mixed"
        return torch.autocast(self.device, torch.bfloat16, enabled=enabled, cache_enabled=False)


@dataclass
class Normalize:
    """uint8 images to float32 of mean 0 and variance 1, in `memory_format`."""

    mean: float
    std: float
    memory_format: torch.memory_format

    @classmethod
    def fit(cls, images: Tensor, memory_format: torch.memory_format) -> "Normalize":
        sample = images[:1000].float()
        return cls(float(sample.mean()), float(sample.std()), memory_format)

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32, memory_format=self.memory_format).sub_(self.mean).div_(self.std)


@dataclass
class StepTimer:
    """Times windows of `steps` training steps, each closed by a synchronization, and whole epochs.

    An epoch's first window is left out, as is the first epoch: Litmus's event files have the end of each window only.
    """

    device: str
    steps: int
    windows: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)
    _epoch_started: float = 0.0
    _marked: float | None = None
    _count: int = 0

    def start_epoch(self) -> None:
        self._epoch_started, self._marked, self._count = self._now(), None, 0

    def end_step(self) -> None:
        self._count += 1
        if self._count % self.steps == 0:
            now = self._now()
            if self._marked is not None and self.epochs:
                self.windows.append(now - self._marked)
            self._marked = now

    def end_epoch(self) -> None:
        self.epochs.append(self._now() - self._epoch_started)

    def report(self, setup: float = 0.0) -> None:
        """Prints the measurement as JSON; `setup` is in seconds, such as those of capturing a graph."""
        first, *epochs = self.epochs
        print(json.dumps({"windows": self.windows, "epochs": epochs, "first_epoch": first + setup}))

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()
