"""trainer.compile with its real backend, which compiles C++ code."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler"),
]


def run(folder, *overrides, **variables):
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, "logger=none", "model.dropout=0.2", *overrides]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_compiled_run_has_the_metrics_of_an_uncompiled_one(tmp_path):
    metrics = {}
    for compile in ("true", "false"):
        done = run(tmp_path, f"trainer.compile={compile}", f"output_dir=run_{compile}")
        assert done.returncode == 0, done.stderr
        assert ("compilation took" in done.stdout) == (compile == "true")
        metrics[compile] = json.loads((tmp_path / f"run_{compile}" / "result.json").read_text())["metrics"]
    for name in ("train/loss", "val/loss", "test/loss"):
        assert metrics["true"][name] == pytest.approx(metrics["false"][name], rel=1e-3)


def test_without_a_compiler_the_run_ends_with_a_sentence(tmp_path):
    done = run(tmp_path, "trainer.compile=true", "output_dir=run", CXX="/nonexistent")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: trainer.compile needs a C++ compiler")
    assert "Traceback" not in done.stderr
