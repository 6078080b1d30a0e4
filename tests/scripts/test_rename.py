"""scripts/rename, in a clone."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SMALL

FIRST, SECOND = "".join(["neb", "ula"]), "".join(["qua", "sar"])  # not as words, because a word in use is refused
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "rename"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from litmus.models import MLP\n", "from mine.models import MLP\n"),
        (
            "litmus-template, log_like_litmus, LITMUS_RUN, Litmus\n",
            "mine-template, log_like_mine, LITMUS_RUN, Litmus\n",
        ),
        ("splitmus litmus2\n", "splitmus litmus2\n"),
        ('KEY = "litmus"  # renaming keeps this\nlitmus\n', 'KEY = "litmus"  # renaming keeps this\nmine\n'),
        ("src/hydra_plugins/litmus/slurm.py", "src/hydra_plugins/mine/slurm.py"),
        ("conf/hydra/sweeper/litmus.yaml", "conf/hydra/sweeper/mine.yaml"),
    ],
)
def test_whole_words_are_renamed(text, expected):
    assert SCRIPT["renamed"](text, "litmus", "mine") == expected


def clone(folder: Path) -> Path:
    """The tracked files as they are now, committed in a repository of their own."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.split("\0")[:-1]:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "-m", "a"], cwd=folder, check=True)


def rename(folder: Path, name: str) -> subprocess.CompletedProcess:
    return subprocess.run([folder / "scripts" / "rename", name], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_renamed_clone_runs_sweeps_and_loads_earlier_checkpoints(train, tmp_path):
    earlier = train("model.hidden=[4]", "trainer.max_epochs=1", "output_dir=earlier").path.absolute()
    folder = clone(tmp_path / "clone")
    (folder / "outputs" / "events").write_bytes(b"litmus")
    for name in (FIRST, SECOND):  # the names between are known too
        done = rename(folder, name)
        assert done.returncode == 0, done.stderr
        commit(folder)
    assert (folder / "outputs" / "events").read_bytes() == b"litmus"
    assert not (folder / "src" / "litmus").exists()
    subprocess.run(["git", "status"], cwd=folder, check=True, capture_output=True)  # the index is whole

    def run(*command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    options = (*SMALL, "model.hidden=[4]", "trainer.max_epochs=1", "callbacks=none", "logger=none")
    run("train.py", *options, f"model.init_from={earlier}", "output_dir=outputs/run")
    assert "2/2  seed=1" in run("train.py", "-m", *options, "seed=0,1", "sweep_name=both")
    shown = f"type(own.load({str(earlier)!r}).model).__module__, own.load('outputs/run').class_names"
    load = f"import {SECOND} as own; print({shown})"
    assert run("-c", load).startswith(f"{SECOND}.models.mlp")
    between = (
        f"from {SECOND}.runs.checkpoints import with_own_targets as own; print(own({{'_target_': '{FIRST}.a.B'}}))"
    )
    assert run("-c", between).strip() == str({"_target_": f"{SECOND}.a.B"})


@pytest.mark.slow
def test_what_cannot_be_a_name_or_be_undone_is_refused(tmp_path):
    folder = clone(tmp_path / "clone")
    refused = {
        **dict.fromkeys(("2a", "Mine", "__init__", "_a", "a_", "|"), "is not a Python name in lower case"),
        **dict.fromkeys(("torch", "json", "litmus", "tests", "train", "hydra_plugins"), "already"),
        "mine": "has the word mine already",
    }
    for name, reason in refused.items():
        done = rename(folder, name)
        assert done.returncode == 2
        assert reason in done.stderr
    (folder / "README.md").write_text("changed")
    assert "not committed" in rename(folder, FIRST).stderr
    assert (folder / "src" / "litmus").is_dir()
