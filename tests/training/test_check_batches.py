"""A LightningDataModule of your own: correct ones train, and others are refused before anything is written."""

import pytest
import pytorch_lightning as pl
import torch
from conftest import option
from torch.utils.data import DataLoader, TensorDataset

from litmus.errors import ConfigError
from litmus.training.check_batches import CheckBatches


class Batches(pl.LightningDataModule):
    """Two batches of ten images for each part, as they are, without a `setup`."""

    num_classes, image_shape, name = 3, (1, 4, 4), "own"
    images, labels = torch.randn(20, 1, 4, 4), torch.arange(20) % 3

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.images, self.labels), 10)

    val_dataloader = test_dataloader = train_dataloader


class Staged(Batches):
    """Builds each part in its stage, as Lightning's documentation does."""

    def setup(self, stage):
        assert stage in ("fit", "test")
        if stage == "fit":
            self.train = self.val = TensorDataset(self.images, self.labels)
        else:
            self.test = TensorDataset(self.images, self.labels)

    def train_dataloader(self):
        return DataLoader(self.train, 10)

    def val_dataloader(self):
        return DataLoader(self.val, 10)

    def test_dataloader(self):
        return DataLoader(self.test, 10)


class OnDevice(Batches):
    """Converts its pixels after the transfer."""

    images = torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0].float() / 255, batch[1]


def variant(**attributes):
    return type("Variant", (Batches,), attributes)


def loader(value):
    return lambda self: value


VARIANTS = {
    "labels_from_1": variant(labels=torch.arange(20) % 3 + 1),
    "negative_label": variant(labels=torch.full((20,), -100)),
    "labels_in_a_column": variant(labels=Batches.labels[:, None]),
    "one_hot": variant(labels=torch.eye(3)[Batches.labels]),
    "int32": variant(labels=Batches.labels.int()),
    "uint8_images": variant(images=OnDevice.images),
    "float64_images": variant(images=Batches.images.double()),
    "other_shape": variant(images=torch.randn(20, 1, 5, 5)),
    "triples": variant(
        train_dataloader=lambda self: DataLoader(TensorDataset(self.images, self.labels, self.labels), 10)
    ),
    "dictionaries": variant(train_dataloader=loader(DataLoader([{"image": torch.zeros(1, 4, 4), "label": 0}] * 4))),
    "validation_labels": variant(val_dataloader=loader(DataLoader(TensorDataset(Batches.images, Batches.labels + 1)))),
    "loaders": variant(train_dataloader=loader([DataLoader([1]), DataLoader([1])])),
    "no_loader": variant(val_dataloader=loader(None)),
    "no_batch": variant(
        train_dataloader=lambda self: DataLoader(TensorDataset(self.images, self.labels), 30, drop_last=True)
    ),
    "no_test_batch": variant(test_dataloader=loader(DataLoader([]))),
}
globals().update(VARIANTS)
FIXES = {
    "labels_from_1": "number the 3 classes from 0 to 2",
    "negative_label": "run from -100 to -100; number",
    "labels_in_a_column": "int64 of shape",
    "one_hot": "class numbers as torch.int64",
    "int32": "class numbers as torch.int64",
    "uint8_images": "torch.float32",
    "float64_images": "torch.float32",
    "other_shape": "self.image_shape",
    "triples": "a list of 3 .* must be two tensors",
    "dictionaries": "a dict; it must be two tensors",
    "validation_labels": "val_dataloader of Variant run from 3 to 3",
    "loaders": "train_dataloader .* return one DataLoader",
    "no_loader": "val_dataloader .* return a DataLoader",
    "no_batch": "train_dataloader .* has no batch",
    "no_test_batch": "test_dataloader .* has no batch",
}


def options(tmp_path, name):
    own = option(tmp_path, "data", f"_target_: {__name__}.{name}\n")
    return *own, "trainer.max_epochs=1", "accelerator=cpu", "output_dir=run", "logger=none"


@pytest.mark.parametrize("name", ["Batches", "Staged", "OnDevice"])
def test_a_correct_data_module_trains_and_is_tested(train, tmp_path, name):
    assert "test/acc" in train(*options(tmp_path, name), small=False).result["metrics"]


@pytest.mark.trust
@pytest.mark.parametrize("name", VARIANTS)
def test_an_unusable_batch_is_refused_and_leaves_no_run(train, tmp_path, name):
    with pytest.raises(ConfigError, match=FIXES[name]):
        train(*options(tmp_path, name), small=False)
    assert not (tmp_path / "run").exists()


class Shuffled(Batches):
    def train_dataloader(self):
        generator = torch.Generator().manual_seed(1)
        return DataLoader(TensorDataset(self.images, self.labels), 10, shuffle=True, generator=generator)


def test_a_generator_of_the_loader_is_named_in_the_log(train, tmp_path, caplog):
    caplog.set_level("INFO", logger="litmus")
    train(*options(tmp_path, "Shuffled"), small=False)
    assert "train_dataloader of Shuffled shuffles with its own generator" in caplog.text


def test_a_step_of_your_own_may_take_any_batch():
    from litmus.models import MLP

    class Own(MLP):
        def training_step(self, batch, batch_idx):
            return None

    trainer = pl.Trainer(logger=False, enable_checkpointing=False, barebones=True, accelerator="cpu")
    CheckBatches(3, (1, 4, 4)).on_train_batch_start(trainer, Own(3, (1, 4, 4)), {"image": 1}, 0)
