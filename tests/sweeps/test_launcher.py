"""Who gets which part of the machine."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import composed

from hydra_plugins.litmus import launcher as module
from hydra_plugins.litmus.launcher import LocalLauncher, Running
from litmus.data.sources import MNIST
from litmus.errors import ConfigError
from litmus.sweeps.job_process import gpu_names, share_cores


def take(launcher: LocalLauncher, accelerator: str = "gpu", devices: int = 1) -> list[str] | None:
    """The GPUs of one more job, which then runs."""
    gpus = launcher._take_gpus(SimpleNamespace(accelerator=accelerator, devices=devices))
    if gpus is not None:
        launcher.running.append(Running(job=None, pid=0, line=None, log=Path(), gpus=gpus))
    return gpus


def on(*gpus: str, jobs_per_gpu: int = 1) -> LocalLauncher:
    launcher = LocalLauncher(jobs=8, jobs_per_gpu=jobs_per_gpu)
    launcher.gpus = list(gpus)
    return launcher


def test_each_job_has_a_gpu_of_its_own_and_waits_if_none_is_free():
    launcher = on("0", "1")
    assert [take(launcher) for _ in range(3)] == [["0"], ["1"], None]
    launcher.running.pop(0)
    assert take(launcher, "auto") == ["0"]


def test_jobs_share_gpus_only_when_told_and_then_evenly():
    launcher = on("0", "1", jobs_per_gpu=2)
    assert [take(launcher) for _ in range(5)] == [["0"], ["1"], ["0"], ["1"], None]


def test_a_job_of_two_devices_takes_two_gpus():
    launcher = on("0", "1", "2")
    assert [take(launcher, devices=2), take(launcher, devices=2), take(launcher)] == [["0", "1"], None, ["2"]]


def test_a_cpu_job_takes_no_gpu_and_too_many_gpus_are_left_to_the_job():
    assert take(on("0"), "cpu") == []
    assert take(on()) == []
    assert take(on("0"), devices=2) == []


def test_gpus_keep_the_names_that_the_user_made_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_names(2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert gpu_names(2) == ["3", "5"]


@pytest.mark.parametrize(("jobs", "threads"), [(1, 5), (2, 2), (4, 1), (9, 1)])
def test_the_threads_are_divided_and_one_job_keeps_torchs_choice(set_threads, jobs, threads):
    set_threads(5)
    share_cores(jobs)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("options", "sentence"), [({"jobs": 0}, "jobs is 0"), ({"jobs_per_gpu": 1.5}, "1.5, and must")]
)
def test_an_impossible_number_of_jobs_is_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        LocalLauncher(**{"jobs": 1, "jobs_per_gpu": 1, **options})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is loaded before the fork")
@pytest.mark.parametrize(("data", "times"), [("mnist", 1), ("fashion_mnist", 0), ("image_folder", 0)])
def test_only_jobs_on_mnist_have_it_preloaded(monkeypatch, data, times):
    calls = []

    def preload():
        calls.append(data)
        raise ConfigError("damaged")  # for the job to report

    monkeypatch.setattr(module, "IMPORTS", ())
    monkeypatch.setattr(MNIST, "preload", preload)
    launcher = on()
    launcher.config = composed(f"data={data}")
    launcher._prepare()
    assert len(calls) == times
