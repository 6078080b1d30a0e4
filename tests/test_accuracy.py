"""What the README's first table promises, on real MNIST, for one seed."""

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def every_core():
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    yield
    torch.set_num_threads(1)


def test_the_default_mlp_passes_98_percent(train):
    assert train(small=False).result["metrics"]["test/acc"] >= 0.981


@pytest.mark.slow
def test_the_cnn_passes_99_percent(train):
    shortened = ("trainer.max_epochs=6",)  # of 15: two minutes less
    assert train("model=cnn", "optim=adam", *shortened, small=False).result["metrics"]["test/acc"] >= 0.99


def test_one_batch_is_learned_by_heart(train):
    for model in ("mlp", "cnn"):
        run = train(f"model={model}", "debug=overfit_batch", small=False)
        assert run.result["stop_reason"] == "every training image is right"
