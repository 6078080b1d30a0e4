"""Configs and runs from Python, without the command line."""

import importlib
import importlib.util
import json
import sys
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import ROOT, assert_same, option, snapshot, weights
from fake_runs import fake_sweep
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import litmus
from litmus.core.imported_sources import imported_sources
from litmus.data import synthetic
from litmus.data.protocol import complete_data_module
from litmus.errors import ConfigError
from litmus.models import MLP
from litmus.penalties import L2
from litmus.runs.code_version import current_digests, digests, imported_code, require_unchanged_modules

SMALL = ("data=synthetic", "data.num_images=64", "trainer.max_epochs=2", "accelerator=cpu", "logger=none")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_composed_config_trains_like_the_command_line(train):
    path = train(*SMALL, "output_dir=command", small=False).path
    arguments, threads = list(sys.argv), torch.get_num_threads()
    run = litmus.train(litmus.compose(*SMALL, "output_dir=python"))
    assert_same(weights(run.path), weights(path))
    assert (run.epochs, run.objective) == (2, run.metrics["val/acc"])
    assert len(run.load().class_names) == 10
    assert (sys.argv, torch.get_num_threads()) == (arguments, threads)


def test_values_of_a_composed_config_may_be_changed():
    cfg = litmus.compose(*SMALL)
    cfg.trainer.max_epochs = 1
    cfg.data.seed = 3  # an interpolation of seed
    assert litmus.train(cfg).epochs == 1


@pytest.mark.trust
def test_changed_values_name_the_run_as_overrides_do():
    cfg = litmus.compose(*SMALL)
    cfg.trainer.max_epochs = 1
    cfg.model.hidden = [8, 4]
    cfg.callbacks = {}
    path = litmus.train(cfg).path
    overrides = OmegaConf.load(path / ".hydra" / "overrides.yaml")
    assert {"trainer.max_epochs=1", "model.hidden=[8,4]", "data=synthetic"} <= set(overrides)
    assert "trainer.max_epochs=2" not in overrides
    assert "model.hidden" in path.name
    assert list(cfg.hydra.overrides.task) == list(SMALL)


def test_a_complete_run_is_not_run_twice():
    first = litmus.train(litmus.compose(*SMALL, "output_dir=a"))
    before = snapshot(first.path)
    assert litmus.train(litmus.compose(*SMALL, "output_dir=a")) == first
    assert snapshot(first.path) == before


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["optim=adm"], r"did you mean optim=adam\?"),
        (["seed=1 trainer.max_epochs=2"], "several overrides; give each as an argument of its own"),
        (["seed=0,1"], "seed=0,1 names several values"),
        (["model"], "'model' is not an override; write 'KEY=VALUE'"),
        (["--cfg=job"], "'--cfg=job' is not an override"),
        (["-m"], "'-m' is not an override"),
        ([5], "5 is not an override"),
        (["~key"], "key does not exist"),
        (["sweep=mlp"], "is a sweep, and litmus.train runs one run; use python train.py"),
        (["hydra.mode=MULTIRUN"], "is a sweep, and litmus.train runs one run"),
        (["data.val_size=60000"], "data.val_size=60000"),
        (["accelerator=ddp_cpu", "accelerator.devices=2"], "litmus.train runs one process.*use python train.py"),
    ],
)
def test_a_mistake_is_a_config_error(overrides, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        litmus.train(litmus.compose(*SMALL, *overrides))
    assert not list(tmp_path.iterdir())


def test_a_composed_config_may_lack_a_part():
    assert "early_stopping" not in litmus.compose(*SMALL, "~callbacks.early_stopping").callbacks


class Color(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seed", 1.0, "seed=1.0 does not fit: seed takes a whole number, such as 0"),
        ("seed", None, "seed is None"),
        ("seed", "1", "seed=1 does not fit"),
        ("seed", b"1", "seed is b'1', which a config cannot hold"),
        ("data.data_dir", Color.RED, "which a config cannot hold; give a number"),
        ("model.hidden", [8, b"8"], "which a config cannot hold"),
        ("model.dropout", True, "model.dropout=True does not fit: model.dropout takes a number"),
        (
            "callbacks",
            "default",
            r"callbacks is 'default', not a group of options; .* litmus.compose\('callbacks=OPTION",
        ),
        ("penalty", None, r"penalty is None, not a group of options; .* litmus.compose\('penalty=OPTION"),
        ("model", 5, "model is 5, not a group of options"),
    ],
)
def test_a_value_that_the_command_line_cannot_give_is_refused(tmp_path, key, value, sentence):
    cfg = litmus.compose(*SMALL)
    OmegaConf.update(cfg, key, value, merge=False)
    with pytest.raises(ConfigError, match=sentence):
        litmus.train(cfg)
    assert not list(tmp_path.iterdir())


