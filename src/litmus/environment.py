"""What a process needs before torch starts in it."""

import ctypes
import gc
import os
import sys
from pathlib import Path

# Of mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def prepare_environment() -> None:
    """Sets what torch reads as it starts, unless the user has set it, and how Python and the C library treat memory."""
    # Without a GPU, a CUDA build of torch would look for one again at every step of an optimizer.
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg", "kfd")):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    # The libraries are made of a million objects that stay: to look through them after every 700 takes a second.
    gc.set_threshold(10_000)
    keep_memory()


def flush_denormals() -> None:
    """Has this process round numbers below 1e-38 to 0, as XLA does by default.

    The averages of Adam decay into such numbers where a gradient stays exactly zero (dead ReLU units); arithmetic with
    them is several times slower. Threads inherit it, so call this before torch starts its pool of threads.
    """
    import torch

    torch.set_flush_denormal(True)


def keep_memory() -> None:
    """Keeps what is freed for the next allocation, where glibc allocates.

    By itself it gives a large tensor's memory back to the system, which hands it out again page by page, each filled
    with zeros: a fifth of the CNN's epoch. Whoever sets glibc's own variables, MALLOC_… or GLIBC_TUNABLES, keeps them.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)
        mallopt(TOP_PAD, 2**26)
