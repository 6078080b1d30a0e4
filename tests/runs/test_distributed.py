"""Which processes belong to a run, inside a Slurm job and elsewhere."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.utilities import rank_zero_only

from litmus.core.environment import RANK_VARIABLES, check_rank_variables
from litmus.errors import ConfigError
from litmus.runs.distributed import check_processes, in_slurm


def check(devices: int, num_nodes: int = 1, is_directory_given: bool = True) -> None:
    check_processes(SimpleNamespace(devices=devices, num_nodes=num_nodes), is_directory_given)


@pytest.fixture(autouse=True)
def rank(monkeypatch):
    """Sets the variables of a launcher, and the rank that Lightning takes from them as it is imported."""
    for name in RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def launched(**variables: int) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(rank_zero_only, "rank", variables.get("RANK", variables.get("LOCAL_RANK", 0)))

    return launched


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"])
def test_a_stale_rank_does_not_silence_a_run(train, rank, monkeypatch, name):
    rank()
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    run = train("callbacks=none", "logger=none", "trainer.max_epochs=1")
    assert (run.path / "run.json").exists()
    assert rank_zero_only.rank == 0


@pytest.mark.slow
def test_a_command_with_a_stale_rank_writes_its_result(tmp_path):
    run = ["data=synthetic", "trainer.max_epochs=1", "callbacks=none", "logger=none", "output_dir=run"]
    stale = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "", "SLURM_PROCID": "3"}
    environment = {**os.environ, **stale}
    subprocess.run([sys.executable, ROOT / "train.py", *run], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("variables", "devices", "option"),
    [
        ({"WORLD_SIZE": 2, "RANK": 1}, 1, "accelerator.devices=2"),
        ({"WORLD_SIZE": 4, "RANK": 0, "LOCAL_RANK": 0}, 2, "unset WORLD_SIZE"),
        ({"LOCAL_RANK": 1}, 2, "unset LOCAL_RANK"),
    ],
    ids=str,
)
def test_ranks_of_other_processes_are_refused(rank, variables, devices, option):
    rank(**variables)
    with pytest.raises(ConfigError, match=option):
        check(devices)


def test_the_processes_of_torchrun_keep_their_ranks(rank):
    rank(WORLD_SIZE=2, RANK=1, LOCAL_RANK=1)
    check(2)
    assert rank_zero_only.rank == 1
    with pytest.raises(ConfigError, match="output_dir=DIR"):
        check(2, is_directory_given=False)


def test_an_empty_rank_variable_is_unset_and_words_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")
    check_rank_variables()
    assert "WORLD_SIZE" not in os.environ
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigError, match="unset RANK"):
        check_rank_variables()


@pytest.fixture
def job(monkeypatch):
    """Sets what Slurm says to a process."""
    for name in ("JOB_ID", "JOB_NAME", "STEP_NUM_TASKS", "NTASKS", "NTASKS_PER_NODE", "PROCID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)

    def made(**facts: object) -> None:
        for name, value in {"JOB_ID": 1, "JOB_NAME": "train", **facts}.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    return made


def test_outside_slurm_lightning_finds_the_processes(job):
    assert in_slurm(2, 1) == []


@pytest.mark.parametrize(
    "facts", [{}, {"NTASKS": 4}, {"NTASKS": 1, "STEP_NUM_TASKS": 1}, {"STEP_NUM_TASKS": 8, "JOB_NAME": "bash"}], ids=str
)
@pytest.mark.parametrize("devices", [1, 2])
def test_without_several_srun_tasks_a_run_starts_its_own_processes(job, facts, devices):
    job(**facts)
    (environment,) = in_slurm(devices, 1)
    assert isinstance(environment, LightningEnvironment)
    check(devices, is_directory_given=False)


@pytest.mark.parametrize(("devices", "num_nodes"), [(4, 1), (2, 2), (1, 4)])
def test_several_srun_tasks_are_used_and_lightning_does_not_requeue(job, devices, num_nodes):
    job(NTASKS=4, STEP_NUM_TASKS=4, NTASKS_PER_NODE=devices)
    (environment,) = in_slurm(devices, num_nodes)
    assert isinstance(environment, SLURMEnvironment)
    assert environment.auto_requeue is False
    check(devices, num_nodes)
    with pytest.raises(ConfigError, match="output_dir=DIR"):
        check(devices, num_nodes, is_directory_given=False)


@pytest.mark.parametrize(
    ("facts", "devices", "num_nodes", "sentence"),
    [
        (
            {"STEP_NUM_TASKS": 4, "NTASKS_PER_NODE": 4},
            1,
            1,
            "accelerator.devices=1 times accelerator.num_nodes=1 make 1 process, and srun started 4: start the run "
            "with srun --nodes=1 --ntasks-per-node=1",
        ),
        ({}, 2, 2, "make 4 processes, and srun started 1: start the run with srun --nodes=2 --ntasks-per-node=2"),
        (
            {"STEP_NUM_TASKS": 2},
            1,
            2,
            "2 processes may be spread in any way: start the run with srun --nodes=2 --ntasks-per-node=1",
        ),
    ],
    ids=str,
)
def test_another_number_of_processes_is_refused(job, facts, devices, num_nodes, sentence):
    job(**facts)
    with pytest.raises(ConfigError, match=sentence):
        in_slurm(devices, num_nodes)
