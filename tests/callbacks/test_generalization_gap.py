import pytest
import torch

import litmus


def accuracy(run, images, labels):
    model = litmus.load(run.path, checkpoint="last")
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).double().mean().item()


@pytest.mark.parametrize(("images", "used"), [(40, 40), (5000, 50)], ids=["some", "never more than validate"])
def test_gap_is_eval_mode_training_accuracy_minus_validation_accuracy(train, images, used):
    from conftest import SMALL, composed

    from litmus.runs import build

    options = (
        "data.num_images=300",
        "data.val_size=50",
        "model.dropout=0.5",
        "data.augment.shift=5",
        "optim.lr=0.01",
        "test=false",
        "logger=none",
    )
    run = train(*options, f"callbacks.generalization_gap.images={images}")
    data = build(composed(*SMALL, *options).data)
    data.setup()
    x, y = data.parts["train"]
    gap = accuracy(run, x[:used], y[:used]) - accuracy(run, *data.parts["val"])
    assert run.result["last"]["gap/acc"] == pytest.approx(gap, abs=1e-6)


def test_without_validation_there_is_no_gap(train):
    run = train("data.num_images=64", "data.val_size=0", "callbacks.early_stopping=null", "test=false", "logger=none")
    assert "gap/acc" not in run.result["last"]
