import json
import runpy
import shlex
import sys

import pytest
from conftest import CONF, ROOT, composed
from fake_runs import edit, fake_run, fake_sweep
from omegaconf import OmegaConf

from litmus.core.hydra_values import as_hydra_value
from litmus.core.saved_config import flatten
from litmus.errors import ConfigError
from litmus.report import read_runs
from litmus.sweeps.retraining import plan, unresolved_config

DECIDED = {"data.val_size", "trainer.max_epochs", "callbacks.early_stopping", "seed", "test", "sweep_name"}


def differences(run, overrides) -> dict[str, tuple]:
    """The keys whose values differ between a run's config and what overrides compose to."""
    there, here = flatten(unresolved_config(run)), flatten(OmegaConf.to_container(composed(*overrides)))
    return {
        key: (there.get(key), here.get(key)) for key in there.keys() | here.keys() if there.get(key) != here.get(key)
    }


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model=cnn", "model.channels=[8,16]", "optim=momentum", "optim.lr=1e-05", "scheduler=constant"),
        ("penalty=l1", "callbacks=none", "data=synthetic", "model.hidden=[64]", "sweep_name=mine", "test=false"),
        ("callbacks.early_stopping=null", "data.seed=4", "data.train_size=null"),
    ],
)
def test_the_best_config_is_reproduced_but_for_what_retraining_decides(tmp_path, overrides):
    fake_run(tmp_path / "a", *overrides, "seed=3")
    chosen = plan(tmp_path, [], CONF)
    run = chosen.setting.runs[0]
    found = differences(run, chosen.overrides)
    assert found.pop("data.val_size") == (0.1, 0)
    assert {key for key in found if not key.startswith("callbacks.early_stopping.")} <= DECIDED
    assert composed(*chosen.overrides).callbacks.get("early_stopping") is None
    assert composed(*chosen.overrides).test is None


def test_the_best_is_chosen_by_the_mean_over_seeds(tmp_path):
    for lr, accuracies in {"0.1": (0.5, 0.99), "0.2": (0.8, 0.9)}.items():
        for seed, accuracy in enumerate(accuracies):
            fake_run(tmp_path / f"{lr}-{seed}", f"optim.lr={lr}", f"seed={seed}", accuracy=accuracy)
    chosen = plan(tmp_path, [], CONF)
    assert str(chosen.setting) == "optim.lr=0.2"
    assert chosen.why == "the best of 2 settings by mean val/acc, 0.85 over 2 seeds"
    assert chosen.overrides[0] == "optim.lr=0.2"


@pytest.mark.parametrize(
    ("scheduler", "epochs", "reason"),
    [
        ("constant", 7, "7 epochs, the median best epoch of the sweep's runs (5, 7, 30)"),
        ("onecycle", 40, "40 epochs as in the sweep, because scheduler=onecycle is laid out over all of them"),
        ("cosine", 40, "40 epochs as in the sweep, because scheduler=cosine is laid out over all of them"),
    ],
)
def test_it_trains_for_the_epochs_that_were_needed(tmp_path, scheduler, epochs, reason):
    for seed, best in enumerate((5, 7, 30)):
        fixed = (f"scheduler={scheduler}", "trainer.max_epochs=40")
        fake_run(tmp_path / str(seed), *fixed, f"seed={seed}", epochs=best)
    chosen = plan(tmp_path, [], CONF)
    assert (composed(*chosen.overrides).trainer.max_epochs, chosen.epochs) == (epochs, reason)


def test_half_an_epoch_is_rounded_up(tmp_path):
    for seed, best in enumerate((4, 5)):
        fake_run(tmp_path / str(seed), "scheduler=constant", f"seed={seed}", epochs=best)
    assert composed(*plan(tmp_path, [], CONF).overrides).trainer.max_epochs == 5


def test_a_default_that_conf_has_changed_since_keeps_the_runs_value(tmp_path):
    run = fake_run(tmp_path / "a", "penalty=l2")
    edit(run, penalty__weight=0.125, model__hidden=[3, 4], optim__betas=[0.5, 0.75], objective="val/loss")
    found = composed(*plan(tmp_path, [], CONF).overrides)
    assert (found.penalty.weight, found.model.hidden, found.optim.betas) == (0.125, [3, 4], [0.5, 0.75])
    assert found.objective == "val/acc"  # the default: without validation there is nothing to choose an epoch by


def test_the_best_of_an_own_metric_is_retrained_without_its_objective(tmp_path):
    for lr in (0.1, 0.2):
        name = "val/quality"
        options = (f"optim.lr={lr}", f"objective={name}", "objective_mode=max")
        fake_run(tmp_path / str(lr), *options, objective=name, objective_mode="max", metrics={name: lr})
    found = composed(*plan(tmp_path, [], CONF).overrides)
    assert (found.optim.lr, found.objective, found.objective_mode) == (0.2, "val/acc", None)


