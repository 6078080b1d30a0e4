"""The losses that torch lacks, each a plain (logits, target) -> scalar.

`target` holds class numbers, shape (N,), or a value for each output, shape (N, C). With `reduction=mean` a loss is the
mean over images, and over outputs where it has one term for each; with `sum` it is the sum over both.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litmus.errors import number, one_of

OUTPUTS = {"linear": lambda logits: logits, "sigmoid": torch.sigmoid, "softmax": lambda logits: logits.softmax(dim=1)}


def _one_for_each_output(target: Tensor, logits: Tensor) -> Tensor:
    return target if target.is_floating_point() else F.one_hot(target, logits.shape[1]).to(logits.dtype)


class Loss(nn.Module):
    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = one_of("loss.reduction", reduction, ("mean", "sum"))


class MSE(Loss):
    """Squared error between the outputs (the logits, or their sigmoid or softmax) and the one-hot target."""

    def __init__(self, output: str = "linear", reduction: str = "mean"):
        super().__init__(reduction)
        self.output = one_of("loss.output", output, OUTPUTS)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        outputs = OUTPUTS[self.output](logits)
        return F.mse_loss(outputs, _one_for_each_output(target, logits), reduction=self.reduction)


class BCE(Loss):
    """Binary cross-entropy of each output's sigmoid against the one-hot target: a yes or no for each class."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = _one_for_each_output(target, logits)
        return F.binary_cross_entropy_with_logits(logits, target, reduction=self.reduction)


class Focal(Loss):
    """−(1 − p)^gamma · log p for the true class's probability p (Lin et al. 2017, equation 4)."""

    def __init__(self, gamma: float = 2.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.gamma = number("loss.gamma", gamma, least=0)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1).gather(1, target[:, None]).squeeze(1)
        # 1 − p by expm1, because the gradient of a power is infinite where 1 − p rounds to 0 and gamma < 1.
        focus = (-log_p.expm1()).clamp(min=1e-12) ** self.gamma
        terms = -focus * log_p
        return terms.mean() if self.reduction == "mean" else terms.sum()


class NLLOnSoftmax(Loss):
    """−p of the true class: the negative log-likelihood function given probabilities in place of their logarithms.

    A classic mistake, kept to reproduce results that were got with it. It runs from 0 down to −1, and its gradient
    vanishes where the network is most wrong; `cross_entropy` is what was meant.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(logits.softmax(dim=1), target, reduction=self.reduction)
