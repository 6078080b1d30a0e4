"""What TensorBoard is told of a run besides its metrics."""

from typing import Any

import yaml
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

GROUPS = ("data", "model", "loss", "penalty", "optim", "scheduler", "accelerator")
# Facts that follow from the choices. HParams shows what differs between runs first, and these would crowd it.
DERIVED = ("data.name", "data.num_classes", "data.image_shape", "data.seed", "model.channels_last")
# Under names of their own, so that HParams, which takes a metric's last value, shows the best epoch's, and first.
BEST = ("test/acc", "test/loss", "train/acc", "val/acc", "val/loss")


def write_config(logger: Logger, config: dict[str, Any], choices: dict[str, str]) -> None:
    """The config as text, and its HParams: the options chosen, and every number and word below them.

    Lightning's `log_hyperparams` would put a first point into each metric's curve, and would list the columns: from
    then on TensorBoard knows only those that one of the runs has, in the order of the alphabet.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    logger.experiment.add_text("config", f"```yaml\n{yaml.safe_dump(config, sort_keys=False)}\n```")
    values: dict[str, Any] = {group: choices[group] for group in GROUPS if group in choices}
    values |= {"seed": config["seed"], "trainer.max_epochs": config["trainer"]["max_epochs"]}
    for group in GROUPS[:-1]:
        values |= flatten(config[group], f"{group}.")
    values = {name: value for name, value in values.items() if name not in DERIVED}
    _, start, end = hparams(values, {})
    for summary in (start, end):
        logger.experiment._get_file_writer().add_summary(summary)


def write_best(logger: Logger, metrics: dict[str, float], objective: float, epoch: int) -> None:
    best = {f"best/{name.replace('/', '_')}": metrics[name] for name in BEST if name in metrics}
    logger.log_metrics({"objective": objective, **best}, step=epoch)


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
