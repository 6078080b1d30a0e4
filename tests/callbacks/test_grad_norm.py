import csv

import pytest
import torch
from board import Board

from litmus.callbacks import GradNorm

TEN_STEPS = ("data.num_images=320", "data.val_size=0", "callbacks.early_stopping=null", "test=false")


@pytest.fixture
def measurements(monkeypatch):
    """The steps at which gradients were looked at."""
    steps, measure = [], GradNorm._measure

    def spy(self, trainer):
        steps.append(trainer.global_step)
        measure(self, trainer)

    monkeypatch.setattr(GradNorm, "_measure", spy)
    return steps


def test_it_looks_every_n_steps_of_each_epoch_and_at_no_other(train_logged, measurements):
    run = train_logged(*TEN_STEPS, "callbacks.grad_norm.every_n_steps=4")
    assert measurements == [0, 4, 8, 10, 14, 18]
    for layer in ("hidden1", "hidden2", "output"):
        assert list(Board(run.path).scalars(f"grad_norm/{layer}")) == measurements


def test_an_epoch_shorter_than_n_steps_is_measured_once(train, measurements):
    train(*TEN_STEPS, "callbacks.grad_norm.every_n_steps=50")
    assert measurements == [0, 10]


def test_accumulated_gradients_are_measured_when_the_optimizer_steps(train, measurements):
    train(*TEN_STEPS, "trainer.accumulate_grad_batches=5", "callbacks.grad_norm.every_n_steps=1")
    assert measurements == [0, 1, 2, 3]


def test_it_is_the_gradient_norm_before_clipping(train_logged):
    lr, penalty = 0.5, "penalty.weight=0.01"
    options = (*TEN_STEPS, "optim=sgd", f"optim.lr={lr}", "scheduler=constant", "penalty=l2", penalty)
    run = train_logged(*options, "trainer.max_steps=1", "trainer.max_epochs=1", "model.dropout=0")
    before = initial_weights(*options, "model.dropout=0")
    after = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for layer in ("hidden1", "hidden2", "output"):
        moved = (before[f"network.{layer}.weight"] - after[f"network.{layer}.weight"]).norm() / lr
        assert Board(run.path).scalars(f"grad_norm/{layer}")[0] == pytest.approx(moved.item(), rel=1e-4)
    clipped = train_logged(*options, "trainer.gradient_clip_val=0.01", "model.dropout=0")
    assert Board(clipped.path).scalars("grad_norm/output")[0] == Board(run.path).scalars("grad_norm/output")[0]


def initial_weights(*options):
    import pytorch_lightning as pl
    from conftest import SMALL, composed

    from litmus.runs import build_model

    pl.seed_everything(0, verbose=False)
    return build_model(composed(*SMALL, *options), num_classes=10, image_shape=(1, 28, 28)).state_dict()


def test_metrics_csv_gets_the_mean_of_the_epoch(train_logged):
    run = train_logged(*TEN_STEPS, "callbacks.grad_norm.every_n_steps=4")
    values = Board(run.path).scalars("grad_norm/hidden1")
    with (run.path / "metrics.csv").open() as file:
        means = [float(row["grad_norm/hidden1"]) for row in csv.DictReader(file)]
    assert means[0] == pytest.approx(sum(values[step] for step in (0, 4, 8)) / 3, rel=1e-6)
    assert means[1] == pytest.approx(sum(values[step] for step in (10, 14, 18)) / 3, rel=1e-6)


def test_what_is_frozen_has_no_gradient_to_measure(train):
    run = train(
        "model=resnet",
        "model.freeze=true",
        "model.small_stem=true",
        "data.image_shape=[3,8,8]",
        "data.num_images=64",
        "trainer.max_epochs=1",
        "test=false",
    )
    assert [name for name in run.result["metrics"] if name.startswith("grad_norm/")] == ["grad_norm/head"]
