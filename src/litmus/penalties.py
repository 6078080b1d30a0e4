"""Penalties on the weights, added to the loss: cost = loss + weight · Ω(W)."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from litmus.errors import number

NORMALISATION = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def named_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of `module` by name: every parameter but biases and the scales of normalisation layers."""
    return {
        f"{prefix}.{name}" if prefix else name: parameter
        for prefix, child in module.named_modules()
        if not isinstance(child, NORMALISATION)
        for name, parameter in child.named_parameters(recurse=False)
        if "bias" not in name
    }


class Penalty(nn.Module):
    """Base of the penalties: a subclass says Ω of one weight tensor in `omega`.

    Only what trains is penalised: a parameter with `requires_grad=False` counts nothing.
    """

    def __init__(self, weight: float = 0.0):
        super().__init__()
        self.weight = number("penalty.weight", weight, least=0)
        self._seen: tuple[nn.Module, list[nn.Parameter]] | None = None

    def omega(self, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, module: nn.Module) -> Tensor | float:
        """weight · Ω over the trainable weights of `module`, a scalar."""
        if self.weight == 0:
            return 0.0
        if self._seen is None or self._seen[0] is not module:  # walking the module costs more than the penalty
            self._seen = module, list(named_weights(module).values())
        terms = [self.omega(w) for w in self._seen[1] if w.requires_grad]
        return self.weight * torch.stack(terms).sum() if terms else 0.0


class NoPenalty(Penalty):
    """Ω = 0."""

    def __init__(self) -> None:
        super().__init__(weight=0.0)


class L1(Penalty):
    """Ω = Σ|w|, whose gradient is weight · sign(w)."""

    def omega(self, weight: Tensor) -> Tensor:
        return weight.abs().sum()


class L2(Penalty):
    """Ω = ½ Σ w², whose gradient is weight · w: the same step as SGD's `weight_decay`."""

    def omega(self, weight: Tensor) -> Tensor:
        return 0.5 * weight.square().sum()
