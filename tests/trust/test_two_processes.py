"""A run of two processes is one run."""

import csv
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, weights
from starter import Started, processes

pytestmark = [pytest.mark.trust, pytest.mark.slow]

RUN = (
    *("data=synthetic", "data.num_images=100", "data.val_size=21", "data.train_size=99", "data.batch_size=26"),
    *("model.hidden=[16]", "model.input_dropout=0", "optim=adam", "penalty=l2", "scheduler=constant", "logger=none"),
    *("accelerator.threads=1", "callbacks.early_stopping=null", "output_dir=run"),
)
TWO = (*RUN, "accelerator=ddp_cpu", "accelerator.devices=2")
BOUND = 30.0  # seconds in which a run must have noticed that a process of it is gone


@pytest.fixture
def folder(tmp_path):
    """Where `python train.py` finds it, as the second process is started."""
    (tmp_path / "train.py").symlink_to(ROOT / "train.py")
    return tmp_path


def children(pid: int) -> list[int]:
    """Those that run Python."""
    return [process.pid for process in processes() if process.parent == pid and "python" in process.name]


def gone(pid: int) -> bool:
    return all(process.pid != pid for process in processes())


def second_process(run: Started, directory: Path) -> int:
    """Once the run has an epoch behind it."""
    run.wait_for((directory / "checkpoints" / "last.ckpt").exists)
    (pid,) = children(run.pid)
    return pid


def test_two_processes_train_like_one_and_test_each_image_once(starter, folder):
    epochs = "trainer.max_epochs=3"
    two = starter.start(*TWO, epochs, cwd=folder)
    assert two.wait() == 0, two.text
    one = starter.start(*RUN, epochs, "accelerator=cpu", "output_dir=one", cwd=folder)
    assert one.wait() == 0, one.text

    assert sorted(path.parent.name for path in folder.rglob("run.json")) == ["one", "run"]
    log = (folder / "run" / "train.log").read_text()
    assert [len(re.findall(f"epoch {epoch}/3", log)) for epoch in (1, 2, 3)] == [1, 1, 1]
    assert two.text.count("epoch 3/3") == 1
    first, second = weights(folder / "one"), weights(folder / "run")
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-4, atol=1e-6)
    with (folder / "run" / "test" / "confusion_matrix.csv").open() as file:
        counts = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    assert sum(map(sum, counts)) == 25
    results = [json.loads((folder / name / "result.json").read_text())["metrics"] for name in ("one", "run")]
    assert results[0].keys() == results[1].keys()
    for name in ("train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc", "penalty"):
        assert results[1][name] == pytest.approx(results[0][name], rel=1e-4), name


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_killed_second_process_ends_the_run_in_bounded_time(starter, folder, number):
    run = starter.start(*TWO, "trainer.max_epochs=5000", cwd=folder)
    pid = second_process(run, folder / "run")
    os.kill(pid, number)
    killed = time.monotonic()
    assert run.wait() == 2, run.text
    assert time.monotonic() - killed < BOUND
    assert f"error: process 2 of the 2 that train this run was killed by {number.name}: say resume=" in run.text
    assert "stopped by StoppedRun" in (folder / "run" / "train.log").read_text()


def test_a_first_process_that_is_killed_takes_the_second_along(starter, folder):
    run = starter.start(*TWO, "trainer.max_epochs=5000", cwd=folder)
    pid = second_process(run, folder / "run")
    assert run.kill() == -signal.SIGKILL
    run.wait_for(lambda: gone(pid))


def test_ctrl_c_ends_both_and_the_run_goes_on_to_the_same_weights(starter, folder):
    whole = starter.start(*TWO, "trainer.max_epochs=40", "output_dir=whole", cwd=folder)
    run = starter.start(*TWO, "trainer.max_epochs=40", cwd=folder)
    pid = second_process(run, folder / "run")
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    assert run.wait() == 130, run.text
    assert "stopped; to resume: python train.py resume=run" in run.text
    assert "Traceback" not in run.text
    assert gone(pid)
    again = starter.start("resume=run", cwd=folder)
    assert again.wait() == 0, again.text
    assert whole.wait() == 0, whole.text
    assert (folder / "run" / "metrics.csv").read_text() == (folder / "whole" / "metrics.csv").read_text()


def test_in_a_sweep_a_killed_process_fails_its_job_alone(starter, folder):
    options = [option for option in TWO if not option.startswith("output_dir")]
    sweep = starter.start("-m", *options, "seed=0,1", "trainer.max_epochs=60", "sweep_name=s", cwd=folder)
    jobs = folder / "outputs" / "sweeps" / "s"
    (first,) = sweep.wait_for(lambda: [path.parents[1] for path in jobs.glob("*/checkpoints/last.ckpt")])
    (server,) = children(sweep.pid)
    (job,) = children(server)
    (second,) = children(job)
    os.kill(second, signal.SIGKILL)
    assert sweep.wait() == 1, sweep.text
    assert "FAILED: process 2 of the 2 that train this run was killed by SIGKILL" in sweep.text
    assert [path.parent for path in jobs.glob("*/result.json")] != [first]
    assert len(list(jobs.glob("*/result.json"))) == 1
    assert len(list(jobs.glob("*/train.log"))) == 2


def test_the_second_process_composes_from_the_same_folders(starter, folder):
    (folder / "more" / "optim").mkdir(parents=True)
    (folder / "more" / "optim" / "own.yaml").write_text("_target_: torch.optim.Adam\n_partial_: true\nlr: 1e-3\n")
    run = starter.start("--config-dir", "more", *TWO, "optim=own", "trainer.max_epochs=1", cwd=folder)
    assert run.wait() == 0, run.text


def test_a_refusal_by_the_second_process_shows_no_traceback(starter, folder, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    run = starter.start(*TWO, "trainer.max_epochs=1", "+optim.no_such_argument=1", cwd=folder)
    assert run.wait() == 2
    assert "Traceback" not in run.text
