"""Whatever only observes a training leaves its weights as they are."""

import functools
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from conftest import assert_same, composed, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import LambdaCallback, LearningRateMonitor, Timer
from pytorch_lightning.loggers import CSVLogger

PROFILERS = ("null", "simple", "advanced")
LOGGERS = ("none", "tensorboard")
CALLBACKS = ("none", "default", "test_curve")


def look(trainer, module, *_):
    assert all(parameter.isfinite().all() for parameter in module.parameters())


OBSERVERS = {
    "hooks set on an instance": lambda: LambdaCallback(on_train_batch_end=look, on_before_optimizer_step=look),
    "a timer": lambda: Timer("00:01:00:00"),
    "a learning rate monitor": lambda: LearningRateMonitor("step"),
}


class Observed(pl.Trainer):
    """A trainer with more observers than its config names."""

    observers = ()

    def __init__(self, callbacks, logger, default_root_dir, **options):
        loggers = [*logger, CSVLogger(default_root_dir)]
        super().__init__(
            callbacks=[*callbacks, *(OBSERVERS[name]() for name in self.observers)],
            logger=loggers,
            default_root_dir=default_root_dir,
            **options,
        )


def trained(*overrides: str) -> dict[str, torch.Tensor]:
    import train as script

    with tempfile.TemporaryDirectory() as folder:
        options = ["data=synthetic", "data.num_images=90", "data.batch_size=16", "trainer.max_epochs=2", "test=false"]
        options += ["accelerator=cpu", "model.dropout=0.2", "model.hidden=[8]", f"output_dir={folder}/run"]
        script.main.__wrapped__(composed(*options, *overrides))
        return weights(Path(folder, "run"))


@functools.cache
def unobserved():
    return trained("callbacks=none", "logger=none")


@pytest.mark.filterwarnings("ignore:.*Experiment logs directory")
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    profiler=st.sampled_from(PROFILERS),
    logger=st.sampled_from(LOGGERS),
    callbacks=st.sampled_from(CALLBACKS),
    observers=st.sets(st.sampled_from(sorted(OBSERVERS))),
    every=st.sampled_from((1, 3, 50)),
)
def test_observers_leave_the_weights_as_they_are(profiler, logger, callbacks, observers, every):
    from litmus.training import trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Observed, "observers", tuple(observers))
        patch.setattr(trainer, "pl", SimpleNamespace(**{**vars(pl), "Trainer": Observed}))
        overrides = (f"trainer.profiler={profiler}", f"logger={logger}", f"callbacks={callbacks}")
        found = trained(*overrides, f"trainer.log_every_n_steps={every}")
    assert_same(found, unobserved())
