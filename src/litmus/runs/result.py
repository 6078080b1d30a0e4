"""result.json and the final summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

DIVERGED = 10


def stop_reason(trainer: pl.Trainer) -> str:
    """Why training stopped. Call it before a test, which resets the trainer's counters."""
    reasons = [callback.reason for callback in trainer.callbacks if getattr(callback, "reason", None)]  # type: ignore[attr-defined]
    if reasons:
        return str(reasons[0])
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return f"trainer.max_steps={trainer.max_steps} reached"
    if trainer.current_epoch >= (trainer.max_epochs or 0):
        return f"trainer.max_epochs={trainer.max_epochs} reached"
    return "stopped by trainer.max_time or a callback"


def build_result(
    rows: Sequence[dict[str, Any]], best_epoch: int, monitor: str, tested: Mapping[str, Any]
) -> dict[str, Any]:
    """The metrics part of result.json, from the rows of metrics.csv and the metrics after a test."""
    best, last = next(row for row in rows if row["epoch"] == best_epoch), rows[-1]
    return {
        "objective": best[monitor],
        "objective_name": monitor,
        "metrics": _metrics(best) | {name: float(v) for name, v in tested.items() if name.startswith("test/")},
        "best_epoch": best_epoch,
        "last": _metrics(last),
        "epochs": last["epoch"],
    }


def has_diverged(last: Mapping[str, float], uninformed: float | None) -> bool:
    """Whether a run ended far worse than an untrained network, although its loss stayed finite.

    In the last epoch, the training loss is above `uninformed`, the loss of equal logits for all classes, and the
    validation loss is more than DIVERGED times as high. The validation loss alone is not enough: overfitting raises it
    too.
    """
    training = last.get("train/loss", 0.0)
    return (
        uninformed is not None
        and uninformed > 0
        and training > uninformed
        and last.get("val/loss", training) > DIVERGED * uninformed
    )


def _metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "epoch"}


def summary(result: dict[str, Any]) -> str:
    """Why and when the run stopped, and a table of the final metrics."""
    metrics = result["metrics"]
    lines = [
        f"{result['stop_reason']}; best {result['objective_name']} {result['objective']:.4f} in epoch "
        f"{result['best_epoch']} of {result['epochs']}, {result['seconds']:.1f} s",
        "",
        "         loss     accuracy",
    ]
    for part in ("train", "val", "test"):
        if {f"{part}/acc", f"{part}/loss"} <= metrics.keys():
            lines.append(f"{part:<5}  {metrics[f'{part}/loss']:8.4f}  {100 * metrics[f'{part}/acc']:8.2f} %")
    return "\n".join(lines)
