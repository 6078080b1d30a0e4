"""The difference of two runs, with the code as a patch."""

import json
import subprocess

import pytest
from conftest import ROOT

from litmus.errors import ConfigError
from litmus.report import difference
from litmus.runs import code_version
from litmus.runs.code_version import digests, write_patch

CONFIG = "data:\n  name: mnist\noptim:\n  lr: {lr}\n"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one committed file, in place of the project."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "model.py").write_text("width = 1\n")
    (project / "train.py").write_text("")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    monkeypatch.setattr(code_version, "PROJECT", project)
    monkeypatch.setattr(difference, "PROJECT", project)
    return project


def record(path, repository, lr=0.1, data="1"):
    """A run directory of the repository as it is."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "config.yaml").write_text(CONFIG.format(lr=lr))
    code = digests(sorted(repository.glob("*.py")))
    facts = {"git_commit": f"{commit.stdout.strip()}+", "code": code, "data_fingerprint": data, "packages": {"a": "1"}}
    (path / "run.json").write_text(json.dumps(facts))
    write_patch(path / "code.patch", code)
    return path


def test_two_uncommitted_states_differ_by_a_patch(repository, tmp_path):
    (repository / "model.py").write_text("width = 2\n")
    (repository / "new.py").write_text("depth = 2\n")
    first = record(tmp_path / "first", repository)
    (repository / "model.py").write_text("width = 3\n")
    (repository / "new.py").write_text("depth = 3\n")
    text = difference.describe_difference(first, record(tmp_path / "second", repository, lr=0.2, data="2"))
    assert "  optim.lr: 0.1 → 0.2" in text
    assert "the images or labels differ" in text
    assert "packages: the same" in text
    for before, after in (("-width = 2", "+width = 3"), ("-depth = 2", "+depth = 3")):
        assert before in text
        assert after in text


def test_a_file_that_one_run_imported_is_named(repository, tmp_path):
    first = record(tmp_path / "first", repository)
    (repository / "model.py").rename(repository / "other.py")
    text = difference.describe_difference(first, record(tmp_path / "second", repository))
    assert "code:\n  - model.py (imported by this run alone)\n  + other.py (imported by this run alone)" in text


def test_a_file_outside_the_project_differs_without_a_patch(repository, tmp_path):
    runs = []
    file = tmp_path / "mine.py"
    for width in (1, 2):
        file.write_text(f"width = {width}\n")
        runs.append(record(tmp_path / str(width), repository))
        facts = json.loads((runs[-1] / "run.json").read_text())
        facts["code"] |= digests([file])
        (runs[-1] / "run.json").write_text(json.dumps(facts))
    assert f"{file} differs; a source is in no commit" in difference.describe_difference(*runs)


def test_equal_runs_differ_in_nothing(repository, tmp_path):
    runs = [record(tmp_path / name, repository) for name in ("first", "second")]
    assert difference.describe_difference(*runs).count(": the same") == 5
    assert not (runs[0] / "code.patch").exists()


def test_a_large_patch_is_shortened(repository, tmp_path):
    (repository / "model.py").write_text("x = 1\n" * 300_000)
    write_patch(tmp_path / "code.patch", ["model.py"])
    assert (tmp_path / "code.patch").stat().st_size <= code_version.MOST_BYTES
    header, _, rest = (tmp_path / "code.patch").read_text().partition("\n")
    assert f"The first {len(rest.encode()):,} of " in header


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not a run directory"):
        difference.describe_difference(tmp_path, ROOT)
