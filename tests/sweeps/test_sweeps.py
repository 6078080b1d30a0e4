"""Whole sweeps, as their user meets them."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from shlex import split

import pytest
import yaml
from conftest import ROOT, assert_same, weights
from starter import processes

from litmus.report import compare, read_runs
from litmus.report.blocks import Lead
from litmus.report.contents import summary
from litmus.runs.directory import lock_directory

SMALL = ("data=synthetic", "model.hidden=[16]", "accelerator=cpu", "accelerator.threads=1", "logger=none")


def folder(cwd: Path, name: str) -> Path:
    return cwd / "outputs" / "sweeps" / name


def results(cwd: Path, name: str) -> dict[str, dict]:
    """Each finished job's directory name and result."""
    return {p.parent.name: json.loads(p.read_text()) for p in sorted(folder(cwd, name).glob("*/result.json"))}


def commands(cwd: Path, name: str) -> list[str]:
    """Each start of the sweep, as it was typed."""
    return [start["command"] for start in json.loads((folder(cwd, name) / "sweep.json").read_text())["starts"]]


def begun(cwd: Path, name: str) -> list[Path]:
    """The jobs that are past their second epoch, so that they have a checkpoint, and far from their last."""
    return [path.parent for path in folder(cwd, name).glob("*/metrics.csv") if 2 < len(path.read_text().split()) < 6]


def alive_in(session: int) -> list[int]:
    return [process.pid for process in processes() if process.session == session]


GRID = ("-m", *SMALL, "data.num_images=800", "trainer.max_epochs=8", "optim.lr=1e-3,1e-2", "seed=0,1", "jobs=2")


@pytest.mark.trust
def test_a_sweep_that_is_killed_and_started_again_equals_one_that_was_not(starter, tmp_path):
    whole = starter.start(*GRID, "sweep_name=whole", cwd=tmp_path)
    assert whole.wait() == 0, whole.text

    cut = starter.start(*GRID, "sweep_name=cut", cwd=tmp_path)
    # Two run side by side: the third begins when one has finished.
    cut.wait_for(lambda: len(results(tmp_path, "cut")) >= 1)
    cut.wait_for(lambda: begun(tmp_path, "cut"))
    cut.kill(signal.SIGKILL)
    cut.wait_for(lambda: not alive_in(cut.pid), seconds=5)
    cut_off = [path.parent.parent for path in folder(tmp_path, "cut").glob("*/checkpoints/last.ckpt")]
    cut_off = [path for path in cut_off if not (path / "result.json").exists()]
    done = [folder(tmp_path, "cut") / name for name in results(tmp_path, "cut")]
    finished = {path: path.stat().st_mtime_ns for job in done for path in job.rglob("*")}
    assert cut_off
    assert finished

    again = starter.start(*GRID, "sweep_name=cut", cwd=tmp_path)
    assert again.wait() == 0, again.text
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert all("resuming from" in (job / "train.log").read_text() for job in cut_off)
    expected, found = results(tmp_path, "whole"), results(tmp_path, "cut")
    assert len(expected) == 4
    assert found.keys() == expected.keys()
    for job in expected:
        one, other = folder(tmp_path, "whole") / job, folder(tmp_path, "cut") / job
        assert_same(weights(one), weights(other))
        assert_same(weights(one, "best"), weights(other, "best"))
        assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
        assert {**found[job], "seconds": 0} == {**expected[job], "seconds": 0}
    board = [folder(tmp_path, name) / "leaderboard.csv" for name in ("whole", "cut")]
    assert board[0].read_text() == board[1].read_text()


