"""The files that torchvision's data sets want are made small here, and put where the error says."""

import gzip
import hashlib
import pickle
import re
import struct
import tarfile
import urllib.request

import numpy as np
import pytest
import torch
import torchvision
from conftest import composed

from litmus.errors import ConfigError
from litmus.runs import build


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.request.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def load(name, folder):
    data = build(composed(f"data={name}", f"data.data_dir={folder}").data)
    data.setup()
    return data


def refused(name, folder) -> str:
    with pytest.raises(ConfigError) as refusal:
        load(name, folder)
    return str(refusal.value)


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def arrays(*shape: int, count: int = 20):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    return images, np.arange(count, dtype=np.uint8) % 10


MNIST_LIKE = {"kmnist": "KMNIST", "fashion_mnist": "FashionMNIST"}


@pytest.mark.parametrize(("name", "folder"), MNIST_LIKE.items())
def test_the_mnist_family_reads_unpacked_files_from_where_the_error_says(tmp_path, name, folder):
    sentence = refused(name, tmp_path)
    assert "no network" in sentence
    wanted = re.search(r"put (.*), unpacked, into (.*), or set data.data_dir=FOLDER", sentence)
    assert wanted[2] == str(tmp_path / folder / "raw")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / folder / "raw").mkdir(parents=True)
    images, labels = arrays(28, 28)
    for file in wanted[1].split(", "):
        (tmp_path / folder / "raw" / file).write_bytes(idx(images if "images" in file else labels))
    data = load(name, tmp_path)
    test_images, test_labels = data.parts["test"]
    assert torch.equal(test_images, torch.from_numpy(images)[:, None])
    assert test_labels.tolist() == labels.tolist()
    assert data.class_names == getattr(torchvision.datasets, folder).classes


@pytest.mark.trust
def test_the_mnist_family_takes_no_gz_but_the_published_one(tmp_path):
    (tmp_path / "KMNIST" / "raw").mkdir(parents=True)
    images, labels = arrays(28, 28)
    for file in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        content = gzip.compress(idx(images if "images" in file else labels))
        (tmp_path / "KMNIST" / "raw" / f"{file}-ubyte.gz").write_bytes(content)
    assert "unpacked" in refused("kmnist", tmp_path)


@pytest.mark.trust
@pytest.mark.parametrize("content", [b"", b"\0\0\10\3 and no more", b"something else altogether"])
def test_damaged_files_are_a_sentence(tmp_path, content):
    (tmp_path / "KMNIST" / "raw").mkdir(parents=True)
    for file in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "KMNIST" / "raw" / f"{file}-ubyte").write_bytes(content)
    assert refused("kmnist", tmp_path).startswith(f"data=kmnist could neither be read from {tmp_path} nor")


CIFARS = {"cifar10": ("CIFAR10", "labels", 10), "cifar100": ("CIFAR100", "fine_labels", 100)}


@pytest.fixture
def small_cifar(tmp_path, monkeypatch, request):
    """The archive of a CIFAR with 20 images in each file, whose checksums torchvision is told."""
    name = request.param
    kind, key, classes = CIFARS[name]
    dataset = getattr(torchvision.datasets, kind)
    images, labels = arrays(3072)
    source = tmp_path / "made" / dataset.base_folder
    source.mkdir(parents=True)
    checksums = {}
    for file, _ in [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], "")]:
        content = {"data": images, key: labels.tolist(), dataset.meta["key"]: [f"kind {i}" for i in range(classes)]}
        (source / file).write_bytes(pickle.dumps(content))
        checksums[file] = hashlib.md5((source / file).read_bytes()).hexdigest()
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(dataset, part, [[file, checksums[file]] for file, _ in getattr(dataset, part)])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": checksums[dataset.meta["filename"]]})
    archive = tmp_path / "made" / dataset.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, dataset.base_folder)
    monkeypatch.setattr(dataset, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return name, dataset, archive, source, images


@pytest.mark.parametrize("small_cifar", CIFARS, indirect=True)
@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.filterwarnings("ignore:.*filter extracted tar archives")  # torchvision 0.26 on Python 3.12
def test_cifar_reads_archive_or_folder_from_where_the_error_says(small_cifar, tmp_path, unpacked):
    name, dataset, archive, source, images = small_cifar
    place = tmp_path / "data"
    wanted = re.search(r"put (.*) \(MD5 (.*)\), or (.*) out of it, into (.*), or set", refused(name, place))
    assert wanted.groups() == (archive.name, dataset.tgz_md5, source.name, str(place))
    place.mkdir(exist_ok=True)
    chosen = source if unpacked else archive
    chosen.rename(place / chosen.name)
    data = load(name, place)
    test_images, test_labels = data.parts["test"]
    assert torch.equal(test_images, torch.from_numpy(images.reshape(-1, 3, 32, 32)))
    assert test_labels.tolist() == [i % 10 for i in range(20)]
    assert data.class_names[3] == "kind 3"
    assert data.num_classes == CIFARS[name][2]
