"""What Litmus takes from elsewhere."""

import ast
import re
import tomllib

import pytest
from conftest import ROOT

pytestmark = pytest.mark.trust

MODULES = {"hydra-core": "hydra", "pytorch-lightning": "pytorch_lightning", "pyyaml": "yaml", "pillow": "PIL"}
SOURCES = [path for folder in ("src", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]


def names(requirements: list[str]) -> list[str]:
    return [re.split(r"[<>=~! ]", requirement)[0] for requirement in requirements]


def imported() -> set[str]:
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found


def test_every_dependency_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = names(project["dependencies"]) + names(extras["slurm"])
    assert [name for name in wanted if MODULES.get(name, name) not in imported()] == []


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    extras = [name for extra in project["optional-dependencies"].values() for name in names(extra)]
    assert [name for name in names(project["dependencies"]) + extras if name not in pins] == []


def calls(*wanted: str) -> list[tuple[str, ast.Call]]:
    """The calls of `module.function` in the sources."""
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in wanted
    ]


def test_no_checkpoint_is_loaded_that_could_run_code():
    found = calls("torch.load")
    assert found
    assert [where for where, call in found if "weights_only=True" not in ast.unparse(call)] == []


def test_no_array_file_is_loaded_that_could_run_code():
    found = calls("np.load", "numpy.load")
    assert found
    assert [where for where, call in found if "allow_pickle=True" in ast.unparse(call)] == []  # False by itself


def test_only_a_sweeps_own_job_requests_are_unpickled():
    found = calls("pickle.load", "pickle.loads", "cloudpickle.load", "joblib.load", "dill.load")
    assert {where.split(":")[0] for where, _ in found} <= {
        "src/litmus/sweeps/server.py",
        "src/hydra_plugins/litmus/slurm.py",
    }


def test_tensorboard_is_shown_on_this_machine_alone():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert not [page.name for page in pages if re.search(r"--bind_all|--host", page.read_text())]
