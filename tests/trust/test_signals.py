"""A run that is told to end: how it says so, and that nothing of it is lost."""

import re
import signal

import pytest
from conftest import assert_same, weights

from litmus.core.atomic_files import is_draft

pytestmark = [pytest.mark.trust, pytest.mark.slow]

RUN = (
    *("data=synthetic", "data.num_images=200", "data.batch_size=10", "data.augment.flip=true", "model.hidden=[16]"),
    *("model.dropout=0.3", "accelerator=cpu", "accelerator.threads=1", "callbacks.early_stopping=null"),
)
LONG, SHORT = "trainer.max_epochs=5000", "trainer.max_epochs=40"
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_run_that_is_told_to_end_says_how_to_go_on_and_does_so_exactly(starter, tmp_path, number):
    run = starter.start(*RUN, SHORT, "scheduler=constant", "output_dir=cut", cwd=tmp_path)
    run.wait_for((tmp_path / "cut" / "checkpoints" / "last.ckpt").exists)
    assert run.kill(number) == STATUS[number], run.text
    assert not (tmp_path / "cut" / "result.json").exists()
    told = re.search(r"^stopped; to resume: python train.py (resume=cut)\n\Z", run.text, re.MULTILINE)
    assert told, run.text
    assert "Traceback" not in run.text

    again = starter.start(told[1], cwd=tmp_path)
    assert again.wait() == 0, again.text
    assert "resuming from" in again.text
    whole = starter.start(*RUN, SHORT, "scheduler=constant", "output_dir=whole", cwd=tmp_path)
    assert whole.wait() == 0, whole.text
    assert (tmp_path / "cut" / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
    for name in ("best", "last"):
        assert_same(weights(tmp_path / "cut", name), weights(tmp_path / "whole", name))


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
@pytest.mark.parametrize("file", ["last.ckpt", "metrics.csv", "run.json"])
def test_a_signal_in_the_middle_of_a_write_leaves_no_draft(starter, tmp_path, number, file):
    moment = {"file": file, "nth": 2 if file == "last.ckpt" else 1, "when": "torn", "number": number}
    run = starter.start(*RUN, LONG, "output_dir=cut", cwd=tmp_path, prepared={"moment": moment})
    assert run.wait() == STATUS[number], run.text
    assert [path for path in tmp_path.rglob(".*") if is_draft(path)] == []


def test_a_job_of_a_sweep_in_the_middle_of_a_write_leaves_no_draft_either(starter, tmp_path):
    moment = {"file": "last.ckpt", "nth": 2, "when": "torn", "number": signal.SIGTERM}
    sweep = starter.start("-m", *RUN, LONG, "seed=0,1", cwd=tmp_path, prepared={"moment": moment})
    assert sweep.wait() == 1
    assert "2 of 2 jobs failed" in sweep.text
    assert [path for path in tmp_path.rglob(".*") if is_draft(path)] == []
