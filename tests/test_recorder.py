import pytest
import torch
from torch import nn

from litmus.recorder import TOO_LARGE, Recorder

WEIGHT, COUNT = torch.randn(3, 2), torch.zeros(())


def recorded(function, x, limit=2**20):
    """What was recorded of `function`, and what it gave."""
    recorder = Recorder({"x": x}, [WEIGHT, COUNT], limit)
    with recorder:
        result = function(x)
    return recorder, result


def test_it_says_what_ran_and_drops_what_is_no_longer_needed():
    recorder, result = recorded(lambda x: torch.relu(x @ WEIGHT).sum(dim=0), torch.ones(4, 3))
    assert recorder.problem is None
    assert recorder.source([result, 0.5]).splitlines() == [
        "def function(x):",
        "    v3 = aten_mm_default(x, fixed0)",
        "    v4 = aten_relu_default(v3)",
        "    del v3",
        "    v5 = aten_sum_dim_IntList(v4, [0])",
        "    del v4",
        "    return [v5, 0.5]",
    ]


def changed_in_place(x):
    COUNT.add_(1)
    y = x.clone()
    y[0] += 1
    return y * COUNT


def several_results(x):
    (first, second), (values, places) = x.split(2), x.max(dim=1)
    return torch.cat([first, second]) * values[:, None] + places[:, None]


def dropped_out(x):
    return torch.nn.functional.dropout(x, 0.5)


def differentiated(x):
    weight = WEIGHT.detach().requires_grad_()
    with torch.enable_grad():
        loss = (x @ weight).sigmoid().square().mean()
    return torch.autograd.grad(loss, weight)[0]


FUNCTIONS = [changed_in_place, several_results, dropped_out, differentiated, lambda x: torch.full((2,), torch.inf)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_function_does_the_same_to_other_tensors_to_the_bit(function):
    COUNT.zero_()
    recorder, result = recorded(function, torch.randn(4, 3))
    again = recorder.function(recorder.source([result]))
    for _ in range(2):
        x, state, count = torch.randn(4, 3), torch.get_rng_state(), COUNT.clone()
        expected, after = function(x), COUNT.clone()
        torch.set_rng_state(state)
        COUNT.copy_(count)
        assert torch.equal(again(x)[0], expected)
        assert torch.equal(COUNT, after)


def test_transposed_twice_is_not_transposed():
    layer = nn.Linear(3, 2)
    recorder = Recorder({"x": torch.ones(4, 3)}, list(layer.parameters()), 2**20)
    with recorder:
        gradient = torch.autograd.grad(layer(recorder.tensors[0]).sum(), layer.weight)[0]
    source = recorder.source([gradient])
    assert source.count("aten_t_default") == 2  # the weight forward, the outputs' gradient backward
    assert torch.equal(recorder.function(source)(torch.ones(4, 3))[0], gradient)


OUTSIDERS = "a tensor of shape [3] is neither the batch's nor the model's: register_buffer it"


def looked_at(operation):
    return f"a step looks at a tensor's values ({operation}): write torch.where for an if, and no .item()"


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda x: x + torch.ones(3), None),
        (lambda x: x + WEIGHT.T[0], None),
        (lambda x: x + OUTSIDE, OUTSIDERS),
        (lambda x: x * x.sum().item(), looked_at("aten._local_scalar_dense.default")),
        (lambda x: x if x.sum() > 0 else -x, looked_at("aten._local_scalar_dense.default")),
        (lambda x: x[x > 0], looked_at("aten.index.Tensor")),
        (lambda x: x.repeat(100, 1), TOO_LARGE),
    ],
)
def test_it_says_why_there_can_be_no_function(function, problem):
    recorder, result = recorded(function, torch.ones(4, 3), limit=1000)
    assert recorder.problem == problem
    assert torch.equal(result, function(torch.ones(4, 3)))  # it has run all the same


OUTSIDE = torch.ones(3)
