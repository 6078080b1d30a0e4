"""The metrics that choose checkpoints, stop early and drive schedulers, with their directions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litmus.core.metric_direction import mode
from litmus.errors import require


@dataclass(frozen=True)
class Watched:
    """A monitored metric, its mode (max or min), and the option that sets the mode; `is_given` if it is set."""

    metric: str
    mode: str
    option: str
    is_given: bool


def objective(cfg: Any) -> Watched:
    """The metric that chooses the best epoch. Raises ConfigError if it is not a metric, is of the test set, or has no
    direction.
    """
    name = cfg.objective
    require(isinstance(name, str) and bool(name), f"objective={name} is not a metric: choose val/acc or val/loss")
    require(
        not name.startswith("test/"),
        f"objective={name} would choose by the test set: use val/acc, val/loss or another validation metric",
    )
    given = cfg.get("objective_mode")
    return Watched(name, mode(name, given, "objective_mode"), "objective_mode", given is not None)


def find_monitors(cfg: Any) -> list[Watched]:
    """The objective, and what callbacks and the scheduler monitor. Imports no torch, because sweeps call it first.

    Raises ConfigError, which names the option to set, where the direction is unknown.
    """
    found = [objective(cfg)]
    for name, node in (cfg.get("callbacks") or {}).items():
        watched = _of_callback(f"callbacks.{name}", node) if isinstance(node, Mapping) else None
        found += [watched] if watched else []
    scheduler: Any = cfg.get("scheduler") or {}
    if isinstance(monitor := scheduler.get("monitor"), str):
        given, option = scheduler.scheduler.get("mode"), "scheduler.scheduler.mode"
        require(
            monitor.startswith("train/") or cfg.trainer.get("check_val_every_n_epoch", 1) is not None,
            f"trainer.check_val_every_n_epoch=null leaves epochs without {monitor}, which the scheduler watches after "
            "each; set it to a number of epochs, or choose another scheduler",
        )
        found.append(Watched(monitor, mode(monitor, given, option), option, given is not None))
    return found


def _of_callback(path: str, node: Any) -> Watched | None:
    """The monitor of a Litmus or Lightning callback; `monitor` may mean something else in others."""
    target, monitor = str(node.get("_target_")), node.get("monitor")
    is_lightning = target.startswith(("pytorch_lightning.", "lightning."))
    is_known = is_lightning or target.startswith("litmus.")
    if not is_known or not isinstance(monitor, str) or monitor.startswith("test/"):
        return None
    given, option = node.get("mode"), f"{path}.mode"
    watched = Watched(monitor, mode(monitor, given, option), option, given is not None)
    require(  # Lightning's own default is min, whatever the metric
        not is_lightning or watched.is_given or watched.mode == "min",
        f"{path} watches {monitor}, of which higher is better, and Lightning's default is mode=min: add mode: max to "
        "its file",
    )
    return watched
