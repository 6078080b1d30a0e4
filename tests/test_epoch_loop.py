import logging
from typing import ClassVar

import pytest
import pytorch_lightning as pl
import torch
from conftest import CONF, assert_same, parts
from pytorch_lightning.profilers import SimpleProfiler

from litmus import epoch_loop, trainer
from litmus.data.batches import Batches
from litmus.data.preprocess import Preprocess
from litmus.models import CNN, MLP

IMAGES = torch.randint(0, 256, (51, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(51) % 3


def loader(seed=None):
    return Batches(IMAGES, LABELS, 8, Preprocess.fit("standardize", IMAGES), seed)


def fit(kind=MLP, options=None, callbacks=(), groups=None, **settings):
    """The model and the trainer after a training of two epochs of 7 batches."""
    torch.manual_seed(0)
    shape = {"hidden": [5], "channels": [2, 3]} if kind is CNN else {"hidden": [5]}
    model = kind(3, (1, 8, 8), **shape, dropout=0.3, **parts(**(groups or {})), **(options or {}))
    given = {
        "accelerator": "cpu",
        "devices": 1,
        "strategy": "auto",
        "max_epochs": 2,
        "threads": None,
        "gradient_clip_val": None,
        "accumulate_grad_batches": 1,
    }
    made = trainer.build(
        **{**given, **settings},
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    made.fit(model, loader(seed=1), loader())
    return model, made


def both(monkeypatch, **options):
    """The same training by the short and by the long way."""
    short = fit(**options)
    assert short[1].fit_loop.epoch_loop.short
    monkeypatch.setattr(epoch_loop, "long_way", lambda trainer: "a test")
    long = fit(**options)
    assert not long[1].fit_loop.epoch_loop.short
    return short, long


def progress(made: pl.Trainer) -> dict:
    """Every counter of the loop; Lightning itself leaves `started` of the schedulers alone."""
    return {name: state for name, state in made.fit_loop.state_dict().items() if "progress" in name}


GROUPS = [
    (group, path.stem)
    for group in ("optim", "scheduler", "penalty", "loss")
    for path in sorted((CONF / group).glob("*.yaml"))
]


@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_both_ways_give_the_same_weights_to_the_bit_and_the_same_counts(group, option, monkeypatch):
    (short, first), (long, second) = both(monkeypatch, groups={group: option})
    assert_same(short.state_dict(), long.state_dict())
    assert progress(first) == progress(second)
    assert first.global_step == 14
    metrics = ("train/loss", "train/acc", "train/cost", "penalty", "val/loss", "val/acc")
    assert {m: float(first.callback_metrics[m]) for m in metrics} == {
        m: float(second.callback_metrics[m]) for m in metrics
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 9},
        {"limit_train_batches": 3},
        {"val_check_interval": 2},
        {"gradient_clip_val": 0.01},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"precision": "bf16-mixed"},
        {"check_val_every_n_epoch": 2},
    ],
    ids=str,
)
def test_what_the_trainer_is_told_means_the_same(settings, monkeypatch):
    class Validations(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            self.steps = []

        def on_validation_start(self, trainer, pl_module):
            self.steps.append(trainer.global_step)

    seen = Validations()
    (short, first), (long, second) = both(
        monkeypatch, kind=CNN, groups={"optim": "adam", "scheduler": "onecycle"}, callbacks=[seen], **settings
    )
    assert_same(short.state_dict(), long.state_dict())
    assert progress(first) == progress(second)
    monkeypatch.undo()
    steps = seen.steps
    untold, _ = fit(kind=CNN, groups={"optim": "adam", "scheduler": "onecycle"})
    same = all(torch.equal(a, b) for a, b in zip(untold.parameters(), short.parameters(), strict=True))
    assert same == (set(settings) <= {"val_check_interval", "check_val_every_n_epoch"})
    assert first.global_step == {"max_steps": 9, "limit_train_batches": 6}.get(next(iter(settings)), 14)
    wanted = {"val_check_interval": [2, 4, 6, 9, 11, 13], "check_val_every_n_epoch": [14]}
    name = next(iter(settings))
    if name in wanted:
        assert steps == wanted[name]


class AtTheEnd(pl.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("mine", 0.9)


def test_what_is_logged_at_the_end_of_an_epoch_is_not_weighted_by_the_last_batch(monkeypatch):
    (_, first), (_, second) = both(monkeypatch, callbacks=[AtTheEnd()])
    assert torch.tensor(0.9) * 3 / 3 != torch.tensor(0.9)  # so that a weight of 3 would show
    assert first.callback_metrics["mine"] == second.callback_metrics["mine"] == torch.tensor(0.9)


class Told(pl.Callback):
    """Notes every hook of a step with the step it came in, and logs a value."""

    def __init__(self):
        self.calls = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.calls.append(("start", trainer.global_step, batch_idx, len(batch[1])))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.calls.append(("zero_grad", trainer.global_step))

    def on_before_backward(self, trainer, pl_module, loss):
        self.calls.append(("backward", trainer.global_step, float(loss.detach())))

    def on_after_backward(self, trainer, pl_module):
        self.calls.append(("after", trainer.global_step, float(pl_module.network.output.bias.grad.sum())))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.calls.append(("step", trainer.global_step))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.calls.append(("end", trainer.global_step, float(outputs["loss"]), trainer.is_last_batch))
        pl_module.log("mine", float(batch_idx), on_step=True, on_epoch=True)


def test_the_hooks_of_a_step_come_in_lightnings_order_with_the_same_arguments(monkeypatch):
    heard = []

    def options():
        heard.append(Told())
        return [heard[-1]]

    _, first = fit(callbacks=options())
    monkeypatch.setattr(epoch_loop, "long_way", lambda trainer: "a test")
    _, second = fit(callbacks=options())
    assert heard[0].calls == heard[1].calls
    assert [call[0] for call in heard[0].calls[:6]] == ["start", "zero_grad", "backward", "after", "step", "end"]
    assert float(first.callback_metrics["mine_epoch"]) == float(second.callback_metrics["mine_epoch"])
    assert float(first.logged_metrics["mine_step"]) == float(second.logged_metrics["mine_step"]) == 6.0


class Logging(MLP):
    def training_step(self, batch, batch_idx):
        self.log("step", float(batch_idx), on_step=True, on_epoch=True)
        return super().training_step(batch, batch_idx)


def test_a_model_can_log_at_each_step(monkeypatch):
    (_, first), (_, second) = both(monkeypatch, kind=Logging)
    assert float(first.logged_metrics["step_step"]) == float(second.logged_metrics["step_step"]) == 6.0
    assert float(first.callback_metrics["step_epoch"]) == float(second.callback_metrics["step_epoch"])


def test_validation_every_so_many_batches_of_all_epochs(monkeypatch):
    class Validations(pl.Callback):
        steps: ClassVar = []

        def on_validation_start(self, trainer, pl_module):
            self.steps.append(trainer.global_step)

    both(monkeypatch, callbacks=[Validations()], val_check_interval=5, check_val_every_n_epoch=None)
    assert Validations.steps == [5, 10, 5, 10]


class OwnBackward(MLP):
    def backward(self, loss):
        loss.backward()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2"),
        ({"precision": "64-true"}, "accelerator.precision=64-true"),
        ({"profiler": SimpleProfiler()}, "a profiler"),
        ({"kind": OwnBackward}, "its own backward"),
    ],
)
def test_what_is_not_plain_goes_lightnings_way_and_says_so(options, reason, caplog):
    caplog.set_level(logging.INFO, logger="litmus")
    _, made = fit(**options)
    assert not made.fit_loop.epoch_loop.short
    assert f"the slower way: {reason}" in caplog.text
