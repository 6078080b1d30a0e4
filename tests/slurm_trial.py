"""A sweep through a real Slurm, by hand: python tests/slurm_trial.py, as root, on a machine with Debian's Slurm.

Starts a Slurm of one node on the loopback from a configuration in a temporary folder, runs four jobs with
launcher=slurm, lets a job of higher priority take one of them off its node in mid-run, and compares all four with
those of launcher=local, to the bit. Installs nothing, and stops what it has started.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from conftest import ROOT, assert_same, weights

SWEEP = (
    *("data.train_size=4000", "trainer.max_epochs=20", "callbacks=none", "logger=none"),
    *("accelerator=cpu", "accelerator.threads=1", "optim=adam,sgd", "seed=0,1"),
)
IN_SLURM = ("launcher=slurm", "launcher.partition=low", "launcher.cpus=1", "launcher.time=00:10:00", "jobs=2")
CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=5,bf_interval=5
MpiDefault=none
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 Port=16821 CPUs=2
PartitionName=low Nodes=ALL PriorityTier=1 Default=YES
PartitionName=high Nodes=ALL PriorityTier=2
"""
PROGRAMS = {"munge": ["munged"], "slurm-wlm": ["slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol"]}
started = time.monotonic()


def say(text: str) -> None:
    for line in text.splitlines():
        print(f"{time.monotonic() - started:5.0f} s  {line}", flush=True)


def told(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def check_packages() -> None:
    missing = [package for package, names in PROGRAMS.items() if not all(shutil.which(name) for name in names)]
    if missing:
        sys.exit(f"error: apt-get install {' '.join(missing)} first")
    if find_spec("submitit") is None:
        sys.exit("error: pip install -c constraints.txt -e '.[slurm]' first")
    if os.getuid() != 0:
        sys.exit("error: only root can start a Slurm")


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """A Slurm of one node, whose daemons end with the block."""
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=folder))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log"}
        files["seed-file"] = "munge.seed"
        told("munged", "--force", *(f"--{option}={folder / name}" for option, name in files.items()))
        told("slurmctld")
        told("slurmd")
        wait_for(lambda: set(told("sinfo", "--noheader", "--format=%T").split()) == {"idle"}, 30)
        yield
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            with suppress(FileNotFoundError, ProcessLookupError, ValueError):
                pid = int((folder / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda pid=pid: not is_alive(pid), 30)


def is_alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # it is empty once the process only waits to be reaped
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds: float):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            sys.exit(f"error: nothing came of it in {seconds} s")
        time.sleep(0.2)
    return found


def sweep(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), "-m", *SWEEP, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def queue() -> str:
    return told("squeue", "--array", "--sort=i", "--Format=JobArrayID:8,Partition:10,StateCompact:6,Reason:12")


def epochs_of(job: Path) -> int:
    return len((job / "metrics.csv").read_text().splitlines()) - 1


def waiting_again() -> list[str]:
    """The jobs that Slurm has queued again."""
    lines = told("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r").splitlines()
    return [line.split()[0] for line in lines if line.endswith("BeginTime")]


def preempt_one(folder: Path) -> None:
    """Sends a job of higher priority when two jobs are past their fifth epoch, and lets what it ousted start again."""
    wait_for(lambda: [path for path in folder.glob("*/metrics.csv") if epochs_of(path.parent) >= 5], 120)
    say(queue())
    say("a job comes to the partition of higher priority")
    told("sbatch", "--partition=high", "--cpus-per-task=1", f"--output={os.devnull}", "--wrap=sleep 5")
    (ousted,) = wait_for(waiting_again, 60)
    say(queue())
    say(f"{ousted} was queued again; Slurm would let it wait two minutes, which are cut short")
    told("scontrol", "update", f"job={ousted}", "StartTime=now")


def compare(one: Path, other: Path) -> None:
    for first in sorted(one.glob("*/result.json")):
        job, second = first.parent, other / first.parent.name
        results = [json.loads((path / "result.json").read_text()) | {"seconds": 0} for path in (job, second)]
        assert results[0] == results[1], job.name
        assert (job / "metrics.csv").read_text() == (second / "metrics.csv").read_text(), job.name
        for name in ("best", "last"):
            assert_same(weights(job, name), weights(second, name))
        starts = len(json.loads((second / "run.json").read_text())["starts"])
        lines = [
            line for line in (second / "train.log").read_text().splitlines() if "stopped" in line or "going" in line
        ]
        short = job.name.split("+acc")[0]
        say(f"{short}: the same result, metrics and weights as with launcher=local, {starts} start(s)")
        for line in lines:
            say("    " + line.split(" ", 2)[2].replace(str(second), "…"))


def main() -> None:
    check_packages()
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, slurm(Path(name)):
        os.chdir(name)
        say(f"{told('sbatch', '--version')}, submitit {version('submitit')}, torch {torch.__version__}")
        local = sweep("sweep_name=local")
        assert local.wait() == 0
        say("python train.py -m " + " ".join((*SWEEP, *IN_SLURM)))
        process = sweep(*IN_SLURM, "sweep_name=slurm")
        preempt_one(Path("outputs/sweeps/slurm"))
        out, _ = process.communicate()
        say(out)
        assert process.returncode == 0
        compare(Path("outputs/sweeps/local"), Path("outputs/sweeps/slurm"))
    say("all daemons are stopped")


if __name__ == "__main__":
    main()
