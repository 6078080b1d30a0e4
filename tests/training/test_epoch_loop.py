import logging
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from conftest import assert_same
from spies import IMAGES, LABELS, NO_TIME, Data, Model, SpyPrecision, SpyStrategy, fit
from torch import nn

from litmus.training import epoch_loop, fallback

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*returned `None`", "ignore:.*yielded None", "ignore:.*no `val_dataloader`"
)


def compare(expect_fast=True, **options):
    """Asserts that both loops make the same calls, log the same values and end with the same weights and counters."""
    fast_calls, fast, fast_trainer = fit(True, **options)
    calls, stock, trainer = fit(False, **options)
    reason = getattr(fast_trainer.fit_loop.epoch_loop, "fallback_reason", None)
    assert (reason is None) == expect_fast, reason
    for number, (found, expected) in enumerate(zip(fast_calls, calls, strict=False)):
        assert found == expected, (number, fast_calls[max(0, number - 3) : number])
    assert len(fast_calls) == len(calls) > 30
    assert_same(fast.state_dict(), stock.state_dict())
    assert fast_trainer.fit_loop.state_dict() == trainer.fit_loop.state_dict()
    assert fast_trainer.callback_metrics == trainer.callback_metrics
    assert fast_trainer.global_step == trainer.global_step
    return calls


def names(calls):
    return [call[0] for call in calls]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_steps": 5},
        {"limit_train_batches": 3},
        {"limit_train_batches": 0.5},
        {"val_check_interval": 2},
        {"val_check_interval": 0.5},
        {"val_check_interval": 4, "check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": 2},
        {"gradient_clip_val": 0.01},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"precision": "bf16-mixed"},
        {"detect_anomaly": True},
        {"log_every_n_steps": 1},
        {"min_epochs": 2},
        {"num_sanity_val_steps": 0},
    ],
    ids=str,
)
def test_trainer_options_mean_what_lightning_documents(settings):
    calls = names(compare(**settings))
    step = ["class.on_train_batch_start", "optimizer.step", "optimizer.pre_hook", "class.on_before_zero_grad"]
    step += ["optimizer.zero_grad", "class.on_before_backward", "class.on_after_backward"]
    step += ["class.on_before_optimizer_step", "optimizer.post_hook", "scheduler.step", "class.on_train_batch_end"]
    first = [name for name in calls[calls.index(step[0]) :] if name in step]
    assert first[: len(step)] == step


def test_max_time_ends_the_training_before_its_first_step():
    assert "optimizer.step" not in names(compare(max_time=NO_TIME))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2"),
        ({"profiler": "simple"}, "SimpleProfiler"),
        ({"precision": "64-true"}, "accelerator.precision=64-true"),
        ({"plugins": SpyPrecision}, "accelerator.precision=32-true"),
        ({"strategy": partial(SpyStrategy, "cpu")}, "SpyStrategy"),
    ],
    ids=str,
)
def test_what_the_fast_path_lacks_runs_in_lightnings_loop(settings, reason, caplog):
    caplog.set_level(logging.INFO, logger="litmus")
    compare(expect_fast=False, **settings)
    assert caplog.text.count(f"Lightning's own loop, which is slower for small networks: {reason}\n") == 1


class Dictionary(Model):
    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx), "size": len(batch[0])}


class Sometimes(Model):
    def training_step(self, batch, batch_idx):
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)


class OnlyTheBatch(Model):
    def training_step(self, batch):
        return self.loss(batch)


class SkipsTheRest(Model):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 2 else None


class Manual(Model):
    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


class OwnBackward(Model):
    def backward(self, loss):
        (2 * loss).backward()


class OwnOptimizerStep(Model):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)


class OwnZeroGrad(Model):
    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad(set_to_none=False)


class OwnClipping(Model):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.clip_gradients(optimizer, 0.01, "value")


