"""Textbook numbers, worked out by hand or published, through our own models, losses and penalties."""

import numpy as np
import pytest
import torch
from conftest import parts
from torch import nn

from litmus.losses import BCE
from litmus.models import MLP
from litmus.penalties import L1, L2

X, Y = torch.tensor([[0.05, 0.10]]), torch.tensor([[0.01, 0.99]])


def two_two_two(w1, w2) -> tuple[MLP, nn.Linear, nn.Linear]:
    model = MLP(2, (1, 1, 2), hidden=[2], activation="sigmoid", input_dropout=0.0, **parts())
    first, second = (layer for layer in model.network if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.weight.copy_(torch.tensor(w1))
        second.weight.copy_(torch.tensor(w2))
        first.bias.fill_(0.35)
        second.bias.fill_(0.60)
    return model, first, second


def close(found, expected, tolerance=1e-8):
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=tolerance)


def test_backpropagation_through_a_2_2_2_sigmoid_network():
    model, first, second = two_two_two([[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]])
    BCE(reduction="sum")(model(X), Y).backward()
    close(second.bias.grad, [0.74693192, -0.22228212], 1e-7)
    close(first.bias.grad, [0.04791251, 0.06047388], 1e-7)
    close(first.weight.grad, [[0.00239563, 0.00479125], [0.00302369, 0.00604739]], 1e-7)
    close(second.weight.grad, [[0.44403305, 0.44538258], [-0.13214137, -0.13254298]], 1e-7)


def test_the_same_network_with_the_weights_in_the_other_order():
    model, first, second = two_two_two([[0.15, 0.20], [0.25, 0.30]], [[0.40, 0.45], [0.50, 0.55]])
    logits = model(X)
    close(torch.sigmoid(first(X)), [[0.59326999, 0.59688438]], 1e-7)
    close(torch.sigmoid(logits), [[0.75136507, 0.77292847]], 1e-7)
    BCE(reduction="sum")(logits, Y).backward()
    close(second.bias.grad, [0.74136507, -0.21707153], 1e-7)
    assert BCE()(logits, Y).item() == pytest.approx(0.8253, abs=5e-5)


def four_ten_three(activation: str) -> tuple[MLP, torch.Tensor, torch.Tensor]:
    generator = np.random.RandomState(0)
    w1, w2 = 0.1 * generator.randn(4, 10), 0.1 * generator.randn(10, 3)
    x = torch.from_numpy(10 * np.random.RandomState(1).randn(5, 4)).view(5, 1, 1, 4)
    model = MLP(3, (1, 1, 4), hidden=[10], activation=activation, input_dropout=0.0, **parts()).double()
    with torch.no_grad():
        for layer, weight in zip((m for m in model.network if isinstance(m, nn.Linear)), (w1, w2), strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.zero_()
    return model, x, torch.tensor([0, 1, 2, 2, 1])


@pytest.mark.parametrize(("activation", "loss"), [("sigmoid", 1.1822479803941373), ("relu", 1.3037878913298202)])
def test_softmax_cross_entropy_and_l2_of_a_4_10_3_network(activation, loss):
    model, x, y = four_ten_three(activation)
    cost = nn.CrossEntropyLoss()(model(x), y) + L2(weight=0.1)(model.network)
    assert cost.item() == pytest.approx(loss, rel=1e-14)


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_its_gradients_agree_with_numerical_ones(activation):
    model, x, y = four_ten_three(activation)

    def cost() -> torch.Tensor:
        return nn.CrossEntropyLoss()(model(x), y) + L2(weight=0.1)(model.network)

    cost().backward()
    for parameter in model.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            kept = flat[i].item()
            sides = []
            for step in (1e-5, -1e-5):
                flat[i] = kept + step
                sides.append(cost().item())
            flat[i] = kept
            assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(gradient[i].item(), abs=1e-6)


@pytest.mark.parametrize(
    ("activation", "lr", "steps", "loss"), [("sigmoid", 0.5, 100, 0.10927), ("relu", 0.1, 50, 0.01786)]
)
def test_it_learns_to_the_published_loss_by_full_batch_descent(activation, lr, steps, loss):
    # "About 0.109" and "about 0.018"; the learning rate's factor of 0.95 after each step was not published, and is
    # the one that gives both.
    model, x, y = four_ten_three(activation)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)
    for _ in range(steps):
        optimizer.zero_grad()
        cost = nn.CrossEntropyLoss()(model(x), y) + L2(weight=1e-5)(model.network)
        cost.backward()
        optimizer.step()
        decay.step()
    assert cost.item() == pytest.approx(loss, abs=1e-5)


def test_relu_gives_the_first_layer_a_far_larger_gradient_than_sigmoid():
    norms = {}
    for activation in ("sigmoid", "relu"):
        model, x, y = four_ten_three(activation)
        nn.CrossEntropyLoss()(model(x), y).backward()
        norms[activation] = model.network.hidden1.weight.grad.norm().item()
    assert norms["relu"] > 3 * norms["sigmoid"]


def test_the_gradient_of_softmax_and_log_likelihood_is_output_minus_target():
    torch.manual_seed(0)
    hidden, weight = torch.randn(1, 4), torch.randn(3, 4, requires_grad=True)
    logits = hidden @ weight.T
    logits.retain_grad()
    nn.CrossEntropyLoss()(logits, torch.tensor([2])).backward()
    delta = logits.softmax(dim=1) - torch.tensor([[0.0, 0.0, 1.0]])
    torch.testing.assert_close(logits.grad, delta)
    torch.testing.assert_close(weight.grad, delta.T @ hidden)


def test_softmax_sharpens_as_its_inputs_grow():
    z = torch.tensor([1.0, 2.0, 3.0])
    close(z.softmax(dim=0), [0.0900, 0.2447, 0.6652], 5e-5)
    assert (10 * z).softmax(dim=0)[2].item() == pytest.approx(0.999955, abs=5e-7)


@pytest.mark.parametrize(("penalty", "pull"), [(L2, lambda w: w), (L1, torch.sign)])
def test_one_sgd_step_with_a_penalty_follows_the_formula(penalty, pull):
    torch.manual_seed(0)
    eta, lam = 0.1, 0.3
    layer = nn.Linear(3, 2)
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    g_weight, g_bias = torch.autograd.grad(nn.CrossEntropyLoss()(layer(x), y), [layer.weight, layer.bias])

    optimizer = torch.optim.SGD(layer.parameters(), lr=eta)
    (nn.CrossEntropyLoss()(layer(x), y) + penalty(weight=lam)(layer)).backward()
    optimizer.step()

    torch.testing.assert_close(layer.weight.detach(), weight - eta * (g_weight + lam * pull(weight)))
    torch.testing.assert_close(layer.bias.detach(), bias - eta * g_bias)
