import pytest
import torch
from board import Board
from conftest import weights

from litmus.callbacks import first_layer_weights
from litmus.callbacks.first_layer_weights import as_images


@pytest.mark.parametrize(
    ("weight", "image_shape", "expected"),
    [
        ((100, 784), (1, 28, 28), (100, 1, 28, 28)),
        ((7, 3072), (3, 32, 32), (7, 3, 32, 32)),
        ((16, 1, 5, 5), (1, 28, 28), (16, 1, 5, 5)),
        ((64, 3, 7, 7), (3, 224, 224), (64, 3, 7, 7)),
        ((4, 2, 3, 3), (2, 8, 8), (8, 1, 3, 3)),
    ],
)
def test_weights_take_the_shape_of_what_they_look_at(weight, image_shape, expected):
    weights = torch.arange(torch.Size(weight).numel()).view(weight)
    images = as_images(weights, image_shape)
    assert images.shape == expected
    assert torch.equal(images.flatten(), weights.flatten())


def test_weights_that_do_not_lie_on_an_image_are_no_picture():
    assert as_images(torch.zeros(5, 7), (1, 2, 2)) is None


@pytest.mark.parametrize(("epochs", "every", "shown"), [(3, 2, [0, 2, 3]), (2, 1, [0, 1, 2]), (1, 5, [0, 1])])
def test_they_are_shown_before_training_every_n_epochs_and_at_the_end(train_logged, epochs, every, shown):
    steps_per_epoch = 2
    run = train_logged(
        "data.num_images=64",
        "data.val_size=0.1",
        f"trainer.max_epochs={epochs}",
        f"callbacks.first_layer_weights.every_n_epochs={every}",
        "test=false",
    )
    assert list(Board(run.path).images("first_layer_weights")) == [epoch * steps_per_epoch for epoch in shown]


def test_the_picture_holds_the_first_units_of_the_first_layer(train_logged, monkeypatch):
    drawn, grid = [], first_layer_weights.weight_grid
    monkeypatch.setattr(first_layer_weights, "weight_grid", lambda *args: drawn.append(args) or grid(*args))
    run = train_logged(
        "data.num_images=64", "callbacks.first_layer_weights.units=3", "trainer.max_epochs=1", "test=false"
    )
    images, title = drawn[-1]
    assert title == "weights of hidden1, after epoch 1"
    assert torch.equal(images, weights(run.path)["network.hidden1.weight"][:3].view(3, 1, 28, 28))
