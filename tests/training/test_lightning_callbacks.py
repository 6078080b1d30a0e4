"""Lightning's own callbacks, each added by a file as a user would add it."""

import logging
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from board import Board
from conftest import CONF, ROOT, SMALL, assert_same, composed, weights
from lightning_callbacks_table import CHANGES_WEIGHTS, CONSTANT, LAYOUT, NORMALIZED, REFUSED, WORKING, Row, page, said

from litmus.cli.overrides import check
from litmus.core.metrics_file import read_metrics
from litmus.errors import ConfigError, StoppedRun
from litmus.runs import build, build_model
from litmus.training.epoch_seed import EpochSeed

pytestmark = pytest.mark.filterwarnings("ignore:.*need to define a `flops_per_batch`")


def test_the_page_in_docs_is_generated_from_the_table():
    assert (ROOT / "docs" / "lightning-callbacks.md").read_text() == page()


@pytest.mark.parametrize("row", WORKING.values(), ids=lambda row: row.name)
def test_it_runs(train, added, row):
    run = train(*added(row.name, **row.options), "logger=none", *row.overrides)
    assert len(read_metrics(run.path / "metrics.csv")) == run.result["epochs"]


@pytest.mark.parametrize("row", REFUSED.values(), ids=lambda row: row.name)
def test_it_is_refused_with_the_alternative_before_anything_is_written(train, added, tmp_path, row):
    with pytest.raises(ConfigError) as raised:
        train(*added(row.name, **row.options), *row.overrides)
    assert f"callbacks.added: {row.name}" in str(raised.value)
    assert row.refused in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


