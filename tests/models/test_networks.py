from pathlib import Path

import pytest
import torch
from conftest import parts
from torch import nn

from litmus.errors import ConfigError, StoppedRun
from litmus.models import CNN, MLP
from litmus.models.layers import Dropout


def mlp(**options):
    return MLP(10, (1, 28, 28), **{"hidden": [30, 20], "input_dropout": 0.0, **options}, **parts())


def cnn(**options):
    return CNN(10, (3, 32, 32), **{"channels": [4, 8], "hidden": [16], "dropout": 0.0, **options}, **parts())


def kinds(model):
    return [type(layer) for layer in model.network]


def test_the_mlp_has_the_layers_it_was_asked_for():
    assert kinds(mlp(hidden=[30, 20], activation="tanh")) == [
        nn.Flatten, nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear
    ]  # fmt: skip
    assert [p.shape for p in mlp(hidden=[7]).parameters()] == [(7, 784), (7,), (10, 7), (10,)]
    assert len(kinds(mlp(hidden=[]))) == 2
    normalized = mlp(hidden=[7], batch_norm=True)
    assert kinds(normalized) == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert normalized.network.hidden1.bias is None
    dropped = mlp(dropout=0.2, input_dropout=0.1).network
    assert [m.p for m in dropped if isinstance(m, nn.Dropout)] == [0.1, 0.2, 0.2]


def test_the_cnn_has_the_layers_it_was_asked_for():
    block = [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]
    assert kinds(cnn()) == [*block, *block, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert nn.BatchNorm2d not in kinds(cnn(batch_norm=False))
    deeper = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, *block]
    assert kinds(cnn(depth=2)) == [*deeper, *deeper, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert [(name, tuple(w.shape[:2])) for name, w in cnn(depth=2).network.named_parameters() if w.dim() == 4] == [
        ("conv1.weight", (4, 3)), ("conv1_2.weight", (4, 4)), ("conv2.weight", (8, 4)), ("conv2_2.weight", (8, 8))
    ]  # fmt: skip
    pooled_last = [nn.Conv2d, nn.GELU, nn.Conv2d, nn.GELU, nn.MaxPool2d]
    assert kinds(cnn(depth=2, batch_norm=False, activation="gelu"))[:10] == 2 * pooled_last
    assert kinds(cnn(dropout=0.4)).count(Dropout) == 2
    assert cnn(channels=[4, 8, 16]).network.hidden1.in_features == 16 * 4 * 4


@pytest.mark.parametrize("model", [mlp(), cnn()], ids=["mlp", "cnn"])
def test_the_logits_have_a_row_for_each_image(model):
    channels, size = (1, 28) if isinstance(model, MLP) else (3, 32)
    assert model(torch.zeros(5, channels, size, size)).shape == (5, 10)


def test_a_batch_of_one_image_is_refused_for_batch_norm(train):
    with pytest.raises(StoppedRun, match=r"choose a data.batch_size that leaves no single image over"):
        train("model.batch_norm=true", "data.train_size=61", "data.val_size=20", "data.batch_size=20", "output_dir=run")
    assert not Path("run").exists()
    train("model.batch_norm=true", "data.train_size=62", "data.val_size=20", "data.batch_size=20")


def test_channels_last_is_another_layout_of_the_same_network():
    torch.manual_seed(0)
    plain = cnn()
    other = cnn(channels_last=True)
    other.load_state_dict(plain.state_dict())
    assert other.network.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(other(images), plain(images))


def test_normal_initialization_has_the_given_std_and_no_biases():
    torch.manual_seed(0)
    model = mlp(hidden=[100, 100], init="normal", init_std=0.1)
    assert model.network.hidden1.weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert not model.network.hidden1.bias.any()


def test_kaiming_and_xavier_have_the_variances_of_their_papers():
    torch.manual_seed(0)
    kaiming, xavier = mlp(hidden=[100], init="kaiming"), mlp(hidden=[100], init="xavier")
    assert kaiming.network.hidden1.weight.var().item() == pytest.approx(2 / 784, rel=0.03)
    assert xavier.network.hidden1.weight.var().item() == pytest.approx(2 / (784 + 100), rel=0.03)


def test_torchs_own_initialization_is_left_alone():
    torch.manual_seed(0)
    model = mlp(hidden=[30])
    torch.manual_seed(0)
    assert torch.equal(model.network.hidden1.weight, nn.Linear(784, 30).weight)


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (mlp, {"hidden": [10.5]}, "a number of model.hidden is 10.5"),
        (mlp, {"hidden": "many"}, "model.hidden is 'many', and must be a list such as"),
        (mlp, {"dropout": 1}, "model.dropout is 1, and must be a number from 0 to below 1"),
        (mlp, {"input_dropout": -1}, "model.input_dropout is -1"),
        (mlp, {"activation": "rleu"}, "did you mean relu"),
        (mlp, {"init": "he"}, "model.init is 'he', which does not exist: choose one of torch, xavier"),
        (mlp, {"init_std": -0.1}, "model.init_std is -0.1"),
        (cnn, {"channels": []}, r"model.channels=\[\] is too short"),
        (cnn, {"channels": [4, 0]}, "a number of model.channels is 0"),
        (cnn, {"channels": [2] * 6}, "halves the image 6 times, and 32×32 pixels are too few"),
        (cnn, {"kernel_size": 4}, "model.kernel_size=4 must be odd"),
        (cnn, {"depth": 0}, "model.depth is 0"),
    ],
)
def test_an_impossible_network_is_refused(make, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make(**options)
