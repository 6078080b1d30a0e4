"""Run directories made on the spot, as `litmus.runs` writes them, for what reads many runs."""

import json
import math
import random
import shutil
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from conftest import composed
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from litmus.runs.identity import config_hash, experiment


@cache
def _config(*overrides: str) -> tuple[str, str, dict[str, str]]:
    cfg = composed(*overrides)
    choices = {key: str(value) for key, value in HydraConfig.get().runtime.choices.items() if "hydra" not in key}
    return OmegaConf.to_yaml(cfg), config_hash(experiment(cfg)), choices


def fake_run(
    path: Path,
    *overrides: str,
    accuracy: float = 0.9,
    epochs: int = 4,
    objective: str = "val/acc",
    status: str = "finished",
    metrics: dict[str, float] | None = None,
    **record: Any,
) -> Path:
    """A run of these overrides whose validation accuracy rises to `accuracy` in its last epoch.

    With another `status` (unfinished, failed, pruned) its end is missing or is that one.
    """
    config, digest, choices = _config(*overrides)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "config.yaml").write_text(config)
    start = {"time": "2026-01-02T03:04:05", "command": f"train.py {' '.join(overrides)}"}
    facts = {"config_hash": digest, "overrides": list(overrides), "choices": choices, "starts": [start]}
    (path / "run.json").write_text(json.dumps({"format": 1, **facts, "threads": 1, **record}))
    rows = [_row(epoch, accuracy * (1 - 0.5 ** (3 * epoch / epochs)) / 0.875) for epoch in range(1, epochs + 1)]
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    if status == "failed":
        line = "2026-01-02 03:04:06 stopped by StoppedRun('the loss became nan at step 1 of epoch 2: lower optim.lr')\n"
        (path / "train.log").write_text(line)
    if status in ("finished", "pruned"):
        last = {name: value for name, value in rows[-1].items() if name != "epoch"} | (metrics or {})
        result = {
            "objective": last[objective],
            "objective_name": objective,
            "metrics": last,
            "best_epoch": epochs,
            "last": last,
            "epochs": epochs,
            "stop_reason": f"trainer.max_epochs={epochs} reached",
            "seconds": 1.5,
            "config_hash": digest,
            **({"pruned": True} if status == "pruned" else {}),
        }
        (path / "result.json").write_text(json.dumps(result))
    return path


def _row(epoch: int, accuracy: float) -> dict[str, float]:
    loss = -math.log(max(accuracy, 1e-3))
    train = {"train/acc": min(1.0, accuracy + 0.01), "train/loss": 0.9 * loss, "train/cost": loss}
    return {"epoch": epoch, "gap/acc": 0.02, "lr": 1e-3, **train, "val/acc": accuracy, "val/loss": loss}


def fake_sweep(folder: Path, *grid: str, fixed: tuple[str, ...] = (), noise: float = 0.004, **options: Any) -> Path:
    """A run for each combination of `key=a,b,c`; accuracies vary with the values and, by `noise`, with the seed."""
    keys = [part.partition("=")[0] for part in grid]
    for number, values in enumerate(product(*(part.partition("=")[2].split(",") for part in grid))):
        chosen = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
        effect = random.Random(" ".join(c for c in chosen if not c.startswith("seed="))).random()
        luck = random.Random(" ".join(chosen)).gauss(0, noise)
        fake_run(folder / str(number), *fixed, *chosen, accuracy=0.9 + 0.08 * effect + luck, **options)
    return folder


def copies(run: Path, folder: Path, count: int) -> None:
    """Many runs in no time: the same one with other seeds and learning rates."""
    for number in range(count):
        path = folder / str(number)
        shutil.copytree(run, path)
        config = (path / ".hydra" / "config.yaml").read_text()
        lr, seed = 10 ** -(1 + 3 * (number // 4) / count), number % 4
        config = config.replace("seed: 0\n", f"seed: {seed}\n", 1).replace("lr: 0.001\n", f"lr: {lr!r}\n", 1)
        (path / ".hydra" / "config.yaml").write_text(config)
