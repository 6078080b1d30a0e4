"""Warm start: initial weights from an earlier run."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, cast

from torch import Tensor, nn

from litmus.core.checkpoint_io import CHECKPOINT_KEY, load_checkpoint
from litmus.core.checkpoint_limits import is_state_dict
from litmus.errors import require

log = logging.getLogger("litmus")


def warm_start(network: nn.Module, path: str, strict: bool) -> list[str] | None:
    """Loads the weights of a run (its best checkpoint) or of a checkpoint file into `network`. Returns the class names
    of the run, if known.

    Raises ConfigError with the mismatches if `strict`; otherwise loads the tensors that fit, and logs the others.
    """
    file = resolve_checkpoint("model.init_from", path)
    checkpoint = load_checkpoint(file)
    given = network_weights(checkpoint, file)
    own = network.state_dict()
    misfits = describe_mismatch(given, own)
    require(
        not (strict and misfits),
        f"model.init_from={path} does not fit: {misfits}; set model.init_strict=false to load what fits",
    )
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    require(bool(fitting), f"model.init_from={path} has nothing that fits this model: choose another run")
    network.load_state_dict(fitting, strict=False)
    if misfits:
        log.info(f"took {len(fitting)} of {len(own)} tensors from {path}; not taken: {misfits}")
    return class_names_of(checkpoint)


def class_names_of(checkpoint: Mapping[str, Any]) -> list[str] | None:
    """The class names in the metadata of a checkpoint, if they are known."""
    metadata = checkpoint.get(CHECKPOINT_KEY)
    names = metadata.get("class_names") if isinstance(metadata, dict) else None
    return list(names) if is_class_names(names) else None


def is_class_names(names: Any) -> TypeGuard[Sequence[str]]:
    return isinstance(names, list | tuple) and len(names) > 0 and all(isinstance(name, str | int) for name in names)


def are_reordered(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether both are the same classes in another order."""
    return list(names) != list(others) and Counter(names) == Counter(others)


def describe_mismatch(given: Mapping[str, Tensor], own: Mapping[str, Tensor], most: int = 6) -> str:
    """The tensors that are missing on one side or differ in shape, as text; empty if all fit."""
    misfits = [
        f"{name} is {_shape(given.get(name))} there and {_shape(own.get(name))} here"
        for name in sorted(own.keys() | given.keys())
        if _shape(given.get(name)) != _shape(own.get(name))
    ]
    return "; ".join(misfits[:most]) + (f"; and {len(misfits) - most} more" if len(misfits) > most else "")


def resolve_checkpoint(option: str, path: str) -> Path:
    """The best checkpoint of a run directory, or `path` itself if it is a file."""
    file = Path(path).expanduser()
    require(file.exists(), f"{option}={path} does not exist: give a run directory or a checkpoint file")
    if file.is_dir():
        file = file / "checkpoints" / "best.ckpt"
        require(file.exists(), f"{option}={path} holds no checkpoints/best.ckpt: the run has not got that far")
    return file


def network_weights(checkpoint: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    state = checkpoint.get("state_dict")
    require(is_state_dict(state), f"{file} is not a Litmus checkpoint: it has no state_dict of named tensors")
    names = without_wrappers(cast(dict[str, Any], state), file).items()
    return {name.removeprefix("network."): value for name, value in names if name.startswith("network.")}


def without_wrappers(state: Mapping[str, Any], file: str | Path) -> dict[str, Any]:
    """The state dict without the prefixes of DataParallel (`module.`) and torch.compile (`_orig_mod.`)."""
    plain = {".".join(part for part in name.split(".") if part != "_orig_mod"): value for name, value in state.items()}
    prefixes = ["_orig_mod."] if plain.keys() != state.keys() else []
    if plain and all(name.startswith("module.") for name in plain):
        plain = {name.removeprefix("module."): value for name, value in plain.items()}
        prefixes.insert(0, "module.")
    if prefixes:
        log.info(f"removed {' and '.join(prefixes)} from the names of the weights in {file}")
    return plain


def _shape(value: Tensor | None) -> str:
    return "absent" if value is None else str(list(value.shape))
