"""Default loss, optimizer and scheduler of a Classifier, as in conf/train.yaml."""

from functools import partial
from typing import Any

import torch
from torch.optim.lr_scheduler import OneCycleLR

ADAM = partial(torch.optim.Adam, lr=2e-3, betas=(0.9, 0.999), weight_decay=0.0, fused=True)


def one_cycle() -> dict[str, Any]:
    """The one-cycle schedule (Smith and Topin 2018) as Lightning's dict: warm up to the learning rate, then decay."""
    computed: dict[str, Any] = {"max_lr": None, "total_steps": None}
    rise: dict[str, Any] = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "cycle_momentum": False}
    return {"interval": "step", "frequency": 1, "scheduler": partial(OneCycleLR, **computed, **rise)}