def test_a_failed_job_leaves_the_others_alone_and_is_told_at_the_end(starter, tmp_path):
    command = ("-m", *SMALL, "penalty=l1", "penalty.weight=0.1,1e-1,-1", "trainer.max_epochs=1", "sweep_name=some")
    done = starter.start(*command, cwd=tmp_path)
    assert done.wait() == 1
    assert "sweep some: 2 jobs\n" in done.text
    assert "1/2  penalty.weight=0.1  val/acc" in done.text
    assert "2/2  penalty.weight=-1  FAILED: penalty.weight is -1, and must be a number of 0 or more" in done.text
    assert "1 of 2 jobs failed; the same command tries them again:" in done.text
    (log,) = (folder(tmp_path, "some") / "logs").iterdir()
    assert str(log.relative_to(tmp_path)) in done.text
    assert log.read_text() == "error: penalty.weight is -1, and must be a number of 0 or more\n"
    assert len(results(tmp_path, "some")) == 1
    assert len(list(folder(tmp_path, "some").glob("*/run.json"))) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_value_that_every_job_refuses_ends_the_sweep_once(starter, tmp_path, jobs):
    command = ("-m", *SMALL, "data.val_size=60000", "seed=0,1,2", f"jobs={jobs}", "sweep_name=refused")
    done = starter.start(*command, cwd=tmp_path)
    assert done.wait() == 2
    assert done.text.count("data.val_size=60000") == 1
    assert not (tmp_path / "outputs").exists()


def test_a_refused_sweep_leaves_a_folder_as_it_was(starter, tmp_path):
    notes = folder(tmp_path, "mine") / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    done = starter.start("-m", *SMALL, "data.val_size=60000", "seed=0,1", "sweep_name=mine", cwd=tmp_path)
    assert done.wait() == 2
    assert list(notes.parent.iterdir()) == [notes]


def test_a_job_that_another_process_runs_does_not_refuse_the_sweep(starter, tmp_path):
    command = ("-m", *SMALL, "callbacks=none", "logger=none", "trainer.max_epochs=1", "seed=0,1", "sweep_name=both")
    assert starter.start(*command, cwd=tmp_path).wait() == 0
    first, second = sorted(folder(tmp_path, "both").glob("*seed-*"))
    for file in (first, second):
        (file / "result.json").unlink()
    with lock_directory(first):
        done = starter.start(*command, cwd=tmp_path)
        assert done.wait() == 1
    assert f"{first.relative_to(tmp_path)} is in use by process" in done.text
    assert "2/2  seed=1  val/acc" in done.text


@pytest.mark.trust
def test_a_job_that_is_killed_leaves_the_others_alone(starter, tmp_path):
    done = starter.start(*GRID, "seed=0", "jobs=1", "sweep_name=hit", "optim.lr=1e-3,1e-2", cwd=tmp_path)
    first = done.wait_for(lambda: next(folder(tmp_path, "hit").glob("*/run.json"), None))
    # The process that holds its log is the job.
    held = [p for p in alive_in(done.pid) if os.readlink(f"/proc/{p}/fd/1").endswith(f"{first.parent.name}.log")]
    os.kill(held[0], signal.SIGKILL)
    assert done.wait() == 1
    assert "FAILED: killed by SIGKILL" in done.text
    assert len(results(tmp_path, "hit")) == 1


