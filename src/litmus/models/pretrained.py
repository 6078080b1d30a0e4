"""Pretrained weights for torchvision networks: by name, from a file, or from an earlier run."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from litmus.core.checkpoint_io import CHECKPOINT_KEY, load_checkpoint
from litmus.core.checkpoint_limits import is_state_dict
from litmus.errors import ConfigError, closest, require
from litmus.models.warm_start import (
    are_reordered,
    class_names_of,
    describe_mismatch,
    network_weights,
    resolve_checkpoint,
    without_wrappers,
)

log = logging.getLogger("litmus")

SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt")


@dataclass
class LastLayer:
    """The last layer of an earlier run, and its class names."""

    state: dict[str, Tensor]
    class_names: list[str]

    def give(self, head: nn.Linear, class_names: list[str]) -> None:
        """Loads the layer into `head` if both have the same classes, in any order. An equal number of classes is not
        enough.
        """
        if self.class_names == class_names:
            misfits = describe_mismatch(self.state, head.state_dict())
            require(not misfits, f"the last layer of model.weights does not fit: {misfits}; use another run")
            head.load_state_dict(self.state)
            log.info("loaded the last layer as well, because the classes are the same")
        elif are_reordered(self.class_names, class_names):
            rows = [self.class_names.index(name) for name in class_names]
            head.load_state_dict({name: value[rows] for name, value in self.state.items()})
            log.info("loaded the last layer as well, in the order of the classes here")
        else:
            log.info("initialized the last layer, because the classes differ")


def load_pretrained(
    backbone: nn.Module, head: nn.Linear, arch: str, weights: str, option: str = "model.weights"
) -> LastLayer | None:
    """Loads `weights` into a torchvision network without its last layer.

    `weights` is a torchvision name, a file in torchvision's layout, or a Litmus run. The last layer is loaded if it
    fits. The last layer of a run, or of a file with class names, is returned instead: it fits only if the classes are
    the same. Raises ConfigError with the mismatches, or with the path where to put a file that cannot be downloaded.
    """
    state, class_names = _read(_file(arch, weights, option), option)
    last = {name.removeprefix("fc."): state.pop(name) for name in ("fc.weight", "fc.bias") if name in state}
    own = backbone.state_dict()
    # Files from before 2018 lack these counters, which torchvision's batch normalization doesn't use.
    state = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | state
    misfits = describe_mismatch(state, own)
    require(
        not misfits,
        f"{option}={weights} does not fit model.arch={arch}: {misfits}; {_repair_state(state, own)}",
    )
    backbone.load_state_dict(state)
    shapes = {name: tuple(value.shape) for name, value in last.items()}
    count = len(class_names or ())
    if class_names is not None and shapes == {"weight": (count, head.in_features), "bias": (count,)}:
        log.info(f"loaded the backbone's weights from {weights}")
        return LastLayer(last, class_names)
    fits = {name: value.shape for name, value in last.items()} == {n: v.shape for n, v in head.state_dict().items()}
    if fits:
        head.load_state_dict(last)
    last_layer = "" if fits else f"; initialized the last layer, of {head.out_features} classes"
    log.info(f"loaded the weights {weights}{last_layer}")
    return None


def _repair_state(state: dict[str, Tensor], own: dict[str, Any]) -> str:
    kernels = tuple(tensors["conv1.weight"].shape[2:] for tensors in (state, own) if "conv1.weight" in tensors)
    if kernels == ((7, 7), (3, 3)):
        return "set model.small_stem=false, and data.image_size=224 if the images are small"
    return "set model.small_stem=true" if kernels == ((3, 3), (7, 7)) else "choose another file or model.arch"


def _file(arch: str, weights: str, option: str) -> Path:
    """The path of a weights file: of a name, downloaded into torch's cache if needed; of a run, its best checkpoint."""
    require(isinstance(weights, str), f"{option} is {weights!r}, and must be a name of torchvision's, a file or a run")
    path = Path(weights).expanduser()
    if path.is_dir():
        return resolve_checkpoint(option, weights)
    if path.suffix in SUFFIXES or path.is_file():
        require(path.is_file(), f"{option}={weights} does not exist: give a .pth or .safetensors file, or a run")
        return path
    known = torchvision.models.get_model_weights(arch).__members__
    if weights not in known:
        near = closest(weights, known)
        hint = f"did you mean {near}?" if near else f"for model.arch={arch} there are {', '.join(known)}"
        raise ConfigError(
            f"{option} is {weights!r}, which is neither a file, a run nor a name of torchvision's: {hint}"
        )
    url = known[weights].url
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = path.stem.rpartition("-")[2]  # the name contains the first digits of the SHA-256
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"{option}={weights} could not be downloaded ({error}): put {path.name} into {path.parent}, "
                f"or give a file as {option}=FILE"
            ) from error
    return path


def _read(path: Path, option: str) -> tuple[dict[str, Tensor], list[str] | None]:
    """Weights with torchvision's names, and the class names if the file is from a run or exported from one."""
    state: Any
    class_names = None
    if path.suffix == ".safetensors":
        state, class_names = _read_safetensors(path)
    else:
        state = load_checkpoint(path)
        if CHECKPOINT_KEY in state:
            class_names = class_names_of(state)
            require(class_names is not None, f"{option}={path} is damaged (it lacks class_names): use another file")
            return _read_run_checkpoint(state, path, option), class_names
    require(
        bool(state) and is_state_dict(state),
        f"{option}={path} is not of torchvision's layout, a plain dictionary of tensors: use another file",
    )
    return without_wrappers(state, path), class_names


def _read_run_checkpoint(checkpoint: Mapping[str, Any], path: Path, option: str) -> dict[str, Tensor]:
    found = network_weights(checkpoint, path)
    parts = {"backbone": "", "head": "fc."}
    require(
        "head.weight" in found and all(name.partition(".")[0] in parts for name in found),
        f"{option}={path} is a run of another model than resnet: use one, or model.init_from",
    )
    names = {name: name.partition(".") for name in found}
    return {parts[part] + rest: found[name] for name, (part, _, rest) in names.items()}


def _read_safetensors(path: Path) -> tuple[dict[str, Any], list[str] | None]:
    """The tensors, and the class names in the metadata if Litmus exported the file."""
    try:
        from safetensors import safe_open
        from safetensors.torch import load_file
    except ImportError:
        raise ConfigError(f"{path} needs the package safetensors: pip install safetensors") from None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), _class_names(metadata.get("class_names", ""))
    except Exception as error:  # safetensors' own error derives directly from Exception
        raise ConfigError(f"{path} is not a safetensors file that can be read ({error}): use another file") from None


def _class_names(text: str) -> list[str] | None:
    """The names of a JSON list; None for anything else, because any program may have written the file."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
