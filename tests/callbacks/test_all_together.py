"""What holds of every callback: training does not notice it, and it can be switched off."""

import csv

import pytest
import pytorch_lightning as pl
import torch
from conftest import CONF, SMALL, assert_same, composed, cut_off, weights
from omegaconf import OmegaConf

from litmus.runs import build

# Dropout, batch normalization and augmentation notice any other use of random numbers, and any change of mode.
NETWORK = ("model=cnn", "model.channels=[4,4]", "model.hidden=[16]", "model.dropout=0.5", "data.augment.shift=2")
EAGER = ("callbacks.first_layer_weights.every_n_epochs=1", "callbacks.grad_norm.every_n_steps=1")
NAMES = sorted(OmegaConf.load(CONF / "callbacks" / "default.yaml"))


def rows(run):
    with (run.path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_all_callbacks_together_leave_the_weights_bit_identical(train):
    watched = train(*NETWORK, *EAGER, "callbacks=test_curve")
    alone = train(*NETWORK, "callbacks=none", "logger=none")
    for name in ("best", "last"):
        assert_same(weights(watched.path, name), weights(alone.path, name))
    for row, same in zip(rows(watched), rows(alone), strict=True):
        assert {name: row[name] for name in same} == same
    assert {name: watched.result["metrics"][name] for name in alone.result["metrics"]} == alone.result["metrics"]


def test_a_resumed_run_measures_what_one_that_never_stopped_does(train):
    options = ("callbacks=test_curve", "scheduler=constant", *EAGER)
    whole = train(*options, "output_dir=whole")
    train(*options, "output_dir=parts", "trainer.max_epochs=1")
    resumed = train("resume=parts", "trainer.max_epochs=2", small=False)
    assert rows(resumed) == rows(whole)
    assert_same(weights(resumed.path), weights(whole.path))


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_switched_off_by_itself(name):
    cfg = composed(*SMALL, f"callbacks.{name}=null")
    assert [other for other, node in cfg.callbacks.items() if node is None] == [name]
    assert all(build(node) for node in cfg.callbacks.values() if node is not None)


def test_without_a_logger_only_figures_for_the_run_directory_are_drawn(train, monkeypatch):
    import litmus.callbacks.first_layer_weights
    import litmus.callbacks.sample_images

    for module in (litmus.callbacks.first_layer_weights, litmus.callbacks.sample_images):
        monkeypatch.setattr(module, "show", None)
    run = train("logger=none", "data.num_images=64", "trainer.max_epochs=1", *EAGER)
    assert (run.path / "test" / "confusion_matrix.png").exists()
    assert "grad_norm/hidden1" in run.result["metrics"]


@pytest.mark.parametrize("shape", ["[1,8,12]", "[3,8,12]", "[2,8,12]"])
def test_images_may_have_any_shape_and_number_of_channels(train, shape):
    run = train("data.num_images=64", f"data.image_shape={shape}", "data.val_size=0", "callbacks.early_stopping=null")
    assert sorted(path.name for path in (run.path / "test").iterdir())[:2] == [
        "confusion_matrix.csv",
        "confusion_matrix.png",
    ]


def test_double_precision_is_measured_in_double_precision(train):
    run = train("accelerator.precision=64-true", "callbacks=test_curve", "data.num_images=64", "trainer.max_epochs=1")
    assert run.result["last"]["test/acc"] == run.result["metrics"]["test/acc"]
    assert weights(run.path)["network.hidden1.weight"].dtype == torch.float64


class EveryOtherEpoch(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch % 2 == 0:
            module.log("mine", float(trainer.current_epoch))


def test_a_metric_that_an_epoch_does_not_measure_is_not_in_its_row(train, added, monkeypatch):
    options = (*added("test_all_together.EveryOtherEpoch"), "trainer.max_epochs=4", "logger=none", "output_dir=cut")
    cut_off(train, monkeypatch, 3, *options)
    run = train("resume=cut", small=False)
    assert [row["mine"] for row in rows(run)] == ["0.0", "", "2.0", ""]
