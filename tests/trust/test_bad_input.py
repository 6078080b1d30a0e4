"""What is asked for, or lies in a file, and can't be: each is answered with one sentence.

What is mistyped on the command line, in a picture folder, or in the files of a torchvision set has its rows beside the
tests of those; `pytest -m trust` runs them all.
"""

import json
import os
import pickle
import shutil
import struct
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONF, assert_same, composed, snapshot, weights

import litmus
from litmus.cli.overrides import check
from litmus.errors import ConfigError, StoppedRun
from litmus.losses import MSE
from litmus.runs import build

pytestmark = [pytest.mark.trust, pytest.mark.slow]


@contextmanager
def refused(sentence: str, *errors: type[Exception]) -> Iterator[None]:
    """What is within it raises an error of this sentence, and leaves every file below the current folder as it was."""
    before = snapshot(Path.cwd())
    with pytest.raises(errors or ConfigError, match=sentence):
        yield
    assert snapshot(Path.cwd()) == before


HUGE = 10**30
QUICK = ("logger=none", "callbacks=none")

OPTIONS = [
    ("seed=-1", "seed is -1, and must be a whole number of 0 or more"),
    ("seed=4294967296", "seed is 4294967296, and must be at most 4294967295"),
    ("seed=1.5", "seed takes a whole number"),
    ("test=maybe", "test is 'maybe', and must be true, false or null"),
    ("objective=test/acc", "objective=test/acc would choose by the test set"),
    ("objective=val/nothing", "set objective_mode=max or objective_mode=min"),
    ("objective=val/acc objective_mode=up", "objective_mode is 'up', and must be max or min"),
    ("output_dir=5", "output_dir=5 is not a path"),
    ("resume=[a]", r"resume=\['a'\] is not a path"),
    ("data.batch_size=0", "data.batch_size is 0"),
    ("data.batch_size=2.5", "takes a whole number"),
    ("data.eval_batch_size=x", "data.eval_batch_size is 'x'"),
    ("data.val_size=nan", "data.val_size is nan"),
    ("data.val_size=inf", "data.val_size is inf"),
    ("data.image_size=0", "data.image_size is 0"),
    ("data.augment.crop=28", "moves an image of 28×28 pixels out of itself"),
    ("data.augment.flip=3", "takes true or false"),
    ("data.augment.rotation=181", "is more than 180 degrees"),
    ("data.augment.rotation=nan", "data.augment.rotation is nan"),
    ("data.augment.erasing=2", "is a probability"),
    ("data=synthetic data.num_classes=1", "the number of classes .data.num_classes. is 1"),
    ("data=synthetic data.image_shape=[1,0,28]", "a number of data.image_shape is 0"),
    ("data=synthetic data.image_shape=[28,28]", r"and must be \[channels, height, width\]"),
    ("data=synthetic data.image_shape=[a,b,c]", "a number of data.image_shape is 'a'"),
    ("data=synthetic data.num_images=3", "data.num_images is 3, and must be a whole number of 10 or more"),
    ("data=image_folder data.root=nowhere", "data.root=nowhere is not a folder"),
    ("model.hidden=[0]", "a number of model.hidden is 0"),
    ("model.hidden=[ten]", "a number of model.hidden is 'ten'"),
    ("model.dropout=1", "model.dropout is 1"),
    ("model.dropout=nan", "model.dropout is nan"),
    ("model.input_dropout=-0.1", "model.input_dropout is -0.1"),
    ("model.activation=softmax", "model.activation is 'softmax'"),
    ("model.init=magic", "model.init is 'magic'"),
    ("model.init=normal model.init_std=-1", "model.init_std is -1"),
    ("model=cnn model.channels=[0]", "a number of model.channels is 0"),
    ("model=cnn model.channels=[4,4,4,4,4,4]", "halves the image 6 times, and 28×28 pixels are too few"),
    ("model=cnn model.kernel_size=2", "model.kernel_size=2 must be odd"),
    ("model=resnet model.arch=resnet19", "did you mean resnet18"),
    ("model=resnet model.unfreeze_at_epoch=2", "has nothing to unfreeze"),
    ("model=resnet model.freeze=true model.unfreeze_at_epoch=0", "model.unfreeze_at_epoch is 0"),
    ("model=resnet model.backbone_lr_factor=-1", "model.backbone_lr_factor is -1"),
    ("model.init_from=nowhere", "model.init_from=nowhere does not exist"),
    ("loss=label_smoothing loss.label_smoothing=2", "loss.label_smoothing is 2"),
    ("loss=label_smoothing loss.label_smoothing=-1", "loss.label_smoothing is -1"),
    ("loss=focal loss.gamma=-1", "loss.gamma is -1"),
    ("loss=mse loss.output=tanh", "loss.output is 'tanh'"),
    ("penalty=l1 penalty.weight=inf", "penalty.weight is inf"),
    ("penalty=l2 penalty.weight=-1", "penalty.weight is -1"),
    ("penalty=elastic_net penalty.l1_ratio=2", "penalty.l1_ratio is 2"),
    ("penalty=l1 penalty.per_layer=3", "penalty.per_layer is 3, and must name layers"),
    ("optim.lr=inf", "optim.lr is inf, and must be a number"),
    ("optim.lr=nan", "optim.lr is nan, and must be a number of 0 or more"),
    ("optim=adam optim.betas=[0.9]", "optim cannot be built"),
    ("optim=adamw optim.betas=[2,3]", "optim cannot be built: Invalid beta parameter"),
    ("optim=momentum optim.momentum=-1", "optim.momentum is -1, and must be a number from 0 to below 1"),
    ("optim=sgd optim.momentum=5", "optim.momentum is 5, and must be a number from 0 to below 1"),
    ("optim=rmsprop optim.alpha=-1", "optim cannot be built: Invalid alpha"),
    ("optim=adagrad optim.lr=-1", "optim.lr is -1, and must be a number of 0 or more"),
    ("scheduler.frequency=0", "scheduler.frequency is 0"),
    ("scheduler=step scheduler.scheduler.gamma=nan", "scheduler.scheduler.gamma is nan"),
    ("scheduler=exponential scheduler.scheduler.gamma=-1", "scheduler.scheduler.gamma is -1"),
    ("scheduler=plateau scheduler.scheduler.patience=-1", "scheduler.scheduler.patience is -1"),
    ("scheduler=plateau scheduler.scheduler.factor=2", "scheduler cannot be built"),
    ("scheduler=plateau scheduler.monitor=val/no_loss", "set scheduler.scheduler.mode=max"),
    ("scheduler=cosine scheduler.scheduler.T_max=0", "scheduler.scheduler.T_max is 0"),
    ("scheduler=cosine scheduler.scheduler.T_max=2.5", "scheduler.scheduler.T_max is 2.5, and must be a whole number"),
    ("scheduler=cosine scheduler.scheduler.eta_min=-1", "scheduler.scheduler.eta_min is -1, and must be a number of 0"),
    ("scheduler=plateau scheduler.scheduler.min_lr=-1", "scheduler.scheduler.min_lr is -1"),
    ("scheduler=plateau scheduler.scheduler.cooldown=-1", "scheduler.scheduler.cooldown is -1"),
    ("scheduler=plateau scheduler.scheduler.factor=-1", "scheduler.scheduler.factor is -1"),
    ("scheduler=constant scheduler.scheduler.total_iters=-1", "scheduler.scheduler.total_iters is -1"),
    ("scheduler=constant scheduler.scheduler.factor=-1", "scheduler.scheduler.factor is -1"),
    ("scheduler=step scheduler.scheduler.step_size=-1", "scheduler.scheduler.step_size is -1"),
    ("scheduler=onecycle scheduler.scheduler.max_lr=-1", "scheduler.scheduler.max_lr is -1"),
    ("scheduler=onecycle scheduler.scheduler.max_lr=[1,-1]", "scheduler.scheduler.max_lr is -1"),
    ("scheduler=onecycle scheduler.scheduler.final_div_factor=-1", "scheduler.scheduler.final_div_factor is -1"),
    ("scheduler=onecycle scheduler.scheduler.total_steps=0", "scheduler.scheduler.total_steps is 0"),
    ("trainer.max_epochs=0", "trainer.max_epochs is 0"),
    ("trainer.max_steps=0", "trainer.max_steps is 0; set 1 or more"),
    ("trainer.max_steps=-2", "trainer.max_steps is -2; set 1 or more"),
    ("trainer.max_time=soon", "not a valid duration"),
    ("trainer.max_time=60", "trainer.max_time is 60; write days:hours:minutes:seconds, such as 00:00:10:00"),
    ("+trainer.val_check_interval=0", "trainer.val_check_interval is 0; set a number of batches of 1 or more"),
    ("+trainer.val_check_interval=16", "trainer.val_check_interval=16 is more than an epoch has, 15 batches"),
    ("+trainer.val_check_interval=3 trainer.limit_train_batches=2", "is more than an epoch has, 2 batches"),
    ("trainer.limit_test_batches=0", "trainer.limit_test_batches=0 leaves nothing to test; set test=false"),
    ("trainer.limit_test_batches=0.0001", "limit_test_batches=0.0001 leaves none of 1 batch; set a whole number"),
    ("trainer.limit_train_batches=0.0001", "limit_train_batches=0.0001 leaves none of 15 batches"),
    ("trainer.limit_val_batches=0.0001", "limit_val_batches=0.0001 leaves none of 1 batch"),
    ("+trainer.overfit_batches=0.0001", "leaves none of 15 batches"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val is -1"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches is 0"),
    ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps is 0"),
    ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0 leaves nothing to train on"),
    ("trainer.limit_val_batches=0", "leaves no validation"),
    (f"data.batch_size={HUGE}", r"data.batch_size is 1.00e\+30, and must be at most 2147483647"),
    (f"data.eval_batch_size={HUGE}", "must be at most 2147483647"),
    (f"data.train_size={HUGE}", "must be at most 2147483647"),
    (f"data=synthetic data.num_images={HUGE}", "must be at most 2147483647"),
    (f"model.hidden=[{HUGE}]", r"a number of model.hidden is 1.00e\+30, and must be at most 2147483647"),
    (f"model=cnn model.channels=[{HUGE}]", "must be at most 2147483647"),
    (f"accelerator.threads={HUGE}", "must be at most 1024"),
    (f"accelerator.devices={HUGE}", "must be at most 2147483647"),
    (f"trainer.max_epochs={HUGE}", "must be at most 2147483647"),
    (f"trainer.max_steps={HUGE}", "must be at most 2147483647"),
    (f"scheduler=cosine scheduler.scheduler.T_max={HUGE}", "must be at most 2147483647"),
    (f"seed={HUGE}", "must be at most 4294967295"),
    (f"optim.lr={'9' * 400}", r"optim.lr is 1.00e\+400, and must be a number of 0 or more"),
    (f"optim.weight_decay={'9' * 400}", r"optim.weight_decay is 1.00e\+400, and must be a number"),
    ("trainer.profiler=x", "trainer or accelerator options are refused"),
    ("accelerator=ddp_cpu accelerator.devices=2 data.batch_size=33", "set data.batch_size=34"),
    ("accelerator.devices=0", "accelerator.devices is 0"),
    ("accelerator.devices=2", "it runs on one device"),
    ("accelerator.threads=0", "accelerator.threads is 0"),
    ("accelerator=cpu accelerator.precision=16-mixed", "accelerator.precision=16-mixed needs a GPU; set bf16-mixed"),
    ("accelerator.precision=8-bit", "Precision '8-bit' is invalid"),
    ("accelerator.accelerator=tpuu", "invalid accelerator name"),
    ("callbacks=default callbacks.early_stopping.patience=0", "callbacks.early_stopping.patience is 0"),
    ("callbacks=default callbacks.early_stopping.monitor=val/nothing", "set callbacks.early_stopping.mode=max"),
    ("callbacks=default callbacks.sample_images.images=0", "callbacks.sample_images.images is 0"),
    ("callbacks=default callbacks.grad_norm.every_n_steps=0", "callbacks.grad_norm.every_n_steps is 0"),
    ("callbacks=default callbacks.sparsity.threshold=-1", "callbacks.sparsity.threshold is -1"),
    ("callbacks=default callbacks.worst_mistakes.images=x", "takes a whole number"),
    ("logger=x", "choose one of none, tensorboard"),
    ("debug=fats", "did you mean debug=fast"),
    ("-m seed=0,1 jobs=x", "jobs takes a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "sentence"), OPTIONS, ids=[options for options, _ in OPTIONS])
def test_an_impossible_value_of_any_group_is_answered(train, tmp_path, options, sentence):
    arguments = options.split()
    with refused(sentence):
        check(arguments, CONF)
        train(*QUICK, "trainer.max_epochs=1", *arguments)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("objective=val/nothing objective_mode=max", "objective=val/nothing was not logged in the first validation"),
        ("scheduler=plateau scheduler.monitor=val/own_loss", "metric val/own_loss which is not available"),
        (
            "callbacks=default callbacks.early_stopping.monitor=val/f1",
            "monitor=val/f1 was not logged in the first validation",
        ),
    ],
)
def test_a_metric_that_is_not_logged_stops_the_run(train, options, sentence):
    with pytest.raises(StoppedRun, match=sentence):
        train(*QUICK, *options.split())
    assert not list(Path().rglob("result.json"))


