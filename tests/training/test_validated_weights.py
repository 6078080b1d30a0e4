"""best.ckpt has the weights that were validated and last.ckpt those to resume from, whatever callbacks do to them."""

import logging
import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from conftest import SMALL, assert_same, composed, cut_off, weights
from lightning_callbacks_table import CHANGES_WEIGHTS, CONSTANT, LAYOUT, NORMALIZED, WORKING

import litmus
from litmus.core import checkpoint_io as files
from litmus.core.metrics_file import read_metrics
from litmus.errors import ConfigError
from litmus.runs import build, build_model
from litmus.runs.checkpoints import load_weights

HERE = "test_validated_weights"


class OwnAverage(pl.Callback):
    """A moving average written the usual way, exchanged for the weights in two hooks of the validation."""

    def __init__(self, start: str, end: str):
        setattr(self, start, self.exchange)
        setattr(self, end, self.exchange)

    def on_train_start(self, trainer, module):
        self.average = {name: value.clone() for name, value in module.state_dict().items()}

    def on_train_batch_end(self, trainer, module, *_):
        for name, value in module.state_dict().items():
            self.average[name].copy_(0.8 * self.average[name] + 0.2 * value)

    def exchange(self, trainer, module):
        trained = {name: value.clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.average)
        self.average = trained


class Spoils(pl.Callback):
    """Changes the weights in a hook."""

    def __init__(self, hook: str):
        setattr(self, hook, self.spoil)

    def spoil(self, trainer, module, *_):
        with torch.no_grad():
            next(module.parameters()).mul_(1.01)


class CountsEpochs(pl.Callback):
    """Has state that changes as an epoch starts, and scales the weights with it."""

    epochs = 0

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]

    def on_train_epoch_start(self, trainer, module):
        self.epochs += 1

    def on_train_epoch_end(self, trainer, module):
        with torch.no_grad():
            next(module.parameters()).mul_(1 + self.epochs / 100)


def validation(path: Path, options: tuple[str, ...]) -> dict[str, float]:
    """The figures of best.ckpt, validated again."""
    cfg = composed(*SMALL, *options)
    data = build(cfg.data)
    model = build_model(cfg, data.num_classes, data.image_shape)
    load_weights(model, path / "checkpoints" / "best.ckpt")
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    (figures,) = trainer.validate(model, datamodule=data, verbose=False)
    return figures


AROUND = {
    **{name: (name, WORKING[name].options, WORKING[name].overrides) for name in CHANGES_WEIGHTS},
    "SWA with batch normalization": (
        *("StochasticWeightAveraging", {"swa_lrs": 0.02, "swa_epoch_start": 2}),
        (*CONSTANT, "trainer.max_epochs=3", *NORMALIZED),
    ),
    "own average": (f"{HERE}.OwnAverage", {"start": "on_validation_start", "end": "on_validation_end"}, ()),
    "own average, epoch hooks": (
        *(f"{HERE}.OwnAverage", {"start": "on_validation_epoch_start", "end": "on_validation_epoch_end"}),
        ("trainer.max_epochs=3", *NORMALIZED),
    ),
    **{
        hook: (f"{HERE}.Spoils", {"hook": hook}, ())
        for hook in ("on_validation_end", "on_train_epoch_end", "on_train_epoch_start", "on_train_end")
    },
}


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize("case", AROUND)
def test_best_ckpt_gives_the_recorded_validation_figures(train, added, case):
    target, settings, overrides = AROUND[case]
    options = (*added(target, **settings), *overrides, "logger=none", "data.val_size=100")
    run = train(*options)
    best = read_metrics(run.path / "metrics.csv")[run.result["best_epoch"] - 1]
    figures = validation(run.path, options)
    assert {name: best[name] for name in ("val/loss", "val/acc")} == figures
    assert {name: run.result["metrics"][name] for name in figures} == figures
    assert litmus.load(run.path).class_names


def test_the_gap_and_the_test_curve_are_those_of_the_validated_weights(train, added):
    own = Path("conf/callbacks/own.yaml")
    average = {"start": "on_validation_start", "end": "on_validation_end"}
    options = (*added(f"{HERE}.OwnAverage", **average), "logger=none", "test=true", "data.train_size=100")
    own.write_text(own.read_text() + "curve:\n  _target_: litmus.callbacks.TestCurve\n")
    run = train(*options)
    best = read_metrics(run.path / "metrics.csv")[run.result["best_epoch"] - 1]
    assert best["test/loss"] == run.result["metrics"]["test/loss"]


