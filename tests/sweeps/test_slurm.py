"""What a sweep asks of Slurm and makes of its answers. tests/slurm_trial.py tries a real one."""

import errno
import fcntl
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import train
from conftest import CONF, ROOT
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode

from hydra_plugins.litmus import slurm as plugin
from litmus.errors import ConfigError, StoppedRun
from litmus.sweeps import job_process as process
from litmus.sweeps import slurm_jobs as slurm
from litmus.sweeps.job_process import print_to
from litmus.sweeps.jobs import Composer, Job

pytest.importorskip("submitit")

SMALL = {"data": "synthetic", "trainer.max_epochs": "1", "accelerator": "cpu", "logger": "none", "callbacks": "none"}
RESULT = {"objective": 0.5, "seconds": 2.0}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty directory, in which Slurm's commands are found that do what a test says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def command(name: str, script: str) -> None:
    path = Path("bin", name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def start(monkeypatch):
    """A launcher for what follows `-m launcher=slurm`, and a maker of its jobs."""
    for name in ("sbatch", "srun", "squeue"):
        command(name, "exit 1")
    for name in ("LOOK", "ASK", "GRACE"):
        monkeypatch.setattr(plugin, name, 0.01)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def made(*arguments: str):
            config = loader.load_configuration("train", ["launcher=slurm", *arguments], RunMode.MULTIRUN)
            launcher = plugin.SlurmLauncher(config.launcher)
            context = HydraContext(config_loader=loader, callbacks=Callbacks())
            launcher.setup(hydra_context=context, task_function=train.main, config=config)
            composer = Composer(loader, config, "name")

            def job(**settings: str) -> Job:
                return composer.job(SMALL | {key.replace("__", "."): v for key, v in settings.items()}, ["seed"])

            return launcher, job

        yield made


class Cluster:
    """Stands in for Slurm: keeps what was submitted, and lets a job end in the way a test says."""

    def __init__(self, monkeypatch, launcher):
        self.arrays: list[list[str]] = []
        self.queue: dict[str, str] = {}
        self.outcomes: dict[str, dict] = {}
        self.launcher = launcher
        monkeypatch.setattr(slurm, "submit", self.submit)
        monkeypatch.setattr(slurm, "states", lambda: self.queue)

    def submit(self, function, requests, folder, requeues, options):
        folder.mkdir(parents=True, exist_ok=True)
        self.arrays.append([Path(request.config.output_dir).name for request in requests])
        ids = [f"{len(self.arrays)}_{i}" for i in range(len(requests))]
        for id in ids:
            self.queue[id] = "RUNNING"
            if outcome := self.outcomes.get(id):
                self.end(id, outcome)
        return ids

    def end(self, id: str, outcome: dict) -> None:
        Path("outputs/sweeps/name/slurm").mkdir(parents=True, exist_ok=True)
        Path(f"outputs/sweeps/name/slurm/{id}_0_result.pkl").write_bytes(pickle.dumps(("success", outcome)))
        self.queue.pop(id, None)

    def ends(self, jobs) -> list:
        with self.launcher:
            return list(self.launcher.work(iter(jobs), lambda *_: False, False))


def test_the_options_become_sbatchs(start):
    command("sbatch", "cp $1 asked.sh; env > environment; echo Submitted batch job 7")
    launcher, job = start(
        *("launcher.partition=gpu", "launcher.account=a", "launcher.qos=q", "launcher.constraint=c", "jobs=3"),
        *("launcher.time=01:30:01", "launcher.gpus=2", "launcher.cpus=4", "launcher.memory=1.5"),
        *("launcher.setup=[module load cuda]", "launcher.extra='--gres=gpu:a100:2 --exclusive'", "sweep_name=name"),
    )
    requests = [launcher._request("name", job(seed=seed)) for seed in ("0", "1")]
    payload = slurm.Payload(launcher.task, "train.py")
    assert slurm.submit(payload, requests, Path("outputs/slurm"), 20, launcher.sbatch) == ["7_0", "7_1"]
    text = Path("asked.sh").read_text().splitlines()
    folder = Path("outputs/slurm").absolute()
    assert [line.removeprefix("#SBATCH --") for line in text if line.startswith("#SBATCH")] == [
        "account=a", "array=0-1%2", "constraint=c", "cpus-per-task=4", "exclusive", "gpus-per-node=2",
        "gres=gpu:a100:2", "job-name=litmus-name", "mem=1536M", "nodes=1", "open-mode=append",
        f"output={folder}/%A_%a_0_log.out", "partition=gpu", "qos=q", "requeue", "signal=USR2@90", "time=91",
    ]  # fmt: skip
    assert text[text.index("# setup") + 1] == "module load cuda"
    assert text[-1] == (
        f"srun --unbuffered --output {folder}/%A_%a_%t_log.out --cpus-per-task=4 {sys.executable} "
        f"-u -m submitit.core._submit {folder}"
    )
    assert launcher.jobs == 3


def test_what_was_not_said_is_left_to_the_cluster(start):
    command("sbatch", "cp $1 asked.sh; echo Submitted batch job 7")
    launcher, job = start()
    slurm.submit(print, [launcher._request("name", job(seed="0"))], Path("slurm"), 20, launcher.sbatch)
    options = {line[10:].split("=")[0] for line in Path("asked.sh").read_text().splitlines() if "#SBATCH" in line}
    assert options == {"job-name", "nodes", "open-mode", "output", "requeue", "signal", "time"}


def test_a_sweep_inside_a_job_of_slurm_does_not_hand_on_that_jobs_shape(start, monkeypatch):
    command("sbatch", "env > environment; echo Submitted batch job 7")
    launcher, job = start()
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CONF", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "1")
    slurm.submit(print, [launcher._request("name", job(seed="0"))], Path("slurm"), 20, launcher.sbatch)
    names = {line.split("=")[0] for line in Path("environment").read_text().splitlines()}
    assert names & {"SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CONF", "SBATCH_ACCOUNT"} == {
        "SLURM_CONF",
        "SBATCH_ACCOUNT",
    }
    assert os.environ["SLURM_CPUS_PER_TASK"] == "1"


def test_what_slurm_refuses_is_told_in_its_words_and_leaves_nothing(start, capsys):
    command("squeue", "true")
    command("sbatch", "echo 'sbatch: error: invalid partition specified: nope' >&2; exit 1")
    launcher, job = start("launcher.partition=nope")
    with pytest.raises(ConfigError, match=r"^Slurm refuses the jobs: invalid partition specified: nope$"), launcher:
        list(launcher.work(iter([job(seed="0"), job(seed="1")]), lambda *_: False, False))
    assert not any(Path("outputs/sweeps").iterdir())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("time", "expected"), [(None, 60), (30, 30), ("00:10:00", 10), ("01:30:01", 91), ("1-02:00", 1560), ("0:00:01", 1)]
)
def test_a_time_is_minutes_however_it_is_written(time, expected):
    assert slurm.minutes(time) == expected


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("launcher.time=1:30", "launcher.time=1:30 can mean two things: write HH:MM:SS, or a number of minutes"),
        ("launcher.time=soon", "launcher.time is 'soon', and must be a whole number of minutes, HH:MM:SS or D-HH"),
        ("launcher.time=0", "launcher.time is 0, and must"),
        ("launcher.memory=much", "launcher.memory is 'much', and must be a number of GB, or such as 500M"),
        ("launcher.extra=-x", "launcher.extra has -x: write sbatch's options in full"),
        ("launcher.setup=module", "launcher.setup is 'module', and must be a list of shell commands"),
        ("launcher.gpus=-1", "launcher.gpus is -1, and must be a whole number of 0 or more"),
        ("launcher.cpus=0", "launcher.cpus is 0, and must be a whole number of 1 or more"),
        ("launcher.requeues=-1", "launcher.requeues is -1, and must"),
        ("jobs=0", "jobs is 0, and must be a whole number of 1 or more"),
        ("pruner=median", "launcher=slurm can't end hopeless trials early; set pruner=none"),
    ],
    ids=str,
)
def test_an_impossible_option_is_refused(start, argument, sentence):
    with pytest.raises(ConfigError) as caught:
        start(argument)
    assert str(caught.value).startswith(sentence)


