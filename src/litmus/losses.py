"""The losses that torch lacks, each a plain (logits, target) -> scalar.

`target` holds class numbers, shape (N,), or a value for each output, shape (N, C). With `reduction=mean` a loss is the
mean over images, and over outputs where it has one term for each; with `sum` it is the sum over both.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litmus.core.counts import format_count
from litmus.errors import ConfigError, StoppedRun, number, one_of, require

CLASS_WEIGHTS = ("weight", "pos_weight")  # tensors that hold a number for each class
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
    """Binary cross-entropy of each output's sigmoid against the one-hot target: a yes or no for each class.

    `pos_weight` (num_classes,) multiplies each class's term where it is the target.
    """

    pos_weight: Tensor | None

    def __init__(self, reduction: str = "mean", pos_weight: Tensor | None = None):
        super().__init__(reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = _one_for_each_output(target, logits)
        return F.binary_cross_entropy_with_logits(logits, target, reduction=self.reduction, pos_weight=self.pos_weight)


class Focal(Loss):
    """−(1 − p)^gamma · log p for the true class's probability p (Lin et al. 2017, equation 4).

    `weight` (num_classes,) weights the images by their class; the mean is the weighted one, as in torch's losses.
    """

    weight: Tensor | None

    def __init__(self, gamma: float = 2.0, reduction: str = "mean", weight: Tensor | None = None):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.gamma = number("loss.gamma", gamma, least=0)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1).gather(1, target[:, None]).squeeze(1)
        # 1 − p by expm1, because the gradient of a power is infinite where 1 − p rounds to 0 and gamma < 1.
        focus = (-log_p.expm1()).clamp(min=1e-12) ** self.gamma
        terms = -focus * log_p
        if self.weight is None:
            return terms.mean() if self.reduction == "mean" else terms.sum()
        weights = self.weight[target]
        return (weights * terms).sum() / (weights.sum() if self.reduction == "mean" else 1)


class NLLOnSoftmax(Loss):
    """−p of the true class: the negative log-likelihood function given probabilities in place of their logarithms.

    A classic mistake, kept to reproduce results that were got with it. It runs from 0 down to −1, and its gradient
    vanishes where the network is most wrong; `cross_entropy` is what was meant.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(logits.softmax(dim=1), target, reduction=self.reduction)


class FunctionLoss(nn.Module):
    """A loss function with tensor arguments, as buffers."""

    def __init__(self, function: Callable[..., Tensor], tensors: dict[str, Tensor]):
        super().__init__()
        self.function = function
        for name, value in tensors.items():
            self.register_buffer(name, value)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.function(logits, target, **dict(self.named_buffers()))


def uninformed_loss(loss: Callable[[Tensor, Tensor], Tensor], num_classes: int, device: torch.device) -> float | None:
    """The loss of equal logits for all classes, over one image of each; None if the loss cannot be computed so."""
    target = torch.arange(num_classes, device=device)
    try:
        with torch.no_grad():
            return float(loss(torch.zeros(num_classes, num_classes, device=device), target))
    except Exception:  # a loss of one's own may need more; no run fails at its end because of that
        return None


def _check_value(loss: object, num_classes: int) -> None:
    """Raises ConfigError if a loss of two images is not one number with a gradient."""
    kind = getattr(loss, "__name__", type(loss).__name__)
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            value = deepcopy(loss)(torch.zeros(2, num_classes, requires_grad=True), torch.arange(2) % num_classes)  # type: ignore[operator]
    except Exception:  # it may need more than logits and labels, or fail for its options, which check_loss reports
        return
    require(
        isinstance(value, Tensor),
        f"the loss {kind} returns a {type(value).__name__}; return one tensor, without .item() or float()",
    )
    require(
        value.requires_grad,
        f"the loss {kind} has no gradient with respect to the logits; leave out detach() and torch.no_grad()",
    )


def check_loss(loss: object, num_classes: int) -> None:
    """Raises ConfigError if a loss gives a number for each image, or if its tensors do not fit the classes."""
    options = getattr(loss, "keywords", {}) | vars(loss) if hasattr(loss, "__dict__") else {}
    require(options.get("reduction") != "none", "loss.reduction=none gives a loss for each image; set mean or sum")
    _check_value(loss, num_classes)
    buffers = dict(loss.named_buffers()) if isinstance(loss, nn.Module) else {}
    if not buffers:
        return
    vectors = {name: len(value) for name, value in buffers.items() if value.ndim == 1}
    wrong = {name: length for name, length in vectors.items() if length not in (1, num_classes)}
    refused = {name: length for name, length in wrong.items() if name in CLASS_WEIGHTS}
    try:
        with torch.no_grad():
            loss(torch.zeros(2, num_classes), torch.arange(2) % num_classes)  # type: ignore[operator]
    except (RuntimeError, ValueError, IndexError) as error:
        refused = wrong
        require(bool(refused), f"the loss cannot be computed with its options: {error}")
    for name in vectors.keys() & set(CLASS_WEIGHTS):
        values = buffers[name].tolist()
        require(
            min(values) >= 0 and any(values), f"loss.{name} is {values}, and must hold numbers of 0 or more, not all 0"
        )
    for name, length in refused.items():
        raise ConfigError(
            f"loss.{name} has {format_count(length, 'number')}, and there are {num_classes} classes: give one "
            "for each, in the order of the class names"
        )


def as_scalar(loss: object, function: Callable[..., Tensor]) -> Tensor:
    """A loss with one element as a scalar. Raises StoppedRun, with the fix, for anything else."""
    name = name_of(function)
    if not isinstance(loss, Tensor):
        raise StoppedRun(f"the loss {name} gave a {type(loss).__name__} for a batch; return one tensor")
    if not loss.is_floating_point():
        raise StoppedRun(f"the loss {name} gave a tensor of {loss.dtype} for a batch; return a real number")
    if loss.numel() != 1:
        has_option = hasattr(function, "reduction") or "reduction" in getattr(function, "keywords", {})
        fix = "set loss.reduction=mean" if has_option else "return their mean"
        raise StoppedRun(f"the loss {name} gave {loss.numel()} numbers for a batch, and must give one; {fix}")
    return loss.reshape(())


def name_of(function: Callable[..., Tensor]) -> str:
    """The name of a loss in messages: of its function or its class."""
    return getattr(getattr(function, "func", function), "__name__", type(function).__name__)
