import pytest
import torch

from litmus.data.split import stratified_split, validation_count
from litmus.errors import ConfigError

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 13 + [3] * 7)


@pytest.mark.trust
@pytest.mark.parametrize("size", [0, 1, 10, 37, 99])
def test_the_parts_are_a_partition(size):
    rest, chosen = stratified_split(LABELS, size, seed=0)
    assert len(chosen) == size
    assert torch.equal(torch.cat([rest, chosen]).sort().values, torch.arange(100))


@pytest.mark.trust
@pytest.mark.parametrize("size", [1, 10, 37, 99])
def test_each_class_has_its_share_to_within_one(size):
    _, chosen = stratified_split(LABELS, size, seed=0)
    share = torch.bincount(LABELS) * size / 100
    assert ((torch.bincount(LABELS[chosen], minlength=4) - share).abs() < 1).all()


def test_the_same_seed_gives_the_same_parts_and_another_seed_others():
    first, again, other = (stratified_split(LABELS, 20, seed)[1] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    stratified_split(LABELS, 20, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("val_size", "count"), [(0, 0), (0.1, 100), (0.25, 250), (250, 250), (999, 999)])
def test_val_size_is_a_count_or_a_fraction_below_one(val_size, count):
    assert validation_count(val_size, 1000) == count


def test_nothing_left_to_train_on_is_refused():
    with pytest.raises(ConfigError, match="leaves no image to train on"):
        validation_count(1000, 1000)
