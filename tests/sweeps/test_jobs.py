"""A sweep's jobs, composed and named."""

import json

import pytest
from conftest import CONF, composed
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from hydra_plugins.litmus.sweeper import refuse_own_values
from litmus.errors import ConfigError
from litmus.runs.identity import config_hash, experiment
from litmus.sweeps.console import describe_jobs
from litmus.sweeps.grid import Grid
from litmus.sweeps.jobs import Composer
from litmus.sweeps.search import Search

VERSIONS = {"old": {"a.py": "1", "b.py": "1"}, "new": {"a.py": "2", "b.py": "1"}}


def finish(jobs, accuracy: float, code: str | None = "old", **record) -> None:
    """Writes the results of jobs, as runs of this version of the code leave them."""
    record |= {"code": VERSIONS[code]} if code else {}
    for job in jobs:
        job.path.mkdir(parents=True)
        (job.path / "run.json").write_text(json.dumps({"config_hash": job.hash, **record}))
        result = {"config_hash": job.hash, "objective": accuracy, "objective_name": "val/acc", "metrics": {}}
        (job.path / "result.json").write_text(json.dumps(result))


@pytest.fixture
def compose():
    """A composer for what follows `-m` on a command line, and the sweep's own config."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def made(*arguments: str):
            master = loader.load_configuration("train", list(arguments), RunMode.MULTIRUN)
            return Composer(loader, master, "name"), master

        yield made


def test_a_job_is_composed_as_hydra_composes_its_command_line(compose):
    settings = {"optim": "momentum", "optim.momentum": "0.5", "model.hidden": "[8,8]", "penalty": "l1", "seed": "3"}
    job = compose()[0].job(settings, ["seed", "optim"])
    GlobalHydra.instance().clear()
    expected = experiment(composed(*job.overrides))
    assert job.hash == config_hash(expected)
    assert experiment(job.config) == expected
    assert job.config.hydra.overrides.task == job.overrides
    assert job.config.hydra.runtime.choices.optim == "momentum"
    assert job.path.name == f"optim-momentum+seed-3+model.hidden-8-8+optim.momentum-0.5+penalty-l1-{job.hash[:6]}"


def test_a_long_name_keeps_what_was_swept_and_100_bytes(compose):
    settings = {"data": "synthetic", "data.num_classes": "12", "trainer.log_every_n_steps": "17", "optim.lr": "0.1"}
    name = compose()[0].job(settings | {"trainer.limit_train_batches": "0.25"}, ["optim.lr"]).path.name
    assert name.startswith("optim.lr-0.1+data")
    assert len(name.encode()) == 100


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"objective": ["val/quality"]}, "objective_mode=max"),
        ({"callbacks.early_stopping.monitor": ["val/loss", "val/quality"]}, "callbacks.early_stopping.mode=max"),
    ],
)
def test_a_sweep_asks_for_a_direction_before_its_first_job(compose, settings, option):
    with pytest.raises(ConfigError, match=option):
        Grid(settings, compose()[0])


def test_equal_jobs_are_one(compose):
    grid = Grid({"optim.lr": ["0.1", "1e-1", "0.2"], "seed": ["0"]}, compose()[0])
    assert [job.overrides for job in grid.all] == [["optim.lr=0.1", "seed=0"], ["optim.lr=0.2", "seed=0"]]
    assert grid.introduction == "2 jobs; 1 more is the same as others"


def test_a_combination_that_cannot_be_composed_is_named(compose):
    space = {"optim": ["adam", "sgd"], "optim.lr": ["0.1"], "optim.momentum": ["0.9"]}
    with pytest.raises(ConfigError, match="optim=adam optim.lr=0.1 optim.momentum=0.9 is not possible: Could not over"):
        Grid(space, compose()[0])


def test_hydra_composes_once_per_choice_of_options(compose, monkeypatch):
    composer, _ = compose()
    calls = []
    load = composer.loader.load_configuration
    monkeypatch.setattr(composer.loader, "load_configuration", lambda *a, **k: calls.append(a) or load(*a, **k))
    Grid({"penalty": ["l1", "l2"], "penalty.weight": [str(i) for i in range(20)]}, composer)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("arguments", "space", "sentence"),
    [
        ([], {"optim.lr": ["1"]}, "there is nothing to search"),
        ([], {"optim.lr": ["1", "2"], "seed": ["0", "1"]}, "it takes one seed"),
        (["n_trials=0"], {"optim.lr": ["1", "2"]}, "n_trials is 0, and must be a whole number of 1 or more"),
        ([], {"optim.lr": ["1", "2"], "data.val_size": ["0"]}, "leaves no validation part for a search"),
        (["pruner=median"], {"seed": ["1"], "optim.lr": ["1", "2"], "accelerator.devices": ["2"]}, "with one device"),
        (["pruner=median", "pruner.n_startup_trials=-1"], {"optim.lr": ["1", "2"]}, "pruner refuses its options"),
        ([], {"optim": ["sgd", "adam"], "optim.momentum": ["0.9"]}, "optim.momentum=0.9 optim=adam is not possible"),
    ],
    ids=str,
)
def test_an_impossible_search_is_refused(compose, arguments, space, sentence):
    composer, master = compose("sampler=tpe", *arguments)
    with pytest.raises(ConfigError, match=sentence):
        Search(space, composer, master)


def test_a_sweep_file_that_sets_its_jobs_values_itself_is_refused(compose, tmp_path):
    (tmp_path / "sweep").mkdir()
    own = f"hydra.searchpath=[file://{tmp_path}]"
    text = "# @package _global_\nhydra: {sweeper: {params: {seed: '0,1'}}}\n"
    for name, more in {"good": "n_trials: 3\n", "bad": "trainer: {max_epochs: 3}\n"}.items():
        (tmp_path / "sweep" / f"{name}.yaml").write_text(text + more)
    composer, master = compose(own, "sweep=good")
    refuse_own_values(composer.loader, master)
    composer, master = compose(own, "sweep=bad")
    with pytest.raises(ConfigError, match="sweep=bad sets something in trainer itself: put it under hydra.sweeper.par"):
        refuse_own_values(composer.loader, master)


def test_a_grid_search_is_as_long_as_its_grid(compose):
    space = {"optim.lr": ["1", "2"], "penalty": ["l1", "l2", "none"]}
    assert Search(space, *compose("sampler=grid")).total == 6
    assert Search(space, *compose("sampler=grid", "n_trials=4")).total == 4
    assert Search(space, *compose("sampler=random")).total == 30


SEEDS = {"penalty": ["l1", "l2"], "seed": ["0", "1"]}


@pytest.mark.parametrize(("before", "after"), [("old", "new"), ("old", None)])
def test_runs_of_different_code_are_two_settings(compose, tmp_path, monkeypatch, before, after):
    monkeypatch.chdir(tmp_path)
    composer, _ = compose("stale=keep")
    jobs = Grid(SEEDS, composer).all
    finish(jobs[:3], 0.5, before)
    finish(jobs[3:], 0.9, "new")
    if after is None:  # a run of an earlier version of Litmus
        (jobs[0].path / "run.json").write_text(json.dumps({"config_hash": jobs[0].hash}))
    columns, rows = Grid(SEEDS, composer).rows()
    assert columns == ["penalty", "code"]
    found = sorted((row.setting[0], row.mean, len(row.values)) for row in rows)
    ones = [("l1", 0.5, 2)] if after else [("l1", 0.5, 1), ("l1", 0.5, 1)]
    assert found == [*ones, ("l2", 0.5, 1), ("l2", 0.9, 1)]
    assert len({row.setting[1] for row in rows}) == (2 if after else 3)
    assert ("unknown" in {row.setting[1] for row in rows}) == (after is None)


def test_runs_of_different_data_are_two_settings(compose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("litmus.sweeps.grid.data_fingerprint_elsewhere", lambda _: "b" * 64)
    composer, _ = compose("stale=keep")
    space = {"data": ["mnist", "synthetic"], "seed": ["0", "1"]}
    jobs = Grid(space, composer).all
    for job, fingerprint in zip(jobs, "aabc", strict=True):
        finish([job], 0.5, data_fingerprint=fingerprint * 64)
    columns, rows = Grid(space, composer).rows()
    assert columns == ["data", "data_fingerprint"]
    assert {row.setting: len(row.values) for row in rows} == {
        ("mnist", "–"): 2,
        ("synthetic", "b" * 7): 1,
        ("synthetic", "c" * 7): 1,
    }


def test_runs_of_one_version_have_no_column_for_it(compose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composer, _ = compose("stale=keep")
    finish(Grid(SEEDS, composer).all, 0.5)
    columns, rows = Grid(SEEDS, composer).rows()
    assert columns == ["penalty"]
    assert [len(row.values) for row in rows] == [2, 2]


def test_a_sweep_says_what_it_runs_again(compose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composer, _ = compose("stale=rerun")
    jobs = Grid(SEEDS, composer).all
    finish(jobs[:2], 0.5, "old")
    finish(jobs[2:3], 0.5, None)
    (jobs[2].path / "result.json").unlink()
    grid = Grid(SEEDS, composer)
    assert list(grid.jobs()) == jobs
    assert "4 jobs, of which 1 started before, 2 run again" in grid.introduction
    assert "begun" not in grid.introduction


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((1, 0, 0, 0, 0), "1 job"),
        ((1, 0, 0, 1, 0), "1 job, of which 1 runs again because code or data have changed (stale=rerun)"),
        (
            (1200, 2, 1, 0, 2),
            "1,200 jobs, of which 2 finished already, 1 started before; 2 more are the same as others",
        ),
    ],
)
def test_a_sweep_is_described_in_numbers(counts, text):
    assert describe_jobs(*counts) == text