def test_a_removed_option_is_refused_with_the_commit_that_had_it(tmp_path):
    run = fake_run(tmp_path / "a", git_commit="abc123")
    cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
    cfg.model.old_option = 3
    (run / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    with pytest.raises(
        ConfigError, match="model.old_option can't be set any more: go back to the sweep's commit, abc123"
    ):
        plan(tmp_path, [], CONF)


def test_an_option_that_is_new_since_is_named(tmp_path):
    run = fake_run(tmp_path / "a")
    cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
    del cfg.model["dropout"]
    (run / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    notes = ["options that are new since the sweep, left at their default: model.dropout"]
    assert plan(tmp_path, [], CONF).notes == notes


def test_a_sweep_on_fewer_images_is_retrained_on_as_many_and_says_so(tmp_path):
    fake_run(tmp_path / "a", "data.train_size=3000")
    assert plan(tmp_path, [], CONF).notes == [
        "data.train_size=3000 as in the sweep; set data.train_size=null to train on every image"
    ]
    assert plan(tmp_path, ["data.train_size=null"], CONF).notes == []


def test_changes_replace_what_the_sweep_had(tmp_path):
    fake_run(tmp_path / "a", "optim=sgd", "optim.lr=0.5", "accelerator=cpu")
    chosen = plan(tmp_path, ["accelerator=auto", "optim.lr=0.25", "trainer.max_epochs=3"], CONF)
    found = composed(*chosen.overrides)
    assert chosen.epochs == "trainer.max_epochs as given"
    assert (found.accelerator.accelerator, found.optim.lr, found.trainer.max_epochs) == ("auto", 0.25, 3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: None, "holds no run: give the folder of a sweep"),
        (
            lambda folder: fake_run(folder / "a", status="failed"),
            "has finished .failed: StoppedRun: the loss became nan",
        ),
        (
            lambda folder: fake_sweep(folder, "data=mnist,synthetic"),
            "runs on mnist, synthetic, which have no best setting",
        ),
        (lambda folder: fake_run(folder / "a", objective="train/loss"), "chosen by validation alone"),
    ],
)
def test_where_there_is_no_best_setting_it_says_why(tmp_path, make, sentence):
    make(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        plan(tmp_path, [], CONF)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-05, "1e-05"),
        ("adam", "adam"),
        ("null", "'null'"),
        ("1e-3", "'1e-3'"),
        ("a, b=c", "'a, b=c'"),
        ("it's", r"'it\'s'"),
        ("${seed}", "'${seed}'"),
        ([1, [0.5, "a b"]], "[1,[0.5,'a b']]"),
        ({"a": 1, "b": None}, "{a:1,b:null}"),
    ],
)
def test_values_are_written_as_hydra_reads_them(value, text):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert as_hydra_value(value) == text
    read = OverridesParser.create().parse_override(f"key={text}")
    assert OmegaConf.to_container(OmegaConf.create({"key": read.value()})) == {"key": value}


def script(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["retrain.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "scripts" / "retrain.py"), run_name="__main__")


SWEEP = ("data=synthetic", "scheduler=constant", "accelerator=cpu", "accelerator.threads=1", "logger=none")


def test_it_trains_on_everything_tests_once_and_writes_down_what_it_did(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    fake_sweep(tmp_path / "s", "penalty.weight=0.5,0.25", "seed=0", fixed=(*SWEEP, "penalty=l2"), epochs=2)
    script(monkeypatch, "s", "--seeds", "5")
    (record,) = json.loads((tmp_path / "s" / "retrain.json").read_text())["retrained"]
    (run,) = record["runs"]
    there = tmp_path / run["directory"]
    result = json.loads((there / "result.json").read_text())
    config = OmegaConf.load(there / ".hydra" / "config.yaml")
    assert (config.seed, config.data.val_size, config.trainer.max_epochs, config.penalty.weight) == (
        *(5, 0, 2),
        unresolved_config(read_runs([tmp_path / record["from"][0]])[0][0])["penalty"]["weight"],
    )
    assert run["test/acc"] == result["metrics"]["test/acc"]
    assert record["test/acc"] == {"mean": run["test/acc"], "standard_deviation": None}
    assert shlex.split(run["command"])[:2] == ["python", "train.py"]
    assert "512 / 0 / 128 images" in capfd.readouterr().out

    written_at = (there / "result.json").stat().st_mtime_ns
    script(monkeypatch, "s", "--seeds", "5")
    assert (there / "result.json").stat().st_mtime_ns == written_at
    assert len(json.loads((tmp_path / "s" / "retrain.json").read_text())["retrained"]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere is not a folder: give a sweep's, such as outputs/sweeps/NAME"),
        (["s", "fast"], "'fast' is no change: write key=value"),
        (["s", "--seeds", "0,x"], "--seeds 0,x cannot be read: write whole numbers with commas, such as 0,1,2"),
        (["s", "seed=3"], "seed=3 is what retraining decides itself: use --seeds 3"),
        (["s", "++seed=3"], "++seed=3 is what retraining decides itself: use --seeds 3"),
        (["s", "output_dir=a"], "output_dir=a is what retraining decides itself: leave it out"),
        (["s", "sweep_name=a"], "sweep_name=a is what retraining decides itself: leave it out"),
        (["s", "resume=a"], "resume=a is what retraining decides itself"),
        (["s", "jobs=2"], "jobs=2 is what retraining decides itself"),
        (["s", "test=false"], "test=false is what retraining decides itself"),
        (["s", "data.val_size=0.2"], "data.val_size=0.2 is what retraining decides itself"),
        (["s", "callbacks.early_stopping.patience=3"], "is what retraining decides itself"),
        (["s", "--seeds=-1"], "--seeds -1 cannot be read: write whole numbers with commas, such as 0,1,2"),
        (["s", "trainer.max_epoch=2"], "trainer.max_epoch does not exist: did you mean trainer.max_epochs?"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(tmp_path, monkeypatch, capfd, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    fake_run(tmp_path / "s" / "a", *SWEEP)
    with pytest.raises(SystemExit) as stop:
        script(monkeypatch, *arguments)
    assert stop.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert not (tmp_path / "s" / "retrain.json").exists()
