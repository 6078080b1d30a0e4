import itertools

import pytest
import torch
from conftest import assert_same
from torch import nn

from litmus.optimizer_step import OptimizerStep

FUSED = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.01, fused=True),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.1, fused=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.1, betas=(0.8, 0.99), fused=True),
    "amsgrad": lambda groups: torch.optim.Adam(groups, lr=0.1, amsgrad=True, maximize=True, fused=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1, fused=True),
}
OTHERS = {
    "foreach": lambda groups: torch.optim.Adam(groups, lr=0.1, foreach=True),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.1),
    "rprop": lambda groups: torch.optim.Rprop(groups, lr=0.1),
}


def linear():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def channels_last():
    return nn.Sequential(nn.Conv2d(5, 7, 3), nn.Conv2d(7, 3, 1)).to(memory_format=torch.channels_last)


def trained(build, step_of, frozen=(), network_of=linear, copied_as=torch.empty_like):
    """Weights and state after steps with other gradients and numbers each time; `frozen` ones get no gradient at
    steps 4 to 6. From step 7 on the gradients lie in memory as `copied_as` makes it."""
    torch.manual_seed(0)
    network = network_of()
    optimizer = build(
        [{"params": part.parameters(), "lr": rate} for part, rate in zip(network, (0.1, 0.2), strict=True)]
    )
    step = step_of(optimizer)
    for i in range(10):
        for name, parameter in network.named_parameters():
            gradient = torch.randn(parameter.shape)
            gradient = (copied_as if i >= 7 else torch.empty_like)(parameter).copy_(gradient)
            parameter.grad = None if name in frozen and 4 <= i <= 6 else gradient
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
            if "weight_decay" in group:
                group["weight_decay"] += 0.01
            if "betas" in group:
                group["betas"] = (group["betas"][0] - 0.01, group["betas"][1])
        step()
    state = {f"{n}.{k}": v for n, s in optimizer.state_dict()["state"].items() for k, v in s.items() if v is not None}
    return network.state_dict(), state, step


@pytest.mark.parametrize("name", [*FUSED, *OTHERS])
@pytest.mark.parametrize("frozen", [(), ("0.weight", "0.bias")], ids=["all", "partly frozen"])
def test_its_steps_are_the_optimizers_to_the_bit(name, frozen):
    build = (FUSED | OTHERS)[name]
    weights, state, step = trained(build, OptimizerStep, frozen)
    expected, of_it, _ = trained(build, lambda optimizer: optimizer.step, frozen)
    assert_same(weights, expected)
    assert_same(state, of_it)
    assert step.repeatable == (name in FUSED)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("copied_as", [torch.empty_like, lambda parameter: torch.empty(parameter.shape)])
def test_weights_with_their_channels_last_take_the_same_steps_whichever_way_the_gradient_lies(name, copied_as):
    weights, state, step = trained(FUSED[name], OptimizerStep, (), channels_last, copied_as)
    expected, of_it, _ = trained(FUSED[name], lambda optimizer: optimizer.step, (), channels_last)
    assert step.repeatable
    assert weights["0.weight"].is_contiguous(memory_format=torch.channels_last)
    assert_same(weights, expected)
    assert_same(state, of_it)


def as_it_is(optimizer):
    return lambda: optimizer.step()


def interrupted(step_of, do, given):
    """Steps of an optimizer before the seventh of which `do` is done to it."""

    def with_a_break(optimizer):
        torch.optim.lr_scheduler.ConstantLR(optimizer)  # which gives the optimizer a step that counts
        step, taken = step_of(optimizer), itertools.count()

        def stepped():
            if next(taken) == 6:
                do(optimizer, given)
            step()

        return stepped

    return with_a_break


def load(optimizer, path):
    torch.save(optimizer.state_dict(), path / "state")
    optimizer.load_state_dict(torch.load(path / "state", weights_only=True))


def start_anew(optimizer, path):
    optimizer.state.clear()


def another_average(optimizer, path):
    state = optimizer.state[optimizer.param_groups[0]["params"][0]]
    state["exp_avg"] = torch.ones_like(state["exp_avg"])


def other_data(optimizer, path):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.data = parameter.data * 2


@pytest.mark.parametrize("do", [load, start_anew, another_average, other_data])
@pytest.mark.parametrize("network_of", [linear, channels_last])
def test_what_is_done_to_its_state_between_steps_counts(do, network_of, tmp_path):
    weights, state, _ = trained(FUSED["adam"], interrupted(OptimizerStep, do, tmp_path), network_of=network_of)
    expected, of_it, _ = trained(FUSED["adam"], interrupted(as_it_is, do, tmp_path), network_of=network_of)
    assert_same(weights, expected)
    assert_same(state, of_it)


def test_who_hooked_on_to_the_steps_is_called_at_each():
    calls = []

    def hooked(optimizer):
        optimizer.register_step_post_hook(lambda *_: calls.append("after"))
        return OptimizerStep(optimizer)

    trained(FUSED["adam"], hooked)
    assert calls == ["after"] * 10


def momentum(optimizer, calls):
    optimizer.param_groups[0]["momentum"] = 0.9


def hook(optimizer, calls):
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))


def own_step(optimizer, calls):
    step = optimizer.step

    def stepped(closure=None):
        calls.append("own")
        return step(closure)

    optimizer.step = stepped


@pytest.mark.parametrize(("do", "heard"), [(momentum, 0), (hook, 4), (own_step, 4)])
def test_what_comes_between_two_steps_counts_from_there_on(do, heard):
    calls, expected_calls = [], []
    weights, _, _ = trained(FUSED["sgd"], interrupted(OptimizerStep, do, calls))
    expected, _, _ = trained(FUSED["sgd"], interrupted(as_it_is, do, expected_calls))
    assert_same(weights, expected)
    assert calls == expected_calls
    assert len(calls) == heard