def test_an_extended_grid_reuses_jobs_and_averages_over_seeds(starter, tmp_path):
    command = ("-m", *SMALL, "trainer.max_epochs=1", "sweep_name=more")
    first = starter.start(*command, "seed=0,1", "optim.lr=0.01", cwd=tmp_path)
    assert first.wait() == 0
    second = starter.start(*command, "optim.lr=0.01,0.001", "seed=1,0", cwd=tmp_path)
    assert second.wait() == 0
    assert "sweep more: 4 jobs, of which 2 finished already" in second.text
    assert [split(c)[1:] for c in commands(tmp_path, "more")] == [
        [*command, "seed=0,1", "optim.lr=0.01"],
        [*command, "optim.lr=0.01,0.001", "seed=1,0"],
    ]
    with (folder(tmp_path, "more") / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = [p.parent.parent.name for p in tmp_path.rglob("overrides.yaml") if "optim.lr=0.01\n" in p.read_text()]
    values = [results(tmp_path, "more")[name]["objective"] for name in wanted]
    row = next(row for row in rows if row["optim.lr"] == "0.01")
    assert float(row["mean"]) == pytest.approx(sum(values) / 2, rel=1e-15)
    assert row["n"] == "2"
    assert [float(row["mean"]) for row in rows] == sorted((float(row["mean"]) for row in rows), reverse=True)
    assert "test/acc" not in next(iter(results(tmp_path, "more").values()))["metrics"]


@pytest.mark.parametrize("swept", [("seed=0,1",), ("sampler=grid",)], ids=["grid", "search"])
def test_screen_and_report_rank_ties_and_judge_the_same(starter, tmp_path, swept):
    # The learning rates are too low to change an accuracy. The penalties change nothing at all.
    tied = ("penalty=l2,l1", "optim.lr=3e-6,2e-6", "penalty.weight=0")
    quick = ("data.num_images=100", "model.hidden=[8]", "callbacks=none", "logger=none", "trainer.max_epochs=1")
    done = starter.start("-m", *SMALL, *quick, *tied, *swept, "sweep_name=tied", cwd=tmp_path)
    assert done.wait() == 0, done.text
    with (folder(tmp_path, "tied") / "leaderboard.csv").open() as file:
        board = [(row["penalty"], float(row["optim.lr"]), float(row["mean"])) for row in csv.DictReader(file)]
    found, _ = compare(read_runs([folder(tmp_path, "tied")])[0])
    settings = [(s.values["penalty"], s.values["optim.lr"], s.mean("val/acc")) for s in found.settings]
    assert found.ties == 3
    assert board == settings
    (verdict,) = (block.text for block in summary(found, []) if isinstance(block, Lead))
    assert re.search("^val/acc: (.*)", done.text, re.MULTILINE)[1] == verdict


def test_a_key_that_each_combination_has_may_be_absent_from_the_default(starter, tmp_path):
    done = starter.start(
        "-m", *SMALL, "trainer.max_epochs=1", "optim=sgd,momentum", "optim.momentum=0.5", "sweep_name=m", cwd=tmp_path
    )
    assert done.wait() == 0, done.text
    assert len(results(tmp_path, "m")) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["optim.lr=interval(1,2)"], "list them as optim.lr=A,B,C, or let a search choose with sampler=tpe"),
        (["output_dir=here", "seed=0,1"], "output_dir is for a single run"),
        (["pruner=median", "seed=0,1"], "pruner=median is for a search: add sampler=tpe"),
        (["hydra/launcher=basic", "seed=0,1"], "leave hydra/launcher out, and choose with launcher="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_impossible_sweep_is_refused_before_anything_is_written(starter, tmp_path, arguments, sentence):
    done = starter.start("-m", *arguments, cwd=tmp_path)
    assert done.wait() == 2
    (line,) = done.text.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert os.listdir(tmp_path) == [done.path.name]


def trials(cwd: Path, name: str) -> list[tuple]:
    import optuna

    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder(cwd, name) / 'study.db'}")
    return [(t.number, t.state.name, t.params, t.value, t.intermediate_values) for t in study.trials]


SEARCH = (
    *("-m", *SMALL, "data.num_images=800", "trainer.max_epochs=5", "sampler=tpe", "sampler.sampler.n_startup_trials=2"),
    *("pruner=median", "pruner.n_startup_trials=1", "pruner.n_warmup_steps=0", "n_trials=5"),
    *("optim.lr=tag(log,interval(1e-5,1e-1))", "model.hidden=choice([16],[8,8])", "optim=adam,sgd"),
)


