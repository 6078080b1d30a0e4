import math
import signal
import time

import pytest
from pytorch_lightning import Trainer

from litmus.runs.interruption import handle_signals
from litmus.runs.result import has_diverged


def told_while_tidied_up():
    try:
        yield
    finally:
        signal.raise_signal(signal.SIGTERM)


def tidy_up_and_go_on(seen):
    generator = told_while_tidied_up()
    next(generator)
    del generator
    seen.append("the exception did not come through")
    for _ in range(200):  # another thread's interrupt does not end a sleep
        time.sleep(0.1)
    seen.append("nor did a second")


def test_a_signal_while_python_tidies_up_ends_the_run_all_the_same(tmp_path):
    trainer, seen = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), []
    with pytest.raises(SystemExit) as ended, handle_signals(trainer, tmp_path, in_sweep=False):
        tidy_up_and_go_on(seen)
    assert seen == ["the exception did not come through"]
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("overrides", "diverged"),
    [
        (("optim.lr=1e6",), True),
        (("optim.lr=1e-3",), False),
        (("loss=nll_on_softmax", "optim.lr=1e6"), False),  # of which no value is far from a guess
    ],
)
def test_a_finite_loss_far_above_a_guess_is_called_divergence(train, caplog, overrides, diverged):
    caplog.set_level("INFO", logger="litmus")
    quick = ("data.num_images=200", "trainer.max_epochs=1", "logger=none", "callbacks=none", "test=false")
    run = train(*quick, *overrides, "optim=adam", "scheduler=constant")
    assert math.isfinite(run.result["metrics"]["val/loss"])
    assert run.result["diverged"] is diverged
    assert ("training diverged" in caplog.text) is diverged
    assert ("lower optim.lr" in caplog.text) is diverged


@pytest.mark.parametrize(
    ("training", "validation", "uninformed", "diverged"),
    [
        (3.0, 30.0, 2.3, True),
        (0.1, 30.0, 2.3, False),  # overfitting
        (3.0, 20.0, 2.3, False),
        (3.0, 30.0, None, False),
    ],
)
def test_divergence_is_judged_by_training_and_validation(training, validation, uninformed, diverged):
    assert has_diverged({"train/loss": training, "val/loss": validation}, uninformed) is diverged
