"""Where steps are not replayed, and what train.log says of it."""

import itertools
import logging
import random

import numpy as np
import pytest
import torch
from test_epoch_loop import fit
from test_replay import again, both, hooked_weight, layer_of, listening
from torch import nn

from litmus.models import MLP

__all__ = ["again"]  # the fixture


def counting(layer, values):
    layer.calls += 1
    return values / layer.calls


def noisy(layer, values):
    return values * random.random()


class Noise(torch.autograd.Function):
    @staticmethod
    def forward(context, values):
        return values * 1

    @staticmethod
    def backward(context, gradient):
        return gradient * random.random()


def noisy_backwards(layer, values):
    return Noise.apply(values)


def noisy_by_numpy(layer, values):
    return values * np.random.rand()


def looking(layer, values):
    return values * values.detach().abs().max().item()


def from_outside(layer, values):
    return values * OUTSIDE[: values.shape[1]]


def seeding(layer, values):
    drawn = torch.rand_like(values)
    torch.manual_seed(layer.calls)
    return values * drawn


def with_a_counter(model):
    model.network.hidden1.counter = itertools.count()


OUTSIDE = torch.rand(100)
LAYERS = {
    counting: "each step differs from the one before",
    noisy: "a step draws random numbers of Python's",
    noisy_backwards: "a step draws random numbers of Python's",
    noisy_by_numpy: "a step draws random numbers of Python's",
    looking: "a step looks at a tensor's values (aten._local_scalar_dense.default): "
    "write torch.where for an if, and no .item()",
    from_outside: "a tensor of shape [100] is neither the batch's nor the model's: register_buffer it",
    seeding: "a step's operations give something else when they are called again",
    listening: "a hook on Linear",
    hooked_weight: "a hook on a parameter",
    with_a_counter: "whether Linear.counter has changed can't be told",
}


def prepared(of):
    class Prepared(MLP):
        replayable = True

        def __init__(self, *arguments, **parts):
            super().__init__(*arguments, **parts)
            if of in (listening, hooked_weight, with_a_counter):
                of(self)
            else:
                self.network.activation1 = layer_of(of)

        def on_fit_start(self):
            random.seed(0)
            np.random.seed(0)

    return Prepared


@pytest.mark.parametrize("of", LAYERS, ids=lambda of: of.__name__)
def test_a_step_in_which_python_has_a_say_is_worked_out_each_time_and_the_log_says_why(of, caplog, again):
    caplog.set_level(logging.INFO, logger="litmus")
    assert both(kind=prepared(of)).problem == LAYERS[of]
    assert again() == 0
    assert caplog.text.count(LAYERS[of]) == 1


class AsksTheTrainer(MLP):
    replayable = True

    def forward(self, images):
        return super().forward(images) * (1 + self.global_step)


class OwnStep(MLP):
    replayable = True

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * 2


class OwnLoss(MLP):
    replayable = True

    def __init__(self, *arguments, loss, **parts):
        super().__init__(*arguments, loss=nn.functional.cross_entropy, **parts)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"kind": AsksTheTrainer}, "a step asks the trainer"),
        ({"kind": OwnStep}, "OwnStep has a training_step of its own"),
        ({"kind": OwnLoss}, "the loss is no nn.Module"),
        ({"detect_anomaly": True}, "trainer.detect_anomaly=true"),
    ],
    ids=["trainer", "step", "loss", "anomaly"],
)
def test_nor_is_it_where_it_could_go_wrong_otherwise(options, problem, again):
    assert both(**options).problem == problem
    assert again() == 0


class Heir(MLP):
    """Of a model that is replayable."""


class Scripted(MLP):
    replayable = True

    def __init__(self, *arguments, **parts):
        super().__init__(*arguments, **parts)
        self.network.activation1 = torch.jit.script(nn.ReLU())


class Lent(MLP):
    replayable = True

    def __init__(self, *arguments, **parts):
        super().__init__(*arguments, **parts)
        self.network.activation1.forward = lambda values: values * 2


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (Heir, "Heir doesn't say replayable = True, which docs/benchmarks.md explains"),
        (Scripted, "RecursiveScriptModule doesn't say replayable = True, which docs/benchmarks.md explains"),
        (Lent, "whether ReLU.forward has changed can't be told"),
    ],
)
def test_only_what_is_known_or_says_so_is_replayed(kind, problem, again):
    assert fit(kind=kind)[1].fit_loop.epoch_loop.replay.problem == problem
    assert again() == 0
