"""A trained model, rebuilt from its run or from a checkpoint alone."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from litmus.data.decode import Decode
from litmus.data.preprocess import Preprocess
from litmus.errors import ConfigError, require
from litmus.files import load_checkpoint
from litmus.runs.building import build_model

STARTING_POINTS = ("init_from", "weights")  # a model's options that name a file of weights
FORMAT = 1  # of a run directory and of what Litmus adds to a checkpoint


class Trained(nn.Module):
    """A run's model in eval mode with its preprocessing: uint8 images (N, C, H, W) to logits (N, num_classes).

    `decode` reads a picture file, of any size, as such an image. `card` holds what the checkpoint said of it all.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess, decode: Decode, card: dict[str, Any]):
        super().__init__()
        self.model, self.preprocess, self.decode, self.card = model, preprocess, decode, card
        self.class_names: list[str] = card["class_names"]
        self.eval()

    @property
    def config(self) -> dict[str, Any]:
        return self.card["config"]

    def forward(self, images: Tensor) -> Tensor:
        channels = len(self.preprocess.mean)
        require(
            images.ndim == 4 and images.shape[1] in (1, channels),
            f"images of shape {tuple(images.shape)} do not fit: give (N, {channels}, H, W)",
        )
        require(
            not images.is_floating_point() or not 0 < images.amax() <= 1,
            "these images end at 1: give pixels from 0 to 255, as uint8",
        )
        return self.model(self.preprocess(images))


def load(run: str | Path, checkpoint: str = "best") -> Trained:
    """The trained model of a run directory (its best, or `last`), or of a checkpoint file alone, on the CPU.

    Raises ConfigError if there is none, or if it is not Litmus'.
    """
    file = Path(run).expanduser()
    if file.is_dir():
        file = file / "checkpoints" / f"{checkpoint}.ckpt"
        require(file.exists(), f"{run} holds no checkpoints/{file.name}: it is no run, or has not got that far")
    contents = load_checkpoint(file)
    card = contents.get("litmus")
    if not isinstance(card, dict):
        raise ConfigError(f"{file} is not a checkpoint of Litmus: use one from a run's checkpoints folder")
    require(
        card["format"] <= FORMAT,
        f"{file} was written by a later Litmus (format {card['format']}, and {FORMAT} is the newest known here): "
        "update Litmus",
    )
    config = OmegaConf.create(card["config"])
    assert isinstance(config, DictConfig)
    for option in STARTING_POINTS:
        if option in config.model:
            config.model[option] = None  # its weights are in the checkpoint
    model = build_model(config, len(card["class_names"]), tuple(card["image_shape"]))
    model.load_state_dict(contents["state_dict"])
    preprocess = Preprocess(card["mean"], card["std"], card["image_size"])
    # What a run from before there were pictures does not say is this.
    decode = Decode(card.get("source_shape") or card["image_shape"], card.get("pipeline", "resize"))
    return Trained(model, preprocess, decode, card)
