"""What the command line may add to a config with `+`: arguments of what `_target_` names, and named parts.

Whether the target has such an argument is checked when it is built, because that imports torch.
"""

from collections.abc import Iterable, Mapping

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from litmus.runs.identity import COMBINED


def adds(override: Override) -> bool:
    return override.is_add() or override.is_force_add()


def added_parts(overrides: Iterable[Override]) -> set[str]:
    """The parts, such as callbacks.ema, that the overrides add with their `_target_`."""
    keys = [override.key_or_group for override in overrides if adds(override)]
    targets = {key.removesuffix("._target_") for key in keys if key.endswith("._target_")}
    return {part for part in targets if is_named(part)}


def is_addition(override: Override, bases: Iterable[DictConfig], added: set[str]) -> bool:
    """Whether the key, which none of the composed configs has, can be added to each of them."""
    key = override.key_or_group
    parent = key.rpartition(".")[0]
    if is_named(key):
        value = override.value()
        return isinstance(value, Mapping) and "_target_" in map(str, value)
    return parent in added or all(_has_target(base, parent) for base in bases)


def is_named(key: str) -> bool:
    return key.rpartition(".")[0] in COMBINED


def _has_target(base: DictConfig, key: str) -> bool:
    node = OmegaConf.select(base, key) if key else None
    return isinstance(node, DictConfig) and "_target_" in node
