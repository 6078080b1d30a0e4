import math

import pytest
import torch
import torch.nn.functional as F

from litmus.errors import ConfigError
from litmus.losses import BCE, MSE, Focal, NLLOnSoftmax

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]])
TARGET = torch.tensor([0, 1])
ONE_HOT = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("output", "outputs"), [("linear", LOGITS), ("sigmoid", LOGITS.sigmoid()), ("softmax", LOGITS.softmax(dim=1))]
)
def test_mse_is_the_squared_distance_of_the_outputs_from_the_one_hot_target(output, outputs):
    squares = (outputs - ONE_HOT).square()
    torch.testing.assert_close(MSE(output)(LOGITS, TARGET), squares.sum() / 6)
    torch.testing.assert_close(MSE(output, reduction="sum")(LOGITS, TARGET), squares.sum())


def test_bce_asks_one_yes_or_no_question_for_each_class():
    p = LOGITS.sigmoid()
    terms = -(ONE_HOT * p.log() + (1 - ONE_HOT) * (1 - p).log())
    torch.testing.assert_close(BCE()(LOGITS, TARGET), terms.mean())
    torch.testing.assert_close(BCE(reduction="sum")(LOGITS, TARGET), terms.sum())


def test_focal_with_gamma_0_is_cross_entropy():
    torch.testing.assert_close(Focal(gamma=0)(LOGITS, TARGET), F.cross_entropy(LOGITS, TARGET))


def test_focal_weighs_each_image_by_how_wrong_it_is():
    p = LOGITS.softmax(dim=1)[[0, 1], [0, 1]]
    terms = -((1 - p) ** 2) * p.log()
    torch.testing.assert_close(Focal(gamma=2)(LOGITS, TARGET), terms.mean())
    torch.testing.assert_close(Focal(gamma=2, reduction="sum")(LOGITS, TARGET), terms.sum())


def test_focal_has_a_finite_gradient_where_the_network_is_certain_and_right():
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    Focal(gamma=0.5)(logits, torch.tensor([0])).backward()
    assert logits.grad.isfinite().all()


def test_nll_on_softmax_is_minus_the_probability_of_the_true_class():
    p = LOGITS.softmax(dim=1)[[0, 1], [0, 1]]
    torch.testing.assert_close(NLLOnSoftmax()(LOGITS, TARGET), -p.mean())


def test_nll_on_softmax_learns_nothing_where_the_network_is_most_wrong():
    logits = torch.tensor([[20.0, 0.0]], requires_grad=True)
    NLLOnSoftmax()(logits, torch.tensor([1])).backward()
    assert logits.grad.abs().max() < 1e-8
    logits.grad = None
    F.cross_entropy(logits, torch.tensor([1])).backward()
    assert logits.grad.abs().max() == pytest.approx(1, abs=1e-6)


def test_targets_may_be_values_for_each_output():
    torch.testing.assert_close(MSE()(LOGITS, ONE_HOT), MSE()(LOGITS, TARGET))
    assert BCE(reduction="sum")(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])).item() == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MSE(output="softmx"), "did you mean softmax"),
        (lambda: BCE(reduction="none"), "loss.reduction is 'none'"),
        (lambda: Focal(gamma=-1), "loss.gamma is -1"),
    ],
)
def test_an_impossible_option_is_refused(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()
