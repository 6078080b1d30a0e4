import errno
import os
import threading
import time

import pytest
import torch

from litmus.core import atomic_files as atomic
from litmus.core import checkpoint_io as litmus_files
from litmus.core.checkpoint_io import AtomicCheckpointIO
from litmus.errors import StoppedRun


def files(run):
    return run.path / "checkpoints" / "best.ckpt", run.path / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    "options", [["objective=val/loss"], ["data.val_size=0", "callbacks.early_stopping=null"]], ids=["val", "train"]
)
def test_a_last_epoch_that_is_the_best_is_written_once_and_has_two_names(train, options):
    run = train(*options, "logger=none")
    best, last = files(run)
    assert run.result["best_epoch"] == run.result["epochs"] == 2
    assert os.path.samefile(best, last)
    assert [path.name for path in sorted(best.parent.iterdir())] == ["best.ckpt", "last.ckpt"]


def test_the_best_epoch_stays_when_a_later_one_is_no_better(train):
    run = train("trainer.max_epochs=3", "optim=sgd", "scheduler=constant", "optim.lr=0", "logger=none")
    best, last = files(run)
    assert run.result["best_epoch"] == 1
    assert not os.path.samefile(best, last)
    steps = {path.name: torch.load(path, weights_only=True)["global_step"] for path in (best, last)}
    assert steps["last.ckpt"] == 3 * steps["best.ckpt"] > 0


def test_where_a_file_has_but_one_name_it_is_copied(train, monkeypatch):
    def no_links(*paths):
        raise OSError("not here")

    monkeypatch.setattr(atomic, "hard_link", no_links)
    best, last = files(train("objective=val/loss", "logger=none"))
    assert not os.path.samefile(best, last)
    assert best.read_bytes() == last.read_bytes()


@pytest.fixture
def written(monkeypatch):
    """What is written as a checkpoint: its name, its step, its weights, and whether a thread wrote it. Late, so that
    training has gone on."""
    found, write = [], litmus_files._write

    def late(checkpoint, path, also):
        time.sleep(0.1)
        first = next(iter(checkpoint["state_dict"].values())).clone()
        moments = [state["exp_avg"].clone() for state in checkpoint["optimizer_states"][0]["state"].values()]
        in_thread = threading.current_thread() is not threading.main_thread()
        found.append((path.name, checkpoint["global_step"], [first, *moments], in_thread))
        write(checkpoint, path, also)

    monkeypatch.setattr(litmus_files, "_write", late)
    return found


@pytest.mark.parametrize("better", [True, False], ids=["every epoch is better", "only the first is best"])
def test_a_large_checkpoint_is_written_beside_the_training_and_is_the_same(train, written, monkeypatch, better):
    options = ("trainer.max_epochs=4", "objective=train/loss", "callbacks.early_stopping=null", "logger=none")
    options += () if better else ("scheduler=constant", "optim.lr=0", "optim.weight_decay=0.1")
    at_once = train(*options, "output_dir=at_once")
    expected, written[:] = list(written), []
    monkeypatch.setattr(AtomicCheckpointIO, "LARGE", 0)
    beside = train(*options, "output_dir=beside")
    assert [in_thread for *_, in_thread in expected] == [False] * 4
    assert [in_thread for *_, in_thread in written] == [True] * 3 + [False]  # a run that has ended has its files
    for (name, step, tensors, _), (other_name, other_step, others, _) in zip(expected, written, strict=True):
        assert (name, step) == (other_name, other_step)
        assert all(torch.equal(one, other) for one, other in zip(tensors, others, strict=True))
    for one, other in zip(files(at_once), files(beside), strict=True):
        assert torch.load(one, weights_only=True)["global_step"] == torch.load(other, weights_only=True)["global_step"]
    assert os.path.samefile(*files(beside)) == os.path.samefile(*files(at_once)) == better


def test_a_full_disk_stops_the_background_checkpoint_with_one_sentence(train, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(AtomicCheckpointIO, "LARGE", 0)
    monkeypatch.setattr(litmus_files, "_write", full)
    with pytest.raises(StoppedRun, match="the disk is full .* resume="):
        train("trainer.max_epochs=50", "logger=none")


def test_a_run_that_is_stopped_finishes_the_checkpoint_it_was_writing(train, written, monkeypatch):
    def stop(*arguments):
        raise SystemExit(143)

    monkeypatch.setattr(AtomicCheckpointIO, "LARGE", 0)
    monkeypatch.setattr("litmus.training.metrics_csv.MetricsCSV.on_train_epoch_end", _on_the_second_call(stop))
    with pytest.raises(SystemExit):
        train("logger=none", "trainer.max_epochs=3", "output_dir=stopped")
    assert len(written) == 1
    assert sorted(os.listdir("stopped/checkpoints")) == ["best.ckpt", "last.ckpt"]


def _on_the_second_call(act):
    calls = []

    def called(*arguments):
        calls.append(1)
        if len(calls) == 2:
            act()

    return called
