import math

import pytest
import torch
import torch.nn.functional as F
from conftest import composed, weights
from omegaconf import OmegaConf
from torch import nn

from litmus.errors import ConfigError
from litmus.inference.loading import load_checked
from litmus.losses import BCE, MSE, Focal, NLLOnSoftmax
from litmus.runs import build_model
from litmus.runs.building import build_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]])
TARGET = torch.tensor([0, 1])
ONE_HOT = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("output", "outputs"), [("linear", LOGITS), ("sigmoid", LOGITS.sigmoid()), ("softmax", LOGITS.softmax(dim=1))]
)
def test_mse_is_the_squared_error_against_the_one_hot_target(output, outputs):
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


def test_focal_gradient_is_finite_for_certain_correct_predictions():
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


# --- tensors from YAML ---


class KeepsPlainTensor(nn.Module):
    """Keeps its class weights as a plain attribute, as code outside of torch often does."""

    def __init__(self, alpha: torch.Tensor):
        super().__init__()
        self.alpha = alpha

    def forward(self, logits, target):
        return F.cross_entropy(logits, target, weight=self.alpha)


WEIGHTS = [1.0, 5.0, 0.5]
OWN = {
    "cross_entropy": {"_target_": "torch.nn.CrossEntropyLoss", "weight": WEIGHTS},
    "a function": {"_target_": "torch.nn.functional.cross_entropy", "_partial_": True, "weight": WEIGHTS},
    "a plain attribute": {"_target_": "test_losses.KeepsPlainTensor", "alpha": WEIGHTS},
    "focal": {"_target_": "litmus.losses.Focal", "gamma": 0.0, "weight": WEIGHTS},
}


@pytest.mark.parametrize("name", OWN)
def test_class_weights_from_yaml_are_tensors_that_move_with_the_model(name):
    loss = build_loss(OmegaConf.create(OWN[name]))
    torch.testing.assert_close(
        loss(LOGITS, TARGET), F.cross_entropy(LOGITS, TARGET, weight=torch.tensor(WEIGHTS)), rtol=1e-5, atol=1e-6
    )
    ((_, buffer),) = loss.to("meta").named_buffers()
    assert buffer.device.type == "meta"


def test_bce_weights_the_term_of_the_true_class():
    weights = torch.tensor(WEIGHTS)
    expected = F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT, pos_weight=weights)
    torch.testing.assert_close(BCE(pos_weight=weights)(LOGITS, TARGET), expected)


def test_class_weights_are_saved_in_the_checkpoint_and_restored(train):
    given = [float(i + 1) for i in range(10)]
    run = train(f"loss.weight={given}", "data.num_images=60", "trainer.max_epochs=1", "logger=none", "callbacks=none")
    assert weights(run.path)["loss.weight"].tolist() == given
    assert load_checked(run.path, with_loss=True).model.loss.weight.tolist() == given


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["loss.weight=[1,5]"], "loss.weight has 2 numbers, and there are 10 classes: give one for each"),
        (["loss=focal", f"loss.weight={[1] * 12}"], "loss.weight has 12 numbers, and there are 10 classes"),
        (["loss=bce", "loss.pos_weight=[1,5]"], "loss.pos_weight has 2 numbers, and there are 10 classes"),
        (["loss.weight=[a,b]"], r"loss.weight=.*'a', 'b'.* must be a list of numbers"),
        (["loss.weight=[1,-2,1,1,1,1,1,1,1,1]"], r"loss.weight is \[1.0, -2.0,.* 0 or more, not all 0"),
        ([f"loss.weight={[0] * 10}"], "loss.weight is .* not all 0"),
        (["loss=focal", f"loss.weight={[0] * 10}"], "loss.weight is .* not all 0"),
        (["+loss.reduction=none"], "loss.reduction=none gives a loss for each image; set mean or sum"),
        (["loss.weight=2"], "loss.weight=2 must be a list of numbers, one for each class"),
        (["loss.weight=balanced"], "loss.weight=balanced must be a list of numbers"),
        (["loss.weight={a:1}"], "loss.weight=.*'a': 1.* must be a list of numbers"),
        (["loss.weight=[1,nan]"], r"loss.weight=.* must be a list of finite numbers"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_before_training(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_model(composed(*overrides), 10, (1, 28, 28))
