"""resume=RUN of a stranger's directory writes nowhere else, and takes bounded memory and time."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from hostile import WRITE, limited, node, process_state, refuse
from omegaconf import OmegaConf

import litmus
from litmus.core.checkpoint_io import CHECKPOINT_KEY, read_json, write_json
from litmus.errors import ConfigError, StoppedRun
from litmus.runs.identity import config_hash, experiment

pytestmark = pytest.mark.trust

QUICK = ("trainer.max_epochs=1", "logger=none", "callbacks=none", "model.hidden=[8]", "scheduler=constant")
CONFIG, OVERRIDES, RECORD, RESULT = ".hydra/config.yaml", ".hydra/overrides.yaml", "run.json", "result.json"
LAST = "checkpoints/last.ckpt"
CYCLE: list[object] = [1]
CYCLE.append(CYCLE)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "run"
    litmus.train(litmus.compose(*SMALL, *QUICK, f"output_dir={path}"))
    return path


@pytest.fixture
def run(original, tmp_path, monkeypatch):
    """A copy of the run in the current directory, beside a file of the user's."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(original, tmp_path / "run")
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setenv("SECRET", "hunter2")
    return tmp_path / "run"


@pytest.fixture
def resume(train):
    return lambda *options: train("resume=run", "trainer.max_epochs=2", *options, small=False)


@pytest.fixture
def refused(capsys, script, resume, run, tmp_path):
    """Asserts that resuming is refused, as a command, without any effect. Returns the sentence."""
    return lambda: refuse(capsys, resume, tmp_path)


def set_option(run: Path, key: str, value: object) -> None:
    """Sets an option of the config, with the hash of the new one."""
    cfg = OmegaConf.load(run / CONFIG)
    OmegaConf.update(cfg, key, value, merge=False)
    (run / CONFIG).write_text(OmegaConf.to_yaml(cfg))
    write_json(run / RECORD, {**read_json(run / RECORD), "config_hash": config_hash(experiment(cfg))})


def set_entry(run: Path, name: str, key: str, value: object) -> None:
    write_json(run / name, {**read_json(run / name), key: value})


def append(run: Path, name: str, text: str) -> None:
    with (run / name).open("a") as file:
        file.write(text)


PARTS = [
    *(("data", WRITE), ("model", WRITE), ("loss", WRITE), ("penalty", WRITE), ("optim", WRITE), ("scheduler", WRITE)),
    *(("callbacks", {"a": WRITE}), ("logger", {"a": WRITE}), ("trainer.plugins", [WRITE]), ("trainer.profiler", WRITE)),
    ("trainer._target_", "os.system"),
    ("data.source", WRITE),
    ("callbacks", {"a": node("pytorch_lightning.callbacks.LambdaCallback", on_fit_start=WRITE)}),
]


@pytest.mark.parametrize(("key", "value"), PARTS)
def test_a_run_with_an_untrusted_part_is_not_resumed(run, refused, key, value):
    set_option(run, key, value)
    assert "trust" in refused()


SAVER, CSV = "pytorch_lightning.callbacks.ModelCheckpoint", "pytorch_lightning.loggers.CSVLogger"
PLACES = {
    "a folder elsewhere": ("callbacks", {"a": node(SAVER, dirpath="elsewhere")}),
    "an absolute name": ("callbacks", {"a": node(SAVER, dirpath="${output_dir}", filename="/tmp/x")}),
    "a way out": ("callbacks", {"a": node(SAVER, dirpath="${output_dir}/..")}),
    "a home": ("callbacks", {"a": node("litmus.callbacks.ConfusionMatrix", directory="~")}),
    "a logger's": ("logger", {"a": node(CSV, save_dir="${sweep_name}")}),
    "a profiler's": ("trainer.profiler", node("pytorch_lightning.profilers.SimpleProfiler", dirpath="/tmp")),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_part_that_writes_outside_the_run_is_refused(run, refused, name):
    key, value = PLACES[name]
    set_option(run, key, value)
    assert "outside the run directory" in refused()


def test_a_part_that_writes_elsewhere_runs_if_its_class_is_trusted(run, resume):
    set_option(run, "logger", {"a": node(CSV, save_dir="elsewhere")})
    resume(f"trust=[{CSV}]")
    assert Path("elsewhere").exists()


@pytest.mark.parametrize("name", ["train.log", ".lock", "checkpoints/extra", "tensorboard"])
def test_a_link_out_of_the_run_is_refused(run, refused, name):
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(run.parent / "notes.txt")
    assert "link" in refused()


@pytest.mark.parametrize("name", ["evaluation", "evaluation/own", "evaluation/own/calibration.png"])
def test_an_evaluation_does_not_follow_a_link(run, capsys, script, tmp_path, name):
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).symlink_to(tmp_path / "notes.txt")
    assert "link" in refuse(capsys, lambda: script("evaluate.py", "run"), tmp_path)


def test_an_export_does_not_follow_a_link(run, capsys, script, tmp_path):
    (run / "export").mkdir()
    (run / "export" / "model.safetensors").symlink_to(tmp_path / "notes.txt")
    assert "link" in refuse(capsys, lambda: script("export.py", "run", "--format", "safetensors"), tmp_path)


