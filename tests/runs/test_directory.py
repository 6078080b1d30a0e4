import os
import signal
import subprocess
import sys

import pytest
from conftest import SMALL, snapshot

from litmus.errors import ConfigError, DirectoryInUse
from litmus.runs.directory import discard_if_empty, discard_if_refused, lock_directory

HOLD = (
    "import sys, time; from pathlib import Path; from litmus.runs.directory import lock_directory\n"
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
    monkeypatch.setattr("litmus.runs.directory.PATIENCE", 0)
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


def test_a_refusal_removes_only_what_is_new_and_not_locked_by_another(tmp_path):
    run = tmp_path / "new" / "run"

    def refuse(leave: str | None = None) -> None:
        with discard_if_empty(run), lock_directory(run, patience=0), discard_if_refused(run):
            (run / "run.json").write_text("")
            if leave is not None:
                (run / leave).parent.mkdir(exist_ok=True)
                (run / leave).write_text("")
            raise ConfigError("no")

    with pytest.raises(ConfigError):
        refuse()
    assert not (tmp_path / "new").exists()
    run.mkdir(parents=True)
    with pytest.raises(ConfigError):
        refuse()
    assert [entry.name for entry in run.iterdir()] == [".lock"]
    with pytest.raises(ConfigError):
        refuse(leave="checkpoints/last.ckpt")
    before = snapshot(run)
    with pytest.raises(ConfigError):
        refuse()
    assert snapshot(run).keys() == before.keys()


def test_a_process_that_finds_the_lock_taken_removes_nothing(tmp_path, holder):
    (tmp_path / "run" / "run.json").write_text("theirs")
    with (
        pytest.raises(DirectoryInUse),
        discard_if_empty(tmp_path / "run"),
        lock_directory(tmp_path / "run", patience=0),
    ):
        pass
    assert (tmp_path / "run" / "run.json").read_text() == "theirs"


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("nowhere"), lambda path: path.write_text("")])
def test_a_directory_that_cannot_be_created_is_answered(tmp_path, make):
    make(tmp_path / "run")
    with (
        pytest.raises(ConfigError, match="cannot be created .*choose another output_dir"),
        lock_directory(tmp_path / "run"),
    ):
        pass