@pytest.mark.parametrize(
    ("name", "hook", "are_one"),
    [
        ("EMAWeightAveraging", None, True),
        ("StochasticWeightAveraging", None, False),
        ("Spoils", "on_validation_batch_end", False),
        ("Spoils", "on_train_batch_end", True),
    ],
)
def test_last_ckpt_is_another_file_only_if_the_weights_are_others(train, added, caplog, name, hook, are_one):
    caplog.set_level(logging.WARNING, logger="litmus")
    settings = {"hook": hook} if hook else WORKING[name].options
    options = (*added(f"{HERE}.{name}" if hook else name, **settings), *CONSTANT, "optim.lr=1e-4", "logger=none")
    run = train(
        *options, "trainer.max_epochs=3", "callbacks.added.swa_lrs=1e-4" if not hook and not are_one else "seed=0"
    )
    best, last = run.path / "checkpoints" / "best.ckpt", run.path / "checkpoints" / "last.ckpt"
    assert run.result["best_epoch"] == run.result["epochs"] == 3
    assert os.path.samefile(best, last) is are_one
    assert caplog.text.count("--checkpoint last") == (not are_one)
    assert sorted(path.name for path in best.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


# --- Resuming ---

PRUNED = {**WORKING["ModelPruning"].options, "use_lottery_ticket_hypothesis": False}
RESUMED = {
    **{
        name: (name, WORKING[name].options, WORKING[name].overrides, (1, 2))
        for name in ("EMAWeightAveraging", "WeightAveraging", "GradientAccumulationScheduler")
    },
    "Timer": ("Timer", WORKING["Timer"].options, ("trainer.max_epochs=3",), (2,)),
    "EMA with batch normalization": ("EMAWeightAveraging", {"decay": 0.9}, ("trainer.max_epochs=3", *NORMALIZED), (2,)),
    "SWA": (
        "StochasticWeightAveraging",
        WORKING["StochasticWeightAveraging"].options,
        (*CONSTANT, "trainer.max_epochs=5", "optim=momentum"),
        (1, 2, 4),
    ),
    "SWA with batch normalization": (
        *("StochasticWeightAveraging", {"swa_lrs": 0.02, "swa_epoch_start": 2}),
        (*CONSTANT, "trainer.max_epochs=3", *NORMALIZED),
        (2, 3),
    ),
    "pruning": ("ModelPruning", PRUNED, ("trainer.max_epochs=4", "penalty=l1"), (1, 3)),
    "pruning of a CNN": (
        *("ModelPruning", {**PRUNED, "parameter_names": None}),
        ("trainer.max_epochs=4", "optim=momentum", "trainer.gradient_clip_val=1.0", *NORMALIZED, *LAYOUT),
        (2,),
    ),
    "state that changes as an epoch starts": (f"{HERE}.CountsEpochs", {}, ("trainer.max_epochs=3",), (2,)),
}


def assert_same_run(path: Path, whole: Path) -> None:
    for name in ("best", "last"):
        assert_same(weights(path, name), weights(whole, name))
    assert read_metrics(path / "metrics.csv") == read_metrics(whole / "metrics.csv")


@pytest.mark.parametrize("case", RESUMED)
def test_an_interrupted_run_resumes_exactly(train, added, monkeypatch, case):
    target, settings, overrides, epochs = RESUMED[case]
    options = (*added(target, **settings), *overrides, "logger=none", "callbacks.early_stopping=null")
    batches = ("data.batch_size=16",)
    train(*options, *batches, "output_dir=whole")
    for epoch in epochs:
        cut_off(train, monkeypatch, epoch, *options, *batches, f"output_dir=cut{epoch}")
        train(f"resume=cut{epoch}", small=False)
        assert_same_run(Path(f"cut{epoch}"), Path("whole"))


def test_a_run_killed_between_the_two_files_resumes_exactly(train, added, monkeypatch):
    options = (*added(f"{HERE}.Spoils", hook="on_train_epoch_end"), "logger=none", "trainer.max_epochs=3")
    train(*options, "output_dir=whole")
    written, write = [], files._write

    def killed(checkpoint, path, also):
        written.append(path.name)
        if written == ["best.ckpt", "last.ckpt", "best.ckpt", "last.ckpt"]:
            raise KeyboardInterrupt
        write(checkpoint, path, also)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(*options, "output_dir=killed")
    train("resume=killed", small=False)
    assert_same_run(Path("killed"), Path("whole"))


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("EMAWeightAveraging", {"decay": 0.9}),
        ("ModelPruning", PRUNED),
        (f"{HERE}.Spoils", {"hook": "on_train_end"}),
    ],
)
def test_extending_a_run_starts_from_the_weights_before_averaging(train, added, target, settings):
    options = (*added(target, **settings), *CONSTANT, "logger=none")
    train(*options, "trainer.max_epochs=4", "output_dir=whole")
    train(*options, "trainer.max_epochs=2", "output_dir=parts")
    train("resume=parts", "trainer.max_epochs=4", small=False)
    assert_same_run(Path("parts"), Path("whole"))


def test_swa_cannot_train_longer(train, added):
    row = WORKING["StochasticWeightAveraging"]
    train(*added(row.name, **row.options), *row.overrides, "logger=none", "output_dir=run")
    with pytest.raises(ConfigError, match="callbacks.added.*start a new run"):
        train("resume=run", "trainer.max_epochs=9", small=False)


def test_a_lottery_ticket_cannot_resume(train, added, monkeypatch):
    row = WORKING["ModelPruning"]
    cut_off(train, monkeypatch, 1, *added(row.name, **row.options), *row.overrides, "logger=none", "output_dir=run")
    with pytest.raises(ConfigError, match="ModelPruning with use_lottery_ticket_hypothesis .* another output_dir"):
        train("resume=run", small=False)
