"""Loads a trained model from a run directory or a checkpoint."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from litmus.core.environment import flush_denormals
from litmus.data.image_decoder import ImageDecoder
from litmus.data.preprocess import Preprocess, UnknownPreprocess
from litmus.errors import ConfigError, first_few, require
from litmus.runs.checkpoints import rebuild_model
from litmus.runs.stale import changed_modules
from litmus.runs.untrusted_run import check_no_links

log = logging.getLogger("litmus")


class TrainedModel(nn.Module):
    """A model in eval mode with its preprocessing: uint8 images (N, C, H, W) to logits (N, num_classes).

    `decode` decodes an image file of any size for it. `metadata` is that of the checkpoint.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess, decode: ImageDecoder, metadata: dict[str, Any]):
        super().__init__()
        self.model, self.preprocess, self.decode, self.metadata = model, preprocess, decode, metadata
        self.class_names: list[str] = metadata["class_names"]
        self.eval()

    @property
    def config(self) -> dict[str, Any]:
        return self.metadata["config"]

    def forward(self, images: Tensor) -> Tensor:
        channels = len(self.preprocess.mean)
        require(
            images.ndim == 4 and images.shape[1] in (1, channels),
            f"images of shape {tuple(images.shape)} do not fit: give (N, {channels}, H, W)",
        )
        height, width = self.decode.shape[1:]
        require(
            self.preprocess.size is not None or tuple(images.shape[2:]) == (height, width),
            f"images of shape {tuple(images.shape)} do not fit: give (N, {channels}, {height}, {width}), which decode "
            "makes of a picture file of any size",
        )
        if images.dtype != torch.uint8 and images.numel() and not isinstance(self.preprocess, UnknownPreprocess):
            low, high = float(images.min()), float(images.max())
            require(
                low >= 0 and (1 < high <= 255 or high == 0),
                f"these images run from {low:g} to {high:g}; give pixels from 0 to 255, as uint8",
            )
        return self.model(self.preprocess(images))


def load(run: str | Path, checkpoint: str = "best", trust: str | Sequence[str] = ()) -> TrainedModel:
    """The trained model of a run directory (its best checkpoint, or `last`) or of a checkpoint file, on the CPU.

    The network alone is built, so the file may come from someone else: of litmus, torch.nn, torchvision.models, timm
    and the project. `trust` names other modules or classes that it may use, such as ["mine"]. Logs a warning if the
    code of the model has changed since the run. Raises ConfigError if there is no checkpoint, if Litmus has not written
    it, or if it needs anything else.
    """
    return load_checked(run, checkpoint, trust)


def load_checked(
    run: str | Path, checkpoint: str = "best", trust: str | Sequence[str] = (), with_loss: bool = False
) -> TrainedModel:
    """As `load`; `with_loss` also builds the loss of the run."""
    file = Path(run).expanduser()
    flush_denormals()
    if file.is_dir():
        file = file / "checkpoints" / f"{checkpoint}.ckpt"
        require(file.exists(), f"{run} holds no checkpoints/{file.name}: it is not a run, or has no completed epoch")
    model, metadata = rebuild_model(file, trust, with_loss)
    kind = UnknownPreprocess if metadata["mean"].isnan().any() else Preprocess
    preprocess = kind(metadata["mean"], metadata["std"], metadata["image_size"])
    # Checkpoints of early versions lack these keys.
    decode = ImageDecoder(metadata.get("source_shape") or metadata["image_shape"], metadata.get("pipeline", "resize"))
    trained = TrainedModel(model, preprocess, decode, metadata)
    _warn_if_code_changed(trained, file.absolute().parent.parent)
    return trained


def output_folder(run: Path, name: str) -> Path:
    """The folder of this name in a run directory, or beside a checkpoint. Raises ConfigError if it leads elsewhere."""
    folder = (run if run.is_dir() else run.parent) / name
    check_no_links(folder)
    return folder


def _warn_if_code_changed(trained: TrainedModel, run: Path) -> None:
    parts = [*trained.modules(), trained.decode]
    modules = {cls.__module__ for part in parts for cls in type(part).__mro__}
    modules |= {target.rpartition(".")[0] for target in _targets(trained.config["model"])}
    try:
        files = changed_modules(run, modules)
    except ConfigError as error:  # the checkpoint is whole
        log.warning(f"{error}; whether the code of the model has changed is unknown")
        return
    if files:
        log.warning(
            f"the code of the model has changed since {run} was trained ({first_few(files)}), so its outputs may "
            "differ; check out the commit in run.json and apply code.patch, or train the model again"
        )


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        yield from [config["_target_"]] if "_target_" in config else []
        config = list(config.values())
    for value in config if isinstance(config, list) else ():
        yield from _targets(value)
