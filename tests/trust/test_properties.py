"""What holds for anything that hypothesis draws. The same examples are drawn each time."""

import pytest
import torch
from conftest import CONF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from litmus.cli.overrides import check
from litmus.data.split import split_off, stratified_split
from litmus.errors import ConfigError, Diverged
from litmus.penalties import L1, L2, ElasticNet

pytestmark = pytest.mark.trust

SAME = {"derandomize": True, "database": None, "deadline": None}
LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(torch.tensor)


@settings(**SAME, max_examples=200)
@given(LABELS, st.data(), st.integers(0, 2**31))
def test_any_split_is_a_stratified_partition_that_the_seed_determines(labels, data, seed):
    size = data.draw(st.integers(0, len(labels) - 1))
    rest, chosen = stratified_split(labels, size, seed)
    assert len(chosen) == size
    assert torch.equal(torch.cat([rest, chosen]).sort().values, torch.arange(len(labels)))
    counts = torch.bincount(labels, minlength=6)
    taken = torch.bincount(labels[chosen], minlength=6)
    assert ((taken - counts * size / len(labels)).abs() < 1).all()
    again = stratified_split(labels, size, seed)
    assert torch.equal(rest, again[0])
    assert torch.equal(chosen, again[1])


@settings(**SAME, max_examples=100)
@given(LABELS, st.data(), st.integers(0, 2**31))
def test_a_part_split_off_leaves_every_class_something_to_train_on(labels, data, seed):
    size = data.draw(st.integers(0, len(labels) - 1))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rest, chosen = split_off(labels, size, order)
    assert torch.equal(torch.cat([rest, chosen]).sort().values, torch.arange(len(labels)))
    assert set(labels[rest].tolist()) == set(labels.tolist())


# Of a size whose square float32 still tells from zero.
NUMBERS = st.one_of(st.just(0.0), st.floats(2**-20, 2**20, width=32), st.floats(-(2**20), -(2**-20), width=32))
WEIGHTS = st.lists(NUMBERS, min_size=1, max_size=12).map(torch.tensor)


@settings(**SAME, max_examples=200)
@given(WEIGHTS, st.floats(2**-10, 2**10, width=32), st.floats(0, 1, width=32, allow_subnormal=False))
def test_any_penalty_is_zero_only_at_zero_with_the_stated_gradient(values, weight, ratio):
    for penalty, gradient in (
        (L1(weight), weight * values.sign()),
        (L2(weight), weight * values),
        (ElasticNet(weight, l1_ratio=ratio), weight * (ratio * values.sign() + (1 - ratio) * values)),
    ):
        layer = nn.Linear(len(values), 1)
        layer.weight.data = values[None].clone()
        cost = penalty(layer)
        assert cost >= 0
        assert (cost == 0) == bool((values == 0).all())
        cost.backward()
        torch.testing.assert_close(layer.weight.grad[0], gradient)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def chosen(key: str, *values: object) -> st.SearchStrategy[list[str]]:
    """One of the values, or, three times in four, nothing said."""
    drawn = st.sampled_from(values).map(lambda value: [f"{key}={value}"])
    return st.one_of(st.just([]), st.just([]), st.just([]), drawn)


COMPOSITIONS = st.tuples(
    *(
        st.sampled_from(options(group)).map(lambda o, g=group: [f"{g}={o}"])
        for group in ("loss", "penalty", "scheduler")
    ),
    st.sampled_from(["adagrad", "adam", "adamw", "momentum", "nesterov", "rmsprop", "sgd"]).map(
        lambda o: [f"optim={o}"]
    ),
    st.sampled_from(["mlp", "mlp", "cnn"]).map(lambda o: [f"model={o}"]),
    st.sampled_from(["none", "default"]).map(lambda o: [f"callbacks={o}"]),
    chosen("optim.lr", 0, 1e-8, 0.5, 1e6, -1, "inf"),
    chosen("optim.weight_decay", 0, 0.5, -1),
    chosen("data.batch_size", 1, 7, 1000, 0),
    chosen("data.val_size", 0, 0.5, 0.99, 1, 25, 300),
    chosen("data.scaling", "raw", "unit", "imagenet"),
    chosen("data.image_size", 1, 9, 17),
    chosen("data.augment.rotation", 45, 500),
    chosen("model.dropout", 0, 0.99, 1),
    chosen("model.init", "xavier", "kaiming", "normal"),
    chosen("objective", "val/loss", "train/acc", "val/x"),
    chosen("trainer.gradient_clip_val", 0, 0.1, -1),
    chosen("trainer.accumulate_grad_batches", 2, 100, 0),
    chosen("trainer.max_steps", 1, 2),
    chosen("seed", 4294967295, -1),
).map(lambda parts: [override for part in parts for override in part])


@pytest.mark.slow
@settings(**SAME, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(overrides=COMPOSITIONS)
def test_any_composition_of_options_trains_or_is_refused(train, overrides):
    small = ("data.num_images=40", "data.image_shape=[1,12,12]", "trainer.max_epochs=1", "logger=none")
    steps = () if any(option.startswith("trainer.max_steps") for option in overrides) else ("trainer.max_steps=2",)
    try:
        check(["data=synthetic", *overrides], CONF)
        run = train(*small, *steps, *overrides)
    except (ConfigError, Diverged):
        return
    assert run.result["epochs"] == 1
