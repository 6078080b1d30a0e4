import pytest
import torch
from torch import nn

from litmus.models.layers import Dropout

ONES = torch.ones(40, 5, 10, 10)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expected_share_and_scales_it_exactly(p):
    torch.manual_seed(0)
    layer, values = Dropout(p), torch.ones(1000, 1000)
    dropped = layer(values)
    rounded = round(65536 * p) / 65536
    assert sorted(dropped.unique().tolist()) == [0.0, pytest.approx(1 / (1 - rounded))]
    shares = [(dropped[:, i::4] == 0).double().mean().item() for i in range(4)]  # of each quarter of a random number
    assert shares == pytest.approx(4 * [p], abs=5 * (p * (1 - p) / 250_000) ** 0.5)
    assert abs((dropped[:, :-1] == 0)[dropped[:, 1:] == 0].double().mean() - p) < 0.005  # neighbors are independent


def test_dropout_depends_on_the_seed_and_differs_between_calls():
    layer = Dropout(0.5)
    torch.manual_seed(3)
    first, second = layer(ONES), layer(ONES)
    torch.manual_seed(3)
    assert torch.equal(layer(ONES), first)
    assert not torch.equal(first, second)


def test_dropout_gradient_matches_its_mask_and_input_is_unchanged():
    values = torch.randn(7, 9, requires_grad=True)
    before = values.detach().clone()
    dropped = Dropout(0.3)(values)
    dropped.sum().backward()
    torch.testing.assert_close(dropped.detach(), before * values.grad)
    assert torch.equal(values.detach(), before)
    assert values.grad.unique().tolist() == [0.0, pytest.approx(65536 / (65536 - round(65536 * 0.3)))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_keeps_layout_and_type(dtype):
    images = ONES.to(dtype).contiguous(memory_format=torch.channels_last)
    dropped = Dropout(0.5)(images)
    assert dropped.dtype == dtype
    assert dropped.is_contiguous(memory_format=torch.channels_last)
    assert (dropped == 0).double().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_and_of_all_is_torchs(p):
    assert torch.equal(Dropout(p)(ONES), nn.Dropout(p)(ONES))


def test_dropout_does_nothing_in_eval_mode():
    assert Dropout(0.5).eval()(ONES) is ONES
