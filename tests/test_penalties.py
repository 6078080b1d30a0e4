import pytest
import torch
from torch import nn

from litmus.errors import ConfigError
from litmus.penalties import L1, L2, ElasticNet, NoPenalty, Penalty, named_weights


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.LayerNorm(3))


def weights(network):
    return [network[0].weight, network[3].weight]


def test_weights_are_neither_biases_nor_normalization(network):
    assert list(named_weights(network)) == ["0.weight", "3.weight"]


def test_l1_is_the_sum_of_absolute_weights(network):
    torch.testing.assert_close(L1(0.3)(network), 0.3 * sum(w.abs().sum() for w in weights(network)))


def test_l2_is_half_the_sum_of_squares(network):
    torch.testing.assert_close(L2(0.3)(network), 0.3 * 0.5 * sum(w.square().sum() for w in weights(network)))


def test_elastic_net_mixes_both(network):
    mixed = 0.3 * (0.25 * L1(1)(network) + 0.75 * L2(1)(network))
    torch.testing.assert_close(ElasticNet(0.3, l1_ratio=0.25)(network), mixed)


@pytest.mark.trust
@pytest.mark.parametrize(
    ("penalty", "gradient"),
    [
        (L1(0.3), lambda w: 0.3 * w.sign()),
        (L2(0.3), lambda w: 0.3 * w),
        (ElasticNet(0.3, l1_ratio=0.25), lambda w: 0.3 * (0.25 * w.sign() + 0.75 * w)),
    ],
)
def test_the_gradient_is_the_formula_and_biases_get_none(network, penalty, gradient):
    penalty(network).backward()
    for weight in weights(network):
        torch.testing.assert_close(weight.grad, gradient(weight.detach()))
    assert network[0].bias.grad is None
    assert network[1].weight.grad is None


def test_l1_has_gradient_0_at_0():
    layer = nn.Linear(2, 1)
    nn.init.zeros_(layer.weight)
    L1(1.0)(layer).backward()
    assert torch.equal(layer.weight.grad, torch.zeros(1, 2))


def test_l2_takes_the_same_steps_as_sgds_weight_decay():
    torch.manual_seed(0)
    by_penalty, by_decay = nn.Linear(4, 3, bias=False), nn.Linear(4, 3, bias=False)
    by_decay.load_state_dict(by_penalty.state_dict())
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
    penalty = L2(0.1)
    first = torch.optim.SGD(by_penalty.parameters(), lr=0.5)
    second = torch.optim.SGD(by_decay.parameters(), lr=0.5, weight_decay=0.1)
    for _ in range(10):
        for layer, optimizer in ((by_penalty, first), (by_decay, second)):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(layer(x), y)
            (loss + penalty(layer) if layer is by_penalty else loss).backward()
            optimizer.step()
    torch.testing.assert_close(by_penalty.weight, by_decay.weight)


def test_frozen_weights_are_not_penalised(network):
    network[0].weight.requires_grad_(False)
    torch.testing.assert_close(L2(1.0)(network), 0.5 * network[3].weight.square().sum())
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    assert L2(1.0)(network) == 0


def test_biases_are_penalised_when_asked(network):
    with_biases = L1(1.0, include_bias=True)(network)
    biases = [network[0].bias, network[3].bias]
    torch.testing.assert_close(with_biases, L1(1.0)(network) + sum(b.abs().sum() for b in biases))


def test_layers_may_have_weights_of_their_own(network):
    penalty = L2(0.1, per_layer={"0": 2.0})
    expected = 0.5 * (2.0 * network[0].weight.square().sum() + 0.1 * network[3].weight.square().sum())
    torch.testing.assert_close(penalty(network), expected)


def test_a_layer_that_does_not_exist_is_refused(network):
    with pytest.raises(ConfigError, match=r"penalty.per_layer names '7', .*; choose from 0, 3"):
        L2(0.1, per_layer={"7": 1.0})(network)


def test_no_penalty_costs_nothing(network):
    assert NoPenalty()(network) == 0
    assert L1(0.0)(network) == 0


@pytest.mark.trust
@pytest.mark.parametrize("weight", [-1, "much", float("nan"), True])
def test_an_impossible_weight_is_refused(weight):
    with pytest.raises(ConfigError, match="penalty.weight is"):
        L1(weight)


class OverridesForward(L2):
    def forward(self, weight):
        return weight.abs().sum()


class WithoutOmega(Penalty):
    pass


@pytest.mark.parametrize("kind", [OverridesForward, WithoutOmega])
def test_a_penalty_defines_omega_and_not_forward(kind):
    with pytest.raises(ConfigError, match=r"omega\(self, weight\)"):
        kind()


@pytest.mark.parametrize(
    "omega",
    [
        lambda _, weight: weight.abs(),
        lambda _, weight: float(weight.detach().sum()),
        lambda _, weight: weight.detach().abs().sum(),
        lambda _, weight: weight.sum().to(torch.complex64),
    ],
    ids=["a tensor", "a float", "detached", "complex"],
)
def test_omega_that_is_not_one_number_with_a_gradient_is_refused(network, omega):
    penalty = type("Own", (Penalty,), {"omega": omega})()
    with pytest.raises(ConfigError, match="omega of the penalty Own"):
        penalty(network)
