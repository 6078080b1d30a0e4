"""The commit in run.json."""

import subprocess
import sys

import pytest

from litmus.runs.provenance import git_commit


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("train.py", "notes.txt"):
        (tmp_path / name).write_text("1")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a"]):
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py")])
    return tmp_path


@pytest.mark.parametrize("name", ["perturbed.png", "ignored.py", "mine.npz"])
def test_files_that_are_no_code_leave_the_commit_unchanged(repository, name):
    (repository / name).write_text("2")
    assert not (git_commit() or "+").endswith("+")


@pytest.mark.parametrize("name", ["train.py", "notes.txt", "model.py", "conf.yaml"])
def test_changed_tracked_files_and_new_code_mark_the_commit(repository, name):
    (repository / name).write_text("2")
    assert (git_commit() or "").endswith("+")
