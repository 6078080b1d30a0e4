import signal
import time

import pytest
from pytorch_lightning import Trainer

from litmus.runs.stopping import stoppable


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
    time.sleep(20)
    seen.append("nor did a second")


def test_a_signal_while_python_tidies_up_ends_the_run_all_the_same(tmp_path):
    trainer, seen = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), []
    with pytest.raises(SystemExit) as ended, stoppable(trainer, tmp_path, in_sweep=False):
        tidy_up_and_go_on(seen)
    assert seen == ["the exception did not come through"]
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
