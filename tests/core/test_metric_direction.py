"""Every choice that a run, a sweep and a report make by a metric is made in one direction."""

import pytest
import pytorch_lightning as pl
import torch
from conftest import composed
from fake_runs import fake_run
from torchmetrics.classification import MulticlassF1Score

from litmus.core.metric_direction import known_mode, mode
from litmus.core.metrics_file import read_metrics
from litmus.errors import ConfigError, StoppedRun
from litmus.report import compare, read_runs
from litmus.runs.monitors import find_monitors

HERE = "test_metric_direction"
QUICK = ("data.num_images=60", "trainer.max_epochs=4", "logger=none", "test=false")


class Logs(pl.Callback):
    """Logs these values of a metric, one in each epoch; nothing for None."""

    def __init__(self, name: str, values: list[float | None]):
        self.name, self.values = name, values

    def on_validation_epoch_end(self, trainer, module):
        if (value := self.values[trainer.current_epoch]) is not None:
            module.log(self.name, value)


class LogsObject(pl.Callback):
    """Logs an F1 score as the torchmetrics object."""

    def __init__(self, name: str):
        self.name = name

    def setup(self, trainer, module, stage):
        module.own_metric = MulticlassF1Score(10)

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        module.own_metric.update(torch.randn(len(batch[1]), 10), batch[1])
        module.log(self.name, module.own_metric)


@pytest.fixture
def logs(added):
    """The overrides of a run in which a callback logs these values."""

    def overrides(name: str, values: list[float], *more: str) -> tuple[str, ...]:
        search, callbacks, *_ = added(f"{HERE}.Logs", name=name, values=values)
        return (search, callbacks, *QUICK, *more)

    return overrides


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        *((name, "max") for name in ("val/acc", "val/f1", "val_macro_f1", "val/f1_macro", "val/AUROC", "val/top5_acc")),
        *((name, "max") for name in ("val/MulticlassF1Score", "val/average_precision", "val/cohen_kappa")),
        *((name, "min") for name in ("val/loss", "train/cost", "gap/acc", "val/acc_gap", "val/error_rate", "val/ece")),
        *((name, None) for name in ("val/quality", "lr", "val/neg_loss", "weight_norm/hidden1", "val/")),
    ],
)
def test_the_direction_of_a_known_metric_follows_from_its_name(name, direction):
    assert known_mode(name) == direction


def test_a_given_mode_comes_before_the_name():
    assert mode("val/loss", "max") == "max"
    with pytest.raises(ConfigError, match="own.mode is 'up', and must be max or min"):
        mode("val/loss", "up", "own.mode")


def test_the_best_epoch_is_that_of_the_highest_f1(train, logs):
    run = train(*logs("val/f1", [0.3, 0.9, 0.5, 0.4], "objective=val/f1"))
    assert (run.result["best_epoch"], run.result["objective"]) == (2, pytest.approx(0.9))
    assert (run.result["objective_name"], run.result["objective_mode"]) == ("val/f1", "max")


NAN = float("nan")


@pytest.mark.trust
@pytest.mark.parametrize(("values", "best"), [([NAN, 0.2, NAN, 0.1], 2), ([0.1, NAN, NAN, NAN], 1)])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_an_epoch_whose_objective_is_nan_is_never_the_best(train, logs, values, best, direction):
    given = values if direction == "max" else [1 - value for value in values]
    run = train(*logs("val/own", given, "objective=val/own", f"objective_mode={direction}"))
    assert (run.result["best_epoch"], run.result["objective"]) == (best, pytest.approx(given[best - 1]))


@pytest.mark.trust
@pytest.mark.parametrize("stopping", [[], ["callbacks.early_stopping.monitor=val/f1"]])
def test_an_objective_that_is_always_nan_gives_no_result(train, logs, tmp_path, stopping):
    with pytest.raises(StoppedRun, match=r"objective=val/f1 was nan in every epoch"):
        train(*logs("val/f1", [NAN] * 4, "objective=val/f1", "output_dir=run", *stopping))
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize("values", [[NAN] * 4, [0.1, 0.2, NAN, 0.3]])
def test_early_stopping_says_that_its_metric_is_not_finite(train, logs, values):
    run = train(*logs("val/f1", values, "callbacks.early_stopping.monitor=val/f1"))
    assert run.result["stop_reason"] == "early stopping: val/f1 is not finite"
    assert run.result["epochs"] == values.index(next(value for value in values if value != value)) + 1


def test_objective_mode_gives_the_direction_of_any_other_metric(train, logs):
    highest = train(*logs("val/quality", [3, 9, 5, 4], "objective=val/quality", "objective_mode=max"))
    lowest = train(*logs("val/quality", [3, 9, 5, 1], "objective=val/quality", "objective_mode=min"))
    assert (highest.result["best_epoch"], lowest.result["best_epoch"]) == (2, 4)