def test_where_there_is_no_slurm_or_no_submitit_one_sentence_says_so(start, monkeypatch):
    monkeypatch.setattr(slurm, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match="needs the package submitit: pip install -c constraints.txt -e '.\\[slurm\\]'"
    ):
        start()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="needs Slurm's sbatch and srun, which are not on the PATH here: start the"):
        start()


@pytest.mark.parametrize(
    ("options", "settings", "sentence"),
    [
        ((), {"accelerator": "gpu"}, "each job needs 1 GPU\\(s\\), and launcher.gpus=0; set launcher.gpus=1"),
        (("launcher.gpus=1",), {"accelerator": "ddp"}, "each job needs 2 GPU\\(s\\), and launcher.gpus=1"),
        ((), {"accelerator__num_nodes": "2"}, "a job of a sweep runs on one node"),
    ],
)
def test_a_job_that_does_not_fit_is_refused_before_any_is_submitted(start, monkeypatch, options, settings, sentence):
    launcher, job = start(*options)
    cluster = Cluster(monkeypatch, launcher)
    with pytest.raises(ConfigError, match=sentence):
        cluster.ends([job(seed="0"), job(**settings)])
    assert cluster.arrays == []


def test_a_grid_is_one_array_and_each_job_ends_with_its_result_or_reason(start, monkeypatch):
    launcher, job = start("jobs=2")
    cluster = Cluster(monkeypatch, launcher)
    cluster.outcomes = {"1_0": {"result": RESULT}, "1_1": {"result": None, "reason": "no", "diverged": True}}
    jobs = [job(seed=str(seed)) for seed in range(3)]

    def end_the_third():
        cluster.queue["1_2"] = "TIMEOUT"
        return cluster.queue

    monkeypatch.setattr(slurm, "states", end_the_third)
    ended = sorted(cluster.ends(jobs), key=lambda e: e.job.settings["seed"])
    assert cluster.arrays == [[job.path.name for job in jobs]]
    assert [e.result for e in ended] == [RESULT, None, None]
    assert [(e.reason, e.diverged) for e in ended[1:]] == [("no", True), (slurm.ENDED["TIMEOUT"], False)]
    assert ended[0].seconds == 2.0
    assert list(launcher.folder.iterdir()) == [launcher.folder / "jobs.json"]