def test_a_path_is_its_string(tmp_path):
    labels = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    cfg = litmus.compose("data=arrays", "data.path=elsewhere", *SMALL[2:], "callbacks=none")
    cfg.output_dir, cfg.data.path = tmp_path / "run", tmp_path / "mine.npz"
    run = litmus.train(cfg)
    assert run.path == tmp_path / "run"
    assert OmegaConf.load(run.path / ".hydra" / "config.yaml").data.path == str(tmp_path / "mine.npz")
    assert isinstance(cfg.output_dir, Path)


def test_an_interrupt_stays_an_interrupt(monkeypatch):
    def interrupt(*_):
        raise SystemExit(130)

    monkeypatch.setattr("litmus.runs.train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        litmus.train(litmus.compose(*SMALL))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")  # Lightning's own, about itself
def test_models_and_data_work_with_lightning_alone():
    data = synthetic(num_images=64)
    model = MLP(data.num_classes, data.image_shape, hidden=[8], penalty=L2(1e-3))
    trainer = pl.Trainer(max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(model, datamodule=data)
    (tested,) = trainer.test(model, datamodule=data, verbose=False)
    assert tested.keys() == {"test/loss", "test/acc"}


class Own(pl.LightningDataModule):
    def __init__(self, num_classes=3, image_shape=(1, 4, 4)):
        super().__init__()
        self.num_classes, self.image_shape = num_classes, image_shape

    def setup(self, stage=None):
        labels = torch.arange(60) % 3
        images = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)) + labels[:, None, None, None]
        self.images = TensorDataset(images, labels)

    def train_dataloader(self):
        return DataLoader(self.images, 20, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.images, 30)


class WithTest(Own):
    mean, std = (10.0,), (20.0,)
    class_names = ("a", "b", "c")

    def test_dataloader(self):
        return DataLoader(self.images, 30)


class Bare(nn.Module):
    def __init__(self, num_classes, image_shape, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(image_shape[1] * image_shape[2], width), nn.Dropout())
        self.last = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.last(self.layers(images))


RUN = ("trainer.max_epochs=2", "accelerator=cpu", "output_dir=run")


