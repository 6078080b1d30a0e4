import logging

import pytest
import pytorch_lightning as pl
import torch
from conftest import CONF, assert_same, parts, weights
from pytorch_lightning.plugins.precision import MixedPrecision

from litmus.data.batches import Batches
from litmus.data.preprocess import Preprocess
from litmus.errors import ConfigError, StoppedRun
from litmus.models import CNN, MLP, ResNetFineTuner
from litmus.training import compiled_step, trainer
from litmus.training.signals import held_back, hold

IMAGES = torch.randint(0, 256, (43, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(43) % 3
NETWORKS = {
    MLP: {"hidden": [5], "dropout": 0.3, "input_dropout": 0.1},
    CNN: {"channels": [2, 3], "hidden": [5], "dropout": 0.3},
    ResNetFineTuner: {"small_stem": True, "freeze": True, "unfreeze_at_epoch": 1, "backbone_lr_factor": 0.1},
}


@pytest.fixture(autouse=True)
def traced_only(monkeypatch):
    """The whole step becomes one graph, which runs without C++ code for it: that would take half a minute each time."""
    monkeypatch.setattr(compiled_step, "BACKEND", "aot_eager")
    torch._dynamo.reset()


def loader(seed=None):
    return Batches(IMAGES, LABELS, 10, Preprocess.fit("standardize", IMAGES), seed)


def fit(kind=MLP, options=None, callbacks=(), epochs=2, compile=True, **settings):
    """The model and the trainer after a training with five batches per epoch, the last of them smaller."""
    torch.manual_seed(0)
    groups = {"optim": "sgd", "scheduler": "onecycle", **(options or {})}
    model = kind(3, (3, 20, 20), **NETWORKS.get(kind, NETWORKS[MLP]), **parts(**groups))
    given = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "max_epochs": epochs}
    given |= {"gradient_clip_val": None, "accumulate_grad_batches": 1, "compile": compile, "num_sanity_val_steps": 0}
    given |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    made = trainer.build(**{**given, **settings}, enable_model_summary=False, callbacks=list(callbacks))
    torch.manual_seed(1)
    made.fit(model, loader(seed=1), loader())
    return model, made


def compare(tolerance=2e-4, **options):
    """Asserts that a compiled training has the metrics and the weights of an uncompiled one, and gives the former."""
    plain, first = fit(compile=False, **options)
    model, made = fit(**options)
    assert made.fit_loop.epoch_loop.compiled_step is not None
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=tolerance, atol=tolerance / 10, msg=name)
    for name, value in first.callback_metrics.items():
        assert float(made.callback_metrics[name]) == pytest.approx(float(value), rel=5 * tolerance, abs=1e-5), name
    assert (first.global_step, first.current_epoch) == (made.global_step, made.current_epoch)
    return model, made


@pytest.mark.parametrize("option", [path.stem for path in sorted((CONF / "optim").glob("*.yaml"))])
def test_every_optimizer_trains_as_uncompiled(option):
    compare(options={"optim": option})


@pytest.mark.parametrize("group", ["loss", "penalty", "scheduler"])
def test_every_loss_penalty_and_scheduler_trains_as_uncompiled(group):
    for path in sorted((CONF / group).glob("*.yaml")):
        torch._dynamo.reset()
        compare(options={group: path.stem})


@pytest.mark.parametrize("kind", [CNN, ResNetFineTuner])
def test_batch_normalization_and_unfreezing_train_as_uncompiled(kind):
    model, _ = compare(kind=kind, tolerance=1e-2)  # batch normalization over three images magnifies rounding
    tracked = [value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(value) for value in tracked} == {5 if kind is ResNetFineTuner else 10}


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_clip_val": 0.05},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"max_steps": 7},
        {"val_check_interval": 2},
    ],
    ids=str,
)
def test_trainer_options_mean_the_same(settings):
    compare(**settings)


def test_bfloat16_trains_in_bfloat16():
    seen = []

    class Seen(MLP):
        def loss_terms(self, images, target):
            costs = super().loss_terms(images, target)
            seen.append(costs.logits.dtype)
            return costs

    _, made = fit(kind=Seen, precision="bf16-mixed")
    assert type(made.precision_plugin) is MixedPrecision
    assert set(seen) == {torch.bfloat16}


class Changes(pl.Callback):
    def on_train_epoch_start(self, trainer, module):
        module.penalty.weight = 0.1 * (trainer.current_epoch + 1)
        module.network.dropout1.p = 0.1 * trainer.current_epoch


