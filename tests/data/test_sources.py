import struct
from functools import partial

import numpy as np
import pytest
import torch

from litmus.data import arrays
from litmus.data.sources import MNIST, channels_first, read_idx
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


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7, 8), (5, 1, 7, 8)),
        ((5, 7, 8, 3), (5, 3, 7, 8)),
        ((5, 3, 7, 8), (5, 3, 7, 8)),
        ((5, 1, 4, 4), (5, 1, 4, 4)),
    ],
)
def test_channels_come_first(shape, expected):
    assert channels_first(torch.zeros(shape)).shape == expected


def test_channels_are_moved_and_not_reshaped():
    images = torch.arange(2 * 6 * 5 * 3).view(2, 6, 5, 3)
    assert torch.equal(channels_first(images)[1, 2], images[1, :, :, 2])


OPTIONS = {
    "batch_size": 8, "eval_batch_size": 8, "train_size": None, "val_size": 0.25, "test_size": None,
    "scaling": "unit", "data_dir": "data", "seed": 0,
}  # fmt: skip


def npz(path, **changes):
    contents = {
        "x_train": np.zeros((16, 6, 5, 3), np.uint8), "y_train": np.arange(16) % 4,
        "x_test": np.zeros((8, 6, 5, 3), np.uint8), "y_test": np.arange(8) % 4,
    }  # fmt: skip
    contents = {key: value for key, value in (contents | changes).items() if value is not None}
    np.savez(path, **contents)
    return partial(arrays, str(path), **OPTIONS)


def test_arrays_say_themselves_what_they_are(tmp_path):
    data = npz(tmp_path / "mine.npz", class_names=np.array(["a", "b", "c", "d"]))()
    data.setup()
    assert (data.num_classes, data.image_shape) == (4, (3, 6, 5))
    assert data.class_names == ["a", "b", "c", "d"]
    assert [data.size(part) for part in ("train", "val", "test")] == [12, 4, 8]


@pytest.mark.trust
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y_train": None}, "lacks the array y_train"),
        ({"x_train": np.zeros((16, 6, 5))}, "holds float64, and must hold uint8"),
        ({"y_train": np.zeros(16)}, "must be a whole number for each image"),
        ({"y_train": np.arange(15) % 4}, "16 training images and 15 labels"),
        ({"y_train": np.arange(16) % 4 - 1}, "run from -1 to 2, and must lie from 0"),
        ({"y_test": np.arange(8)}, "test labels of data=arrays run from 0 to 7, and must lie from 0 to 3"),
        ({"x_test": np.zeros((8, 6, 6, 3), np.uint8)}, r"test images .* have shape \[3, 6, 6\], and \[3, 6, 5\]"),
        ({"x_train": np.array([None] * 16, dtype=object)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, sentence):
    make = npz(tmp_path / "bad.npz", **changes)
    with pytest.raises(ConfigError, match=sentence):
        make().setup()


@pytest.mark.trust
def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "bad.npz").write_text("hello")
    with pytest.raises(ConfigError, match="not a readable .npz"):
        arrays(str(tmp_path / "bad.npz"), **OPTIONS)
