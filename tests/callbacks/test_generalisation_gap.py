import pytest
import torch

import litmus


def accuracy(run, images, labels):
    model = litmus.load(run.path, checkpoint="last")
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).double().mean().item()


def test_it_is_the_accuracy_on_the_first_training_images_in_eval_mode_minus_that_on_the_validation_part(train):
    from conftest import SMALL, composed

    from litmus.runs import build

    options = (
        "data.num_images=300",
        "model.dropout=0.5",
        "data.augment.shift=5",
        "optim.lr=0.01",
        "test=false",
        "logger=none",
    )
    run = train(*options, "callbacks.generalisation_gap.images=40")
    data = build(composed(*SMALL, *options).data)
    data.setup()
    images, labels = data.parts["train"]
    gap = accuracy(run, images[:40], labels[:40]) - accuracy(run, *data.parts["val"])
    assert run.result["last"]["gap/acc"] == pytest.approx(gap, abs=1e-6)


def test_without_validation_there_is_no_gap(train):
    run = train("data.num_images=64", "data.val_size=0", "callbacks.early_stopping=null", "test=false", "logger=none")
    assert "gap/acc" not in run.result["last"]
