"""What a run writes to TensorBoard besides its metrics: config, best metrics, images."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import hparams

from litmus.core.saved_config import flatten

GROUPS = ("data", "model", "loss", "penalty", "optim", "scheduler", "accelerator")
# Derived values, which would crowd the HParams table.
DERIVED = ("data.name", "data.num_classes", "data.image_shape", "data.seed", "model.channels_last")
# Under separate names, because HParams shows the last value of a metric, not that of the best epoch.
BEST = ("test/acc", "test/loss", "train/acc", "val/acc", "val/loss")


def write_config(logger: Logger, config: dict[str, Any], choices: dict[str, str]) -> None:
    """Writes the config as text and as HParams: the chosen options, and every number and word below them.

    Lightning's `log_hyperparams` would add a first point to each metric curve, and would fix the columns to those of
    one run, in alphabetical order.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    logger.experiment.add_text("config", f"```yaml\n{yaml.safe_dump(config, sort_keys=False)}\n```")
    values: dict[str, Any] = {group: choices[group] for group in GROUPS if group in choices}
    values |= {"seed": config["seed"], "trainer.max_epochs": config["trainer"]["max_epochs"]}
    for group in GROUPS[:-1]:
        values |= _shown(flatten(config[group], f"{group}."))
    values = {name: value for name, value in values.items() if name not in DERIVED}
    _, start, end = hparams(values, {})
    for summary in (start, end):
        logger.experiment._get_file_writer().add_summary(summary)


def write_image(logger: TensorBoardLogger, tag: str, image: np.ndarray, step: int) -> None:
    """Writes an RGB image (H, W, 3), uint8, like the writer's `add_image`, in a third of the time.

    `add_image` compresses at zlib's default level; level 1 makes the file 10 % larger.
    """
    png = io.BytesIO()
    Image.fromarray(image).save(png, format="png", compress_level=1)
    height, width, _ = image.shape
    encoded = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png.getvalue())
    summary = Summary(value=[Summary.Value(tag=tag, image=encoded)])
    logger.experiment._get_file_writer().add_summary(summary, step)


def write_best(logger: Logger, metrics: dict[str, float], objective: float, epoch: int) -> None:
    best = {f"best/{name.replace('/', '_')}": metrics[name] for name in BEST if name in metrics}
    logger.log_metrics({"objective": objective, **best}, step=epoch)


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options without Hydra keys and null values; lists as text."""
    return {
        key: value if isinstance(value, int | float | str) else str(value)
        for key, value in values.items()
        if "._" not in key and value is not None and value != {}
    }
