"""Run directories made on the spot, as `litmus.runs` writes them, for what reads many runs."""

import copy
import json
import math
import random
import shutil
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from conftest import CONF, composed
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from litmus.runs.identity import config_hash, experiment

GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}


@cache
def _composed(*groups: str) -> tuple[DictConfig, dict[str, str]]:
    cfg = composed(*groups)
    return cfg, {key: str(value) for key, value in HydraConfig.get().runtime.choices.items() if "hydra" not in key}


def _config(*overrides: str) -> tuple[DictConfig, dict[str, str]]:
    """What composing gives, and the options chosen; Hydra takes a fifth of a second, so it is asked once for each set
    of options, and the values are set afterwards."""
    groups = [override for override in overrides if override.split("=")[0] in GROUPS]
    cfg, choices = _composed(*groups)
    cfg = copy.deepcopy(cfg)
    for override in OverridesParser.create().parse_overrides([o for o in overrides if o not in groups]):
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=False)
    return cfg, choices


def fake_config(*overrides: str) -> DictConfig:
    """The config of a fake run of these overrides."""
    return _config(*overrides)[0]


def fake_run(
    path: Path,
    *overrides: str,
    accuracy: float = 0.9,
    epochs: int = 4,
    objective: str = "val/acc",
    objective_mode: str | None = None,
    status: str = "finished",
    metrics: dict[str, float] | None = None,
    diverged: bool = False,
    **record: Any,
) -> Path:
    """A run of these overrides whose validation accuracy rises to `accuracy` in its last epoch.

    With another `status` (unfinished, failed, pruned) its end is missing or is that one.
    """
    config, choices = _config(*overrides)
    digest = config_hash(experiment(config))
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(config))
    record = {"images": {"train": 54000, "val": 6000, "test": 10000}} | record
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
            **({"objective_mode": objective_mode} if objective_mode else {}),
            "metrics": last,
            "best_epoch": epochs,
            "last": last,
            "epochs": epochs,
            "stop_reason": f"trainer.max_epochs={epochs} reached",
            "seconds": 1.5,
            "config_hash": digest,
            "diverged": diverged,
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


def edit(run: Path, **values: Any) -> None:
    """Sets values in a run's config, as if conf/ had been another when it ran; `__` stands for a dot."""
    file = run / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(file)
    for key, value in values.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, merge=False)
    file.write_text(OmegaConf.to_yaml(cfg))


def copies(run: Path, folder: Path, count: int) -> None:
    """Many runs in no time: the same one with other seeds, four to each learning rate."""
    edit(run, seed=-1, optim__lr=-1)
    text = (run / ".hydra" / "config.yaml").read_text()
    for number in range(count):
        path = folder / str(number)
        shutil.copytree(run, path)
        lr = 10 ** -(1 + 3 * (number // 4) / count)
        own = text.replace("seed: -1\n", f"seed: {number % 4}\n", 1).replace("lr: -1\n", f"lr: {lr!r}\n", 1)
        (path / ".hydra" / "config.yaml").write_text(own)
