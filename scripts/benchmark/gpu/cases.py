"""What `scripts/benchmark gpu` trains, and with what."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

VAL_SIZE = 512
TEST_SIZE = 64  # an .npz file needs a test part; nothing is tested


@dataclass(frozen=True)
class Case:
    title: str
    model: str
    image_shape: tuple[int, int, int]
    batch_size: int
    images: int  # to train on
    steps: int  # in a timed window
    precision: str = "32-true"
    small_stem: bool = False

    def resized(self, images: int | None, steps: int | None) -> "Case":
        """The same case with this many images, in batches small enough for three windows per epoch."""
        steps = steps or self.steps
        batch_size = self.batch_size
        if images is not None:
            batch_size = max(2, min(batch_size, images // (3 * steps)))
        images = max(3 * steps * batch_size, (images or self.images) // batch_size * batch_size)
        return replace(self, images=images, steps=steps, batch_size=batch_size)

    @property
    def epoch_steps(self) -> int:
        return self.images // self.batch_size

    @property
    def val_size(self) -> int:
        return min(VAL_SIZE, max(20, self.images // 4))


RESNET = {"model": "resnet", "image_shape": (3, 32, 32), "batch_size": 128, "images": 12_800, "steps": 25}
RESNET |= {"small_stem": True}
LARGE = {"model": "resnet", "image_shape": (3, 224, 224), "batch_size": 64, "images": 4_800, "steps": 25}
# In the order in which they run: what comes last is left out when time is short.
CASES = {
    "mlp": Case("MLP, 28 px", "mlp", (1, 28, 28), 64, 32_000, 100),
    "cnn": Case("CNN, 28 px", "cnn", (1, 28, 28), 128, 32_000, 50),
    "resnet32_bf16": Case("ResNet-18, 32 px, small stem", precision="bf16-mixed", **RESNET),  # type: ignore[arg-type]
    "resnet224_bf16": Case("ResNet-18, 224 px", precision="bf16-mixed", **LARGE),  # type: ignore[arg-type]
    "resnet32": Case("ResNet-18, 32 px, small stem", **RESNET),  # type: ignore[arg-type]
    "resnet224": Case("ResNet-18, 224 px", **LARGE),  # type: ignore[arg-type]
}
CONTESTANTS = {
    "eager": "hand-written eager loop",
    "cuda_graph": "hand-written loop, CUDA graph",
    "litmus": "Litmus",
    "litmus_compiled": "Litmus, trainer.compile=true",
    "lightning": "plain Lightning",
}
PROGRAMS = {"eager": "eager_loop.py", "cuda_graph": "cuda_graph_loop.py", "lightning": "lightning_loop.py"}


def write_images(case: Case, folder: Path) -> Path:
    """An .npz file of random images for training and validation; cases of one size and count share it."""
    total = case.images + case.val_size
    file = folder / f"{'x'.join(map(str, case.image_shape))}-{total}.npz"
    if not file.exists():
        random = np.random.default_rng(0)
        arrays = {}
        for part, count in (("train", total), ("test", TEST_SIZE)):
            arrays[f"x_{part}"] = random.integers(0, 256, (count, *case.image_shape), np.uint8)
            arrays[f"y_{part}"] = np.arange(count) % 10
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return file
