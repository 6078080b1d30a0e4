import struct

import numpy as np
import pytest
import torch

from litmus.data import InMemory
from litmus.data.sources import MNIST, read_idx
from litmus.errors import ConfigError


def test_mnist_is_the_one_everybody_has():
    train, test = MNIST(), MNIST(train=False)
    assert train.data.shape == (60000, 28, 28)
    assert torch.bincount(train.targets).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert train.data.double().mean().item() == pytest.approx(33.3184, abs=1e-4)  # 0.1307 of 255
    assert torch.bincount(test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.trust
def test_a_damaged_file_of_mnist_is_noticed(monkeypatch):
    monkeypatch.setitem(MNIST.files, "t10k-labels-idx1-ubyte", "0" * 64)
    with pytest.raises(ConfigError, match="t10k-labels-idx1-ubyte.gz inside the package is damaged"):
        MNIST(train=False)


def test_preloaded_mnist_is_the_same_and_not_unpacked_again(monkeypatch):
    plain = MNIST(train=False)
    monkeypatch.setattr(MNIST, "_preloaded", {})
    MNIST.preload()
    monkeypatch.setattr(MNIST, "_unpack", None)
    assert torch.equal(MNIST(train=False).data, plain.data)
    assert torch.equal(MNIST(train=False).targets, plain.targets)
    assert len(MNIST().data) == 60_000


def test_idx_is_read_by_its_header():
    raw = bytearray([0, 0, 8, 3]) + struct.pack(">3I", 2, 1, 3) + bytes(range(6))
    assert read_idx(raw).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


PIXELS = np.arange(0, 240, 5, dtype=np.uint8).reshape(12, 2, 2)


def own_data(pixels=PIXELS, labels=tuple(range(3)) * 4):
    """The data module of a source of your own, of three classes."""

    class Tiny:
        def __init__(self, root, train=True, download=False):
            self.data, self.targets = pixels, labels

    data = InMemory("tiny", Tiny, 3, (1, 2, 2))
    data.setup()
    return data


@pytest.mark.parametrize(
    "pixels", [PIXELS, torch.from_numpy(PIXELS), PIXELS.astype(float), PIXELS / 255], ids=["numpy", "torch", "255", "1"]
)
def test_pixels_of_a_source_of_any_certain_type_are_the_same_uint8(pixels):
    assert torch.equal(own_data(pixels).parts["test"][0], torch.from_numpy(PIXELS)[:, None])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"pixels": PIXELS // 200},
            r"uint8 from 0 to 1, .* if white is 1, self\.data = np\.uint8\(self\.data \* 255\)",
        ),
        ({"pixels": PIXELS / 100 - 1}, "normalized already"),
        ({"labels": [0, 1, -100] * 4}, "run from -100 to 1, .*; remove the images with negative labels"),
        ({"labels": [1, 2, 3] * 4}, r"run from 1 to 3, and must lie from 0 to 2; correct them, or data\.num_classes"),
        ({"labels": ["cat", "dog", "cow"] * 4}, r"self\.targets holds text; give the classes as numbers from 0"),
        ({"labels": [0.5, 1, 2] * 4}, r"self\.targets holds fractions"),
    ],
)
def test_a_source_that_may_mean_something_else_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=rf"data=tiny.*{sentence}"):
        own_data(**changes)
