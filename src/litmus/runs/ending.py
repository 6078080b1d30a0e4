"""How a run ended, in words."""

from typing import Any

import pytorch_lightning as pl


def why_stopped(trainer: pl.Trainer) -> str:
    """To be asked before a test, which resets the trainer's counters."""
    reasons = [callback.reason for callback in trainer.callbacks if getattr(callback, "reason", None)]  # type: ignore[attr-defined]
    if reasons:
        return str(reasons[0])
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return f"trainer.max_steps={trainer.max_steps} reached"
    if trainer.current_epoch >= (trainer.max_epochs or 0):
        return f"trainer.max_epochs={trainer.max_epochs} reached"
    return "stopped by trainer.max_time or a callback"


def summary(result: dict[str, Any]) -> str:
    """Why and when it stopped, and a table of the final figures."""
    metrics = result["metrics"]
    lines = [
        f"{result['stop_reason']}; best {result['objective_name']} in epoch {result['best_epoch']} "
        f"of {result['epochs']}, {result['seconds']:.1f} s",
        "",
        "         loss     accuracy",
    ]
    for part in ("train", "val", "test"):
        if f"{part}/acc" in metrics:
            lines.append(f"{part:<5}  {metrics[f'{part}/loss']:8.4f}  {100 * metrics[f'{part}/acc']:8.2f} %")
    return "\n".join(lines)
