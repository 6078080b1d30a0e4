import os
import signal
import subprocess
import sys

import pytest
from conftest import SMALL, snapshot

from litmus.errors import ConfigError
from litmus.runs.lock import lock_directory

HOLD = (
    "import sys, time; from pathlib import Path; from litmus.runs.lock import lock_directory\n"
    "with lock_directory(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_locked_directory_names_the_process_that_holds_it(tmp_path, holder):
    with (
        pytest.raises(ConfigError, match=f"is in use by process {holder.pid} on .* choose another output_dir"),
        lock_directory(tmp_path / "run", patience=0),
    ):
        pass


def test_the_lock_of_a_killed_process_does_not_block(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    with lock_directory(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / ".lock").read_text()


def test_a_run_is_refused_while_another_process_runs_it(train, tmp_path, holder, monkeypatch):
    monkeypatch.setattr("litmus.runs.lock.PATIENCE", 0)
    before = snapshot(tmp_path / "run")
    with pytest.raises(ConfigError, match=f"in use by process {holder.pid}"):
        train("output_dir=run", "logger=none", "callbacks=none")
    assert snapshot(tmp_path / "run") == before


@pytest.mark.slow
def test_the_same_command_twice_at_once_is_refused(starter, tmp_path):
    command = (*SMALL, "trainer.max_epochs=100000", "callbacks=none", "logger=none", "output_dir=run")
    first = starter.start(*command, cwd=tmp_path)
    first.wait_for((tmp_path / "run" / "run.json").exists)
    second = starter.start(*command, cwd=tmp_path)
    assert second.wait() == 2
    assert f"is in use by process {first.pid}" in second.text
    assert first.kill() == -signal.SIGKILL
