"""What a model keeps counts at its next step, wherever it keeps it."""

import itertools

import pytest
import torch
from test_epoch_loop import fit
from test_replay import At, again, both
from torch import nn

from litmus.callbacks import GradNorm, ValidateLast
from litmus.model_attributes import Attributes
from litmus.models import MLP

__all__ = ["again"]  # the fixture


class Counting(GradNorm):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        super().on_before_optimizer_step(trainer, pl_module, optimizer)


class OfMyOwn(torch.optim.lr_scheduler.ExponentialLR):
    pass


class Scheduled(MLP):
    replayable = True

    def _schedule(self, optimizer, total):
        return {"interval": "step", "frequency": 1, "scheduler": OfMyOwn(optimizer, 0.9)}


class GivenAFunction(MLP):
    replayable = True

    def _schedule(self, optimizer, total):
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        return {"interval": "step", "frequency": 1, "scheduler": scheduler}


@pytest.mark.parametrize(
    ("options", "alone"),
    [
        ({}, True),
        ({"callbacks": [GradNorm(2), ValidateLast()]}, True),
        ({"callbacks": [Counting(2)]}, False),
        ({"callbacks": [At(lambda model: None)]}, False),
        ({"val_check_interval": 2}, False),
        ({"kind": Scheduled}, False),
        ({"kind": GivenAFunction}, False),
    ],
    ids=["nobody", "litmus", "a subclass", "a callback", "validation", "a scheduler", "a function"],
)
def test_attributes_are_compared_at_each_step_unless_nobody_else_is_at_them(options, alone, again, monkeypatch):
    compared, real = itertools.count(), Attributes.unchanged
    monkeypatch.setattr(Attributes, "unchanged", lambda self: (next(compared), real(self))[1])
    _, made = fit(groups={"optim": "adam"}, **options)
    assert made.fit_loop.epoch_loop.replay.alone is alone
    assert again() == 11
    assert next(compared) == (2 if alone else 12)  # each epoch's first step, or all; once as it was written down


def test_an_attribute_of_the_model_itself_counts_too(again):
    class Scaled(MLP):
        replayable = True

        scale = 1.0

        def forward(self, images):
            return super().forward(images) * self.scale

    Scaled.__init__ = lambda self, *a, **k: (MLP.__init__(self, *a, **k), setattr(self, "scale", 1.0))[0]
    assert both(kind=Scaled, callbacks=[At(lambda model: setattr(model, "scale", model.scale * 2))]).problem is None
    assert again() > 5


class Remembers(MLP):
    """Scales its logits by what it keeps of the steps before: each attribute in a form of its own."""

    replayable = True
    steps = 0
    kept = None

    def forward(self, images):
        return super().forward(images) * (1 + self.kept(self.training) / 10)

    def in_a_default(self, training):
        self.steps += training
        return self.steps

    def in_a_private_name(self, training):
        self._steps = getattr(self, "_steps", 0) + training
        return self._steps

    def in_a_list(self, training):
        self.list[0].append(training)
        return sum(self.list[0])

    def in_a_dict(self, training):
        self.dict["steps"]["all"] += training
        return self.dict["steps"]["all"]

    def in_its_class(self, training):
        type(self).steps += training
        return self.steps

    def in_a_module_beside_the_network(self, training):
        self.beside.steps = getattr(self.beside, "steps", 0) + training
        return self.beside.steps


def remembering(how):
    class Prepared(Remembers):
        replayable = True
        kept = getattr(Remembers, how)

        def __init__(self, *arguments, **parts):
            super().__init__(*arguments, **parts)
            self.list, self.dict, self.beside = [[0]], {"steps": {"all": 0}}, nn.Identity()

        def on_fit_start(self):
            type(self).steps = 0

    return Prepared


@pytest.mark.parametrize("how", [name for name in vars(Remembers) if name.startswith("in_")])
def test_what_a_model_keeps_of_a_step_wherever_it_keeps_it_counts_at_the_next(how, again):
    assert both(kind=remembering(how)).problem == "each step differs from the one before"
    assert again() == 0


@pytest.mark.parametrize("name", ["scale", "_scale", "scales", "of_the_class", "buffer"])
def test_what_a_model_sets_itself_when_an_epoch_starts_counts_from_there_on(name, again):
    class Warmed(MLP):
        replayable = True
        factor = 1.0

        def __init__(self, *arguments, **parts):
            super().__init__(*arguments, **parts)
            self.scale, self._scale, self.scales = 1.0, 1.0, [1.0]
            self.register_buffer("buffer", torch.ones(()))

        def on_train_epoch_start(self):
            super().on_train_epoch_start()
            value = 0.1 + 0.3 * self.current_epoch
            if name == "scales":
                self.scales[0] = value
            elif name == "of_the_class":
                type(self).factor = value
            else:
                setattr(self, name, torch.tensor(value) if name == "buffer" else value)

        def forward(self, images):
            return super().forward(images) * (self.scale * self._scale * self.scales[0] * self.factor * self.buffer)

        def on_fit_start(self):
            type(self).factor = 1.0

    assert both(kind=Warmed).problem is None
    assert again() > 0


def test_what_a_model_keeps_in_an_object_cannot_be_told(again):
    class Counter:
        steps = 0

    class Kept(MLP):
        replayable = True

        def __init__(self, *arguments, **parts):
            super().__init__(*arguments, **parts)
            self.counter = Counter()

    assert both(kind=Kept).problem == "whether Kept.counter has changed can't be told"
