import csv

import pytest
from board import Board

from litmus.errors import ConfigError

# Learns fast, then is thrown off by a learning rate that is far too high: the best epoch is not the last.
OPTIONS = ("callbacks=test_curve", "data.num_images=200", "trainer.max_epochs=3", "objective=val/loss")
SPOILED = ("optim=sgd", "scheduler=step", "scheduler.scheduler.step_size=2", "scheduler.scheduler.gamma=50.0")


def curve(run, name):
    with (run.path / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_every_epoch_has_its_test_metrics_in_metrics_csv_and_tensorboard(train_logged):
    run = train_logged(*OPTIONS)
    assert len(curve(run, "test/acc")) == 3
    shown = list(Board(run.path).scalars("test/acc").values())
    assert shown[:3] == pytest.approx(curve(run, "test/acc"))


@pytest.mark.parametrize("tested", ["true", "false"])
def test_result_is_that_of_the_best_checkpoint_with_or_without_a_test(train, tested):
    run = train(*OPTIONS, *SPOILED, f"test={tested}", "logger=none")
    best = run.result["best_epoch"]
    assert best < 3
    for name in ("test/loss", "test/acc"):
        assert run.result["metrics"][name] == curve(run, name)[best - 1] != curve(run, name)[-1]
        assert run.result["last"][name] == curve(run, name)[-1]


def test_nothing_is_chosen_by_it(train):
    with pytest.raises(ConfigError, match="choose by the test set"):
        train(*OPTIONS, "callbacks.early_stopping.monitor=test/loss")
    with pytest.raises(ConfigError, match="objective"):
        train(*OPTIONS, "objective=test/acc")


def test_it_tests_the_batches_that_the_final_test_will(train):
    run = train(*OPTIONS, "data.eval_batch_size=20", "trainer.limit_test_batches=1", "logger=none")
    best = run.result["best_epoch"]
    assert run.result["metrics"]["test/loss"] == curve(run, "test/loss")[best - 1]


def test_without_it_an_untested_run_has_no_test_metrics(train):
    run = train("data.num_images=64", "test=false", "logger=none")
    assert not [name for name in run.result["metrics"] if name.startswith("test/")]


def test_the_training_images_can_be_measured_in_the_same_way(train):
    # As many as generalization_gap measures, and so the same figure.
    few = ("callbacks.test_curve.training_images=50", "callbacks.generalization_gap.images=50")
    run = train(*OPTIONS, *few, "data.val_size=60", "model.dropout=0.5", "logger=none")
    ours = curve(run, "train_eval/acc")
    theirs = [gap + val for gap, val in zip(curve(run, "gap/acc"), curve(run, "val/acc"), strict=True)]
    assert ours == pytest.approx(theirs)
    assert ours != pytest.approx(curve(run, "train/acc"))
