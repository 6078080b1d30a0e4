"""What makes a run the run it is."""

import hashlib
import json
from typing import Any

from omegaconf import OmegaConf

from litmus.tensorboard import flatten

NOT_THE_EXPERIMENT = ("output_dir", "sweep_name", "resume", "launcher", "sampler", "hydra")


def experiment(cfg: Any) -> dict[str, Any]:
    """The resolved config, without where the run is written and how it is started."""
    cfg = OmegaConf.merge(cfg, {"output_dir": None})
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items() if key not in NOT_THE_EXPERIMENT}


def config_hash(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def differences(there: dict[str, Any], here: dict[str, Any], most: int = 5) -> str:
    flat_there, flat_here = flatten(there, ""), flatten(here, "")
    keys = [k for k in sorted(flat_there.keys() | flat_here.keys()) if flat_there.get(k) != flat_here.get(k)]
    told = [f"{k} is {flat_there.get(k)} there and {flat_here.get(k)} here" for k in keys[:most]]
    more = [f"and {len(keys) - most} more"] if len(keys) > most else []
    return ", ".join(told + more) or "their class names in _target_ differ"