# --- files of data ---


def npz(path: Path, **changes: np.ndarray) -> None:
    images, labels = np.full((20, 5, 5), 9, np.uint8), np.arange(20) % 4
    np.savez(path, **({"x_train": images, "y_train": labels, "x_test": images, "y_test": labels} | changes))


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def kmnist(folder: Path, **changes: bytes) -> None:
    images, labels = np.full((20, 28, 28), 9, np.uint8), np.arange(20, dtype=np.uint8) % 10
    files = {f"{part}-images-idx3-ubyte": idx(images) for part in ("train", "t10k")}
    files |= {f"{part}-labels-idx1-ubyte": idx(labels) for part in ("train", "t10k")}
    (folder / "KMNIST" / "raw").mkdir(parents=True)
    for name, content in (files | {name.replace("_", "-"): content for name, content in changes.items()}).items():
        (folder / "KMNIST" / "raw" / name).write_bytes(content)


LABELS, IMAGES = idx(np.arange(20, dtype=np.uint8) % 10), idx(np.full((20, 28, 28), 9, np.uint8))
ARRAYS = {
    "cut off": (lambda p: (npz(p), os.truncate(p, p.stat().st_size // 2)), "is not a readable .npz file"),
    "no zip": (lambda p: p.write_bytes(b"something else"), "is not a readable .npz file"),
    "pickled objects": (lambda p: npz(p, x_train=np.array([{}, []], dtype=object)), "is an array of Python objects"),
    "a label below 0": (lambda p: npz(p, y_test=np.full(20, -1)), "y_test holds the label -1, which no training image"),
    "a label too high": (lambda p: npz(p, y_test=np.full(20, 4)), "y_test holds the label 4, which no training image"),
    "a label to ignore": (lambda p: npz(p, y_train=np.arange(20) % 4 - 100 * (np.arange(20) == 0)), "the label -100, "),
    "one class": (lambda p: npz(p, y_train=np.zeros(20, int), y_test=np.zeros(20, int)), "number of classes .* is 1"),
    "labels missing": (lambda p: npz(p, y_train=np.arange(10)), "20 training images and 10 labels"),
    "no images": (lambda p: npz(p, x_train=np.zeros((0, 5, 5), np.uint8), y_train=np.arange(0)), "holds no images"),
    "another size to test": (lambda p: npz(p, x_test=np.full((20, 6, 6), 9, np.uint8)), r"shape \[1, 6, 6\]"),
    "flat images": (lambda p: npz(p, x_train=np.full((20, 25), 9, np.uint8)), "images have 2 dimensions"),
    "an uncertain unit": (lambda p: npz(p, x_train=np.full((20, 5, 5), 0.3)), "too little to tell its unit"),
    "binary images": (lambda p: npz(p, x_train=np.ones((20, 5, 5), np.uint8)), "if white is 1, x_train = np.uint8"),
    "an uncertain axis order": (lambda p: npz(p, x_train=np.full((20, 8, 8, 5), 9, np.uint8)), "data.layout=channels"),
    "images of other units": (lambda p: npz(p, x_test=np.full((20, 5, 5), 0.9)), "in different units"),
}  # fmt: skip


@pytest.mark.parametrize("damage", ARRAYS)
def test_arrays_that_can_not_be_are_answered(train, tmp_path, damage):
    make, sentence = ARRAYS[damage]
    make(tmp_path / "mine.npz")
    with refused(sentence):
        train(*QUICK, "data=arrays", "data.path=mine.npz")


KMNIST = {
    "cut off": ({"train_images_idx3_ubyte": IMAGES[:-1]}, "could neither be read"),
    "swapped": ({"train_images_idx3_ubyte": LABELS, "train_labels_idx1_ubyte": IMAGES}, "could neither be read"),
    "a label too high": ({"t10k_labels_idx1_ubyte": LABELS[:-1] + b"\x0b"}, "run from 0 to 11, and must lie"),
    "of other images": ({"t10k_labels_idx1_ubyte": idx(np.zeros(7, np.uint8))}, "20 test images and 7 labels"),
    "images of another size": ({"t10k_images_idx3_ubyte": idx(np.full((20, 9, 9), 9, np.uint8))}, r"shape \[1, 9, 9\]"),
}  # fmt: skip


@pytest.mark.parametrize("damage", KMNIST)
def test_files_of_a_published_set_that_can_not_be_are_answered(tmp_path, monkeypatch, damage):
    def refuse(*args, **kwargs):
        raise urllib.request.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    changes, sentence = KMNIST[damage]
    kmnist(tmp_path, **changes)
    monkeypatch.chdir(tmp_path)
    with refused(sentence):
        build(composed("data=kmnist", f"data.data_dir={tmp_path}").data).setup()


# --- files of a run ---


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("sprung",))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A run that was cut off in its third epoch, and others whose checkpoints are not its own."""
    import train as script

    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        common = ("data=synthetic", "data.num_images=100", "accelerator=cpu", "trainer.max_epochs=2", *QUICK)
        for name, width, *own in (("cut", 8), ("other", 8, "optim.lr=0.5"), ("wide", 9)):
            script.main.__wrapped__(composed(*common, f"output_dir={name}", f"model.hidden=[{width}]", *own))
        (folder / "cut" / "result.json").rename(folder / "result.json")
    return folder


def changed(path: Path, **metadata: object) -> None:
    contents = torch.load(path, weights_only=True)
    contents["litmus"] |= metadata
    torch.save(contents, path)


def lacking(path: Path, *keys: str) -> None:
    contents = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in contents.items() if key not in keys}))


def cut_off(path: Path, share: float = 0.5) -> None:
    os.truncate(path, int(path.stat().st_size * share))


LAST, CONFIG = "checkpoints/last.ckpt", ".hydra/config.yaml"
RUNS = {
    "last.ckpt cut off": (LAST, cut_off, "last.ckpt is damaged, or contains .*or delete it"),
    "last.ckpt empty": (LAST, lambda p: p.write_bytes(b""), "last.ckpt is damaged"),
    "last.ckpt with an object": (LAST, lambda p: torch.save({"state_dict": Trap()}, p), "is damaged"),
    "last.ckpt a bare pickle": (LAST, lambda p: p.write_bytes(pickle.dumps(Trap())), "is damaged"),
    "last.ckpt of tensors alone": (LAST, lambda p: torch.save([torch.zeros(1)], p), "contains a list"),
    "last.ckpt of something else": (LAST, lambda p: torch.save({"a": 1}, p), "is not a Litmus checkpoint"),
    "last.ckpt of a later version": (LAST, lambda p: changed(p, format=99), "was written by a later Litmus"),
    "last.ckpt of no version": (LAST, lambda p: changed(p, format="new"), "by a later Litmus .format new"),
    "last.ckpt of another run": (LAST, lambda p: shutil.copy(p.parents[2] / "other" / LAST, p), "lr is 0.5 there"),
    "last.ckpt of another model": (LAST, lambda p: shutil.copy(p.parents[2] / "wide" / LAST, p), "is .9. there"),
    "metrics.csv cut off": ("metrics.csv", cut_off, "metrics.csv is damaged"),
    "metrics.csv cut off in its last number": ("metrics.csv", lambda p: cut_off(p, 0.99), "metrics.csv is damaged"),
    "metrics.csv of something else": ("metrics.csv", lambda p: p.write_text("a,b\n1,2\n"), "metrics.csv is damaged"),
    "metrics.csv of bytes": ("metrics.csv", lambda p: p.write_bytes(b"\xff\xfe\0"), "metrics.csv is damaged"),
    "metrics.csv gone": ("metrics.csv", Path.unlink, "metrics.csv lacks epochs that the run has behind it"),
    "run.json cut off": ("run.json", cut_off, "run.json is damaged"),
    "run.json a list": ("run.json", lambda p: p.write_text("[]"), "run.json is damaged"),
    "run.json without its hash": ("run.json", lambda p: lacking(p, "config_hash"), "it lacks config_hash"),
    "run.json gone": ("run.json", Path.unlink, "is not a run directory: it has no run.json"),
    "config.yaml cut off": (CONFIG, lambda p: cut_off(p, 0.9), "config.yaml is (damaged|not what the)"),
    "config.yaml no YAML": (CONFIG, lambda p: p.write_text("a: [1"), "config.yaml is damaged"),
    "config.yaml gone": (CONFIG, Path.unlink, "config.yaml is gone"),
    "overrides.yaml gone": (".hydra/overrides.yaml", Path.unlink, "overrides.yaml is gone"),
    "result.json cut off": ("result.json", lambda p: p.write_text('{"objective": 0.'), "result.json is damaged"),
    "result.json without a figure": ("result.json", lambda p: p.write_text("{}"), "it lacks config_hash, metrics"),
}  # fmt: skip


@pytest.mark.parametrize("damage", RUNS)
def test_a_run_whose_files_can_not_be_is_not_gone_on_with(train, template, tmp_path, damage):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    name, spoil, sentence = RUNS[damage]
    spoil(tmp_path / "cut" / name)
    with refused(sentence):
        train("resume=cut", small=False)
    assert not (tmp_path / "sprung").exists()


def test_the_run_of_these_rows_goes_on_when_nothing_was_done_to_it(train, template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    there, here = json.loads((template / "result.json").read_text()), train("resume=cut", small=False).result
    assert {**there, "seconds": 0} == {**here, "seconds": 0}


BEST = {
    "cut off": (cut_off, "is damaged"),
    "of a later version": (lambda p: changed(p, format=2), "was written by a later Litmus"),
    "without its class names": (lambda p: changed(p, class_names=None), "class_names"),
    "of fewer classes": (lambda p: changed(p, class_names=["a", "b"]), r"is of another model \(network.output.bias is"),
}


@pytest.mark.parametrize("damage", BEST)
def test_a_model_is_not_loaded_from_what_can_not_be(template, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    spoil, sentence = BEST[damage]
    file = tmp_path / "best.ckpt"
    shutil.copy(template / "cut" / "checkpoints" / "best.ckpt", file)
    spoil(file)
    with refused(sentence):
        litmus.load(file)


# --- the place to write to, and the numbers ---


def test_a_file_where_the_directory_is_to_be_is_answered(train, tmp_path):
    (tmp_path / "file").write_text("")
    with refused("can't be written .Not a directory.: choose another output_dir", StoppedRun):
        train(*QUICK, "output_dir=file/run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_answered(train, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o500)
    with refused("can't be written .Permission denied.: choose another output_dir", StoppedRun):
        train(*QUICK, "output_dir=mine/run")


@pytest.mark.parametrize("step", [1, 20])
def test_nan_at_a_given_step_stops_the_run_and_names_it(train, monkeypatch, step):
    forward, steps = MSE.forward, 0

    def poisoned(self, logits, target):
        nonlocal steps
        steps += torch.is_grad_enabled() and len(logits) > 2  # not the trial of two images that checks a loss
        return forward(self, logits, target) * (float("nan") if steps == step else 1)

    monkeypatch.setattr(MSE, "forward", poisoned)
    with pytest.raises(
        StoppedRun, match=f"the loss became nan at step {(step - 1) % 15 + 1} of epoch {(step + 14) // 15}:"
    ):
        train(*QUICK, "loss=mse", "trainer.max_epochs=3")


def test_nan_weights_after_the_last_step_stop_the_run(train, monkeypatch):
    forward = MSE.forward

    def poisoned(self, logits, target):
        return forward(self, logits, target) * (1 if torch.is_grad_enabled() else float("nan"))

    monkeypatch.setattr(MSE, "forward", poisoned)
    with pytest.raises(StoppedRun, match="val/loss became nan in epoch 1: lower optim.lr"):
        train(*QUICK, "loss=mse", "output_dir=a")
    assert not Path("a/checkpoints/best.ckpt").exists()


def test_a_full_disk_stops_a_run_and_loses_one_epoch_at_most(starter, tmp_path):
    options = ("data=synthetic", "accelerator=cpu", "accelerator.threads=1", "model.hidden=[16]", "model.dropout=0.3")
    options += ("logger=none", "trainer.max_epochs=4")
    full = {"moment": {"file": None, "nth": 20, "when": "before", "act": "fill the disk"}}
    run = starter.start(*options, "output_dir=full", cwd=tmp_path, prepared=full)
    assert run.wait() == 2
    assert run.text.rstrip().splitlines()[-1].startswith("error: the disk is full (File too large): free some space")
    assert "Traceback" not in run.text
    assert {path.name for path in (tmp_path / "full" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    again = starter.start("resume=full", cwd=tmp_path)
    assert again.wait() == 0, again.text
    assert "resuming from" in again.text
    whole = starter.start(*options, "output_dir=whole", cwd=tmp_path)
    assert whole.wait() == 0, whole.text
    assert_same(weights(tmp_path / "full"), weights(tmp_path / "whole"))
    assert (tmp_path / "full" / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
