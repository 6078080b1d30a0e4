import struct

import pytest
import torch

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
