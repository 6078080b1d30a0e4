"""ImageNet weights for torchvision's networks: by torchvision's name, or from a file of their layout."""

import logging
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from litmus.errors import ConfigError, closest, require
from litmus.files import load_checkpoint
from litmus.models.warm_start import told

log = logging.getLogger("litmus")

SUFFIXES = (".pth", ".pt", ".safetensors")


def load_pretrained(backbone: nn.Module, head: nn.Linear, arch: str, weights: str) -> None:
    """Puts `weights` into a torchvision network without its last layer, and into that layer where it fits: it stays
    new where the classes are others.

    Raises ConfigError, listing what does not fit, and says how to place a file that can't be downloaded.
    """
    state = _read(_file(arch, weights))
    last = {name.removeprefix("fc."): state.pop(name) for name in ("fc.weight", "fc.bias") if name in state}
    own = backbone.state_dict()
    # Files from before 2018 lack these counters, which torchvision's batch normalisation doesn't use.
    state = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | state
    misfits = told(state, own)
    require(
        not misfits,
        f"model.weights={weights} does not fit model.arch={arch}: {misfits}; {_mend(state, own)}",
    )
    backbone.load_state_dict(state)
    fits = {name: value.shape for name, value in last.items()} == {n: v.shape for n, v in head.state_dict().items()}
    if fits:
        head.load_state_dict(last)
    log.info(
        f"took the weights {weights}" + ("" if fits else f"; the last layer, of {head.out_features} classes, is new")
    )


def _mend(state: dict[str, Tensor], own: dict[str, Any]) -> str:
    kernels = tuple(tensors["conv1.weight"].shape[2:] for tensors in (state, own) if "conv1.weight" in tensors)
    if kernels == ((7, 7), (3, 3)):
        return "say model.small_stem=false, and data.image_size=224 if the images are small"
    return "say model.small_stem=true" if kernels == ((3, 3), (7, 7)) else "choose another file or model.arch"


def _file(arch: str, weights: str) -> Path:
    """The file of that name or path, downloaded if need be into torch's own folder for this."""
    require(isinstance(weights, str), f"model.weights is {weights!r}, and must be a name of torchvision's or a file")
    path = Path(weights).expanduser()
    if path.suffix in SUFFIXES or path.is_file():
        require(path.is_file(), f"model.weights={weights} does not exist: give a .pth or .safetensors file")
        return path
    known = torchvision.models.get_model_weights(arch).__members__
    if weights not in known:
        near = closest(weights, known)
        hint = f"did you mean {near}?" if near else f"for model.arch={arch} there are {', '.join(known)}"
        raise ConfigError(f"model.weights is {weights!r}, which is neither a file nor a name of torchvision's: {hint}")
    url = known[weights].url
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = path.stem.rpartition("-")[2]  # the name holds the first digits of the SHA-256
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"model.weights={weights} could not be downloaded ({error}): put {path.name} into {path.parent}, "
                "or give a file as model.weights=FILE"
            ) from error
    return path


def _read(path: Path) -> dict[str, Tensor]:
    state = (_read_safetensors if path.suffix == ".safetensors" else load_checkpoint)(path)
    require(
        "litmus" not in state,
        f"model.weights={path} is a checkpoint of Litmus: say model.init_from={path}",
    )
    require(
        bool(state) and all(isinstance(value, Tensor) for value in state.values()),
        f"model.weights={path} is not of torchvision's layout, a plain dictionary of tensors: use another file",
    )
    return dict(state)


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ConfigError(f"model.weights={path} needs the package safetensors: pip install safetensors") from None
    try:
        return load_file(path)
    except Exception as error:  # its own class, which derives from Exception alone
        raise ConfigError(f"{path} is not a safetensors file that can be read ({error}): use another file") from None