@pytest.mark.trust
def test_a_killed_and_restarted_search_suggests_the_same_trials(starter, tmp_path):
    whole = starter.start(*SEARCH, "sweep_name=whole", cwd=tmp_path)
    assert whole.wait() == 0, whole.text
    expected = trials(tmp_path, "whole")
    assert [number for number, *_ in expected] == list(range(5))
    assert {state for _, state, *_ in expected} == {"COMPLETE", "PRUNED"}

    cut = starter.start(*SEARCH, "sweep_name=cut", cwd=tmp_path)
    cut.wait_for(lambda: len(results(tmp_path, "cut")) == 2)
    cut.wait_for(lambda: begun(tmp_path, "cut"))
    cut.kill(signal.SIGKILL)
    cut.wait_for(lambda: not alive_in(cut.pid), seconds=5)
    assert [state for _, state, *_ in trials(tmp_path, "cut")].count("RUNNING") == 1

    again = starter.start(*SEARCH, "sweep_name=cut", cwd=tmp_path)
    assert again.wait() == 0, again.text
    assert "1 taken up again" in again.text
    assert [split(c)[1:] for c in commands(tmp_path, "cut")] == [[*SEARCH, "sweep_name=cut"]] * 2
    assert trials(tmp_path, "cut") == expected
    pruned = [result for result in results(tmp_path, "cut").values() if result.get("pruned")]
    assert len(pruned) == sum(state == "PRUNED" for _, state, *_ in expected)
    assert all(result["stop_reason"].startswith("pruned: val/acc of") for result in pruned)

    # What was pruned is unfinished to a sweep that does not prune.
    job = next(name for name, result in results(tmp_path, "cut").items() if result.get("pruned"))
    overrides = (folder(tmp_path, "cut") / job / ".hydra" / "overrides.yaml").read_text()
    single = yaml.safe_load(overrides)
    done = starter.start("-m", *single, "sweep_name=cut", cwd=tmp_path)
    assert done.wait() == 0, done.text
    result = results(tmp_path, "cut")[job]
    assert "pruned" not in result
    assert result["epochs"] == 5


@pytest.mark.trust
def test_a_training_that_diverges_is_a_bad_trial_and_no_failure(starter, tmp_path):
    command = ("-m", *SMALL, "trainer.max_epochs=1", "optim=sgd", "scheduler=constant", "optim.lr=0.1,1e9")
    done = starter.start(*command, "sampler=grid", "sweep_name=diverged", cwd=tmp_path)
    assert done.wait() == 0, done.text
    assert "stopped: the loss became" in done.text
    assert [state for _, state, *_ in trials(tmp_path, "diverged")] == ["COMPLETE", "PRUNED"]
    assert "2 trials: 1 finished, 1 diverged; 1 epoch" in done.text


def test_a_sweep_file_needs_no_m_and_can_be_overridden(starter, tmp_path):
    done = starter.start(
        *(
            "sweep=mlp",
            "sampler=grid",
            "sampler.points=2",
            "pruner=none",
            *SMALL[:1],
            *SMALL[2:],
            "trainer.max_epochs=1",
        ),
        *("model.hidden=[8]", "model.dropout=0", "data.batch_size=64", "sweep_name=file"),
        cwd=tmp_path,
    )
    assert done.wait() == 0, done.text
    assert "1/2  optim.lr=" in done.text
    (started,) = commands(tmp_path, "file")
    assert split(started)[1] == "sweep=mlp"
    assert len(results(tmp_path, "file")) == 2


def assert_ended_at_once(session: int, number: int, cwd: Path, wait) -> int:
    """Sends the signal when two jobs run, and gives the exit status."""
    end = time.monotonic() + 60
    while len(list(folder(cwd, "stop").glob("*/checkpoints/last.ckpt"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(session, number)
    status = wait()
    assert not list(folder(cwd, "stop").glob("*/result.json"))
    assert alive_in(session) == []
    return status


@pytest.mark.trust
def test_ctrl_c_ends_the_whole_sweep_at_once(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *GRID, "trainer.max_epochs=500", "sweep_name=stop"]
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    # A shell's background jobs, such as a CI's, ignore Ctrl-C, and so would their children.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, **options) as sweep:
        assert assert_ended_at_once(sweep.pid, signal.SIGINT, tmp_path, sweep.wait) == 130
        out, _ = sweep.communicate()
    assert "stopped; to resume: python" in out
    assert out.endswith(" sweep_name=stop\n")


@pytest.mark.trust
def test_sigterm_ends_the_whole_sweep_at_once(starter, tmp_path):
    sweep = starter.start(*GRID, "trainer.max_epochs=500", "sweep_name=stop", cwd=tmp_path)
    assert assert_ended_at_once(sweep.pid, signal.SIGTERM, tmp_path, sweep.wait) == 143