def test_attributes_that_a_callback_changes_take_effect(caplog):
    caplog.set_level(logging.INFO, logger="litmus")
    _, made = compare(callbacks=[Changes()], options={"penalty": "l2"}, epochs=3)
    assert float(made.callback_metrics["penalty"]) > 0
    assert caplog.text.count("compilation took") == 3


class Hooked(pl.Callback):
    def __init__(self):
        self.calls = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.calls.append(("start", batch_idx))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.calls.append(("end", batch_idx, len(batch[1]), type(learning_rate)))
        assert outputs["loss"].shape == ()
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_step_hooks_are_called_and_the_learning_rate_stays_a_number():
    hooked = Hooked()
    fit(callbacks=[hooked], epochs=1)
    sizes = (10, 10, 10, 10, 3)
    assert hooked.calls == [call for i, size in enumerate(sizes) for call in (("start", i), ("end", i, size, float))]


def test_the_first_step_of_an_epoch_and_smaller_batches_are_not_compiled(monkeypatch):
    compiled = []
    call = compiled_step.CompiledStep.__call__

    def counted(self, batch):
        compiled.append(len(batch[1]))
        return call(self, batch)

    monkeypatch.setattr(compiled_step.CompiledStep, "__call__", counted)
    fit()
    assert compiled == [10] * 3 + [10] * 3


class BetweenTheLines(pl.Callback):
    def on_after_backward(self, trainer, module):
        pass


class OwnStep(MLP):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)


class OwnHook(MLP):
    def on_before_zero_grad(self, optimizer):
        pass


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"compile": "fast"}, "default, reduce-overhead"),
        ({"callbacks": [BetweenTheLines()]}, "BetweenTheLines.on_after_backward"),
        ({"kind": OwnStep}, "OwnStep has a training_step"),
        ({"kind": OwnHook}, "OwnHook.on_before_zero_grad"),
        ({"precision": "64-true"}, "accelerator.precision=32-true"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2"),
        ({"profiler": "simple"}, "trainer.profiler"),
        ({"detect_anomaly": True}, "trainer.detect_anomaly=true"),
    ],
)
def test_what_has_no_place_in_a_graph_is_refused(options, named):
    with pytest.raises(ConfigError, match="trainer.compile") as refused:
        fit(**options)
    assert named in str(refused.value)


class OwnZeroGrad(torch.optim.SGD):
    def zero_grad(self, set_to_none=True):
        super().zero_grad(set_to_none)


def hooked(groups):
    optimizer = torch.optim.SGD(groups, lr=0.1)
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


class Closures(MLP):
    """A model with an optimizer of its own, whatever its options say."""

    build = None

    def configure_optimizers(self):
        return type(self).build(self.parameter_groups())


@pytest.mark.parametrize("build", [OwnZeroGrad, hooked])
def test_an_optimizer_with_hooks_or_a_zero_grad_of_its_own_is_refused(build, monkeypatch):
    monkeypatch.setattr(Closures, "build", staticmethod(build))
    with pytest.raises(ConfigError, match="choose another optim"):
        fit(kind=Closures)


class Twice(torch.optim.SGD):
    """Evaluates its closure twice, as sharpness-aware minimization does."""

    def step(self, closure=None):
        if closure is not None:
            with torch.enable_grad():
                closure()
        return super().step(closure)


def lbfgs(groups):
    return torch.optim.LBFGS(groups[0]["params"], max_iter=3)


@pytest.mark.parametrize(("build", "calls"), [(lbfgs, 3), (lambda groups: Twice(groups, lr=0.1), 2)])
def test_an_optimizer_that_evaluates_its_closure_several_times_is_refused(build, calls, monkeypatch):
    monkeypatch.setattr(Closures, "build", staticmethod(build))
    with pytest.raises(ConfigError, match=f"it {calls} times; set trainer.compile=false"):
        fit(kind=Closures)


class Ahead(torch.optim.SGD):
    """Wants the gradient ahead of the weights, as some forms of Nesterov's method do."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(0.99)
        return super().step(closure)


def test_an_optimizer_that_wants_the_gradient_at_other_weights_is_refused(monkeypatch):
    monkeypatch.setattr(Closures, "build", staticmethod(lambda groups: Ahead(groups, lr=0.1)))
    with pytest.raises(ConfigError, match="Ahead.step.. changes the weights before .*set trainer.compile=false"):
        fit(kind=Closures)


class NeedsClosure(torch.optim.Optimizer):
    """Trains with what its closure computes, and not at all without one."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            return None
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(group["lr"] * parameter.grad)
        return loss


