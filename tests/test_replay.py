import itertools

import pytest
import pytorch_lightning as pl
import torch
from conftest import assert_same, composed
from test_epoch_loop import fit
from torch import nn

from litmus import replay
from litmus.models import CNN, MLP, ResNetFineTuner
from litmus.penalties import L2
from litmus.runs.identity import config_hash, experiment

GROUPS = {"optim": "adam", "scheduler": "onecycle", "penalty": "l1"}


@pytest.fixture
def again(monkeypatch):
    """Counts the steps that were replayed."""
    counted, real = itertools.count(), replay.Replay._again

    def counting(self, *batch):
        next(counted)
        return real(self, *batch)

    monkeypatch.setattr(replay.Replay, "_again", counting)
    return lambda: next(counted)


def both(**options):
    """Training with and without replaying; the first one's Replay. Weights, buffers and figures are the same."""
    replayed, made = fit(**{"groups": GROUPS} | options)
    worked_out, other = fit(**{"groups": GROUPS} | options, replay=False)
    assert_same(replayed.state_dict(), worked_out.state_dict())
    assert made.callback_metrics.keys() == other.callback_metrics.keys()
    assert all(torch.equal(value, other.callback_metrics[name]) for name, value in made.callback_metrics.items())
    return made.fit_loop.epoch_loop.replay


def test_of_two_epochs_of_seven_batches_one_step_is_written_down_and_two_of_another_size_are_worked_out(again):
    assert both(kind=CNN).problem is None
    assert again() == 11


def test_it_can_be_switched_off(again):
    assert fit(replay=False)[1].fit_loop.epoch_loop.replay.problem == "trainer.replay=false"
    assert again() == 0


def test_whether_steps_are_replayed_makes_no_other_experiment():
    assert config_hash(experiment(composed())) == config_hash(experiment(composed("trainer.replay=false")))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_backbone_that_thaws_is_written_down_anew(precision, again, monkeypatch):
    images = torch.randint(0, 256, (51, 3, 17, 17), dtype=torch.uint8)
    monkeypatch.setattr("test_epoch_loop.IMAGES", images)

    class Small(ResNetFineTuner):
        replayable = True

        def __init__(self, num_classes, image_shape, hidden, dropout, **parts):
            super().__init__(num_classes, (3, 17, 17), freeze=True, unfreeze_at_epoch=1, unfreeze_every=1, **parts)

    assert both(kind=Small, max_epochs=3, precision=precision).problem is None
    assert again() == 3 * 5


def layer_of(function):
    class Layer(nn.Module):
        replayable = True
        forward = function

        def __init__(self):
            super().__init__()
            self.calls = 0

    return Layer()


class At(pl.Callback):
    """Does something to the model before the fourth step of each epoch."""

    def __init__(self, what):
        self.what = what

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 3:
            self.what(pl_module)


def another_loss(model):
    model.loss = nn.CrossEntropyLoss(label_smoothing=0.1)


def a_layer_less(model):
    model.network.dropout1 = nn.Identity()


def new_weights(model):
    model.network.hidden1.weight.data = torch.randn_like(model.network.hidden1.weight)


def hooked_weight(model):
    model.network.hidden1.weight.register_hook(lambda gradient: gradient * 2)


def another_parameter(model):
    model.network.hidden1.bias = nn.Parameter(torch.zeros_like(model.network.hidden1.bias))


CHANGES = {
    "dropout": lambda model: setattr(model.network.dropout1, "p", 0.6),
    "penalty": lambda model: setattr(model, "penalty", L2(0.1)),
    "penalty's weight": lambda model: setattr(model.penalty, "weight", 0.1),
    "loss": another_loss,
    "layer": a_layer_less,
    "frozen": lambda model: model.network.hidden1.requires_grad_(False),
    "mode": lambda model: model.network.eval(),
    "weights": new_weights,
    "parameter": another_parameter,
}


def listening(model):
    model.network.hidden1.register_forward_hook(lambda module, given, result: result * 2)


@pytest.fixture
def everywhere():
    handles = []
    yield lambda model: handles.append(nn.modules.module.register_module_forward_hook(lambda *_: None))
    for handle in handles:
        handle.remove()


def test_a_hook_on_all_modules_ends_it_too(everywhere, again):
    _, made = fit(callbacks=[At(everywhere)])
    assert made.fit_loop.epoch_loop.replay.problem == "a hook on all modules"
    assert again() == 2


@pytest.mark.parametrize("hook", [listening, hooked_weight])
def test_a_hook_that_comes_within_an_epoch_ends_it(hook, again):
    assert both(callbacks=[At(hook)]).problem.startswith("a hook on ")
    assert again() == 2


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_callback_changes_within_an_epoch_counts_from_there_on(change, again):
    first = both(callbacks=[At(CHANGES[change])])
    assert first.problem is None
    assert again() > 5
    unchanged, _ = fit(groups=GROUPS)
    changed, _ = fit(groups=GROUPS, callbacks=[At(CHANGES[change])])
    assert any(not torch.equal(a, b) for a, b in zip(unchanged.parameters(), changed.parameters(), strict=True))


def test_a_training_step_that_a_callback_puts_in_its_place_is_taken(again):
    def doubled(model):
        step = type(model).training_step
        model.training_step = lambda batch, batch_idx: step(model, batch, batch_idx) * 2

    assert both(callbacks=[At(doubled)]).problem == "MLP has a training_step of its own"
    assert again() == 2


class Twice(nn.Module):
    """Two parameters whose gradients are one tensor to autograd."""

    replayable = True

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.zeros(5, 5))

    def forward(self, values):
        return values @ (self.first + self.second)


@pytest.mark.parametrize("changes_gradients", [False, True])
def test_each_parameter_has_a_gradient_of_its_own(changes_gradients, again):
    class Doubling(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            for parameter in pl_module.parameters():
                parameter.grad.mul_(2)

    class WithTwice(MLP):
        replayable = True

        def __init__(self, *arguments, **parts):
            super().__init__(*arguments, **parts)
            self.network.activation1 = Twice()

    options = {"callbacks": [Doubling()]} if changes_gradients else {"gradient_clip_val": 0.01}
    assert both(kind=WithTwice, **options).problem is None
    assert again() == 11


def test_a_step_that_changes_its_parameters_is_put_back_after_it_was_tried_out(again):
    def decaying(layer, values):
        with torch.no_grad():
            layer.weight.mul_(0.9)
        return values * layer.weight

    class WithLayer(MLP):
        replayable = True

        def __init__(self, *arguments, **parts):
            super().__init__(*arguments, **parts)
            self.network.activation1 = layer_of(decaying)
            self.network.activation1.weight = nn.Parameter(torch.ones(5))

    both(kind=WithLayer, groups={"optim": "sgd"})