def test_a_plain_data_module_trains_and_has_no_test(train, tmp_path, caplog):
    caplog.set_level("INFO", logger="litmus")
    run = train(*option(tmp_path, "data", f"_target_: {__name__}.Own\n"), *RUN, small=False)
    assert "MLP with 12,103 parameters on own, 60 / 60 / 0 images of 1×4×4 in 3 classes" in caplog.text
    assert "test/acc" not in run.result["metrics"]
    loaded = litmus.load(run.path)
    assert loaded.model(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
    with pytest.raises(ConfigError, match="no mean and std"):
        loaded(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


def test_a_data_module_with_its_preprocessing_gives_a_model_of_pixels(train, tmp_path):
    run = train(*option(tmp_path, "data", f"_target_: {__name__}.WithTest\n"), *RUN, small=False)
    assert "test/acc" in run.result["metrics"]
    loaded = litmus.load(run.path)
    pixels = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8)
    assert torch.equal(loaded(pixels), loaded.model((pixels.float() - 10) / 20))
    assert loaded.class_names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (nn.Identity, "not a LightningDataModule"),
        (pl.LightningDataModule, "has no num_classes; set self.num_classes"),
        (lambda: Own(num_classes=1), "num_classes of Own is 1; set self.num_classes to a whole number of 2"),
        (lambda: Own(image_shape=(4, 4)), r"set self.image_shape to \(channels, height, width\)"),
        (lambda: setattr(data := Own(), "std", [1.0]) or data, "has one of mean and std"),
        (lambda: setattr(data := Own(), "mean", [1.0, 2.0]) or data, "set it to 1 numbers"),
        (lambda: setattr(data := Own(), "class_names", ["a"]) or data, "has 1 class_names for 3 classes"),
        (type("Half", (Own,), {"val_dataloader": pl.LightningDataModule.val_dataloader}), "no val_dataloader; define"),
    ],
)
def test_what_a_data_module_lacks_is_named(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        complete_data_module(make())


def test_a_plain_network_is_wrapped_trained_and_loaded(train, tmp_path, caplog):
    caplog.set_level("INFO", logger="litmus")
    text = f"_target_: {__name__}.Bare\nwidth: 4\ninit_from: null\n"
    options = (*option(tmp_path, "model", text), "model.width=5", "data=synthetic", "penalty=l2", *RUN)
    run = train(*options, small=False)
    assert "Bare with 3,985 parameters" in caplog.text
    assert run.result["metrics"]["penalty"] > 0
    assert litmus.load(run.path)(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 10)
    again = train(*options[:-1], "output_dir=more", "model.init_from=run", small=False)
    assert again.result["epochs"] == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("_target_: torchvision.models.resnet18\n", "does not take images of 1×28×28"),
        ("_target_: torch.nn.Flatten\n", r"output of shape \(4, 784\); it must give logits of shape \(4, 10\)"),
        ("_target_: pytorch_lightning.LightningModule\n", "is a LightningModule but not a litmus.models.Classifier"),
        ("_target_: builtins.dict\n", "gives a dict, not a torch module"),
        (f"_target_: {__name__}.Bare\nwide: 3\n", "model.wide is not an argument of .*did you mean width"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(train, tmp_path, text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train(*option(tmp_path, "model", text), "data=synthetic", *RUN, small=False)
    assert not (tmp_path / "run").exists()


def test_a_torchvision_constructor_gets_the_number_of_classes(train, tmp_path):
    text = "_target_: torchvision.models.squeezenet1_1\nweights: null\n"
    options = (*option(tmp_path, "model", text), "data=synthetic", "data.image_shape=[3,32,32]", "data.num_images=40")
    run = train(*options, "data.batch_size=20", "trainer.max_epochs=1", *RUN[1:], small=False)
    assert litmus.load(run.path)(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 10)


@pytest.mark.filterwarnings("ignore:.*(LeafSpec|many workers|logging interval).*")
def test_the_examples_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake_sweep(tmp_path / "outputs" / "sweeps" / "losses", "loss=cross_entropy,mse", "seed=0,1")
    lines = (ROOT / "README.md").read_text().partition("### From Python")[2].partition("\n## ")[0].splitlines()
    blocks = "\n".join(line[4:] if line.startswith("    ") else "#" for line in lines)
    composed, alone = blocks.split("#\nimport pytorch_lightning")
    cut = {'"trainer.max_epochs=2"': '"trainer.max_steps=2", "data=synthetic"', "max_epochs=2": "max_steps=2"}
    for code in (composed, "import pytorch_lightning" + alone):
        for text, shorter in cut.items():
            code = code.replace(text, shorter)
        exec(code, {})


NETWORK = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, num_classes, image_shape):
        super().__init__(nn.Flatten(), nn.Linear(784, {width}), nn.ReLU(), nn.Linear({width}, num_classes))
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The folder of a user's modules; what a test imports from it is forgotten afterwards."""
    folder = tmp_path / "source"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def test_an_edited_module_is_refused_until_it_is_reloaded(tmp_path, source):
    file = source / "edited_net.py"

    def train(name):
        options = (*option(tmp_path, "model", "_target_: edited_net.Net\n"), *SMALL, f"output_dir={name}")
        return litmus.train(litmus.compose(*options)).path

    def recorded(path):
        return json.loads((path / "run.json").read_text())["code"][str(file)]

    def digest():
        return digests([file])[str(file)]

    file.write_text(NETWORK.format(width=4))
    before = digest()
    module = importlib.import_module("edited_net")
    file.write_text(NETWORK.format(width=5))
    with pytest.raises(ConfigError, match=r"edited_net\.py has changed .* importlib\.reload\(edited_net\)"):
        train("a")  # although no run has imported it yet
    assert not Path("a").exists()
    file.write_text(f"# a remark\n{NETWORK.format(width=4)}")
    assert recorded(train("b")) == before == digest()
    file.write_text(NETWORK.format(width=6))
    with pytest.raises(ConfigError, match="restart the kernel"):
        train("b")
    importlib.reload(module)
    path = train("c")
    assert recorded(path) == digest() != before
    assert weights(path)["network.1.weight"].shape[0] == 6


def test_a_run_records_the_code_that_was_imported(source):
    file = source / "later_edited.py"
    file.write_text("width = 1\n")
    before = digests([file])
    importlib.import_module("later_edited")
    file.write_text("width = 2\n")
    assert imported_code().digests[str(file)] == before[str(file)]
    assert imported_code().modules["later_edited"] == str(file)
    assert current_digests([str(file)]) == before
    file.unlink()
    require_unchanged_modules()  # there is no other code that it could have used


def test_finding_a_module_does_not_change_what_was_imported(source):
    (source / "found_net.py").write_text("width = 1\n")
    importlib.util.find_spec("found_net")
    (source / "found_net.py").write_text("width = 2\n")
    importlib.import_module("found_net")
    assert imported_sources()["found_net"].content == b"width = 2\n"


def test_a_module_that_python_did_not_find_itself_is_recorded(source):
    file = source / "loaded_net.py"
    for width in (1, 2):
        file.write_text(f"width = {width}\n")
        spec = importlib.util.spec_from_file_location("loaded_net", file)
        module = importlib.util.module_from_spec(spec)
        sys.modules["loaded_net"] = module
        spec.loader.exec_module(module)
        assert imported_sources()["loaded_net"].content == file.read_bytes()