def test_a_job_that_is_queued_again_is_waited_for(start, monkeypatch):
    launcher, job = start()
    cluster = Cluster(monkeypatch, launcher)
    told = iter(["", "COMPLETING", "PENDING", "FAILED", "PENDING", "RUNNING"])

    def states():
        state = next(told, None)
        if state is None:
            cluster.end("1_0", {"result": RESULT})
        return {"1_0": state or "RUNNING"}

    monkeypatch.setattr(slurm, "states", states)
    monkeypatch.setattr(plugin, "GRACE", 60)
    (ended,) = cluster.ends([job(seed="0")])
    assert ended.result == RESULT


def test_restarting_a_sweep_submits_only_jobs_that_slurm_lacks(start, monkeypatch):
    launcher, job = start()
    cluster = Cluster(monkeypatch, launcher)
    jobs = [job(seed=str(seed)) for seed in range(3)]

    def stop(*_):
        raise KeyboardInterrupt

    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(plugin, "sleep", stop)
        patch.setattr(plugin.log, "info", told.append)
        with pytest.raises(KeyboardInterrupt):
            cluster.ends(jobs)
    assert "Slurm keeps the 3 jobs that had not ended: the same command waits for them again" in told[-1]
    assert told[-1].endswith("and scancel 1 ends them")
    assert set(cluster.queue) == {"1_0", "1_1", "1_2"}

    launcher, _ = start()
    again = Cluster(monkeypatch, launcher)
    again.arrays, again.queue = [["of before"]], {"1_0": "RUNNING", "1_1": "CANCELLED"}
    again.outcomes = {"2_0": {"result": RESULT}, "2_1": {"result": RESULT}}
    again.end("1_0", {"result": RESULT})
    again.queue["1_0"] = "RUNNING"
    assert [e.result for e in again.ends(jobs)] == [RESULT] * 3
    assert again.arrays[1:] == [[job.path.name for job in jobs[1:]]]