@pytest.mark.parametrize("name", [RECORD, CONFIG, OVERRIDES, RESULT, "metrics.csv", LAST])
def test_a_pipe_in_place_of_a_file_is_refused(run, refused, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    refused()


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20))
TEXTS = {
    "a YAML tag": (CONFIG, "evil: !!python/object/apply:os.system ['touch written']\n"),
    "a YAML tag of a class": (CONFIG, "evil: !!python/name:os.system\n"),
    "billion laughs": (CONFIG, LAUGHS),
    "a merge key": (CONFIG, "a: &a {b: 1}\nc:\n  <<: *a\n"),
    "bytes": (CONFIG, "evil: !!binary aGVsbG8=\n"),
    "a date": (CONFIG, "evil: 2001-01-01\n"),
    "a million values": (CONFIG, f"evil: [{'1,' * 10**6}]\n"),
    "a million levels": (CONFIG, f"evil: {'[' * 10**6}\n"),
    "a number of 10,000 digits": (CONFIG, f"evil: {'1' * 10_000}\n"),
    "a variable": (CONFIG, "evil: ${oc.env:SECRET}\n"),
    "a resolver": (CONFIG, "evil: ${oc.create:'[1]'}\n"),
    "an interpolation of itself": (CONFIG, "evil: ${evil}\n"),
    "an override of another type": (OVERRIDES, "- [1]\n"),
    "metrics without an epoch": ("metrics.csv", ",,,,,,,\n"),
    "a record of a million levels": (RECORD, "[" * 10**6),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_file_is_refused(run, refused, name):
    file, text = TEXTS[name]
    append(run, file, text)
    assert "hunter2" not in refused()


ENTRIES = {
    "config_hash": [3, None, []],
    "choices": [3, [], {"model": 3}],
    "starts": [3, {}, [3]],
    "code": [3, [], {"a.py": 3}],
    "data_sources": [3, {}, [3], None],
    "threads": ["x"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in ENTRIES.items() for value in values])
def test_an_entry_of_another_type_is_refused(run, refused, key, value):
    set_entry(run, RECORD, key, value)
    assert key in refused() or key == "config_hash"


FIGURES = [("objective", "x"), ("seconds", []), ("metrics", 3), ("metrics", {"val/acc": "x", "val/loss": 1.0})]


@pytest.mark.parametrize(("key", "value"), FIGURES)
def test_a_result_of_another_type_is_refused(run, capsys, script, train, tmp_path, key, value):
    set_entry(run, RESULT, key, value)
    assert "result.json" in refuse(capsys, lambda: train("resume=run", small=False), tmp_path)


@pytest.mark.parametrize("key", ["seed", "data", "callbacks", "logger", "trainer", "scheduler", "scheduler.scheduler"])
def test_a_group_of_another_type_is_refused(run, refused, key):
    set_option(run, key, "x")
    assert key in refused()


def test_a_device_among_the_code_files_is_not_read(run, refused):
    set_entry(run, RECORD, "code", {"/dev/zero": "0", "/proc/kmsg": "0"})
    assert "other code" in refused()


LAST_CHANGES = {
    "a bytearray": lambda contents: contents.update(a=bytearray(8)),
    "another config": lambda contents: contents[CHECKPOINT_KEY]["config"].update(model=WRITE),
    "a config in itself": lambda contents: contents[CHECKPOINT_KEY]["config"].update(a=CYCLE),
    "a huge epoch": lambda contents: contents.update(epoch=10**30),
    "a negative step": lambda contents: contents.update(global_step=-1),
    "schedulers in themselves": lambda contents: contents.update(lr_schedulers=CYCLE),
    "callbacks of numbers": lambda contents: contents.update(callbacks={"Checkpoint": 3}),
    "optimizers in themselves": lambda contents: contents.update(optimizer_states=CYCLE),
    "an expanded tensor": lambda contents: contents.update(a=torch.zeros(1).expand(10**6, 10**6)),
}


def change_last(run, change):
    contents = torch.load(run / LAST, weights_only=True)
    change(contents)
    (run / LAST).unlink()  # it has a second name
    torch.save(contents, run / LAST)


@pytest.mark.parametrize("name", LAST_CHANGES)
def test_a_hostile_last_checkpoint_is_refused(run, refused, name):
    change_last(run, LAST_CHANGES[name])
    assert "last.ckpt" in refused()


STATES = {  # found out only when the state is used
    "a best score of text": lambda contents: contents["callbacks"]["Checkpoint"].update(best_score="x"),
    "a best epoch in itself": lambda contents: contents["callbacks"]["Checkpoint"].update(best_epoch=CYCLE),
    "a scheduler's epoch": lambda contents: contents["lr_schedulers"][0].update(last_epoch="x"),
    "an optimizer's average": lambda contents: contents["optimizer_states"][0]["state"][0].update(exp_avg=3),
    "an optimizer's rate": lambda contents: contents["optimizer_states"][0]["param_groups"][0].update(lr=CYCLE),
    "a version": lambda contents: contents.update({"pytorch-lightning_version": "x"}),
}


@pytest.mark.parametrize("name", STATES)
def test_an_unusable_training_state_ends_in_one_sentence(run, resume, name):
    change_last(run, STATES[name])
    before = process_state()
    with limited(), pytest.raises((ConfigError, StoppedRun), match=r"last\.ckpt") as error:
        resume()
    assert "\n" not in str(error.value)
    assert process_state() == before
    assert {path.name for path in run.parent.iterdir()} == {"run", "notes.txt"}
