import logging

import pytest
import pytorch_lightning as pl
import torch
from board import Board
from conftest import assert_same, cut_off, weights
from picture_files import folder

from litmus.models import ResNetFineTuner
from litmus.runs import preparation, training

TINY = (
    "data=synthetic",
    "data.image_shape=[3,20,20]",
    "data.num_images=60",
    "data.val_size=20",
    "data.batch_size=10",
    "model=resnet",
    "model.freeze=true",
    "callbacks.early_stopping=null",
)
RUN = (*TINY, "logger=none", "test=false", "trainer.max_epochs=4")
OFF = "callbacks.frozen_features=null"


@pytest.fixture
def seen(monkeypatch):
    """The number of images that went through the backbone, training and validation."""
    count = {"images": 0}
    make = ResNetFineTuner.__init__

    def __init__(self, *args, **options):
        make(self, *args, **options)

        def hook(module, images, output):
            count["images"] += len(output)

        self.backbone.register_forward_hook(hook)

    monkeypatch.setattr(ResNetFineTuner, "__init__", __init__)
    for module, name in ((preparation, "check_model"), (training, "check_rebuilt")):  # which use images of their own
        monkeypatch.setattr(module, name, lambda *_: None)
    return count


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


def backbone(state):
    return {name: value for name, value in state.items() if "backbone" in name}


OPTIMIZERS = ("optim=adam", "optim=sgd")


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_the_head_is_the_one_trained_without_it(train, seen, optim):
    options = (*RUN, optim, "penalty=l2", "scheduler=constant", "optim.lr=0.01")
    with_it = train(*options)
    assert seen["images"] == 60  # of 40 to train on and 20 to validate on, once each
    seen["images"] = 0
    without = train(*options, OFF)
    assert seen["images"] == 4 * (40 + 20 + 20)  # the gap's training images too, as many as validate
    for name in ("last", "best"):
        assert_close(weights(with_it.path, name), weights(without.path, name))
        assert_same(backbone(weights(with_it.path, name)), backbone(weights(without.path, name)))
    assert with_it.result["metrics"] == pytest.approx(without.result["metrics"], abs=1e-4)
    assert with_it.result["best_epoch"] == without.result["best_epoch"]


def test_it_ends_when_the_backbone_is_unfrozen(train, seen):
    options = (*RUN, "model.unfreeze_at_epoch=2", "optim=sgd", "optim.lr=0.001")
    with_it = train(*options).path
    assert seen["images"] == 60 + 2 * (40 + 20 + 20)
    assert_close(weights(with_it), weights(train(*options, OFF).path))
    first = weights(train(*options, "trainer.max_epochs=1").path)["network.backbone.conv1.weight"]
    assert not torch.equal(first, weights(with_it)["network.backbone.conv1.weight"])


@pytest.mark.parametrize(
    "options",
    [
        ("data.augment.flip=true",),
        ("model.freeze=false",),
        ("trainer.max_epochs=1",),
        ("model.unfreeze_at_epoch=1",),
        ("callbacks.frozen_features.memory_gb=1e-6",),
        ("trainer.limit_train_batches=2",),
    ],
    ids=str,
)
def test_a_run_that_it_can_do_nothing_for_is_left_alone(train, options, monkeypatch):
    def refuse(self, images):
        raise AssertionError("features were computed")

    monkeypatch.setattr(ResNetFineTuner, "features", refuse)
    train(*RUN, *options, "data.num_images=40")


@pytest.mark.trust
@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_run_that_was_killed_and_resumed_equals_one_never_stopped(train, monkeypatch, killed_at):
    options = (*RUN, "model.unfreeze_at_epoch=3")
    whole = train(*options, "output_dir=whole").path
    cut_off(train, monkeypatch, killed_at, *options, "output_dir=killed")
    resumed = train("resume=killed", small=False).path
    assert_same(weights(whole), weights(resumed))
    assert (whole / "metrics.csv").read_text() == (resumed / "metrics.csv").read_text()


def test_pictures_from_disk_are_decoded_once(train, tmp_path, seen):
    root = folder(tmp_path / "pets", cat=20, dog=20)
    options = ("data=image_folder", f"data.root={root}", "data.image_size=20", "data.workers=0", "data.memory_gb=0")
    model = [option for option in RUN if not option.startswith("data")]
    with_it, without = (
        train(*options, *model, "data.batch_size=10", "accelerator=cpu", *off, small=False) for off in ((), (OFF,))
    )
    assert_close(weights(with_it.path), weights(without.path))


def test_the_picture_of_the_first_batch_is_still_of_images(train_logged):
    run = train_logged(*TINY, "test=false", "trainer.max_epochs=2")
    assert len(Board(run.path).images("sample_images")) == 1


def test_the_test_is_of_images(train, caplog):
    caplog.set_level(logging.INFO, logger="litmus")
    run = train(*TINY, "logger=none", "trainer.max_epochs=2", "callbacks=test_curve")
    assert "the frozen backbone's features of 60 images are computed, once" in caplog.text
    assert run.result["metrics"]["test/acc"] == pytest.approx(
        train(*TINY, "logger=none", "trainer.max_epochs=2", OFF).result["metrics"]["test/acc"]
    )


class Mixed(ResNetFineTuner):
    def loss_terms(self, images, target):
        return super().loss_terms(images.lerp(images.flip(0), 0.25), target)


class Watched(ResNetFineTuner):
    def validation_step(self, batch, batch_idx):
        assert batch[0].dim() == 4
        return super().validation_step(batch, batch_idx)


class MixImages(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        assert batch[0].dim() == 4


@pytest.mark.parametrize("own", ["Mixed", "Watched"])
def test_a_step_of_ones_own_gets_images(train, seen, caplog, own):
    caplog.set_level("INFO", logger="litmus")
    train(*RUN, f"model._target_={__name__}.{own}")
    assert seen["images"] == 4 * (60 + 20)  # each epoch, and once more for the gap
    assert caplog.text.count(f"for each batch, because {own} overrides") == 1


def test_a_callback_of_ones_own_gets_images(train, seen):
    train(*RUN, f"+callbacks.mix._target_={__name__}.MixImages")
    assert seen["images"] == 4 * (60 + 20)  # each epoch, and once more for the gap
