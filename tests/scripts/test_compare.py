"""scripts/compare.py, from its arguments to its page."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CONF, ROOT, snapshot
from fake_runs import fake_run

from litmus import compose
from litmus.errors import ConfigError, StoppedRun
from litmus.report.comparison_plan import write_plan
from litmus.runs.identity import sweep_folder
from litmus.sweeps.comparison_checks import check_name
from litmus.sweeps.comparison_request import Request, make_plan
from litmus.sweeps.comparison_run import Comparison

FAST = ("data=synthetic", "trainer.max_epochs=2", "accelerator=cpu", "logger=none", "callbacks=none")
SPACE = "--tune=optim.lr=tag(log,interval(1e-2,1e-1))"


def plan(*overrides, **options):
    return make_plan(Request(overrides, **options), compose, CONF)[0]


def test_arms_are_every_combination_of_the_listed_values():
    found = plan("optim=sgd,adam", "penalty=none,l1", "model.dropout=0.1")
    assert [arm.name for arm in found.arms] == [
        "optim=sgd penalty=none",
        "optim=sgd penalty=l1",
        "optim=adam penalty=none",
        "optim=adam penalty=l1",
    ]
    assert found.common == ("model.dropout=0.1",)
    assert found.contrasts == tuple((arm.name, "optim=sgd penalty=none") for arm in found.arms[1:])
    assert (found.objective, found.metric, found.mode, found.trials) == ("val/acc", "test/acc", "max", 0)


def test_the_space_is_that_of_the_sweep_file_with_the_same_keys():
    assert plan("optim=sgd,adam", tune=["optim.lr"]).space == {"optim.lr": "tag(log,interval(1e-4,1.0))"}
    assert plan("penalty=l1,l2", tune=["penalty.weight"]).space == {"penalty.weight": "tag(log,interval(1e-7,1e-2))"}


def test_only_arms_that_have_a_key_are_tuned():
    none, l1 = plan("penalty=none,l1", tune=["penalty.weight"]).arms
    assert (none.tuned, l1.tuned) == ((), ("penalty.weight",))


def test_one_key_is_tuned_on_a_grid_and_several_by_a_sampler():
    assert plan("optim=sgd,adam", tune=["optim.lr"], trials=7).search == (
        "sampler=grid",
        "sampler.points=7",
        "pruner=none",
    )
    several = plan("optim=sgd,adam", tune=["optim.lr", "model.dropout=interval(0,0.5)"])
    assert several.search == ("sampler=tpe", "pruner=none")
    assert plan("optim=sgd,adam", "sampler=random", tune=["optim.lr"]).search == ("sampler=random",)


def test_how_runs_are_started_is_not_part_of_the_plan():
    found, extra = make_plan(Request(["optim=sgd,adam", "jobs=2", "logger=none"]), compose, CONF)
    assert extra == ["jobs=2", "logger=none"]
    assert found == plan("optim=sgd,adam")


@pytest.mark.parametrize(
    ("baseline", "reference"),
    [(None, "optim=sgd"), ("adam", "optim=adam"), ("optim=adam", "optim=adam"), ("momentum", "optim=momentum")],
)
def test_contrasts_are_against_the_baseline(baseline, reference):
    found = plan("optim=sgd,momentum,adam", baseline=baseline)
    assert {ref for _, ref in found.contrasts} == {reference}
    assert len(found.contrasts) == 2


def test_all_pairs_are_compared_on_request():
    assert len(plan("optim=sgd,momentum,adam,adamw", all_pairs=True).contrasts) == 6


def test_differences_are_in_points_of_accuracy_or_in_the_unit_of_the_metric():
    found = plan("optim=sgd,adam", detect=0.2, equivalence=0.5)
    assert (found.detect, found.equivalence, found.seeds, found.max_seeds) == (0.002, 0.005, 5, 50)
    found = plan("optim=sgd,adam", "objective=val/loss", equivalence=0.5)
    assert (found.equivalence, found.metric, found.mode) == (0.5, "test/loss", "min")


@pytest.mark.parametrize(
    ("overrides", "options", "named"),
    [
        (["optim=sgd"], {}, "nothing to compare"),
        (["optim=sgd,adma"], {}, "did you mean"),
        (["optim=sgd,adam", "seed=0,1"], {}, "--seeds"),
        (["optim=sgd,adam", "n_trials=3"], {}, "--trials"),
        (["optim=sgd,adam", "sweep_name=x"], {}, "--name"),
        (["optim=sgd,adam", "sweep=mlp"], {}, "--tune"),
        (["optim=sgd,adam", "test=false"], {}, "test=false"),
        (["optim=sgd,adam", "hydra.sweep.dir=x"], {}, "hydra.sweep.dir"),
        (["optim=sgd,adam", "optim=sgd,momentum"], {}, "optim is compared twice"),
        (["data=mnist,kmnist"], {}, "data"),
        (["data.num_classes=3,10", "data=synthetic"], {}, "data.num_classes"),
        (["data.test_size=100,200"], {}, "data.test_size"),
        (["loss=cross_entropy,mse", "objective=val/loss"], {}, "--metric test/acc"),
        (["penalty=none,l2"], {"metric": "train/cost"}, "--metric test/acc"),
        (["optim=sgd,adam", "optim=adam"], {}, "optim is given twice"),
        (["optim=sgd,adam", "optim.lr=0.1"], {"tune": ["optim.lr"]}, "optim.lr is given twice"),
        (["optim.lr=interval(0,1)"], {}, "--tune"),
        (["optim=sgd,adam"], {"tune": ["optim.lrr"]}, "did you mean optim.lr"),
        (["optim=sgd,adam"], {"tune": ["penalty.weight"]}, "penalty.weight"),
        (["optim=sgd,adam"], {"tune": ["optim.lr=0.1"]}, "one value"),
        (["optim=sgd,adam"], {"tune": ["optim=adam,sgd"]}, "compared and tuned"),
        (["model=mlp,cnn"], {"tune": ["optim.lr"]}, "several spaces"),
        (["optim=sgd,adam"], {"tune": ["optim.lr=0.1,0.2,0.3"], "trials": 2}, "--trials 3"),
        (["optim=sgd,adam"], {"trials": 0, "tune": ["optim.lr"]}, "--trials"),
        (["optim=sgd,adam"], {"seeds": 1}, "--seeds"),
        (["optim=sgd,adam"], {"detect": -1.0}, "--detect"),
        (["optim=sgd,adam"], {"equivalence": 0.0}, "--equivalence"),
        (["optim=sgd,adam"], {"detect": 0.1, "max_seeds": 3}, "--max-seeds"),
        (["optim=sgd,adam"], {"tuning_seed": 2}, "--tuning-seed"),
        (["optim=sgd,adam"], {"baseline": "lion"}, "--baseline"),
        (["optim=sgd,adam"], {"baseline": "sgd", "all_pairs": True}, "--all-pairs"),
        (["optim=sgd,adam"], {"metric": "test/zorp"}, "objective_mode"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(overrides, options, named):
    with pytest.raises(ConfigError) as refused:
        plan(*overrides, **options)
    assert named in str(refused.value)


@pytest.mark.parametrize("name", ["a/b", "..", "", "a b", "x" * 200])
def test_a_name_is_one_folder(name):
    with pytest.raises(ConfigError, match="--name"):
        check_name(name)


def compare(folder, *arguments, **options):
    command = [sys.executable, str(ROOT / "scripts" / "compare.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    "arguments",
    [["optim=sgd,adma"], ["optim=sgd,adam", "--seeds", "x"], ["optim=sgd,adam", *FAST, "data.val_size=600"]],
)
def test_a_refused_comparison_leaves_nothing(tmp_path, arguments):
    done = compare(tmp_path, *arguments)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(tmp_path) == {}


def figures(folder) -> dict[str, object]:
    """What a comparison found, without times and places."""
    lines = (folder / "report" / "report.md").read_text().splitlines()
    return {
        "verdicts": [line for line in lines if line.startswith("**optim=")],
        "status": [line for line in lines if line == "As planned."],
        "results": sorted(
            (str(path.parent.relative_to(folder)), json.loads(path.read_text())["metrics"])
            for path in folder.rglob("result.json")
        ),
    }


@pytest.mark.slow
def test_a_comparison_that_was_killed_twice_ends_with_the_same_report(tmp_path):
    arguments = ["optim=sgd,adam", SPACE, "--trials=2", "--seeds=2", "--name=c", *FAST]
    (tmp_path / "whole").mkdir()
    whole = compare(tmp_path / "whole", *arguments)
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "killed").mkdir()
    folder = Path("outputs", "sweeps", "c")
    for results in (1, 5):
        command = [sys.executable, str(ROOT / "scripts" / "compare.py"), *arguments]
        process = subprocess.Popen(
            command, cwd=tmp_path / "killed", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while len(list((tmp_path / "killed" / folder).rglob("result.json"))) < results:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = compare(tmp_path / "killed", *arguments)
    assert done.returncode == 0, done.stderr
    expected = figures(tmp_path / "whole" / folder)
    assert figures(tmp_path / "killed" / folder) == expected
    assert len(expected["results"]) == 2 * 2 + 2 * 2
    assert len(expected["verdicts"]) == 1
    assert expected["status"] == ["As planned."]
    changed = compare(tmp_path / "killed", *arguments, "--trials=3")
    assert changed.returncode == 2
    assert "trials is 2 there and 3 now" in changed.stderr


def test_report_py_writes_the_page_of_a_comparison(tmp_path, script, capsys):
    write_plan(tmp_path / "c", plan("optim=sgd,adam"), [], "")
    fake_run(tmp_path / "c" / "evaluate" / "1-optim-sgd" / "0", "optim=sgd", "seed=0", metrics={"test/acc": 0.9})
    script("report.py", tmp_path / "c")
    assert "Comparison: c" in Path(capsys.readouterr().out.strip()).read_text()


@pytest.mark.parametrize("arguments", [["report.py", "--equivalence", "1"], ["retrain.py"]])
def test_what_a_comparison_does_not_take_is_refused(tmp_path, script, capsys, arguments):
    write_plan(tmp_path / "c", plan("optim=sgd,adam"), [], "")
    fake_run(tmp_path / "c" / "evaluate" / "1-optim-sgd" / "0", "optim=sgd", "seed=0", metrics={"test/acc": 0.9})
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        script(arguments[0], tmp_path / "c", *arguments[1:])
    assert "evaluate" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_data_without_a_test_stop_a_comparison_before_it_tunes_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = plan("optim=sgd,adam", tune=["optim.lr"], trials=3)
    write_plan(sweep_folder("c"), planned, [], "")
    started = []

    def train(arguments):
        started.append(arguments)
        images = {"train": 9, "val": 3, "test": 0}
        fake_run(sweep_folder("c") / "tune" / "1-optim-sgd" / "0", "optim=sgd", "seed=1000", images=images)
        return 0

    with pytest.raises(StoppedRun, match="--metric val/acc"):
        Comparison("c", planned, train).run()
    assert len(started) == 1


def test_a_list_of_values_is_tried_once_each():
    found = plan("optim=sgd,adam", tune=["optim.lr=0.1,0.2,0.3"], trials=12)
    assert [arm.trials for arm in found.arms] == [3, 3]
    assert "n_trials=3" in found.tuning("c", found.arms[0])


def test_training_options_of_the_data_may_be_compared():
    assert len(plan("data.train_size=1000,2000").arms) == 2


def test_the_direction_of_a_metric_of_your_own_can_be_given():
    assert plan("optim=sgd,adam", "objective_mode=min", metric="test/zorp").mode == "min"


def test_runs_without_a_plan_are_not_taken_for_a_comparison(tmp_path, script, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake_run(sweep_folder("c") / "evaluate" / "1-optim-sgd" / "0", "optim=sgd", "seed=0", metrics={"test/acc": 0.9})
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        script("compare.py", "optim=sgd,adam", "--name", "c")
    assert "--name" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("metric", "extra", "named"),
    [
        ("test/auc", (), "no run of optim=sgd has test/auc"),
        ("test/acc", ("trainer.max_epochs=9",), "conf/ has changed"),
    ],
)
def test_a_comparison_stops_at_runs_that_it_cannot_judge(tmp_path, monkeypatch, metric, extra, named):
    monkeypatch.chdir(tmp_path)
    planned = plan("optim=sgd,adam", metric=metric, seeds=2)
    write_plan(sweep_folder("c"), planned, [], "")
    started = []

    def train(arguments):
        started.append(arguments)
        for seed in range(2):
            folder = sweep_folder("c") / "evaluate" / "1-optim-sgd" / str(seed)
            fake_run(folder, "optim=sgd", f"seed={seed}", *extra, metrics={"test/acc": 0.9})
        return 0

    with pytest.raises(StoppedRun, match=named):
        Comparison("c", planned, train).run()
    assert len(started) == 1
