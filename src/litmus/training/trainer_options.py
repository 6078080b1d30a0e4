"""Trainer options that conf/trainer cannot set. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from litmus.errors import require

REQUIRED = ("max_epochs", "gradient_clip_val", "accumulate_grad_batches", "limit_val_batches", "compile")
# The reason and the alternative for each option. All other options are passed to the Trainer unchanged.
REFUSED = {
    "callbacks": "they have a group of their own; add a file to conf/callbacks",
    "logger": "it has a group of its own; add a file to conf/logger",
    "default_root_dir": "a run writes into its own directory; set output_dir",
    "enable_checkpointing": "a run always keeps best.ckpt and last.ckpt, from which it is resumed and tested",
    "enable_progress_bar": "a run prints a line per epoch; for Lightning's bar, add "
    "pytorch_lightning.callbacks.TQDMProgressBar to a file in conf/callbacks",
    "enable_model_summary": "add pytorch_lightning.callbacks.ModelSummary to a file in conf/callbacks instead",
    "num_sanity_val_steps": "a validation before training would be logged as one of its epochs; debug=fast tries "
    "everything on a few batches",
    "fast_dev_run": "it keeps no checkpoint and no metrics; debug=fast tries everything on a few batches",
    "barebones": "it turns off checkpoints and metrics; use callbacks=none logger=none",
}


def check_trainer_options(options: Mapping[Any, Any]) -> None:
    """Raises ConfigError, with the reason, for an option that Litmus sets itself."""
    for name in map(str, options):
        require(name not in REFUSED, f"trainer.{name} cannot be set: {REFUSED.get(name)}")
    missing = [name for name in REQUIRED if name not in options]
    require(not missing, f"trainer has no {' and '.join(missing)}; begin its file with defaults: [default]")