@pytest.mark.parametrize(
    ("name", "values", "option", "epochs"),
    [
        ("val/f1", [0.1, 0.2, 0.3, 0.4], "monitor=val/f1", 4),
        ("val/f1", [0.4, 0.3, 0.2, 0.1], "monitor=val/f1", 2),
        ("val/quality", [4, 3, 2, 1], "mode=min", 4),
        ("val/quality", [4, 3, 2, 1], "mode=max", 2),
    ],
)
def test_early_stopping_waits_for_the_right_direction(train, logs, name, values, option, epochs):
    stopping = ("patience=1", f"monitor={name}", option)
    run = train(*logs(name, values, *(f"callbacks.early_stopping.{each}" for each in stopping)))
    assert run.result["epochs"] == epochs


@pytest.mark.parametrize(("values", "epochs"), [([0.4, None, 0.3, None], 3), ([0.1, None, 0.2, None], 4)])
def test_early_stopping_counts_only_epochs_with_a_value(train, logs, values, epochs):
    stopping = ("callbacks.early_stopping.patience=1", "callbacks.early_stopping.monitor=val/f1")
    run = train(*logs("val/f1", values, "objective=val/f1", *stopping))
    assert (run.result["epochs"], run.result["best_epoch"]) == (epochs, values.index(max(filter(None, values))) + 1)


def test_a_metric_first_logged_later_is_answered_with_when_to_log_it(train, logs):
    stopping = ("callbacks.early_stopping.patience=1", "callbacks.early_stopping.monitor=val/f1")
    with pytest.raises(
        StoppedRun, match=r"val/f1 was not logged in the first validation.*later epochs may leave it out"
    ):
        train(*logs("val/f1", [None, 0.1, None, 0.2], *stopping))


@pytest.mark.parametrize(("values", "last"), [([0.1, 0.2, 0.3, 0.4], 0.1), ([0.4, 0.3, 0.2, 0.1], 1e-4)])
def test_plateau_lowers_the_rate_only_if_f1_stops_rising(train, logs, values, last):
    plateau = ("scheduler=plateau", "scheduler.monitor=val/f1", "scheduler.scheduler.patience=0", "optim=sgd")
    run = train(*logs("val/f1", values, *plateau, "optim.lr=0.1"))
    state = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(last)


@pytest.mark.parametrize(
    ("overrides", "option"),
    [
        (["objective=val/quality"], "objective_mode=max"),
        (["callbacks.early_stopping.monitor=val/quality"], "callbacks.early_stopping.mode=max"),
        (["scheduler=plateau", "scheduler.monitor=val/quality"], "scheduler.scheduler.mode=max"),
    ],
)
def test_an_unknown_direction_is_asked_for_before_anything_is_read(train, tmp_path, overrides, option):
    with pytest.raises(ConfigError, match=option):
        train(*overrides, "data=mnist", "data.data_dir=nowhere", small=False)
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_objective_is_answered_with_the_right_one():
    with pytest.raises(ConfigError, match="did you mean val/acc"):
        find_monitors(composed("objective=val/accu"))


def test_an_objective_on_the_test_set_is_refused():
    with pytest.raises(ConfigError, match="objective=test/acc would choose by the test set"):
        find_monitors(composed("objective=test/acc"))


def test_lightnings_default_mode_is_refused_where_it_minimizes_accuracy(added):
    options = added("EarlyStopping", monitor="val/acc")
    with pytest.raises(ConfigError, match=r"callbacks.added watches val/acc.*mode: max"):
        find_monitors(composed(*options))
    find_monitors(composed(*added("EarlyStopping", monitor="val/acc", mode="max")))


def test_a_metric_that_is_never_logged_stops_the_run_after_one_epoch(train):
    with pytest.raises(StoppedRun, match=r"objective=val/f1 was not logged.*val/acc, val/loss"):
        train(*QUICK, "callbacks=none", "objective=val/f1")


def test_a_torchmetrics_object_corrects_the_name(train, added):
    search, callbacks, *_ = added(f"{HERE}.LogsObject", name="val/own_loss")
    options = (search, callbacks, *QUICK, "objective=val/own_loss")
    with pytest.raises(StoppedRun, match=r"val/own_loss.*higher is better.*set objective_mode=max"):
        train(*options)
    run = train(*options, "objective_mode=max")
    assert run.result["objective_mode"] == "max"
    assert run.result["objective"] == max(row["val/own_loss"] for row in read_metrics(run.path / "metrics.csv"))


@pytest.mark.parametrize(("direction", "best"), [("max", 0.2), ("min", 0.1)])
def test_a_report_ranks_by_the_direction_in_the_results(tmp_path, direction, best):
    for lr in (0.1, 0.2):
        name = "val/quality"
        fake_run(tmp_path / str(lr), f"optim.lr={lr}", objective=name, objective_mode=direction, metrics={name: lr})
    comparison, _ = compare(read_runs([tmp_path])[0])
    assert comparison.best.values["optim.lr"] == best
