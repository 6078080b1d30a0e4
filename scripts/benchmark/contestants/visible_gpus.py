"""A loss that records which GPUs its process sees, for the sweep check of `scripts/benchmark gpu`."""

import json
import os
import time
from pathlib import Path

from torch import Tensor, nn


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """Writes one JSON file into the folder of the environment variable LITMUS_VISIBLE_GPUS, once per process."""

    def __init__(self, weight: Tensor | None = None) -> None:
        super().__init__(weight)
        facts = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "started": time.time()}
        Path(os.environ["LITMUS_VISIBLE_GPUS"], f"{os.getpid()}.json").write_text(json.dumps(facts))
