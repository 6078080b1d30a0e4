"""What the tests share: a run in this process, on a few made-up images."""
# ruff: noqa: E402

import json
import logging
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litmus.core.environment import prepare_environment

prepare_environment()  # as the command line does, before torch starts

import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from starter import Starter

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
SMALL = ("data=synthetic", "data.batch_size=32", "trainer.max_epochs=2", "accelerator=cpu", "logger=none")

sys.path[:0] = [str(ROOT / folder) for folder in (".", "scripts/reproduce", "scripts/benchmark")]
torch.set_num_threads(1)  # small networks gain nothing from more
torch.manual_seed(0)  # for what the tests' files draw as they are imported


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers each time, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def set_threads():
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def composed(*overrides: str):
    """The config of a command line, set as Hydra's current one."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    cfg = cfg.copy()
    OmegaConf.set_readonly(cfg, False)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the overrides on small data as train.py would, in an empty directory; gives the run's files."""
    monkeypatch.chdir(tmp_path)
    import train as script

    def run(*overrides: str, small: bool = True):
        before = set(tmp_path.rglob("run.json"))
        objective = script.main.__wrapped__(composed(*(SMALL if small else ()), *overrides))
        new = set(tmp_path.rglob("run.json")) - before
        named = [o.split("=", 1)[1] for o in overrides if o.startswith(("output_dir=", "resume="))]
        path = Path(named[0]) if named else new.pop().parent
        return SimpleNamespace(path=path, objective=objective, result=json.loads((path / "result.json").read_text()))

    return run


@pytest.fixture
def train_logged(train):
    """The same with TensorBoard, which draws figures and takes most of the time of a small run."""
    return lambda *overrides, **options: train("logger=tensorboard", *overrides, **options)


@pytest.fixture
def added(tmp_path):
    """Writes a file of conf/callbacks as a user would, and gives the overrides that choose it."""

    def write(target: str, **options: Any) -> tuple[str, ...]:
        folder = tmp_path / "conf" / "callbacks"
        folder.mkdir(parents=True, exist_ok=True)
        target = target if "." in target else f"pytorch_lightning.callbacks.{target}"
        node = {"defaults": ["default"], "added": {"_target_": target, **options}}
        (folder / "own.yaml").write_text(yaml.safe_dump(node))
        return f"hydra.searchpath=[file://{folder.parent}]", "callbacks=own", "objective=val/loss", "test=false"

    return write


def option(tmp_path: Path, group: str, text: str) -> tuple[str, str]:
    """Writes conf/GROUP/own.yaml as a user would, and gives the overrides that choose it."""
    file = tmp_path / "conf" / group / "own.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return f"hydra.searchpath=[file://{tmp_path}/conf]", f"{group}=own"


def cut_off(train, monkeypatch, epoch, *options) -> None:
    """Trains until the run is interrupted, after the second training step of this epoch."""
    from litmus.models.classifier import Classifier

    stepped = Classifier.training_step

    def training_step(self, batch, batch_idx):
        if self.current_epoch == epoch and batch_idx == 2:
            raise KeyboardInterrupt
        return stepped(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", training_step)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(*options)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The files and folders below `folder`, with their times and contents."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


def weights(path: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Equal to the bit."""
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


PARTS = {"penalty": "none", "optim": "sgd", "scheduler": "constant", "loss": "cross_entropy"}


def parts(**options: str):
    """The loss, penalty, optimizer and scheduler of the named options, as a model's constructor takes them."""
    from litmus.runs import build

    cfg = composed(*(f"{group}={option}" for group, option in {**PARTS, **options}.items()))
    return {group: build(cfg[group]) for group in PARTS}


@pytest.fixture(scope="module")
def starter():
    made = Starter()
    yield made
    made.close()


@pytest.fixture
def script(monkeypatch):
    """Runs a script of scripts/ in this process, as its name and arguments on the command line would."""
    log = logging.getLogger("litmus")  # which a script sets up, and whose next test wants it as it was
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)  # without it, pytest adds handlers, and a script then adds none

    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")

    return run
