"""What TensorBoard is told of a run besides its metrics."""

from typing import Any

import yaml
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

GROUPS = ("data", "model", "loss", "penalty", "optim", "scheduler", "accelerator")
METRICS = ("test/acc", "val/acc", "train/acc", "gap/acc", "test/loss", "val/loss", "train/loss", "objective")


def write_config(logger: Logger, config: dict[str, Any], choices: dict[str, str]) -> None:
    """The config as text, and its HParams: the options chosen, and every number and word below them.

    Lightning's `log_hyperparams` would put a first point into each metric's curve.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    logger.experiment.add_text("config", f"```yaml\n{yaml.safe_dump(config, sort_keys=False)}\n```")
    values: dict[str, Any] = {group: choices[group] for group in GROUPS if group in choices}
    values |= {"seed": config["seed"], "trainer.max_epochs": config["trainer"]["max_epochs"]}
    for group in GROUPS[:-1]:
        values |= flatten(config[group], f"{group}.")
    for summary in hparams(values, dict.fromkeys(METRICS, 0.0)):
        logger.experiment._get_file_writer().add_summary(summary)


def flatten(node: Any, prefix: str) -> dict[str, Any]:
    """Nested options as {"group.key": value}, without Hydra's own keys and what is null."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key.startswith("_") or value is None:
            continue
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, int | float | str) else str(value)
    return found
