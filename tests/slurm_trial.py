"""A sweep through a real Slurm, by hand: python tests/slurm_trial.py, as root, on a machine with Debian's Slurm.

Starts a Slurm of one node on the loopback from a configuration in a temporary folder, and runs four jobs with
launcher=slurm. In mid-run a job of higher priority takes one of them off its node, and another is sent the signal
that its time is nearly over. All four are compared with those of launcher=local, to the bit. It installs nothing,
and stops what it has started.
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
from threading import Thread

import torch
from conftest import ROOT, assert_same, weights

from litmus.sweeps.console import format_count

SWEEP = (
    *("data.train_size=4000", "trainer.max_epochs=150", "callbacks=none", "logger=none"),
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
        print(f"{time.monotonic() - started:5.0f} s  {line.rstrip()}", flush=True)


def told(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


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
        subprocess.run(["scancel", f"--user={os.getuid()}"], check=False)
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


def disturb(folder: Path) -> None:
    """Takes one of two running jobs off its node by another of higher priority, and warns the other of its time."""
    wait_for(lambda: sum(epochs_of(path.parent) >= 20 for path in folder.glob("*/metrics.csv")) == 2, 300)
    say(queue())
    say("a job comes to the partition of higher priority")
    told("sbatch", "--partition=high", "--cpus-per-task=1", f"--output={os.devnull}", "--wrap=sleep 5")
    wait_for(waiting_again, 120)
    say(queue())
    running = told("squeue", "--noheader", "--array", "--partition=low", "--states=RUNNING", "--format=%i").split()
    say(f"{running[0]} is sent the signal that Slurm sends before a job's time is over")
    # Ended below, not awaited: it tries again while the job queues itself again, and would hit its next start too.
    signalled = subprocess.Popen(["scancel", "--signal=USR2", running[0]], stderr=subprocess.DEVNULL)
    again = wait_for(lambda: len(ids := waiting_again()) == 2 and ids, 120)
    signalled.kill()
    signalled.wait()
    say(queue())
    say("Slurm lets jobs that are queued again wait for two minutes: cut short here")
    for job in again:
        told("scontrol", "update", f"job={job}", "StartTime=now")


def compare(one: Path, other: Path) -> None:
    for first in sorted(one.glob("*/result.json")):
        job, second = first.parent, other / first.parent.name
        results = [json.loads((path / "result.json").read_text()) | {"seconds": 0} for path in (job, second)]
        assert results[0] == results[1], job.name
        assert (job / "metrics.csv").read_text() == (second / "metrics.csv").read_text(), job.name
        for name in ("best", "last"):
            assert_same(weights(job, name), weights(second, name))
        starts = len(json.loads((second / "run.json").read_text())["starts"])
        short = job.name.split("+acc")[0]
        say(
            f"{short}: the same result, metrics and weights as with launcher=local, "
            f"after {format_count(starts, 'start')}"
        )
        lines = [line.split(" ", 2)[2] for line in (second / "train.log").read_text().splitlines() if line[:2] == "20"]
        for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
            if line.startswith("stopped by"):
                say(f"    {before[:37]}\n    {line}")
            elif line.startswith("going on"):
                say(f"    {line.replace(str(second), '…')}\n    {after[:37]}")


def main() -> None:
    check_packages()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemons end with this script
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, slurm(Path(name)):
        os.chdir(name)
        say(f"{told('sbatch', '--version')}, submitit {version('submitit')}, torch {torch.__version__}")
        sweep("sweep_name=local").communicate()
        say("python train.py -m " + " ".join((*SWEEP, *IN_SLURM)))
        process = sweep(*IN_SLURM, "sweep_name=slurm")
        printed = Thread(target=lambda: [say(line) for line in process.stdout])
        printed.start()
        try:
            disturb(Path("outputs/sweeps/slurm"))
            assert process.wait() == 0
        finally:
            process.kill()
            printed.join()
        compare(Path("outputs/sweeps/local"), Path("outputs/sweeps/slurm"))
    say("all daemons are stopped")


if __name__ == "__main__":
    main()