@pytest.mark.parametrize(
    ("name", "options", "fix"),
    [
        ("DeviceStatsMonitor", ("logger=none",), "logger=tensorboard"),
        ("LearningRateMonitor", ("logger=none",), "logger=tensorboard"),
        ("GradientAccumulationScheduler", ("scheduler=onecycle",), "scheduler=constant"),
        ("GradientAccumulationScheduler", (*CONSTANT, "trainer.accumulate_grad_batches=2"), "use one"),
        ("GradientAccumulationScheduler", (*CONSTANT, "trainer.compile=true"), "trainer.compile=false"),
        ("StochasticWeightAveraging", ("model=cnn", "trainer.compile=true"), "trainer.compile=false"),
        ("ModelPruning", ("model=cnn",), "accelerator.channels_last=false"),
        ("ModelPruning", ("trainer.compile=true",), "trainer.compile=false"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_fix(train, added, tmp_path, name, options, fix):
    with pytest.raises(ConfigError, match=f"callbacks.added: {name} .*{fix}"):
        train(*added(name, **WORKING[name].options), *options)
    assert not list(tmp_path.rglob("run.json"))


def test_two_callbacks_of_one_type_with_state_are_refused(train, added):
    options = added("Timer", duration={"minutes": 5})
    own = Path("conf/callbacks/own.yaml")
    own.write_text(own.read_text() + "second:\n  _target_: pytorch_lightning.callbacks.Timer\n")
    with pytest.raises(ConfigError, match="two Timer callbacks .* callbacks.NAME=null"):
        train(*options)


@pytest.mark.parametrize("name", ["RichProgressBar", "RichModelSummary"])
def test_an_absent_rich_is_named_with_the_command(train, added, monkeypatch, name):
    for module in ("progress.rich_progress", "rich_model_summary"):
        monkeypatch.setattr(f"pytorch_lightning.callbacks.{module}._RICH_AVAILABLE", False)
    with pytest.raises(ConfigError, match="pip install"):
        train(*added(name))


def test_an_absent_psutil_is_named_with_the_command(train, added, monkeypatch):
    monkeypatch.setattr("litmus.training.lightning_callbacks.RequirementCache", lambda name: False)
    with pytest.raises(ConfigError, match="pip install psutil"):
        train(*added("DeviceStatsMonitor"), "logger=tensorboard")


# --- The effect is that in a plain Trainer ---


def plain(options: tuple[str, ...], row: Row) -> dict[str, torch.Tensor]:
    """The weights that Lightning's own Trainer ends with."""
    cfg = composed(*SMALL, *options)
    pl.seed_everything(cfg.seed, verbose=False)
    data = build(cfg.data)
    model = build_model(cfg, data.num_classes, data.image_shape)
    callback = build({"_target_": f"pytorch_lightning.callbacks.{row.name}", **row.options})
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=cfg.trainer.max_epochs,
        callbacks=[callback, EpochSeed(cfg.seed)],
        logger=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data.setup()
    trainer.fit(model, datamodule=data)
    return model.state_dict()


@pytest.mark.filterwarnings("ignore:.*GPU available", "ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize("name", CHANGES_WEIGHTS)
@pytest.mark.parametrize("network", [(), (*NORMALIZED, *LAYOUT)], ids=["mlp", "cnn"])
def test_a_run_ends_with_the_weights_of_a_plain_trainer(train, added, name, network):
    row = WORKING[name]
    options = (*added(name, **row.options), *row.overrides, *network, "logger=none")
    run = train(*options)
    assert_same(weights(run.path, "last"), plain(options, row))


# --- What they show ---


def test_a_model_summary_is_in_the_train_log(train, added, caplog):
    caplog.set_level(logging.INFO, logger="litmus")
    run = train(*added("ModelSummary"), "logger=none")
    assert "Trainable params" in (run.path / "train.log").read_text()


@pytest.mark.parametrize(("name", "tag"), [("DeviceStatsMonitor", "cpu_percent"), ("LearningRateMonitor", "lr-Adam"),
                                           ("ThroughputMonitor", "samples_per_sec")])  # fmt: skip
def test_what_they_log_is_in_tensorboard(train, added, name, tag):
    row = WORKING[name]
    run = train(*added(name, **row.options), *row.overrides, "test=true", "data.batch_size=2")
    assert any(tag in shown for shown in Board(run.path).events.Tags()["scalars"])


def test_a_timer_that_has_run_out_ends_the_run(train, added):
    run = train(*added("Timer", duration={"milliseconds": 1}), "logger=none", "trainer.max_epochs=50")
    assert run.result["epochs"] == 1
    with pytest.raises(StoppedRun, match="so there is no result"):
        train(*added("Timer", duration={"seconds": 0}), "logger=none")


def test_a_progress_bar_replaces_the_own_one(train, added, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    train(*added("TQDMProgressBar"), "logger=none")
    shown = capsys.readouterr()
    assert "Epoch 1: 100%" in shown.err + shown.out
    assert "━" not in shown.err


def test_lambda_functions_are_called(train, added):
    said.clear()
    train(*added("LambdaCallback", **WORKING["LambdaCallback"].options), "logger=none")
    assert len(said) == 2 * 15 + 2


# --- Keys that are numbers ---

ACCUMULATE = "callbacks.accumulate.scheduling"


@pytest.fixture
def conf(tmp_path):
    """A copy of conf/ with a file whose keys are numbers."""
    copy = shutil.copytree(CONF, tmp_path / "own")
    node = {"_target_": "pytorch_lightning.callbacks.GradientAccumulationScheduler", "scheduling": {1: 2, 4: 8}}
    (copy / "callbacks" / "own.yaml").write_text(yaml.safe_dump({"defaults": ["default"], "accumulate": node}))
    return copy


@pytest.mark.parametrize("override", ["optim.lr=0.1", f"{ACCUMULATE}={{1:4}}", "callbacks.accumulate=null"])
def test_a_config_with_numbers_as_keys_is_checked_as_any(conf, override):
    arguments = ["callbacks=own", override]
    assert check(arguments, conf) == arguments
    assert check(["-m", *arguments, "seed=0,1"], conf)


@pytest.mark.parametrize(
    ("override", "fix"),
    [(f"{ACCUMULATE}.1=4", f"did you mean {ACCUMULATE}"), (f"+{ACCUMULATE}.7=4", f"did you mean {ACCUMULATE}"),
     (f"{ACCUMULATE}=4", "such as {1: 2, 4: 8}"), ("callbacks.acumulate=null", "did you mean callbacks.accumulate")],
)  # fmt: skip
def test_a_number_as_key_is_set_with_its_group(conf, override, fix):
    with pytest.raises(ConfigError) as raised:
        check(["callbacks=own", override], conf)
    assert fix in str(raised.value)


def test_runs_that_differ_in_numbers_as_keys_are_told_apart(train, added):
    row = WORKING["GradientAccumulationScheduler"]
    train(*added(row.name, **row.options), *row.overrides, "logger=none", "output_dir=run")
    with pytest.raises(ConfigError, match="scheduling.1 is 2 there and 3 here"):
        train(*added(row.name, scheduling={1: 3, 2: 4}), *row.overrides, "logger=none", "output_dir=run")
