import math

import pytest
import torch
from board import Board
from conftest import weights


def test_it_is_the_root_of_the_sum_of_squares_at_the_epochs_end(train_logged):
    run = train_logged("data.num_images=64", "test=false")
    norms = {name: value for name, value in run.result["last"].items() if name.startswith("weight_norm/")}
    assert list(norms) == ["weight_norm/hidden1", "weight_norm/hidden2", "weight_norm/output"]
    for name, value in norms.items():
        weight = weights(run.path)[f"network.{name.split('/')[1]}.weight"].double()
        assert value == pytest.approx(math.sqrt((weight * weight).sum()), rel=1e-6)
    assert len(Board(run.path).scalars("weight_norm/hidden1")) == 2


def test_convolutions_are_named_and_normalization_is_left_out(train):
    run = train(
        "model=cnn", "model.channels=[2,3]", "model.hidden=[4]", "data.num_images=64", "test=false", "logger=none"
    )
    names = [name for name in run.result["last"] if name.startswith("weight_norm/")]
    assert names == [f"weight_norm/{layer}" for layer in ("conv1", "conv2", "hidden1", "output")]


def test_unnamed_layers_are_numbered_and_odd_weights_are_named():
    from litmus.penalties import weights_by_layer

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4), torch.nn.MultiheadAttention(4, 1))
    assert list(weights_by_layer(network)) == ["1", "2.in_proj_weight", "2.out_proj"]
