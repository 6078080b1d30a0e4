import math
import subprocess
import sys

import pandas as pd
import pytest
from fake_runs import fake_run, fake_sweep

import litmus.runs
from litmus.errors import ConfigError


def test_a_sweep_has_a_row_per_run_and_a_column_per_swept_key(tmp_path):
    fake_sweep(tmp_path, "penalty=l1,l2", "penalty.weight=1e-4,1e-3", "seed=0,1")
    found = litmus.runs.frame(tmp_path)
    assert len(found) == 8
    assert list(found.columns[:4]) == ["directory", "penalty", "penalty.weight", "seed"]
    assert set(found["penalty.weight"]) == {1e-4, 1e-3}
    assert {"val/acc", "val/loss", "epochs", "seconds"} <= set(found.columns)
    assert found.groupby(["penalty", "penalty.weight"])["val/acc"].count().tolist() == [2, 2, 2, 2]


def test_values_are_those_of_the_runs_in_full_precision(tmp_path):
    fake_run(tmp_path / "a", "optim=sgd", accuracy=0.1 + 0.2, metrics={"test/acc": 2 / 3})
    fake_run(tmp_path / "b", "optim=adam", accuracy=0.9)
    found = litmus.runs.frame(tmp_path).set_index("directory")
    assert found.loc[str(tmp_path / "a"), "test/acc"] == 2 / 3
    assert math.isnan(found.loc[str(tmp_path / "b"), "test/acc"])
    assert found.loc[str(tmp_path / "b"), "optim"] == "adam"
    assert found["seconds"].tolist() == [1.5, 1.5]


def test_curves_have_a_row_per_run_and_epoch(tmp_path):
    fake_run(tmp_path / "a", "optim=sgd", epochs=3)
    fake_run(tmp_path / "b", "optim=adam", epochs=2)
    found = litmus.runs.frame(tmp_path, curves=True)
    assert found[["optim", "epoch"]].to_numpy().tolist() == [
        ["sgd", 1],
        ["sgd", 2],
        ["sgd", 3],
        ["adam", 1],
        ["adam", 2],
    ]
    best = litmus.runs.frame(tmp_path)
    last = found.groupby("directory")["val/acc"].last()
    pd.testing.assert_series_equal(best.set_index("directory")["val/acc"], last)


def test_several_folders_and_unfinished_runs(tmp_path):
    fake_run(tmp_path / "one" / "a", "seed=0")
    fake_run(tmp_path / "two" / "b", "seed=1")
    fake_run(tmp_path / "two" / "c", "seed=2", status="failed")
    found = litmus.runs.frame(tmp_path / "one", tmp_path / "two")
    assert found["seed"].tolist() == [0, 1]


@pytest.mark.parametrize(("name", "named"), [("nowhere", "is not a folder"), ("empty", "no run has finished")])
def test_a_folder_without_runs_is_one_sentence(tmp_path, name, named):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=named):
        litmus.runs.frame(tmp_path / name)


def test_a_run_imports_no_pandas():
    probe = "import sys, litmus.runs.training, litmus.sweeps.grid, litmus.report; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


def test_the_frame_is_the_function_after_its_first_use(tmp_path):
    fake_run(tmp_path, "seed=0")
    litmus.runs.frame(tmp_path)
    assert len(litmus.runs.frame(tmp_path)) == 1


def test_a_metric_with_the_name_of_an_option_keeps_both(tmp_path):
    fake_run(tmp_path / "a", "penalty=none", metrics={"penalty": 0.0})
    fake_run(tmp_path / "b", "penalty=l2", metrics={"penalty": 0.5})
    found = litmus.runs.frame(tmp_path)
    assert found["penalty"].tolist() == ["none", "l2"]
    assert found["metric:penalty"].tolist() == [0.0, 0.5]


def test_runs_of_other_code_or_another_stage_are_kept_apart(tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    fake_run(tmp_path / "tune" / "1" / "a", "seed=0", code={"x.py": "1"})
    fake_run(tmp_path / "evaluate" / "1" / "b", "seed=0", code={"x.py": "2"})
    found = litmus.runs.frame(tmp_path)
    assert found["stage"].tolist() == ["evaluate", "tune"]
    assert found["code"].nunique() == 2
    assert "data_fingerprint" not in found