def test_a_search_has_as_many_in_slurm_as_it_was_told(start, monkeypatch):
    launcher, job = start("sampler=random", "jobs=2")
    cluster = Cluster(monkeypatch, launcher)
    cluster.outcomes = {f"{array}_{i}": {"result": RESULT} for array in (1, 2, 3) for i in (0, 1)}
    waiting = []

    def trials():
        for seed in (0, 1, 2, 3, 4):
            waiting.append(sum(len(array) for array in cluster.arrays))
            yield job(seed=str(seed))

    assert len(cluster.ends(trials())) == 5
    assert waiting == [0, 0, 2, 2, 4]


def test_trials_that_are_the_same_share_one_job(start, monkeypatch):
    launcher, job = start("sampler=random", "jobs=2")
    cluster = Cluster(monkeypatch, launcher)
    cluster.outcomes = {"1_0": {"result": RESULT}}
    assert [e.result for e in cluster.ends([job(seed="0"), job(seed="0")])] == [RESULT, RESULT]
    assert len(cluster.arrays) == 1


def test_a_slurm_that_does_not_answer_is_no_reason_to_submit_twice(start):
    launcher, job = start()
    with pytest.raises(StoppedRun, match="squeue doesn't answer"), launcher:
        list(launcher.work(iter([job(seed="0")]), lambda *_: False, False))


def test_the_states_are_read_by_job(start):
    command("squeue", "echo '  12_0|RUNNING'; echo '12_1|PENDING  '; echo '3|COMPLETED'")
    assert slurm.states() == {"12_0": "RUNNING", "12_1": "PENDING", "3": "COMPLETED"}


RUN_AT_ONCE = """
export SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=7 SLURM_CPUS_ON_NODE=1 SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=1
for i in 0 1; do SLURM_ARRAY_TASK_ID=$i bash $1 >sbatch-$i.log 2>&1 & echo $! >pid-$i; done
echo Submitted batch job 7
"""


def test_jobs_run_in_their_own_directories_and_one_that_fails_says_why(start, monkeypatch):
    command("sbatch", RUN_AT_ONCE)
    command("srun", "while [[ $1 == -* ]]; do [[ $1 == --output ]] && shift; shift; done; exec \"$@\"")  # fmt: skip
    command("squeue", 'for i in 0 1; do kill -0 $(cat pid-$i) && echo "7_$i|RUNNING"; done; true')
    monkeypatch.setattr(plugin, "GRACE", 5)
    launcher, job = start()
    jobs = [job(seed="0"), job(penalty="l1", penalty__weight="-1")]
    with launcher:
        ended = {e.job.hash: e for e in launcher.work(iter(jobs), lambda *_: False, False)}
    good, bad = (ended[job.hash] for job in jobs)
    assert good.result == jobs[0].result()
    assert (jobs[0].path / "train.log").exists()
    assert bad.reason == "penalty.weight is -1, and must be a number of 0 or more"
    assert bad.log.read_text().endswith(f"error: {bad.reason}\n")
    assert not jobs[1].path.exists()


def test_where_files_have_no_locks_a_job_runs_without(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    # In the module alone: other threads use these functions too.
    monkeypatch.setattr(process, "fcntl", SimpleNamespace(**{**vars(fcntl), "flock": refuse}))
    monkeypatch.setattr(process, "os", SimpleNamespace(**{**vars(os), "dup2": lambda *_: None}))
    print_to(tmp_path / "logs" / "job.log")
    assert (tmp_path / "logs" / "job.log").exists()
