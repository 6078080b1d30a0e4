"""Penalties on the weights, added to the loss: cost = loss + weight · Ω(W)."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from litmus.errors import ConfigError, number, require

NORMALISATION = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def named_weights(module: nn.Module, include_bias: bool = False) -> dict[str, Tensor]:
    """The weights of `module` by name: its parameters without normalization layers and, unless asked for, biases."""
    return {
        f"{prefix}.{name}" if prefix else name: weight
        for prefix, child in module.named_modules()
        if not isinstance(child, NORMALISATION)
        for name, weight in _weights_of(child)
        if include_bias or "bias" not in name
    }


def _weights_of(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Its parameters; of one that torch.nn.utils.prune has masked, the product that the layer computes with."""
    for name, parameter in layer.named_parameters(recurse=False):
        plain = name.removesuffix("_orig")
        mask = getattr(layer, f"{plain}_mask", None) if plain != name else None
        yield (name, parameter) if mask is None else (plain, mask * parameter)


def weights_by_layer(module: nn.Module) -> dict[str, Tensor]:
    """`named_weights` under the names of their layers; a weight that is not called `weight` keeps its own name too."""
    return {name.removesuffix(".weight"): parameter for name, parameter in named_weights(module).items()}


class Penalty(nn.Module):
    """Base of the penalties: a subclass says Ω of one weight tensor in `omega`.

    Only what trains is penalised: a parameter with `requires_grad=False` counts nothing. `per_layer` gives layers, by
    their name in the network, a weight of their own.
    """

    def __init__(self, weight: float = 1e-4, include_bias: bool = False, per_layer: Mapping[str, float] | None = None):
        super().__init__()
        kind = type(self)
        require(
            kind.forward is Penalty.forward and (kind.omega is not Penalty.omega or weight == 0),
            f"the penalty {kind.__name__} must define omega(self, weight), which returns Ω of one weight tensor, and "
            "must not override forward",
        )
        self.weight = number("penalty.weight", weight, least=0)
        self.include_bias = include_bias
        require(
            per_layer is None or isinstance(per_layer, Mapping),
            f"penalty.per_layer is {per_layer!r}, and must name layers with their weights, such as {{hidden1: 1e-3}}",
        )
        self.per_layer = {
            str(name): number(f"penalty.per_layer.{name}", value, least=0) for name, value in (per_layer or {}).items()
        }
        self._seen: tuple[nn.Module, float, list[tuple[float, nn.Module, str]]] | None = None

    def omega(self, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, module: nn.Module) -> Tensor | float:
        """weight · Ω over the trainable weights of `module`, a scalar."""
        # Walking the module costs more than the penalty.
        if self._seen is None or self._seen[0] is not module or self._seen[1] != self.weight:
            self._seen = module, self.weight, self._weighted(module)
        # Looked up each time: torch.func puts other tensors in the parameters' places.
        weights = [(factor, getattr(layer, name)) for factor, layer, name in self._seen[2]]
        values = [(factor, self.omega(weight)) for factor, weight in weights if weight.requires_grad]
        for _, value in values:
            if isinstance(value, Tensor) and torch.is_grad_enabled() and not value.requires_grad:
                raise ConfigError(
                    f"omega of the penalty {type(self).__name__} has no gradient; leave out detach() and "
                    "conversions to whole numbers"
                )
            if not (isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()):
                is_tensor = isinstance(value, Tensor)
                shown = f"a {value.dtype} of shape {tuple(value.shape)}" if is_tensor else type(value).__name__
                raise ConfigError(
                    f"omega of the penalty {type(self).__name__} returned {shown} for a weight; return a tensor with "
                    "one number, such as weight.abs().sum()"
                )
        return torch.stack([factor * value for factor, value in values]).sum() if values else 0.0

    def _weighted(self, module: nn.Module) -> list[tuple[float, nn.Module, str]]:
        """The factor, the layer and the attribute of each weight that is penalized."""
        named = [name.rpartition(".") for name in named_weights(module, self.include_bias)]
        layers = list(dict.fromkeys(layer for layer, _, _ in named))
        for layer in self.per_layer:
            require(
                layer in layers,
                f"penalty.per_layer names {layer!r}, which is not a layer with weights; "
                f"choose from {', '.join(layers)}",
            )
        factors = {layer: self.per_layer.get(layer, self.weight) for layer in layers}
        return [(factors[layer], module.get_submodule(layer), name) for layer, _, name in named if factors[layer] > 0]


class NoPenalty(Penalty):
    """Ω = 0."""

    def __init__(self) -> None:
        super().__init__(weight=0.0)


class L1(Penalty):
    """Ω = Σ|w|, whose gradient is weight · sign(w)."""

    def __init__(self, weight: float = 1e-5, include_bias: bool = False, per_layer: Mapping[str, float] | None = None):
        super().__init__(weight, include_bias, per_layer)

    def omega(self, weight: Tensor) -> Tensor:
        return weight.abs().sum()


class L2(Penalty):
    """Ω = ½ Σ w², whose gradient is weight · w: the same step as SGD's `weight_decay`."""

    def omega(self, weight: Tensor) -> Tensor:
        return 0.5 * weight.square().sum()


class ElasticNet(Penalty):
    """Ω = l1_ratio · Σ|w| + (1 − l1_ratio) · ½ Σ w² (Zou and Hastie 2005, in scikit-learn's parametrisation)."""

    def __init__(
        self,
        weight: float = 1e-5,
        l1_ratio: float = 0.5,
        include_bias: bool = False,
        per_layer: Mapping[str, float] | None = None,
    ):
        super().__init__(weight, include_bias, per_layer)
        self.l1_ratio = number("penalty.l1_ratio", l1_ratio, least=0, below=1 + 1e-12)

    def omega(self, weight: Tensor) -> Tensor:
        return self.l1_ratio * weight.abs().sum() + (1 - self.l1_ratio) * 0.5 * weight.square().sum()
