import os

import pytest
import torch


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

    monkeypatch.setattr(os, "link", no_links)
    best, last = files(train("objective=val/loss", "logger=none"))
    assert not os.path.samefile(best, last)
    assert best.read_bytes() == last.read_bytes()