def test_an_optimizer_that_needs_its_closure_gets_one(monkeypatch):
    monkeypatch.setattr(Closures, "build", staticmethod(NeedsClosure))
    compare(kind=Closures)


class Unused(MLP):
    """Has a layer that gives the cost no gradient."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.network.unused = torch.nn.Linear(3, 3)

    def forward(self, images):
        layers = [layer for layer in self.network if layer is not self.network.unused]
        return torch.nn.Sequential(*layers)(images)


def test_a_parameter_without_a_gradient_is_left_alone():
    model, _ = compare(kind=Unused, options={"optim": "adamw"})
    assert model.network.unused.weight.grad is None


class Tied(MLP):
    """Two layers with one weight."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.network.output = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.Linear(5, 5), torch.nn.Linear(5, 3))
        self.network.output[1].weight = self.network.output[0].weight


def test_a_weight_of_two_layers_gets_both_gradients():
    compare(kind=Tied)


class Replaces(pl.Callback):
    """Replaces the loss's class weights and freezes a layer in the middle of an epoch."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            module.loss.weight = torch.tensor([1.0, 5.0, 0.2])
        if trainer.global_step == 7:
            module.network.hidden1.requires_grad_(False)


class Weighted(MLP):
    def __init__(self, *args, **options):
        super().__init__(*args, **options | {"loss": torch.nn.CrossEntropyLoss(weight=torch.ones(3))})


def test_tensors_that_are_replaced_or_frozen_in_an_epoch_take_effect():
    compare(kind=Weighted, callbacks=[Replaces()])


class MaskedGradient(pl.Callback):
    def on_fit_start(self, trainer, module):
        module.network.hidden1.weight.register_hook(lambda gradient: 0 * gradient)


class LateHook(pl.Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            self.on_after_backward = lambda trainer, module: None


@pytest.mark.parametrize(
    ("callback", "named"), [(MaskedGradient, "gradient of network.hidden1.weight"), (LateHook, "LateHook.on_after")]
)
def test_hooks_that_a_graph_would_not_call_are_refused_whenever_they_come(callback, named):
    with pytest.raises(ConfigError, match=named):
        fit(callbacks=[callback()])


def test_a_signal_in_a_compiled_step_is_not_lost():
    with pytest.raises(SystemExit) as stopped, held_back():
        assert hold(15)
    assert stopped.value.code == 143
    assert not hold(15)


class LooksAtValues(MLP):
    def forward(self, images):
        logits = super().forward(images)
        return logits if logits.sum().item() > 0 else -logits


def test_a_graph_break_is_a_sentence():
    with pytest.raises(StoppedRun, match=r"cannot compile this step .*; set trainer.compile=false"):
        fit(kind=LooksAtValues)


class AtEachStep(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        module.penalty.weight = 0.01 * (1 + trainer.global_step)


def test_an_attribute_that_changes_at_each_step_ends_in_a_sentence(monkeypatch):
    monkeypatch.setattr(compiled_step, "RECOMPILE_LIMIT", 3)
    with pytest.raises(StoppedRun, match="changes too often"):
        fit(callbacks=[AtEachStep()], options={"penalty": "l2"})


@pytest.mark.slow
def test_a_compiled_run_resumes_to_the_bit(train, monkeypatch):
    options = ("model=resnet", "model.small_stem=true", "data.num_images=90", "data.image_shape=[3,8,8]", "logger=none")
    options += ("trainer.compile=true", "optim=adam", "trainer.max_epochs=3", "callbacks=none")
    steps = []

    def interrupt(self, images):
        steps.append(self.current_epoch)
        if steps.count(1) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResNetFineTuner, "check_batch", interrupt)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(*options, "output_dir=run")
    resumed = train(*options, "output_dir=run")
    whole = train(*options, "output_dir=whole")
    assert_same(weights(resumed.path), weights(whole.path))


def test_the_default_callbacks_measure_gradients_in_a_compiled_run(train):
    run = train("trainer.compile=true", "model=cnn")
    plain = train("model=cnn")
    for name, value in plain.result["metrics"].items():
        assert run.result["metrics"][name] == pytest.approx(value, rel=0.02, abs=0.01), name
    assert any(name.startswith("grad_norm/") for name in run.result["metrics"])
