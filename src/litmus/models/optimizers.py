"""Parameter groups and state of optimizers."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from litmus.errors import first_few

log = logging.getLogger("litmus")


def complete_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parameter groups of a Classifier, and one more group for the parameters outside its network that are in none
    of them.

    Logs a warning if a trainable parameter of the network is in none of them.
    """
    listed = {id(parameter) for group in groups for parameter in group["params"]}
    missing = {name: p for name, p in model.named_parameters() if id(p) not in listed}
    left_out = [name for name, p in missing.items() if name.startswith("network.") and p.requires_grad]
    if left_out:
        log.warning(
            f"{type(model).__name__}.parameter_groups leaves out {first_few(left_out)}, which will not train; add "
            "them to a group, or freeze them with requires_grad_(False)"
        )
    outside = [p for name, p in missing.items() if not name.startswith("network.")]
    return [*groups, {"params": outside}] if outside else groups


def restore_state_layout(optimizer: torch.optim.Optimizer) -> None:
    """Converts loaded optimizer state to the memory layout of its parameter; the checkpoint may have another one.

    The fused optimizers read memory in order and ignore strides, so another layout silently gives wrong weights.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
