"""Whose processes a run has, inside a job of Slurm and elsewhere."""

import pytest
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from litmus.errors import ConfigError
from litmus.runs.processes import check_directory_agreed, in_slurm


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
def test_a_run_that_srun_started_once_or_not_at_all_has_the_processes_it_starts_itself(job, facts, devices):
    job(**facts)
    (environment,) = in_slurm(devices, 1)
    assert isinstance(environment, LightningEnvironment)
    check_directory_agreed(given=False)


@pytest.mark.parametrize(("devices", "num_nodes"), [(4, 1), (2, 2), (1, 4)])
def test_a_run_of_several_nodes_or_tasks_has_those_of_srun_and_is_not_queued_again_by_lightning(
    job, devices, num_nodes
):
    job(NTASKS=4, STEP_NUM_TASKS=4, NTASKS_PER_NODE=devices)
    (environment,) = in_slurm(devices, num_nodes)
    assert isinstance(environment, SLURMEnvironment)
    assert environment.auto_requeue is False
    check_directory_agreed(given=True)
    with pytest.raises(ConfigError, match="the 4 processes of this run can't agree on a new directory"):
        check_directory_agreed(given=False)


@pytest.mark.parametrize(
    ("facts", "devices", "num_nodes", "sentence"),
    [
        (
            {"STEP_NUM_TASKS": 4, "NTASKS_PER_NODE": 4},
            1,
            1,
            "accelerator.devices=1 times accelerator.num_nodes=1 make 1 processes, and there are 4: start the run "
            "with srun --nodes=1 --ntasks-per-node=1",
        ),
        ({}, 2, 2, "make 4 processes, and there are 1: start the run with srun --nodes=2 --ntasks-per-node=2"),
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
