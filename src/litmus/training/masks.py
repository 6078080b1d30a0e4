"""Weights masked by torch.nn.utils.prune: NAME = NAME_orig * NAME_mask."""

from torch import Tensor, nn
from torch.nn.utils import prune

Weights = dict[str, Tensor]


def masked_names(weights: Weights) -> list[str]:
    """The plain names of the masked weights."""
    plain = [name.removesuffix("_mask") for name in weights if name.endswith("_mask")]
    return [name for name in plain if f"{name}_orig" in weights]


def apply_masks(weights: Weights) -> Weights:
    """The weights after masking, with their plain names."""
    masked = masked_names(weights)
    apart = {f"{name}{suffix}" for name in masked for suffix in ("_orig", "_mask")}
    found = {name: value for name, value in weights.items() if name not in apart}
    for name in masked:
        original = weights[f"{name}_orig"]
        found[name] = weights[f"{name}_mask"].to(dtype=original.dtype) * original
    return found


def restore_masks(module: nn.Module, weights: Weights) -> None:
    """Masks the layers of `module` that are masked in the state dict `weights`, then loads `weights`."""
    for name in masked_names(weights):
        layer, _, parameter = name.rpartition(".")
        owner = module.get_submodule(layer)
        mask = weights[f"{name}_mask"].to(getattr(owner, parameter).device)
        prune.custom_from_mask(owner, parameter, mask)
    module.load_state_dict(weights)
