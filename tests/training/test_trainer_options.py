"""Every option of Lightning's Trainer is passed on or refused, and a run measures what its options leave to measure."""

import inspect
from copy import deepcopy
from functools import cache

import pytest
import pytorch_lightning as pl
import torch
from conftest import assert_same, composed, cut_off, weights
from omegaconf import OmegaConf

from litmus.core.metrics_file import read_metrics
from litmus.errors import ConfigError
from litmus.runs import build
from litmus.runs.monitors import find_monitors
from litmus.training import trainer as litmus_trainer
from litmus.training.trainer_options import REFUSED, check_trainer_options

OPTIONS = [name for name in inspect.signature(pl.Trainer.__init__).parameters if name != "self"]
SET_BY_RUN = ("callbacks", "logger", "default_root_dir")
QUICK = ("data.num_images=60", "logger=none", "test=false", "scheduler=constant")
EVERY_2 = ("trainer.check_val_every_n_epoch=2",)


@cache
def default():
    return composed("accelerator=cpu")


def options_with(**more):
    cfg = deepcopy(default())
    OmegaConf.set_struct(cfg, False)
    cfg.trainer.update(more)
    return cfg.trainer


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_trainer_is_passed_on_or_refused(name, monkeypatch):
    if name in REFUSED:
        with pytest.raises(ConfigError, match=rf"trainer.{name} cannot be set: .{{20}}"):
            check_trainer_options({**default().trainer, name: None})
        return
    received = {}
    monkeypatch.setattr(litmus_trainer.EpochLoop, "install", lambda *_: None)
    monkeypatch.setattr(pl.Trainer, "__init__", lambda self, **given: received.update(given))
    value = 3 if name in default().trainer else f"a value of {name}"
    if name in ("accelerator", "strategy", "precision", "max_time"):
        words = {"accelerator": "cpu", "strategy": "auto", "precision": "64-true", "max_time": "00:00:01:00"}
        value = words[name]
    elif name == "devices":
        value = 1
    cfg = options_with(**{name: value})
    check_trainer_options(cfg)
    build(cfg)
    assert received[name] == value


def test_an_option_that_the_trainer_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"trainer.benchmrk is not an option.*did you mean benchmark"):
        build(options_with(benchmrk=True))
    with pytest.raises(ConfigError, match=r"trainer.callback is not an option.*: choose one of accelerator"):
        build(options_with(callback=[]))


def test_a_trainer_file_without_the_default_ones_says_what_it_lacks():
    with pytest.raises(ConfigError, match=r"no compile.*defaults: \[default\]"):
        check_trainer_options({name: 1 for name in default().trainer if name != "compile"})


def test_a_refused_option_ends_a_run_before_it_is_built(train, tmp_path):
    folder = tmp_path / "conf" / "trainer"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("defaults: [default]\nnum_sanity_val_steps: 2\n")
    with pytest.raises(ConfigError, match="trainer.num_sanity_val_steps cannot be set"):
        train(f"hydra.searchpath=[file://{folder.parent}]", "trainer=own", "output_dir=run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "validated"),
    [
        (("trainer.max_epochs=4",), [2, 4]),
        (("trainer.max_epochs=5",), [2, 4, 5]),
        (("trainer.max_epochs=1",), [1]),
        (("trainer.max_epochs=5", "trainer.max_steps=5", "data.batch_size=18"), [2]),
    ],
    ids=["even", "odd", "one", "max_steps"],
)
def test_the_last_epoch_and_every_nth_are_validated_and_no_other_counts(train, overrides, validated):
    run = train(*QUICK, *EVERY_2, *overrides)
    rows = read_metrics(run.path / "metrics.csv")
    assert [row["epoch"] for row in rows if "val/acc" in row] == validated
    assert [row["epoch"] for row in rows if "gap/acc" in row] == validated
    best = max((row for row in rows if "val/acc" in row), key=lambda row: row["val/acc"])
    assert run.result["objective"] == best["val/acc"]
    assert run.result["best_epoch"] == best["epoch"]


def test_early_stopping_counts_validations(train):
    stopping = ("callbacks.early_stopping.patience=1", "optim=sgd", "optim.lr=0", "trainer.max_epochs=9")
    run = train(*QUICK, *EVERY_2, *stopping)
    assert (run.result["epochs"], run.result["best_epoch"]) == (4, 2)
    assert "early stopping" in run.result["stop_reason"]


def test_plateau_steps_after_validations_only(train):
    plateau = ("scheduler=plateau", "scheduler.scheduler.patience=0", "scheduler.scheduler.threshold=10", "optim=sgd")
    run = train(*QUICK[:3], *EVERY_2, *plateau, "optim.lr=0.1", "trainer.max_epochs=6", "callbacks.early_stopping=null")
    rates = [row["lr"] for row in read_metrics(run.path / "metrics.csv")]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])  # that threshold is never reached


def test_a_plateau_without_a_rhythm_of_validations_is_refused():
    with pytest.raises(ConfigError, match="trainer.check_val_every_n_epoch=null leaves epochs without val/loss"):
        find_monitors(composed("scheduler=plateau", "trainer.check_val_every_n_epoch=null"))


def test_best_checkpoint_by_training_loss_has_the_weights_of_its_epoch(train):
    options = (*QUICK, *EVERY_2, "objective=train/loss", "callbacks.early_stopping=null", "trainer.max_epochs=3")
    run = train(*options, "output_dir=run")
    assert run.result["best_epoch"] == 3
    assert_same(weights(run.path, "best"), weights(run.path, "last"))


def test_a_run_with_fewer_validations_resumes_to_the_bit(train, monkeypatch):
    options = (*QUICK, *EVERY_2, "trainer.max_epochs=5", "data.num_images=200", "data.batch_size=16")
    whole = train(*options, "output_dir=whole")
    cut_off(train, monkeypatch, 3, *options, "output_dir=cut")
    resumed = train(*options, "output_dir=cut")
    assert_same(weights(whole.path), weights(resumed.path))
    assert_same(weights(whole.path, "best"), weights(resumed.path, "best"))
    assert (whole.path / "metrics.csv").read_text() == (resumed.path / "metrics.csv").read_text()


@pytest.mark.parametrize("interval", [0.5, 0.4])
def test_the_last_of_several_validations_in_an_epoch_is_its_figure(train, interval, tmp_path):
    folder = tmp_path / "conf" / "trainer"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(f"defaults: [default]\nval_check_interval: {interval}\n")
    options = (f"hydra.searchpath=[file://{folder.parent}]", "trainer=own", "data.batch_size=5")
    run = train(*QUICK, *options, "trainer.max_epochs=2")
    assert [len(row) for row in read_metrics(run.path / "metrics.csv") if "val/acc" in row and "gap/acc" in row]
    best, last = weights(run.path, "best"), weights(run.path, "last")
    same = all(torch.equal(best[name], last[name]) for name in best)
    assert same == (interval == 0.5 and run.result["best_epoch"] == 2)


def test_the_table_of_a_profiler_is_in_the_run_directory(train):
    run = train("trainer.profiler=simple", "output_dir=run")
    assert "run_training_epoch" in (run.path / "fit-profile.txt").read_text()
