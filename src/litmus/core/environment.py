"""Environment variables and process settings that must be set before torch starts."""

import ctypes
import os
import sys
from pathlib import Path

from litmus.errors import ConfigError

# Set by launchers, read by torch and Lightning.
RANK_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# Of mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def prepare_environment() -> None:
    """Sets environment variables that torch reads at import, unless the user has set them, and memory options of the C
    library.
    """
    # Without a GPU, a CUDA build of torch looks for one at every optimizer step.
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg", "kfd")):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    keep_memory()
    check_rank_variables()


def check_rank_variables() -> None:
    """Unsets rank variables that are empty, which torch and Lightning cannot read.

    Raises ConfigError for one that is not a number.
    """
    for name in RANK_VARIABLES:
        value = os.environ.get(name)
        if value is not None and not value.strip():
            del os.environ[name]
        elif value is not None and not value.strip().isdecimal():
            raise ConfigError(f"{name}={value} in the environment is not a number; unset {name}")


def flush_denormals() -> None:
    """Has this process round numbers below 1e-38 to 0, as XLA does by default.

    The averages of Adam decay into such numbers where a gradient stays exactly zero (dead ReLU units); arithmetic with
    them is several times slower. Threads inherit it, so call this before torch starts its pool of threads.
    """
    import torch

    torch.set_flush_denormal(True)


def keep_memory() -> None:
    """Keeps what is freed for the next allocation, where glibc allocates.

    By default it returns a large tensor's memory to the system, which hands it out again page by page, each filled with
    zeros. Without this, `model=cnn data.train_size=10000 trainer.max_epochs=3` takes 11.2 s of CPU time instead of
    10.2, 5.5 s of them before training (medians of 3 pairs). glibc's own variables, MALLOC_… and GLIBC_TUNABLES, win.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # only glibc has mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)
        mallopt(TOP_PAD, 2**26)