class OwnSchedulerStep(Model):
    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("model", "is_fast"),
    [
        (Dictionary, True),
        (Sometimes, True),
        (OnlyTheBatch, True),
        (SkipsTheRest, True),
        (OwnSchedulerStep, True),
        (Manual, False),
        (OwnBackward, False),
        (OwnOptimizerStep, False),
        (OwnZeroGrad, False),
        (OwnClipping, False),
    ],
)
def test_what_a_module_may_override_works(model, is_fast):
    compare(is_fast, model=model, num_sanity_val_steps=0)


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimization (Foret et al. 2021), whose step evaluates the closure twice."""

    def __init__(self, params, lr, rho=0.05):
        super().__init__(params, {"lr": lr, "rho": rho, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        shifts = []
        for group in self.param_groups:
            for parameter in group["params"]:
                shifts.append(group["rho"] * parameter.grad / parameter.grad.norm().clamp(min=1e-12))
                parameter.add_(shifts[-1])
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(shifts.pop(0)).sub_(group["lr"] * parameter.grad)
        return loss

    def zero_grad(self, set_to_none=True):
        super().zero_grad(set_to_none=False)


def lbfgs(groups):
    return torch.optim.LBFGS([p for group in groups for p in group["params"]], lr=0.1, max_iter=3)


OPTIMIZERS = {
    "sam": partial(SAM, lr=0.1),
    "lbfgs": lbfgs,
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
    "adam": partial(torch.optim.Adam, lr=0.01, fused=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_gets_its_closure_and_keeps_its_zero_grad(name):
    schedule = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)
    calls = names(compare(model=lambda: Model(OPTIMIZERS[name], schedule), num_sanity_val_steps=0))
    closures = {"sam": 2, "lbfgs": 3}.get(name, 1)
    assert calls.count("optimizer.zero_grad") == calls.count("class.on_after_backward") == 12 * closures


class Untrained(torch.optim.SGD):
    def step(self, closure=None):
        return super().step()


def test_an_optimizer_that_ignores_its_closure_is_refused():
    from litmus.errors import StoppedRun

    with pytest.raises(StoppedRun, match=r"Untrained.step\(\) did not call its closure"):
        fit(True, model=lambda: Model(partial(Untrained, lr=0.1)))


class Batches(pl.LightningDataModule):
    """Batches of any structure: dictionaries, one of them nested, and None."""

    def train_dataloader(self):
        parts = [{"images": images, "labels": {"class": labels}} for images, labels in zip(*self.split(), strict=True)]
        return torch.utils.data.DataLoader([*parts, None], batch_size=None)

    def split(self):
        return IMAGES.split(5), LABELS.split(5)


class OfDictionaries(Model):
    def loss(self, batch):
        return nn.functional.cross_entropy(self.network(batch["images"]), batch["labels"]["class"])


def test_batches_of_any_structure_are_trained_on():
    compare(model=OfDictionaries, data=Batches)


class Doubled(Data):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, labels = batch
        return 2 * images, labels


def test_transfer_hooks_of_a_data_module_change_the_batch():
    compare(data=Doubled)
    doubled, plain = fit(True, data=Doubled)[1], fit(True)[1]
    assert not torch.equal(doubled.network[0].weight, plain.network[0].weight)


class Stop(pl.Callback):
    """Stops the training from the hook of this name."""

    def __init__(self, name, calls):
        setattr(self, name, lambda trainer, *_: setattr(trainer, "should_stop", trainer.global_step >= 2))


@pytest.mark.parametrize(
    "hook", ["on_train_batch_start", "on_after_backward", "on_before_optimizer_step", "on_train_batch_end"]
)
def test_should_stop_in_a_hook_ends_the_epoch_there(hook):
    calls = names(compare(callbacks=[partial(Stop, hook)], num_sanity_val_steps=0))
    assert calls.count("optimizer.step") == 3 - (hook == "on_train_batch_end")


class Fail(pl.Callback):
    def __init__(self, name, calls):
        self.calls = 0
        setattr(self, name, self.fail)

    def fail(self, *arguments):
        self.calls += 1
        if self.calls == 3:
            raise ZeroDivisionError("a test")


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_before_zero_grad", "on_after_backward"])
def test_an_exception_in_a_hook_leaves_the_same_state(hook):
    calls = names(compare(callbacks=[partial(Fail, hook)], expect=ZeroDivisionError, num_sanity_val_steps=0))
    assert "class.on_exception" in calls


class Logs(pl.Callback):
    def __init__(self, calls):
        pass

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        module.log("step", float(batch_idx), on_step=True, on_epoch=True)

    def on_train_epoch_end(self, trainer, module):
        module.log("epoch", 0.9)


def test_what_callbacks_log_has_the_same_values():
    calls = compare(callbacks=[Logs])
    logged = [call[1] for call in calls if call[0] == "logger.log_metrics"]
    assert [metrics["step_step"] for metrics in logged if "step_step" in metrics] == ["1.0", "3.0", "5.0"] * 2
    assert [metrics["epoch"] for metrics in logged if "epoch" in metrics][-1]


class Accumulates(pl.Callback):
    """Accumulates in the second of three epochs."""

    def __init__(self, calls):
        pass

    def on_train_epoch_start(self, trainer, module):
        trainer.accumulate_grad_batches = 2 if trainer.current_epoch == 1 else 1


def test_the_way_is_chosen_again_in_each_epoch(caplog):
    caplog.set_level(logging.INFO, logger="litmus")
    compare(callbacks=[Accumulates], epochs=3)
    assert caplog.text.count("trainer.accumulate_grad_batches=2") == 1


def test_an_untested_release_of_lightning_keeps_its_own_loop(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="litmus")
    monkeypatch.setattr(fallback, "TESTED_LIGHTNING", ("2.5.0",))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    epoch_loop.EpochLoop.install(trainer)
    assert type(trainer.fit_loop.epoch_loop) is not epoch_loop.EpochLoop
    assert f"pytorch-lightning 2.5.0, not {pl.__version__}" in caplog.text


def test_the_installed_release_of_lightning_is_a_tested_one():
    assert pl.__version__ in fallback.TESTED_LIGHTNING


class WrapsTheStep(pl.Callback):
    """Replaces the step of the optimizer that `module.optimizers()` gives."""

    def __init__(self, calls):
        self.calls = calls

    def on_train_start(self, trainer, module):
        optimizer = module.optimizers()
        optimizer.step = self.calls.spy("replaced", optimizer.step)


def test_a_replaced_step_of_the_modules_optimizer_is_called():
    assert names(compare(expect_fast=False, callbacks=[WrapsTheStep])).count("replaced") == 12
